import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from raw_scannetpp import real_scannetpp_tree

from depthvlm_bench.geometry.grids import PixelAffine, ViewGrid, focal_grid, native_grid
from depthvlm_bench.records.pictures import render

relaxed = settings(deadline=None, derandomize=True, database=None)

coordinates = st.floats(-5000, 5000)
scales = st.floats(0.01, 100)
affines = st.builds(PixelAffine, scales, scales, coordinates, coordinates)
sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@relaxed
@given(affines, coordinates, coordinates)
def test_inverse_undoes_a_map(affine, u, v):
    back = affine.inverse().apply(*affine.apply(u, v))
    assert np.allclose(back, (u, v), atol=1e-6)


@relaxed
@given(affines)
def test_a_map_then_its_inverse_is_the_identity(affine):
    round_trip = affine.then(affine.inverse())
    assert np.allclose((round_trip.sx, round_trip.sy), 1.0)
    assert np.allclose((round_trip.ox, round_trip.oy), 0.0, atol=1e-6)


@relaxed
@given(affines, affines, coordinates, coordinates)
def test_then_applies_the_first_map_first(first, second, u, v):
    assert np.allclose(first.then(second).apply(u, v), second.apply(*first.apply(u, v)), rtol=1e-9, atol=1e-6)


@relaxed
@given(sizes, sizes)
def test_resize_maps_picture_borders_onto_picture_borders(src, dst):
    affine = PixelAffine.resize(src, dst)
    assert np.allclose(affine.apply(-0.5, -0.5), (-0.5, -0.5))
    assert np.allclose(affine.apply(src[0] - 0.5, src[1] - 0.5), (dst[0] - 0.5, dst[1] - 0.5))


def test_resize_of_scannetpp_depth_is_seven_and_a_half_with_the_half_pixel():
    assert PixelAffine.resize((256, 192), (1920, 1440)) == PixelAffine(7.5, 7.5, 3.25, 3.25)


def test_identity_changes_nothing():
    u, v = PixelAffine.identity().apply([0.25, -3.0], [7.5, 9.0])
    assert (u.tolist(), v.tolist()) == ([0.25, -3.0], [7.5, 9.0])


def test_apply_keeps_the_shape_and_returns_float64():
    u, v = PixelAffine(2.0, 3.0, 0.5, 1.0).apply(np.ones((2, 3), np.uint16), np.ones((2, 3), np.uint16))
    assert u.shape == v.shape == (2, 3)
    assert u.dtype == v.dtype == np.float64
    assert (u[0, 0], v[0, 0]) == (2.5, 4.0)


@relaxed
@given(sizes, st.floats(300, 3000), st.floats(-0.5, 4999.5), st.floats(-0.5, 4999.5))
def test_view_from_source_is_the_resize_and_then_the_crop(size, fx, u, v):
    grid = focal_grid(*size, fx, max_edge=700)
    expected_u = (u + 0.5) * grid.full_width / size[0] - 0.5 - grid.left
    expected_v = (v + 0.5) * grid.full_height / size[1] - 0.5 - grid.top
    assert np.allclose(grid.view_from_source.apply(u, v), (expected_u, expected_v), atol=1e-6)


@pytest.mark.parametrize(
    ("length", "fx", "expected"),
    [(5, 2000.0, 2), (7, 2000.0, 4), (9, 2000.0, 4), (11, 2000.0, 6), (5, 2000.1, 2), (5, 1999.9, 3)],
)
def test_sizes_are_rounded_half_to_even(length, fx, expected):
    grid = focal_grid(length, length, fx)
    assert (grid.full_width, grid.full_height) == (expected, expected)


def test_both_axes_follow_fx_by_the_unrounded_scale():
    # 1430.94 rounded anywhere on the way (scale 0.70 or 0.699) would miss the paper's 1342 x 1006.
    grid = focal_grid(1920, 1440, 1430.94)
    assert (grid.width, grid.height) == (1342, 1006)


def test_another_focal_length_can_be_asked_for():
    assert focal_grid(100, 50, 1000.0, focal_px=500.0) == ViewGrid(100, 50, 50, 25, 0, 0, 50, 25)


def test_a_tiny_picture_keeps_at_least_one_pixel():
    grid = focal_grid(10, 10, 1e6)
    assert (grid.width, grid.height) == (1, 1)


@pytest.mark.parametrize(
    ("max_edge", "crop"),
    [
        (None, (0, 0, 200, 101)),
        (200, (0, 0, 200, 101)),
        (150, (25, 0, 150, 101)),
        (151, (24, 0, 151, 101)),
        (100, (50, 0, 100, 100)),
    ],
)
def test_longer_sides_are_cut_from_the_centre_with_floor_offsets(max_edge, crop):
    grid = focal_grid(200, 101, 1000.0, max_edge=max_edge)
    assert (grid.left, grid.top, grid.width, grid.height) == crop


@pytest.mark.parametrize("fx", [0.0, -1.0, float("nan"), float("inf")])
def test_a_focal_length_that_no_lens_has_is_refused(fx):
    with pytest.raises(ValueError, match="fx_px"):
        focal_grid(640, 480, fx)


def test_shrinks_and_is_identity():
    assert focal_grid(100, 100, 2000.0).shrinks
    assert not focal_grid(100, 100, 500.0).shrinks
    assert not native_grid(100, 80).shrinks
    assert native_grid(100, 80).is_identity
    assert not focal_grid(100, 80, 1000.0, max_edge=90).is_identity
    assert not focal_grid(100, 80, 2000.0).is_identity


@pytest.mark.parametrize(("fx", "max_edge"), [(1600.0, None), (2300.0, None), (700.0, None), (800.0, 50)])
def test_pixels_of_a_rendered_ramp_lie_where_the_grid_says(fx, max_edge):
    columns, rows = np.meshgrid(np.arange(64), np.arange(48))
    ramp = np.stack([4 * columns, 5 * rows, 0 * rows], axis=-1).astype(np.uint8)
    grid = focal_grid(64, 48, fx, max_edge=max_edge)
    pixels = np.asarray(render(Image.fromarray(ramp), grid), dtype=float)
    v, u = np.mgrid[: grid.height, : grid.width]
    u_src = (u + grid.left + 0.5) * 64 / grid.full_width - 0.5
    v_src = (v + grid.top + 0.5) * 48 / grid.full_height - 0.5
    # A triangle filter keeps a ramp exact, except within its reach of the border.
    inner = (u_src > 4) & (u_src < 59) & (v_src > 4) & (v_src < 43)
    assert inner.sum() > 100
    assert np.abs(pixels[..., 0] - 4 * u_src)[inner].max() <= 1.5
    assert np.abs(pixels[..., 1] - 5 * v_src)[inner].max() <= 1.5


def test_sizes_equal_those_the_paper_publishes():
    tree = real_scannetpp_tree()
    annotations = tree.parent / "published_annotations" / "examples.jsonl"
    if not annotations.is_file():
        pytest.skip(f"published annotations are not at {annotations}")
    records = [json.loads(line) for line in annotations.read_text().splitlines()]
    found = []
    for record in records:
        frame = record["image"].removeprefix(record["scene_id"] + "_").removesuffix(".jpg")
        path = tree / "data" / record["scene_id"] / "iphone" / "pose_intrinsic_imu.json"
        fx = json.loads(path.read_text())[frame]["intrinsic"][0][0]
        grid = focal_grid(*record["original_rgb_size"], fx)
        found.append([grid.width, grid.height])
    assert len(records) == 30
    assert found == [record["canonical_size"] for record in records]
