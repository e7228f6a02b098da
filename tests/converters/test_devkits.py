"""Our LiDAR projections of the real samples against the official devkits' own functions.

The devkits ask for packages that clash with each other's and with ours, so they are no dependency: this runs
where one is installed, in an environment of its own.
"""

import numpy as np
import pytest
from raw_argoverse2 import RING, real_argoverse2_tree
from raw_nuscenes import CHANNELS, LIDAR, real_nuscenes_tree

from depthvlm_bench.frames import DepthPoints, FrameRef, Split
from depthvlm_bench.geometry.lidar import project_nearest
from depthvlm_bench.geometry.rigid import transform_points
from depthvlm_bench.registry import load_converter

MOST_PX, MOST_M = 0.01, 0.001
# nuScenes' devkit moves float32 points through the global frame, where a step is 0.1 mm: its own rounding.
FLOAT32_MOST_PX = 0.025


def open_tree(name, root, split):
    """The source of a real tree, and its frames by camera."""
    converter = load_converter(name)
    source = converter.open(root, converter.options_type())
    return source, {ref.camera: ref for ref in source.index(split) if isinstance(ref, FrameRef)}


def assert_alike(devkit, ours, most_px=MOST_PX):
    """u, v, z of the same returns in the same order, (N, 3) each."""
    assert len(devkit) == len(ours) > 1000
    u_px, v_px, z_m = np.abs(devkit - ours).max(axis=0)
    print(f"{len(ours)} returns, largest differences: u {u_px:.1e} px, v {v_px:.1e} px, z {z_m:.1e} m")
    assert max(u_px, v_px) <= most_px
    assert z_m <= MOST_M


def projected(points_cam, camera, *, near_m):
    """u, v, z (N, 3) of the points in front, file order."""
    front = points_cam[points_cam[:, 2] > near_m]
    return np.column_stack([*camera.project(front), front[:, 2]])


def assert_stored(frame, points_cam, near_m):
    """What the record holds is made of just these points."""
    winners = project_nearest(points_cam, frame.camera, near_m=near_m)
    expected = DepthPoints.from_projection(winners, frame.camera)
    for name in ("u_raw", "v_raw", "z_raw"):
        assert np.array_equal(getattr(frame.depth, name), getattr(expected, name))


# Argoverse 2


@pytest.fixture(scope="module")
def av2_loader():
    module = pytest.importorskip("av2.datasets.sensor.av2_sensor_dataloader")
    folder = real_argoverse2_tree() / "val"
    return module.AV2SensorDataLoader(folder, folder)


@pytest.fixture(scope="module")
def av2_tree():
    return open_tree("argoverse2", real_argoverse2_tree(), Split("eval", "val"))


def av2_projection(loader, ref):
    """The devkit's u, v, z of the returns that it calls valid, and the sweep's path."""
    io_utils = pytest.importorskip("av2.utils.io")
    path = loader.get_closest_lidar_fpath(ref.scene, ref.time)
    points = io_utils.read_lidar_sweep(path, attrib_spec="xyz")
    uv, points_cam, valid = loader.project_ego_to_img_motion_compensated(
        points, ref.camera, ref.time, int(path.stem), ref.scene
    )
    return np.column_stack([uv, points_cam[:, 2]])[valid], path


@pytest.mark.parametrize("camera", RING)
def test_argoverse2_projects_as_its_devkit(av2_loader, av2_tree, camera):
    source, refs = av2_tree
    ref = refs[camera]
    frame, (theirs, path) = source.read(ref), av2_projection(av2_loader, ref)
    assert int(path.stem) == ref.locator["sweep_ns"]
    cam_from_lidar, _ = source.log.cam_from_lidar(camera, ref.time, ref.locator["sweep_ns"])
    sweep = source.sweep(f"{ref.locator['log']}/sensors/lidar/{path.name}")
    points_cam = transform_points(cam_from_lidar, sweep[:, :3])
    ours = projected(points_cam, frame.camera, near_m=0.0)
    size = np.array([frame.camera.width, frame.camera.height])
    assert_alike(theirs, ours[((ours[:, :2] >= 0) & (ours[:, :2] < size - 1)).all(axis=1)])
    assert_stored(frame, points_cam, 0.05)


