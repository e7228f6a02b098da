"""Depth labels against closed forms, exact fractions and plain loops."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from depthvlm_bench.depthvlm.training.labels import depth_label
from depthvlm_bench.frames import DepthGrid, DepthPoints
from depthvlm_bench.geometry.grids import PixelAffine, cropped_grid

ANY = {"valid_min_m": 0.0, "valid_max_m": 1e6}
IDENTITY = PixelAffine.identity()


def grid(values, source_from_depth=IDENTITY, scale=1000.0, dtype=np.uint16):
    return DepthGrid(np.asarray(values, dtype=dtype), scale, source_from_depth)


def points(u_px, v_px, depth_m, flags=None):
    raw = [np.rint((np.asarray(c, dtype=float) + 0.5) * 16).astype(np.uint16) for c in (u_px, v_px)]
    z_raw = np.rint(np.asarray(depth_m) * 256).astype(np.uint16)
    flags = np.zeros(len(z_raw), np.uint8) if flags is None else np.asarray(flags, np.uint8)
    return DepthPoints(*raw, z_raw, flags, 1 / 16)


def exact_index(size, dst_size, left=0):
    """Nearest source pixel of each pixel of a resize and crop, in exact fractions; ties to the right."""
    scale = Fraction(size, dst_size)
    return [floor((x + left + Fraction(1, 2)) * scale) for x in range(dst_size - left)]


def numbered(width, height):
    """Every pixel another value: 1, 2, 3, ... millimetres."""
    return np.arange(1, width * height + 1).reshape(height, width)


def test_a_label_of_the_same_grid_is_the_depth_itself():
    values = numbered(7, 5)
    label = depth_label(grid(values), IDENTITY, (7, 5), **ANY)
    assert label.dtype == np.float32
    assert np.array_equal(label, (values / 1000).astype(np.float32))


@pytest.mark.parametrize("size", [(256, 192), (640, 480), (31, 77), (9, 9)])
@pytest.mark.parametrize("dst", [(67, 50), (128, 96), (512, 384), (93, 231)])
def test_resized_labels_are_the_nearest_pixels_in_exact_arithmetic(size, dst):
    values = numbered(*size) % 60000 + 1
    label = depth_label(grid(values), PixelAffine.resize(size, dst), dst, **ANY)
    rows, columns = exact_index(size[1], dst[1]), exact_index(size[0], dst[0])
    assert np.array_equal(label, (values[np.ix_(rows, columns)] / 1000).astype(np.float32))


@pytest.mark.parametrize(("size", "dst"), [((6, 4), (3, 2)), ((1920, 1440), (640, 480)), ((10, 10), (5, 5))])
def test_a_pixel_between_two_depth_pixels_takes_the_right_and_lower_one(size, dst):
    values = numbered(*size) % 60000 + 1
    affine = PixelAffine.resize(size, dst)
    step = size[0] // dst[0]
    label = depth_label(grid(values), affine, dst, **ANY)
    assert np.array_equal(label, (values[step // 2 :: step, step // 2 :: step] / 1000).astype(np.float32))


def test_a_crop_shifts_the_label_by_whole_pixels():
    values = numbered(40, 30)
    whole = cropped_grid((40, 30), (60, 45))
    cut = cropped_grid((40, 30), (60, 45), max_edge=32)
    full = depth_label(grid(values), whole.view_from_source, (60, 45), **ANY)
    label = depth_label(grid(values), cut.view_from_source, (32, 32), **ANY)
    assert np.array_equal(label, full[cut.top : cut.top + 32, cut.left : cut.left + 32])


def test_depth_on_its_own_grid_goes_through_its_affine():
    """A 4x3 grid over a 40x30 picture that shrinks to 20x15: each depth pixel covers 5x5 pixels."""
    values = numbered(4, 3)
    depth = grid(values, PixelAffine.resize((4, 3), (40, 30)))
    label = depth_label(depth, PixelAffine.resize((40, 30), (20, 15)), (20, 15), **ANY)
    assert np.array_equal(label, np.kron(values, np.ones((5, 5))).astype(np.float32) / np.float32(1000))


def test_pixels_beside_the_depth_grid_are_unknown():
    """The grid lies at source pixels 3..6 across and 2..4 down of a 10x8 picture."""
    depth = grid(numbered(4, 3), PixelAffine(1.0, 1.0, 3.0, 2.0))
    label = depth_label(depth, IDENTITY, (10, 8), **ANY)
    expected = np.zeros((8, 10), np.float32)
    expected[2:5, 3:7] = numbered(4, 3) / 1000
    assert np.array_equal(label, expected)


def test_a_grid_that_misses_the_picture_gives_an_empty_label():
    label = depth_label(grid(numbered(4, 3), PixelAffine(1.0, 1.0, 30.0, 2.0)), IDENTITY, (10, 8), **ANY)
    assert label.shape == (8, 10)
    assert not label.any()


def test_a_ramp_is_kept_within_half_a_depth_pixel():
    """z = 1 + 0.002 u_source: what a label says lies within half a depth pixel of the pixel's own ray."""
    to_source = PixelAffine.resize((256, 192), (1920, 1440))
    u_source, _ = to_source.apply(np.arange(256), np.arange(256))
    ramp = np.broadcast_to(1 + 0.002 * u_source, (192, 256))
    depth = DepthGrid.from_metres(ramp, 1000.0, to_source)
    view = PixelAffine.resize((1920, 1440), (1342, 1006))
    label = depth_label(depth, view, (1342, 1006), **ANY)
    u_own, _ = view.inverse().apply(np.arange(1342), np.arange(1342))
    limit_m = 0.002 * to_source.sx / 2 + 0.0005
    assert np.abs(label - (1 + 0.002 * u_own)).max() <= limit_m + 1e-6
    assert label.all()


