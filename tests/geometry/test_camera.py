import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from depthvlm_bench.conventions import check_points, pixel_index
from depthvlm_bench.geometry.camera import PinholeCamera, estimated_camera, inside
from depthvlm_bench.geometry.grids import ViewGrid, focal_grid, native_grid

relaxed = settings(deadline=None, derandomize=True, database=None)

cameras = st.builds(
    PinholeCamera,
    width=st.integers(8, 2000),
    height=st.integers(8, 2000),
    fx_px=st.floats(100, 3000),
    fy_px=st.floats(100, 3000),
    cx_px=st.floats(-100, 2100),
    cy_px=st.floats(-100, 2100),
)
points = st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.1, 100))
pixels = st.tuples(st.floats(-0.5, 2000), st.floats(-0.5, 2000))


@st.composite
def views(draw):
    """A camera and some resize and crop of its picture."""
    camera = draw(cameras)
    full_width, full_height = draw(st.integers(4, 3000)), draw(st.integers(4, 3000))
    left, top = draw(st.integers(0, full_width - 1)), draw(st.integers(0, full_height - 1))
    width, height = draw(st.integers(1, full_width - left)), draw(st.integers(1, full_height - top))
    return camera, ViewGrid(camera.width, camera.height, full_width, full_height, left, top, width, height)


@relaxed
@given(cameras, points)
def test_ray_through_a_projected_point_times_its_depth_is_the_point(camera, point):
    u, v = camera.project([point])
    assert np.allclose(point[2] * camera.rays(u, v), point, rtol=1e-9, atol=1e-8)


@relaxed
@given(cameras, pixels, st.floats(0.1, 100))
def test_projecting_a_ray_gives_its_pixel_at_any_depth(camera, pixel, depth):
    u, v = camera.project(depth * camera.rays(*np.reshape(pixel, (2, 1))))
    assert np.allclose((u[0], v[0]), pixel, atol=1e-6)


@relaxed
@given(cameras, pixels)
def test_ray_factor_is_the_distance_of_a_point_at_depth_one(camera, pixel):
    x, y = (pixel[0] - camera.cx_px) / camera.fx_px, (pixel[1] - camera.cy_px) / camera.fy_px
    assert camera.ray_factor(*pixel) == pytest.approx((x * x + y * y + 1) ** 0.5)


def test_ray_factor_is_one_at_the_principal_point():
    assert PinholeCamera(640, 480, 500.0, 510.0, 300.25, 250.5).ray_factor(300.25, 250.5) == 1.0


@relaxed
@given(views(), points)
def test_intrinsics_of_a_view_project_to_where_the_picture_moves(view, point):
    camera, grid = view
    moved = grid.view_from_source.apply(*camera.project([point]))
    assert np.allclose(camera.seen_through(grid).project([point]), moved, rtol=1e-9, atol=1e-6)


@relaxed
@given(
    views(), st.floats(0, 1), st.floats(0, 1), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.floats(0.5, 50)
)
def test_a_tilted_plane_has_the_same_depth_seen_through_resize_and_crop(view, across, down, nx, ny, offset):
    _assert_plane_agrees(*view, across, down, (nx, ny, 1.0), offset)


@relaxed
@given(
    cameras, st.floats(0, 1), st.floats(0, 1), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.floats(0.5, 50)
)
def test_a_tilted_plane_has_the_same_depth_after_focal_normalisation(camera, across, down, nx, ny, offset):
    grid = focal_grid(camera.width, camera.height, camera.fx_px, max_edge=1024)
    _assert_plane_agrees(camera, grid, across, down, (nx, ny, 1.0), offset)


def _assert_plane_agrees(camera, grid, across, down, normal, offset):
    u, v = round(across * (grid.width - 1)), round(down * (grid.height - 1))
    u_src = (u + grid.left + 0.5) * grid.source_width / grid.full_width - 0.5
    v_src = (v + grid.top + 0.5) * grid.source_height / grid.full_height - 0.5
    through_source = camera.rays(u_src, v_src) @ np.array(normal)
    through_view = camera.seen_through(grid).rays(u, v) @ np.array(normal)
    assume(abs(through_source) > 1e-3)
    assert offset / through_view == pytest.approx(offset / through_source, rel=1e-6)


