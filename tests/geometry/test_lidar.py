import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_nuscenes import (
    CAMERA_BEFORE_LIDAR_US,
    DRIVES,
    HEIGHT,
    INTRINSICS,
    LIDAR,
    POSITION_M,
    TRAIN_SCENE,
    WIDTH,
    real_nuscenes_tree,
    sensor_rotation,
)

from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.lidar import occlusion_suspects, project_nearest
from depthvlm_bench.geometry.rigid import invert_transform, transform_from_quaternion, transform_points

relaxed = settings(deadline=None, derandomize=True, database=None)
CAMERA = PinholeCamera(8, 6, 4.0, 4.0, 3.5, 2.5)

# Few distinct values, so that pixels and depths collide often and points fall on pixel borders.
lattice = st.integers(-8, 8).map(lambda n: n / 4)
point_lists = st.lists(st.tuples(lattice, lattice, st.integers(-2, 6).map(lambda n: n / 2)), max_size=40)


def nearest_by_loop(points, camera, near_m, pixel_centre):
    best = {}
    in_front = in_picture = 0
    for i, (x, y, z) in enumerate(points):
        if not z > near_m:
            continue
        in_front += 1
        u = camera.fx_px * x / z + camera.cx_px - pixel_centre
        v = camera.fy_px * y / z + camera.cy_px - pixel_centre
        column, row = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
        if not (0 <= column < camera.width and 0 <= row < camera.height):
            continue
        in_picture += 1
        if (row, column) not in best or z < best[row, column][2]:
            best[row, column] = (u, v, z, i)
    return [best[pixel] for pixel in sorted(best)], in_front, in_picture


@relaxed
@given(point_lists, st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5]))
def test_the_nearest_point_of_each_pixel_wins_in_row_major_order(points, near_m, pixel_centre):
    found = project_nearest(np.reshape(points, (-1, 3)), CAMERA, near_m=near_m, pixel_centre=pixel_centre)
    expected, in_front, in_picture = nearest_by_loop(points, CAMERA, near_m, pixel_centre)
    assert list(zip(found.u_px, found.v_px, found.depth_m, found.index, strict=True)) == expected
    assert (found.in_front, found.in_picture) == (in_front, in_picture)


def test_ties_in_depth_go_to_the_earlier_point():
    points = [[0.02, 0.0, 1.0], [0.01, 0.0, 1.0], [0.0, 0.0, 2.0]]
    camera = PinholeCamera(9, 7, 4.0, 4.0, 4.0, 3.0)
    assert project_nearest(points, camera, near_m=0.0).index.tolist() == [0]
    assert project_nearest(points[::-1], camera, near_m=0.0).index.tolist() == [1]


def test_points_at_near_are_dropped_and_hide_nothing():
    found = project_nearest([[0.0, 0.0, 1.0], [0.0, 0.0, 9.0]], CAMERA, near_m=1.0)
    assert found.depth_m.tolist() == [9.0]


@pytest.mark.parametrize(("u", "columns"), [(-0.3, [0]), (-0.51, []), (7.4, [7]), (7.6, [])])
def test_points_past_the_border_are_dropped_never_clipped(u, columns):
    found = project_nearest([[(u - 3.5) / 4, 0.0, 1.0]], CAMERA, near_m=0.0)
    assert np.floor(found.u_px + 0.5).tolist() == columns


def test_edge_convention_is_shifted_into_ours():
    # cx = W / 2 says that the first pixel starts at 0; in our frame the axis then meets u = W / 2 - 1 / 2.
    camera = PinholeCamera(9, 7, 4.0, 4.0, 4.5, 3.5)
    found = project_nearest([[0.0, 0.0, 2.0]], camera, near_m=0.0, pixel_centre=0.5)
    assert (found.u_px[0], found.v_px[0]) == (4.0, 3.0)


def test_no_points_project_to_no_points():
    found = project_nearest(np.empty((0, 3)), CAMERA, near_m=0.0)
    assert len(found.u_px) == len(found.index) == found.in_front == found.in_picture == 0


def suspects_by_loop(u, v, z):
    flags = []
    for i in range(len(z)):
        window = [z[j] for j in range(len(z)) if abs(u[j] - u[i]) <= 6 and abs(v[j] - v[i]) <= 10]
        flags.append(min(window) < z[i] / 1.1 - 0.5)
    return flags


stored = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400), st.integers(1, 6000)), max_size=60)