def test_the_range_is_inclusive_and_zero_is_never_valid():
    label = depth_label(grid([[0, 99, 100, 5000, 5001]]), IDENTITY, (5, 1), valid_min_m=0.1, valid_max_m=5.0)
    assert label.tolist() == [[0.0, 0.0, np.float32(0.1), 5.0, 0.0]]
    assert not depth_label(grid([[0]]), IDENTITY, (1, 1), **ANY).any()


def test_float_grids_lose_what_is_not_finite():
    values = [[np.nan, np.inf, 1.5, 0.0]]
    label = depth_label(
        grid(values, scale=1.0, dtype=np.float32), IDENTITY, (4, 1), valid_min_m=0.0, valid_max_m=100.0
    )
    assert label.tolist() == [[0.0, 0.0, 1.5, 0.0]]


@pytest.mark.parametrize("size", [(20, 15), (4, 3)])
def test_a_large_and_a_small_grid_are_filtered_alike(size):
    """Small grids are filtered before they are spread, large ones after."""
    values = numbered(8, 6) * 100
    label = depth_label(
        grid(values), PixelAffine.resize((8, 6), size), size, valid_min_m=1.0, valid_max_m=3.0
    )
    free = depth_label(grid(values), PixelAffine.resize((8, 6), size), size, **ANY)
    assert np.array_equal(label, np.where((free >= 1) & (free <= 3), free, 0))
    assert 0 < np.count_nonzero(label) < label.size


def test_points_fall_into_the_pixel_that_holds_them():
    label = depth_label(
        points([0.0, 2.4375, 2.5, 7.0], [0.0, 1.0, 1.0, 3.4375], [1, 2, 3, 4]), IDENTITY, (8, 4), **ANY
    )
    expected = np.zeros((4, 8), np.float32)
    expected[0, 0], expected[1, 2], expected[1, 3], expected[3, 7] = 1, 2, 3, 4
    assert np.array_equal(label, expected)


def test_of_the_points_of_a_pixel_the_nearest_wins_in_any_order():
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        depth_m = np.array([5.0, 2.0, 9.0])[order]
        label = depth_label(points([3.0, 3.25, 2.75], [1.0] * 3, depth_m), IDENTITY, (8, 4), **ANY)
        assert label[1, 3] == 2.0
        assert np.count_nonzero(label) == 1


def test_a_point_out_of_range_hides_nothing():
    label = depth_label(
        points([3.0, 3.25], [1.0, 1.0], [0.5, 2.0]), IDENTITY, (8, 4), valid_min_m=1.0, valid_max_m=80.0
    )
    assert label[1, 3] == 2.0


def test_points_outside_the_cropped_picture_are_left_out():
    """The crop begins at source pixel (2, 1): u = -0.5 is still its first pixel, 4.5 beyond its last."""
    view = PixelAffine(1.0, 1.0, -2.0, -1.0)
    label = depth_label(points([1.5, 1.4375, 6.4375, 6.5], [1.0] * 4, [1, 2, 3, 4]), view, (5, 3), **ANY)
    assert label[0].tolist() == [1.0, 0.0, 0.0, 0.0, 3.0]
    assert np.count_nonzero(label) == 2


def test_flagged_points_count_unless_they_are_to_be_dropped():
    depth = points([1.0, 1.25, 5.0], [1.0, 1.0, 1.0], [2.0, 4.0, 6.0], flags=[1, 0, 2])
    assert depth_label(depth, IDENTITY, (8, 4), **ANY)[1, 1] == 2.0
    without = depth_label(depth, IDENTITY, (8, 4), **ANY, drop_flags=1)
    assert (without[1, 1], without[1, 5]) == (4.0, 6.0)
    assert depth_label(depth, IDENTITY, (8, 4), **ANY, drop_flags=3)[1, 5] == 0.0


@pytest.mark.parametrize("dst", [(97, 61), (640, 400)])
def test_many_points_agree_with_a_plain_loop(dst):
    rng = np.random.default_rng(3)
    u, v, z = rng.uniform(0, 319, 4000), rng.uniform(0, 199, 4000), rng.uniform(1, 90, 4000)
    depth = points(u, v, z)
    view = PixelAffine.resize((320, 200), dst)
    label = depth_label(depth, view, dst, valid_min_m=2.0, valid_max_m=80.0)
    expected = np.zeros(dst[::-1], np.float32)
    for u_px, v_px, z_m in zip(*view.apply(*depth.source_pixels()), depth.depth_m, strict=True):
        column, row = floor(u_px + 0.5), floor(v_px + 0.5)
        if 0 <= column < dst[0] and 0 <= row < dst[1] and 2 <= z_m <= 80:
            best = expected[row, column]
            expected[row, column] = z_m if best == 0 else min(best, z_m)
    assert np.array_equal(label, expected)


def test_no_points_give_an_empty_label():
    assert not depth_label(points([], [], []), IDENTITY, (8, 4), **ANY).any()
