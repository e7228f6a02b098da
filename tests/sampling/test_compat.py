"""The paper's own selection: picks that its scripts gave on a made list, and the oddities of its pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthvlm_bench.sampling.compat import (
    allocate,
    canonical_xy,
    draw_listed,
    in_range,
    nearest_resize,
    pick_balanced,
    pick_uniform,
    points_per_row,
    truth_at,
)

# A list of 100 rows in six groups, with rows whose depth is empty; what follows is what the paper's scripts
# wrote for it (row numbers in the order of their output), by the number of rows asked for.
SIZES = {"s0": 3, "s1": 10, "s2": 25, "s3": 1, "s4": 40, "s5": 21}
GROUPS = [name for name, size in SIZES.items() for _ in range(size)]
EMPTY = {1, 5, 8, 13, 14, 15, 20, 21, 22, 23, 24, 30, 38, 39, 44, 45, 46, 47, 60, 77, 78, 99}
BALANCED = {
    12: [0, 59, 79, 89, 3, 34, 7, 25, 55, 2],
    30: [
        33,
        34,
        32,
        0,
        82,
        27,
        96,
        11,
        86,
        59,
        7,
        19,
        52,
        6,
        79,
        4,
        89,
        75,
        16,
        10,
        2,
        3,
        9,
        65,
        26,
        67,
        72,
        93,
    ],
    50: [
        27,
        0,
        25,
        87,
        93,
        56,
        55,
        75,
        52,
        65,
        94,
        33,
        91,
        69,
        17,
        98,
        29,
        32,
        80,
        18,
        26,
        11,
        72,
        4,
        59,
        89,
        12,
        82,
        84,
        35,
        2,
        6,
        19,
        49,
        31,
        7,
        51,
        10,
        79,
        62,
        3,
        28,
        86,
        96,
        42,
        9,
    ],
}
UNIFORM = {
    12: [16, 41, 66, 68, 75, 25, 58, 83, 33, 0, 50, 91],
    30: [
        43,
        9,
        95,
        63,
        3,
        0,
        57,
        73,
        32,
        80,
        50,
        16,
        83,
        70,
        76,
        36,
        93,
        6,
        61,
        33,
        90,
        96,
        26,
        53,
        86,
        66,
        40,
        56,
        10,
        11,
    ],
    50: [
        53,
        91,
        40,
        28,
        56,
        80,
        2,
        0,
        48,
        6,
        76,
        32,
        98,
        64,
        50,
        33,
        25,
        52,
        70,
        96,
        82,
        62,
        86,
        84,
        74,
        7,
        34,
        72,
        58,
        88,
        26,
        43,
        16,
        19,
        63,
        59,
        42,
        4,
        10,
        36,
        94,
        66,
        51,
        9,
        54,
        92,
        12,
        68,
        18,
        90,
    ],
}


def usable(row):
    return row not in EMPTY


@pytest.mark.parametrize("budget", BALANCED)
def test_a_balanced_list_is_the_one_the_scripts_write(budget):
    assert pick_balanced(GROUPS, budget, usable) == BALANCED[budget]


@pytest.mark.parametrize("budget", UNIFORM)
def test_an_ungrouped_list_is_the_one_the_scripts_write(budget):
    assert pick_uniform(len(GROUPS), budget, usable) == UNIFORM[budget]


def test_a_list_no_longer_than_the_budget_keeps_every_usable_row():
    chosen = pick_uniform(len(GROUPS), 1000, usable)
    assert sorted(chosen) == sorted(set(range(100)) - EMPTY)
    assert chosen != sorted(chosen)


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(0, 30), min_size=1),
    st.integers(0, 60),
)
def test_a_budget_is_never_exceeded(sizes, budget):
    quota = allocate(sizes, budget)
    assert sum(quota.values()) <= budget
    assert all(0 <= quota[name] <= sizes[name] for name in sizes)


def test_sums_of_points_are_exact():
    assert sum(points_per_row(454, 22, 10_000)) == sum(points_per_row(654, 15, 10_000)) == 10_000
    assert points_per_row(654, 15, 10_000)[189:191] == [16, 15]
    assert points_per_row(3, 10, None) == [10, 10, 10]


def test_points_are_one_draw_of_the_row_s_own_seed():
    depth_m = np.zeros((6, 8), np.float32)
    depth_m[1, 2], depth_m[3, 5], depth_m[5, 7] = 1.23456, 2.0, 3.0
    listed = draw_listed(depth_m, 4, 2)
    order = np.random.RandomState(46).choice(3, size=2, replace=False)
    known = [((2, 1), 1.2346), ((5, 3), 2.0), ((7, 5), 3.0)]
    assert list(zip(listed.xy, listed.depth_m, strict=True)) == [known[index] for index in order]


def test_an_image_with_fewer_valid_pixels_has_fewer_points():
    depth_m = np.zeros((2, 2), np.float32)
    assert draw_listed(depth_m, 0, 10).xy == ()
    depth_m[0, 1] = 1
    assert draw_listed(depth_m, 0, 10).xy == ((1, 0),)


def test_coordinates_are_scaled_without_half_a_pixel_and_rounded_to_even():
    xy = [(0, 0), (1, 1), (3, 5), (1919, 1439)]
    assert canonical_xy(xy, (1920, 1440), (960, 720), (960, 720)).tolist() == [
        [0, 0],
        [0, 0],
        [2, 2],
        [960, 720],
    ]


def test_a_crop_takes_half_its_difference_off():
    assert canonical_xy([(10, 10)], (20, 20), (21, 20), (10, 10)).tolist() == [[5, 5]]


def test_nearest_is_the_floor_of_the_scaled_index():
    values = np.arange(12).reshape(3, 4)
    expected = [[values[y * 3 // 5, x * 4 // 7] for x in range(7)] for y in range(5)]
    assert nearest_resize(values, 7, 5).tolist() == expected


def test_nearest_reads_the_previous_pixel_where_opencv_s_reciprocal_falls_short():
    """Columns of 640 -> 1144 where OpenCV 4 and 5 differ from integer division: seven multiples of 143."""
    columns = nearest_resize(np.arange(640)[None, :], 1144, 1)[0]
    exact = np.arange(1144) * 640 // 1144
    differing = np.flatnonzero(columns != exact)
    assert len(differing) == 7
    assert not (differing % 143).any()
    assert (columns[differing] == exact[differing] - 1).all()


def test_truth_falls_back_to_the_list_and_is_none_outside():
    depth_m = np.array([[0.0, 2.0]], np.float32)
    truth = truth_at(depth_m, np.array([[0, 0], [1, 0], [2, 0], [0, -1]]), [1.5, 9.0, 9.0, 9.0])
    assert truth.tolist() == [1.5, 2.0, 0.0, 0.0]


def test_the_range_is_inclusive():
    assert in_range(np.array([0.5, 1.0, 2.0, 2.5], np.float32), 1.0, 2.0).tolist() == [0.0, 1.0, 2.0, 0.0]
