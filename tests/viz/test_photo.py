import numpy as np
import pytest
import trimesh
from PIL import Image

from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.predict.readout import to_view
from depthvlm_bench.viz.colour import INVALID_RGB
from depthvlm_bench.viz.marks import LEGEND_HEIGHT_PX
from depthvlm_bench.viz.photo import coloured, photo_cloud, png_values, write_prediction

SIZE = (48, 36)
CAMERA = PinholeCamera(*SIZE, 40.0, 42.0, 23.0, 17.5)


def picture(size=SIZE):
    rng = np.random.default_rng(1)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def slope(width, height):
    v, u = np.mgrid[:height, :width]
    return (1.0 + 0.05 * u + 0.02 * v).astype(np.float32)


def test_all_files_hold_the_map_at_the_photograph_s_size(tmp_path):
    dense = DenseMap(slope(12, 9))
    written = write_prediction(tmp_path / "out", "a", picture(), CAMERA, dense)
    assert {kind: path.name for kind, path in written.files.items()} == {
        "npy": "a.npy",
        "png": "a.depth.png",
        "colour": "a.colour.png",
        "cloud": "a.ply",
    }
    depth_m = np.load(written.files["npy"])
    assert np.array_equal(depth_m, to_view(dense, *SIZE))
    with Image.open(written.files["png"]) as stored:
        assert (stored.mode, stored.size) == ("I;16", SIZE)
        assert np.asarray(stored) / written.depth_scale == pytest.approx(
            depth_m, abs=0.5 / written.depth_scale
        )
    with Image.open(written.files["colour"]) as shown:
        assert shown.size == SIZE
    assert written.range_m == (depth_m.min(), depth_m.max())
    assert written.beyond == 0


def test_a_cloud_on_the_map_s_own_grid_lies_on_the_rays_of_the_photograph():
    """A plane seen by the camera; the model's grid is coarser, and has other pixel shapes."""
    normal, offset_m = np.array([0.1, -0.2, 1.0]), 3.0
    grid = PinholeCamera(12, 12, 40.0 * 12 / 48, 42.0 * 12 / 36, 23.5 * 12 / 48 - 0.5, 18.0 * 12 / 36 - 0.5)
    v, u = np.mgrid[:12, :12]
    depth_m = (offset_m / (grid.rays(u.ravel(), v.ravel()) @ normal)).astype(np.float32).reshape(12, 12)
    dense = DenseMap(depth_m)
    cloud = photo_cloud(picture(), CAMERA, dense, to_view(dense, *SIZE))
    assert len(cloud.points_cam) == 144
    assert cloud.points_cam @ normal == pytest.approx(offset_m, rel=1e-6)
    seen_u, seen_v = CAMERA.project(cloud.points_cam)
    assert seen_u.reshape(12, 12)[0] == pytest.approx((np.arange(12) + 0.5) * 4 - 0.5)
    assert seen_v.reshape(12, 12)[:, 0] == pytest.approx((np.arange(12) + 0.5) * 3 - 0.5)


def test_a_finer_map_gives_a_point_a_pixel_in_the_photograph_s_colours(tmp_path):
    dense = DenseMap(slope(96, 72))
    written = write_prediction(tmp_path, "a", picture(), CAMERA, dense)
    read = trimesh.load(written.files["cloud"])
    assert len(read.vertices) == written.points == 48 * 36
    assert np.array_equal(read.colors[:, :3].reshape(36, 48, 3), np.asarray(picture()))
    assert read.vertices[:, 2] == pytest.approx(to_view(dense, *SIZE).ravel(), rel=1e-6)


def test_a_map_of_a_part_leaves_the_rest_unknown(tmp_path):
    dense = DenseMap(np.full((4, 4), 2.0, np.float32), crop=(8, 4, 16, 12))
    written = write_prediction(tmp_path, "a", picture(), CAMERA, dense)
    known = np.isfinite(np.load(written.files["npy"]))
    assert known.sum() == written.points == 16 * 12
    with Image.open(written.files["png"]) as stored:
        assert np.array_equal(np.asarray(stored) > 0, known)
    with Image.open(written.files["colour"]) as shown:
        assert (np.asarray(shown)[~known] == INVALID_RGB).all()


@pytest.mark.parametrize(
    ("farthest_m", "scale"), [(2.0, 1000.0), (65.535, 1000.0), (65.54, 256.0), (250.0, 256.0)]
)
def test_the_png_has_the_finest_unit_that_holds_the_farthest_depth(farthest_m, scale):
    depth_m = np.array([[1.5, farthest_m]], np.float32)
    values, found = png_values(depth_m)
    assert found == scale
    assert values / found == pytest.approx(depth_m, abs=0.5 / scale)


def test_depth_too_far_for_the_png_is_counted_and_kept_elsewhere(tmp_path):
    depth_m = slope(*SIZE)
    depth_m[0, :7] = 400.0
    written = write_prediction(tmp_path, "a", picture(), CAMERA, DenseMap(depth_m))
    assert written.beyond == 7
    with Image.open(written.files["png"]) as stored:
        assert (np.asarray(stored)[0, :7] == 0).all()
    assert np.load(written.files["npy"])[0, 0] == 400.0


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
def test_a_map_without_any_depth_is_written_as_such(tmp_path, value):
    written = write_prediction(
        tmp_path, "a", picture(), CAMERA, DenseMap(np.full((9, 12), value, np.float32))
    )
    assert (written.range_m, written.points, written.beyond) == (None, 0, 0)
    with Image.open(written.files["png"]) as stored:
        assert not np.asarray(stored).any()


def test_a_picture_with_room_for_it_has_a_legend():
    assert coloured(slope(400, 100)).size == (400, 100 + LEGEND_HEIGHT_PX)
    assert coloured(slope(60, 40)).size == (60, 40)