def test_focal_normalisation_keeps_the_ratio_of_fy_to_fx_and_the_true_scales():
    camera = PinholeCamera(640, 480, 559.62, 558.14, 361.87, 241.99)
    seen = camera.seen_through(focal_grid(640, 480, camera.fx_px))
    assert (seen.width, seen.height) == (1144, 858)
    assert seen.fx_px == pytest.approx(559.62 * 1144 / 640, abs=1e-9)
    assert seen.fy_px == pytest.approx(558.14 * 858 / 480, abs=1e-9)
    assert seen.cx_px == pytest.approx(362.37 * 1144 / 640 - 0.5, abs=1e-9)
    assert seen.cy_px == pytest.approx(242.49 * 858 / 480 - 0.5, abs=1e-9)


def test_a_crop_moves_the_principal_point_alone():
    camera = PinholeCamera(100, 80, 60.0, 61.0, 50.0, 40.0)
    seen = camera.seen_through(ViewGrid(100, 80, 100, 80, 10, 20, 70, 50))
    assert seen == PinholeCamera(70, 50, 60.0, 61.0, 40.0, 20.0)


def test_a_native_view_is_the_camera_itself():
    camera = PinholeCamera(101, 77, 60.125, 61.5, 50.25, 40.75)
    assert camera.seen_through(native_grid(101, 77)) == camera


def test_a_grid_for_another_picture_is_refused():
    with pytest.raises(ValueError, match="grid is for 100x80, camera is 101x80"):
        PinholeCamera(101, 80, 60.0, 60.0, 50.0, 40.0).seen_through(native_grid(100, 80))


@pytest.mark.parametrize(
    "values",
    [
        (0, 10, 1.0, 1.0, 0.0, 0.0),
        (10, -1, 1.0, 1.0, 0.0, 0.0),
        (10, 10, 0.0, 1.0, 0.0, 0.0),
        (10, 10, 1.0, -1.0, 0.0, 0.0),
        (10, 10, float("nan"), 1.0, 0.0, 0.0),
        (10, 10, 1.0, 1.0, float("inf"), 0.0),
        (10, 10, 1.0, 1.0, 0.0, float("nan")),
    ],
)
def test_intrinsics_that_no_picture_can_have_are_refused(values):
    with pytest.raises(ValueError, match="must be"):
        PinholeCamera(*values)


@pytest.mark.parametrize(
    ("coordinate", "pixel"),
    [
        (-0.51, -1),
        (-0.5, 0),
        (-0.3, 0),
        (0.0, 0),
        (0.49, 0),
        (0.5, 1),
        (1.5, 2),
        (2.5, 3),
        (9.49, 9),
        (9.5, 10),
    ],
)
def test_the_pixel_of_a_coordinate_is_the_floor_after_half_a_pixel(coordinate, pixel):
    assert pixel_index(coordinate) == pixel


def test_pixel_index_keeps_the_shape_and_never_clips():
    index = pixel_index([[-1000.2, 0.2], [1e6, 3.0]])
    assert index.dtype == np.int64
    assert index.tolist() == [[-1000, 0], [1_000_000, 3]]


@pytest.mark.parametrize(
    ("u", "v", "expected"),
    [
        (-0.3, 0.0, True),
        (-0.5, -0.5, True),
        (-0.51, 0.0, False),
        (0.0, -0.51, False),
        (9.49, 7.49, True),
        (9.5, 0.0, False),
        (0.0, 7.5, False),
        (float("inf"), 0.0, False),
        (-float("inf"), 0.0, False),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
def test_what_lies_outside_the_picture_is_outside(u, v, expected):
    assert bool(inside(u, v, 10, 8)) is expected
    assert bool(PinholeCamera(10, 8, 5.0, 5.0, 4.5, 3.5).contains(u, v)) is expected


def test_points_of_a_wrong_shape_are_refused():
    camera = PinholeCamera(10, 8, 5.0, 5.0, 4.5, 3.5)
    for wrong in ([1.0, 2.0, 3.0], [[1.0, 2.0]], np.ones((2, 4))):
        with pytest.raises(ValueError, match=r"points_cam: expected shape \(N, 3\)"):
            camera.project(wrong)
    assert check_points(np.empty((0, 3)), "none").shape == (0, 3)


def test_the_declared_guess_is_centred_with_the_usual_focal_length():
    assert estimated_camera(640, 480) == PinholeCamera(640, 480, 768.0, 768.0, 319.5, 239.5)
    assert estimated_camera(480, 640).fx_px == 768.0
