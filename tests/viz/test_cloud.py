import importlib.util

import numpy as np
import pytest
import trimesh

from depthvlm_bench.errors import UsageError
from depthvlm_bench.frames import scorable
from depthvlm_bench.geometry.grids import native_grid
from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.records.codec import record_grid, source_camera
from depthvlm_bench.records.reader import depth_of, view_of
from depthvlm_bench.viz.cloud import cloud_of, look_at, predicted_cloud, write_ply
from depthvlm_bench.viz.shown import ShownMap


def read_ply(path):
    """A reader of its own: what the header says, then the body."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    kinds = {"float": "<f4", "uchar": "u1"}
    fields = [(words[2], kinds[words[1]]) for words in map(str.split, lines) if words[0] == "property"]
    (count,) = (int(words[2]) for words in map(str.split, lines) if words[:2] == ["element", "vertex"])
    vertices = np.frombuffer(body, fields)
    assert len(vertices) == count
    return vertices


@pytest.mark.parametrize("kind", ["grid_row", "lidar_row"])
def test_a_ply_read_back_is_depth_times_ray(kind, request, tmp_path):
    row = request.getfixturevalue(kind)
    write_ply(tmp_path / "a.ply", cloud_of(row))
    read = read_ply(tmp_path / "a.ply")
    depth, camera = depth_of(row), source_camera(row)
    usable = scorable(depth, row["valid_min"], row["valid_max"])
    u, v = (axis[usable] for axis in depth.source_pixels())
    metres = depth.depth_m[usable]
    expected = {"x": (u - camera.cx_px) / camera.fx_px, "y": (v - camera.cy_px) / camera.fy_px, "z": 1.0}
    for axis, ray in expected.items():
        np.testing.assert_allclose(read[axis], metres * ray, rtol=1e-6, atol=1e-6)
    picture = np.asarray(view_of(row, "native").picture)
    pixel = picture[np.floor(v + 0.5).astype(int), np.floor(u + 0.5).astype(int)]
    assert np.array_equal(np.stack([read["red"], read["green"], read["blue"]], axis=1), pixel)


def test_a_cloud_projects_back_onto_its_pixels(lidar_row):
    depth = depth_of(lidar_row)
    usable = scorable(depth, lidar_row["valid_min"], lidar_row["valid_max"])
    u, v = source_camera(lidar_row).project(cloud_of(lidar_row).points_cam)
    for found, stored in zip((u, v), depth.source_pixels(), strict=True):
        assert found == pytest.approx(stored[usable], abs=1e-9)


@pytest.mark.parametrize("kind", ["grid_row", "lidar_row"])
@pytest.mark.parametrize("shown", ["canonical", "native"])
def test_a_predicted_cloud_is_the_answer_times_the_ray_of_the_picture_that_was_shown(kind, shown, request):
    row = request.getfixturevalue(kind)
    view = view_of(row, shown)
    width, height = view.picture.size
    grid = record_grid(row) if shown == "canonical" else native_grid(width, height)
    depth_m = np.random.default_rng(0).uniform(1, 9, (height, width)).astype(np.float32)
    depth_m[3, 5] = np.nan
    depth_m[4, 6] = -1
    cloud = predicted_cloud(row, ShownMap.of(DenseMap(depth_m), grid))
    assert len(cloud.points_cam) == width * height - 2
    camera, (v, u) = view.camera, np.nonzero(depth_m > 0)
    metres = depth_m[v, u].astype(np.float64)
    expected = [
        metres * (u - camera.cx_px) / camera.fx_px,
        metres * (v - camera.cy_px) / camera.fy_px,
        metres,
    ]
    np.testing.assert_allclose(cloud.points_cam, np.stack(expected, axis=1), rtol=1e-9, atol=1e-9)


def test_another_reader_sees_the_same_points_and_colours(grid_row, tmp_path):
    cloud = cloud_of(grid_row)
    write_ply(tmp_path / "a.ply", cloud)
    read = trimesh.load(tmp_path / "a.ply")
    assert np.asarray(read.vertices) == pytest.approx(cloud.points_cam, rel=1e-6, abs=1e-6)
    assert np.array_equal(np.asarray(read.colors)[:, :3], cloud.rgb)


def test_open3d_reads_the_same(grid_row, tmp_path):
    o3d = pytest.importorskip("open3d")
    cloud = cloud_of(grid_row)
    write_ply(tmp_path / "a.ply", cloud)
    read = o3d.io.read_point_cloud(str(tmp_path / "a.ply"))
    assert np.asarray(read.points) == pytest.approx(cloud.points_cam, rel=1e-6, abs=1e-6)


def test_without_source_pixels_colours_come_from_the_canonical_picture(grid_row):
    cloud = cloud_of({**grid_row, "source_image": None})
    assert len(cloud.rgb) == len(cloud_of(grid_row).rgb)


def test_ray_distances_are_refused(grid_row):
    with pytest.raises(UsageError, match="z-depth"):
        cloud_of({**grid_row, "depth_kind": "ray"})


@pytest.mark.skipif(importlib.util.find_spec("open3d") is not None, reason="Open3D is installed")
def test_without_open3d_one_line_says_how_to_get_it(grid_row):
    with pytest.raises(UsageError, match=r"pip install 'depthvlm-bench\[viz\]'") as caught:
        look_at(cloud_of(grid_row), "x")
    assert "\n" not in caught.value.one_line()
