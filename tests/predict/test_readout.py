import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthvlm_bench.errors import CheckError
from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.predict.readout import SeenMap, read_bilinear, read_nearest, to_view

MAP = np.arange(12, dtype=np.float32).reshape(3, 4) + 1


def at(*coordinates):
    return np.array(coordinates, dtype=np.float64)


def bilinear_by_hand(values, column, row):
    """Half-pixel bilinear with repeated edges, one value at a time."""
    height, width = values.shape
    left, top = int(np.floor(column)), int(np.floor(row))
    total = 0.0
    for y, weight_y in ((top, top + 1 - row), (top + 1, row - top)):
        for x, weight_x in ((left, left + 1 - column), (left + 1, column - left)):
            held = values[min(max(y, 0), height - 1), min(max(x, 0), width - 1)]
            total += weight_x * weight_y * float(held)
    return total


def resized_by_hand(values, width, height):
    scale_x, scale_y = values.shape[1] / width, values.shape[0] / height
    return np.array(
        [
            [
                bilinear_by_hand(values, (column + 0.5) * scale_x - 0.5, (row + 0.5) * scale_y - 0.5)
                for column in range(width)
            ]
            for row in range(height)
        ]
    )


@pytest.mark.parametrize(
    ("u", "v", "expected"),
    [
        (0.0, 0.0, 1),
        (1.0, 0.0, 2),
        (0.0, 1.0, 5),
        (0.49, 0.49, 1),
        (0.5, 0.0, 2),
        (0.0, 0.5, 5),
        (-0.5, -0.5, 1),
        (3.49, 2.49, 12),
        (2.5, 1.5, 12),
    ],
)
def test_nearest_is_the_pixel_floor_of_u_plus_a_half(u, v, expected):
    assert read_nearest(MAP, at(u), at(v)) == [expected]


@pytest.mark.parametrize(("u", "v"), [(-0.51, 0), (0, -0.51), (3.5, 0), (0, 2.5), (-4, 0), (0, -3), (1e9, 0)])
def test_outside_nothing_is_read_and_nothing_is_clipped(u, v):
    assert np.isnan(read_nearest(MAP, at(u), at(v))).all()
    assert np.isnan(read_bilinear(MAP, at(u), at(v))).all()


def test_no_points_give_no_values():
    assert read_nearest(MAP, at(), at()).shape == (0,)
    assert read_bilinear(MAP, at(), at()).shape == (0,)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-0.5, 3.49), st.floats(-0.5, 2.49)), min_size=1, max_size=8))
def test_bilinear_agrees_with_the_formula(points):
    values = np.random.default_rng(3).uniform(1, 9, (3, 4)).astype(np.float32)
    u, v = np.array(points).T
    expected = [bilinear_by_hand(values, *point) for point in points]
    assert read_bilinear(values, u, v) == pytest.approx(expected, abs=1e-5)


def test_bilinear_beside_a_hole_is_no_value():
    holed = MAP.copy()
    holed[1, 1] = np.nan
    assert np.isnan(read_bilinear(holed, at(0.5, 1.5, 1.0), at(1.0, 0.5, 1.0))).all()
    assert read_bilinear(holed, at(2.5), at(0.5))[0] == pytest.approx((3 + 4 + 7 + 8) / 4)


def test_infinities_are_read_as_they_are():
    assert read_nearest(np.full((2, 2), np.inf, np.float32), at(0), at(0)) == [np.inf]


@pytest.mark.parametrize("size", [(4, 3), (8, 6), (9, 5), (3, 7), (1, 1), (31, 2)])
def test_the_bilinear_resize_agrees_with_a_loop(size):
    values = np.random.default_rng(1).uniform(1, 9, (3, 4)).astype(np.float32)
    view = to_view(DenseMap(values), *size)
    assert view.shape == (size[1], size[0])
    assert view.dtype == np.float32
    assert view == pytest.approx(resized_by_hand(values, *size), abs=1e-5)


@pytest.mark.parametrize("map_size", [(40, 30), (20, 15), (64, 48), (37, 53)])
@pytest.mark.parametrize("axis", ["u", "v"])
def test_a_ramp_of_any_size_reads_as_the_ramp(map_size, axis):
    """A map of half-pixel coordinates of the view: any shift, scale or transposition shows."""
    width, height = 40, 30
    u, v = np.meshgrid(
        (np.arange(map_size[0]) + 0.5) * width / map_size[0] - 0.5,
        (np.arange(map_size[1]) + 0.5) * height / map_size[1] - 0.5,
    )
    view = to_view(DenseMap((u if axis == "u" else v).astype(np.float32)), width, height)
    away = np.random.default_rng(2).uniform((2, 2), (width - 3, height - 3), (200, 2))
    asked = away[:, 0] if axis == "u" else away[:, 1]
    assert read_bilinear(view, *away.T) == pytest.approx(asked, abs=1e-4)
    assert read_nearest(view, *away.T) == pytest.approx(np.floor(asked + 0.5), abs=1e-4)


@pytest.mark.parametrize("size", [(8, 6), (2, 3), (5, 5), (40, 1)])
def test_the_nearest_resize_takes_the_pixel_under_each_centre(size):
    view = to_view(DenseMap(MAP, resize="nearest"), *size)
    expected = [
        [MAP[int((row + 0.5) * 3 / size[1]), int((column + 0.5) * 4 / size[0])] for column in range(size[0])]
        for row in range(size[1])
    ]
    assert view.tolist() == expected