@relaxed
@given(stored)
def test_suspects_equal_those_of_a_loop_over_all_pairs(raw):
    u, v, z = np.reshape(raw, (-1, 3)).T * np.array([[1 / 16], [1 / 16], [1 / 256]])
    assert occlusion_suspects(u, v, z).tolist() == suspects_by_loop(u, v, z)


@pytest.mark.parametrize("step_px", [1 / 16, 1 / 8])
@pytest.mark.parametrize("seed", range(4))
def test_suspects_equal_those_of_a_loop_in_a_crowded_street(seed, step_px):
    """Near and far surfaces mixed, several points a cell, and coordinates on the cells' own borders."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, round(60 / step_px), (2, 500))
    raw[:, ::3] -= raw[:, ::3] % round(1 / step_px)
    u, v = raw * step_px - 0.5
    z = np.where(rng.random(500) < 0.03, rng.uniform(2, 20, 500), 30 + v / 2)
    suspects = occlusion_suspects(u, v, z)
    assert suspects.tolist() == suspects_by_loop(u, v, z)
    assert 50 < suspects.sum() < 450


def test_suspects_do_not_depend_on_where_the_points_lie_or_how_they_are_ordered():
    rng = np.random.default_rng(7)
    u, v = rng.integers(0, 16 * 50, (2, 300)) / 16
    z = rng.uniform(2, 40, 300)
    expected = occlusion_suspects(u, v, z)
    assert np.array_equal(occlusion_suspects(u - 4000.5, v + 31.25, z), expected)
    order = rng.permutation(300)
    assert np.array_equal(occlusion_suspects(u[order], v[order], z[order]), expected[order])


def test_no_points_and_one_point_are_no_suspects():
    assert occlusion_suspects([], [], []).tolist() == []
    assert occlusion_suspects([3.0], [4.0], [5.0]).tolist() == [False]


@pytest.mark.parametrize(
    ("du", "dv", "suspect"),
    [
        (6.0, 0.0, True),
        (-6.0, 10.0, True),
        (6.0, -10.0, True),
        (0.0, 10.0, True),
        (6.0625, 0.0, False),
        (0.0, -10.0625, False),
        (6.0625, 10.0, False),
        (-6.0, 10.0625, False),
    ],
)
def test_the_window_includes_its_border(du, dv, suspect):
    u, v, z = [1599.4375, 1599.4375 + du], [899.4375, 899.4375 + dv], [20.0, 2.0]
    assert occlusion_suspects(u, v, z).tolist() == [suspect, False]


def test_as_much_nearer_as_the_rule_says_is_not_yet_suspect():
    z = 11.0
    limit = z / 1.1 - 0.5
    assert not occlusion_suspects([0.0, 1.0], [0.0, 0.0], [z, limit]).any()
    assert occlusion_suspects([0.0, 1.0], [0.0, 0.0], [z, np.nextafter(limit, 0)]).tolist() == [True, False]


# Analytic world: what the chain of transforms gives, and what it gives when the car is taken to stand still.


def synthetic_chain(channel, lidar_us, camera_us, ego_motion):
    drive = DRIVES[TRAIN_SCENE]

    def global_from(sensor, time_us):
        global_from_ego = transform_from_quaternion(*drive.pose(time_us))
        return global_from_ego @ transform_from_quaternion(sensor_rotation(sensor), POSITION_M[sensor])

    lidar_pose_us = lidar_us if ego_motion else camera_us
    return invert_transform(global_from(channel, camera_us)) @ global_from(LIDAR, lidar_pose_us)


def wall_depths(ego_motion):
    drive = DRIVES[TRAIN_SCENE]
    lidar_us = drive.first_us
    camera_us = lidar_us - CAMERA_BEFORE_LIDAR_US["CAM_FRONT"]
    cam_from_lidar = synthetic_chain("CAM_FRONT", lidar_us, camera_us, ego_motion)
    points = transform_points(cam_from_lidar, drive.sweep(lidar_us)[:, :3])
    seen = project_nearest(points, PinholeCamera(WIDTH, HEIGHT, *INTRINSICS["CAM_FRONT"]), near_m=1.0)
    above_horizon = seen.v_px < INTRINSICS["CAM_FRONT"][3]
    return seen.depth_m[above_horizon], drive.wall_depth_m("CAM_FRONT", camera_us)


def test_points_on_a_wall_have_its_distance_when_the_car_moves_between_sweep_and_picture():
    depth_m, expected = wall_depths(ego_motion=True)
    assert len(depth_m) > 100
    assert np.abs(depth_m - expected).max() < 1e-4


def test_without_ego_motion_the_wall_is_not_where_it_is():
    depth_m, expected = wall_depths(ego_motion=False)
    assert np.abs(depth_m - expected).min() > 0.3


# The real keyframe: figures counted once by hand, with the edge convention and no near limit.

GOLDEN = {
    "CAM_FRONT": (12311, 3067, 3064, (4.53, 4.94, 10.33, 38.91, 98.12)),
    "CAM_FRONT_RIGHT": (12073, 3079, 3079, (4.45, 4.83, 13.79, 45.25, 88.83)),
    "CAM_FRONT_LEFT": (13448, 3704, 3704, (4.03, 4.90, 12.06, 24.05, 31.25)),
    "CAM_BACK": (11993, 4826, 4826, (3.15, 4.23, 10.18, 55.11, 95.14)),
    "CAM_BACK_LEFT": (14410, 4097, 4097, (4.23, 4.80, 8.79, 23.32, 65.26)),
    "CAM_BACK_RIGHT": (12522, 3379, 3379, (4.70, 5.12, 15.97, 61.15, 99.98)),
}


class RealKeyframe:
    def __init__(self):
        root = real_nuscenes_tree()

        def table(name):
            return json.loads((root / "v1.0-mini" / f"{name}.json").read_text())

        channel_of = {row["token"]: row["channel"] for row in table("sensor")}
        self.rigs = {channel_of[row["sensor_token"]]: row for row in table("calibrated_sensor")}
        channel_of_rig = {row["token"]: channel for channel, row in self.rigs.items()}
        self.rows = {channel_of_rig[row["calibrated_sensor_token"]]: row for row in table("sample_data")}
        self.poses = {row["token"]: row for row in table("ego_pose")}
        sweep = np.fromfile(root / self.rows[LIDAR]["filename"], "<f4")
        self.points = sweep.reshape(-1, 5)[:, :3].astype(np.float64)

    def ego_from(self, channel):
        rig = self.rigs[channel]
        return transform_from_quaternion(rig["rotation"], rig["translation"])

    def global_from_ego(self, channel):
        pose = self.poses[self.rows[channel]["ego_pose_token"]]
        return transform_from_quaternion(pose["rotation"], pose["translation"])

    def points_in(self, channel, *, ego_motion=True):
        chain = self.ego_from(LIDAR)
        if ego_motion:
            chain = invert_transform(self.global_from_ego(channel)) @ self.global_from_ego(LIDAR) @ chain
        return transform_points(invert_transform(self.ego_from(channel)) @ chain, self.points)

    def camera(self, channel):
        (fx, _, cx), (_, fy, cy), _ = self.rigs[channel]["camera_intrinsic"]
        return PinholeCamera(self.rows[channel]["width"], self.rows[channel]["height"], fx, fy, cx, cy)

    def median_shift_px(self, channel):
        """How far leaving ego motion out moves the points that are in the picture."""
        camera, points = self.camera(channel), self.points_in(channel)
        seen = project_nearest(points, camera, near_m=0.0, pixel_centre=0.5).index
        u, v = camera.project(points[seen])
        still_u, still_v = camera.project(self.points_in(channel, ego_motion=False)[seen])
        return float(np.median(np.hypot(still_u - u, still_v - v)))


@pytest.fixture(scope="module")
def keyframe():
    return RealKeyframe()


@pytest.mark.parametrize("channel", GOLDEN)
def test_real_cameras_see_the_published_figures(keyframe, channel):
    in_front, in_picture, pixels, percentiles_m = GOLDEN[channel]
    seen = project_nearest(
        keyframe.points_in(channel), keyframe.camera(channel), near_m=0.0, pixel_centre=0.5
    )
    assert len(keyframe.points) == 34688
    assert (seen.in_front, seen.in_picture, len(seen.depth_m)) == (in_front, in_picture, pixels)
    found = np.percentile(seen.depth_m, [0, 5, 50, 95, 100])
    assert found.tolist() == pytest.approx(percentiles_m, abs=0.0051)


@pytest.mark.parametrize(("channel", "expected_px"), [("CAM_FRONT", 13.6), ("CAM_FRONT_LEFT", 38.5)])
def test_leaving_ego_motion_out_moves_real_points(keyframe, channel, expected_px):
    assert keyframe.median_shift_px(channel) == pytest.approx(expected_px, abs=0.1)


def test_leaving_ego_motion_out_is_gross_in_the_side_camera(keyframe):
    assert keyframe.median_shift_px("CAM_FRONT_LEFT") > 30