@pytest.mark.parametrize(("camera", "valid"), [("ring_front_center", 11448), ("ring_rear_right", 14952)])
def test_argoverse2s_devkit_sees_the_published_numbers_of_returns(av2_loader, av2_tree, camera, valid):
    assert len(av2_projection(av2_loader, av2_tree[1][camera])[0]) == valid


@pytest.mark.parametrize("camera", RING)
def test_the_papers_argoverse2_raster_is_that_of_its_script_on_the_devkit(av2_loader, av2_tree, camera):
    """Norm of the homogeneous point, rounded pixel, last return: from the devkit's points, in numpy."""
    io_utils = pytest.importorskip("av2.utils.io")
    ref, converter = av2_tree[1][camera], load_converter("argoverse2")
    found = converter.open(real_argoverse2_tree(), converter.compat).read(ref)
    sweep = io_utils.read_lidar_sweep(av2_loader.get_closest_lidar_fpath(ref.scene, ref.time))
    uv, points_cam, valid = av2_loader.project_ego_to_img_motion_compensated(
        sweep, camera, ref.time, ref.locator["sweep_ns"], ref.scene
    )
    assert points_cam.shape[1] == 4
    column, row = np.round(uv[valid]).astype(np.int32).T
    raster = np.zeros(found.depth.values.shape, dtype=np.float32)
    raster[row, column] = np.sqrt((points_cam[valid] ** 2).sum(axis=1)).astype(np.float32)
    expected = (raster * 256.0).clip(0, 65535).astype(np.uint16)
    different = np.count_nonzero(found.depth.values != expected)
    print(f"{np.count_nonzero(expected)} values, {different} of them different")
    assert np.abs(found.depth.values.astype(int) - expected).max() <= 1
    assert different <= 3  # a value within rounding of a whole number of units


# nuScenes


@pytest.fixture(scope="module")
def nuscenes_devkit():
    module = pytest.importorskip("nuscenes.nuscenes")
    return module.NuScenes("v1.0-mini", str(real_nuscenes_tree()), verbose=False)


@pytest.fixture(scope="module")
def nuscenes_tree():
    return open_tree("nuscenes", real_nuscenes_tree(), Split("eval", "mini_train"))


@pytest.fixture(params=["float64", "float32"])
def precision(request, monkeypatch):
    """The devkit as it is (float32), and with points that are wide enough for global coordinates."""
    clouds = pytest.importorskip("nuscenes.utils.data_classes")
    as_it_is = clouds.LidarPointCloud.from_file

    def read(_cls, path):
        cloud = as_it_is(path)
        cloud.points = cloud.points.astype(request.param)
        return cloud

    monkeypatch.setattr(clouds.LidarPointCloud, "from_file", classmethod(read))
    return request.param


@pytest.mark.parametrize("channel", CHANNELS)
def test_nuscenes_projects_as_its_devkit(nuscenes_devkit, nuscenes_tree, precision, channel):
    source, refs = nuscenes_tree
    ref, tokens = refs[channel], nuscenes_devkit.sample[0]["data"]
    pixels, depth_m, _ = nuscenes_devkit.explorer.map_pointcloud_to_image(tokens[LIDAR], tokens[channel])
    frame = source.read(ref)
    cam_from_lidar = np.reshape(ref.locator["cam_from_lidar"], (4, 4))
    points_cam = transform_points(cam_from_lidar, source.sweep(ref.locator["lidar"]))
    ours = projected(points_cam, frame.camera, near_m=1.0)
    size = np.array([frame.camera.width, frame.camera.height])
    inner = ((ours[:, :2] > 1) & (ours[:, :2] < size - 1)).all(axis=1)
    most_px = MOST_PX if precision == "float64" else FLOAT32_MOST_PX
    assert_alike(np.column_stack([pixels[:2].T, depth_m]), ours[inner], most_px)
    assert_stored(frame, points_cam, 1.0)


def test_nuscenes_devkit_sees_the_published_number_of_returns(nuscenes_devkit):
    tokens = nuscenes_devkit.sample[0]["data"]
    pixels, _, _ = nuscenes_devkit.explorer.map_pointcloud_to_image(tokens[LIDAR], tokens["CAM_FRONT"])
    assert pixels.shape[1] == 3053