def test_a_map_of_the_view_s_size_is_left_alone():
    holed = MAP.copy()
    holed[0, 2], holed[2, 3] = np.nan, np.inf
    assert np.array_equal(to_view(DenseMap(holed), 4, 3), holed, equal_nan=True)


@pytest.mark.parametrize("rule", ["nearest", "bilinear"])
def test_a_single_value_fills_the_view(rule):
    assert (to_view(DenseMap(np.full((1, 1), 2.0, np.float32), resize=rule), 7, 5) == 2.0).all()


def test_holes_survive_the_nearest_resize_at_their_place():
    holed = MAP.copy()
    holed[0, 3] = np.nan
    view = to_view(DenseMap(holed, resize="nearest"), 8, 6)
    expected = np.zeros((6, 8), dtype=bool)
    expected[:2, 6:] = True
    assert np.array_equal(np.isnan(view), expected)


def test_the_bilinear_resize_never_makes_a_value_out_of_a_hole():
    holed = MAP.copy()
    holed[0, 3] = np.nan
    view = to_view(DenseMap(holed), 8, 6)
    assert np.isnan(view[0, 7])
    kept = np.isfinite(view)
    assert view[kept] == pytest.approx(resized_by_hand(MAP, 8, 6)[kept], abs=1e-5)
    assert kept[:, :5].all()
    assert kept[3:].all()


def test_a_pixel_centre_beside_a_hole_keeps_its_own_value():
    """Three times as large, every third pixel is a pixel of the map: its neighbours weigh nothing."""
    holed = np.ones((3, 3), np.float32)
    holed[1, 2] = np.nan
    assert to_view(DenseMap(holed), 9, 9)[4, 4] == 1.0


@pytest.mark.parametrize("rule", ["nearest", "bilinear"])
def test_a_crop_lies_where_it_says_and_nothing_is_known_beside_it(rule):
    view = to_view(DenseMap(MAP, crop=(3, 2, 4, 3), resize=rule), 10, 8)
    assert view.shape == (8, 10)
    assert np.array_equal(view[2:5, 3:7], MAP)
    assert np.isfinite(view).sum() == MAP.size
    assert np.isnan(read_nearest(view, at(2.4), at(2.0))).all()
    assert read_nearest(view, at(2.5), at(2.0)) == [1.0]


def test_a_map_is_resized_to_its_crop():
    view = to_view(DenseMap(np.full((1, 2), 5.0, np.float32), crop=(0, 1, 6, 2)), 6, 4)
    assert np.isfinite(view).tolist() == [[False] * 6, [True] * 6, [True] * 6, [False] * 6]


@pytest.mark.parametrize("shape", [(4,), (1, 3, 4), (0, 4), (3, 0), ()])
def test_anything_but_a_map_is_refused(shape):
    with pytest.raises(CheckError, match="must be a map"):
        to_view(DenseMap(np.ones(shape, np.float32)), 4, 3)


@pytest.mark.parametrize("crop", [(-1, 0, 2, 2), (0, -1, 2, 2), (3, 0, 2, 2), (0, 2, 2, 2), (0, 0, 5, 3)])
def test_a_crop_that_leaves_the_view_is_refused(crop):
    with pytest.raises(CheckError, match="crop"):
        to_view(DenseMap(MAP, crop=crop), 4, 3)


@pytest.mark.parametrize("crop", [(1, 1, 0, 2), (1, 1, 2, 0), (1, 1, 2, -1)])
def test_a_crop_that_covers_nothing_is_refused(crop):
    with pytest.raises(CheckError, match="crop"):
        to_view(DenseMap(MAP, crop=crop), 4, 3)


# Exact in binary, so that a neighbour's weight is either 0 or counts.
SIXTEENTHS = st.integers(-32, 176).map(lambda steps: steps / 16)


@st.composite
def placed_maps(draw):
    """A map with or without holes, by either rule, on a view of which it covers all or a part."""
    shape = st.tuples(st.integers(1, 9), st.integers(1, 9))
    (height, width), (view_height, view_width) = draw(shape), draw(shape)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = random.uniform(0.1, 9, (height, width)).astype(np.float32)
    if draw(st.booleans()):
        values[random.random(values.shape) < 0.2] = np.nan
    left, top = draw(st.integers(0, view_width - 1)), draw(st.integers(0, view_height - 1))
    part = (left, top, draw(st.integers(1, view_width - left)), draw(st.integers(1, view_height - top)))
    crop = part if draw(st.booleans()) else None
    return DenseMap(values, crop, draw(st.sampled_from(["bilinear", "nearest"]))), view_width, view_height


@settings(deadline=None, max_examples=200)
@given(placed_maps(), st.lists(st.tuples(SIXTEENTHS, SIXTEENTHS), min_size=1, max_size=30))
def test_a_seen_map_reads_what_the_whole_view_would(placed, points):
    dense, width, height = placed
    whole, seen = to_view(dense, width, height), SeenMap(dense, width, height)
    u, v = np.array(points).T
    np.testing.assert_array_equal(seen.nearest(u, v), read_nearest(whole, u, v))
    np.testing.assert_allclose(seen.bilinear(u, v), read_bilinear(whole, u, v), rtol=1e-12, equal_nan=True)


def test_a_seen_map_refuses_what_the_view_refuses():
    with pytest.raises(CheckError, match="must be a map"):
        SeenMap(DenseMap(np.zeros(3, np.float32)), 2, 2)
    with pytest.raises(CheckError, match="no part of the view"):
        SeenMap(DenseMap(MAP, (0, 0, 5, 1)), 4, 3)
