import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from depthvlm_bench.demo.nuscenes_tree import nuscenes_truth, write_nuscenes

SIZE = {"width": 320, "height": 180}
SAMPLES = 2
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
FIELDS = {
    "attribute": "token name description",
    "calibrated_sensor": "token sensor_token translation rotation camera_intrinsic",
    "category": "token name description",
    "ego_pose": "token timestamp rotation translation",
    "instance": "",
    "log": "token logfile vehicle date_captured location",
    "map": "token category filename log_tokens",
    "sample": "token timestamp prev next scene_token",
    "sample_annotation": "",
    "sample_data": "token sample_token ego_pose_token calibrated_sensor_token timestamp fileformat "
    "is_key_frame height width filename prev next",
    "scene": "token log_token nbr_samples first_sample_token last_sample_token name description",
    "sensor": "token channel modality",
    "visibility": "token level description",
}


class Tables:
    """A reader written for these tests alone."""

    def __init__(self, root: Path):
        self.root = root
        self.rows = {name: json.loads((root / "v1.0-mini" / f"{name}.json").read_text()) for name in FIELDS}
        self.by_token = {row["token"]: row for rows in self.rows.values() for row in rows}

    def channel(self, shot):
        calibration = self.by_token[shot["calibrated_sensor_token"]]
        return self.by_token[calibration["sensor_token"]]["channel"]

    def samples(self):
        """(scene name, sample number, {channel: key-frame row})."""
        for scene in self.rows["scene"]:
            token, number = scene["first_sample_token"], 0
            while token:
                shots = [
                    s for s in self.rows["sample_data"] if s["sample_token"] == token and s["is_key_frame"]
                ]
                yield scene["name"], number, {self.channel(s): s for s in shots}
                token, number = self.by_token[token]["next"], number + 1

    def pose(self, shot, field):
        row = self.by_token[shot[field]]
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_quat(np.roll(row["rotation"], -1)).as_matrix()
        matrix[:3, 3] = row["translation"]
        return matrix

    @cache  # noqa: B019 - one instance for the module
    def points(self, filename):
        return np.fromfile(self.root / filename, "<f4").reshape(-1, 5)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    root = tmp_path_factory.mktemp("nuscenes")
    write_nuscenes(root, samples=SAMPLES, **SIZE)
    return Tables(root)


def project(tables, lidar, camera, *, ego_motion=True):
    """Pixels u, v and depth z of all LiDAR points in a picture, by the four steps."""
    points = tables.points(lidar["filename"])[:, :3].astype(np.float64)
    ego_from_lidar = tables.pose(lidar, "calibrated_sensor_token")
    ego_from_cam = tables.pose(camera, "calibrated_sensor_token")
    moved = np.eye(4)
    if ego_motion:
        moved = np.linalg.inv(tables.pose(camera, "ego_pose_token")) @ tables.pose(lidar, "ego_pose_token")
    cam_from_lidar = np.linalg.inv(ego_from_cam) @ moved @ ego_from_lidar
    cam = points @ cam_from_lidar[:3, :3].T + cam_from_lidar[:3, 3]
    cam = cam[cam[:, 2] > 1.0]
    k = np.array(tables.by_token[camera["calibrated_sensor_token"]]["camera_intrinsic"])
    u, v, _ = (k @ (cam / cam[:, 2:]).T).reshape(3, -1)
    inside = (u > -0.5) & (u < camera["width"] - 0.5) & (v > -0.5) & (v < camera["height"] - 0.5)
    return u[inside], v[inside], cam[inside, 2]


def test_tables_have_the_fields_of_the_schema(tables):
    assert sorted(p.stem for p in (tables.root / "v1.0-mini").iterdir()) == sorted(FIELDS)
    for name, rows in tables.rows.items():
        assert isinstance(rows, list)
        for row in rows:
            assert list(row) == FIELDS[name].split()
            assert name == "visibility" or re.fullmatch("[0-9a-f]{32}", row["token"])
    assert len(tables.by_token) == sum(map(len, tables.rows.values()))


def test_references_resolve_and_links_agree(tables):
    for rows in tables.rows.values():
        for row in rows:
            for field, value in row.items():
                if field.endswith("_token") or (field in ("prev", "next") and value):
                    assert value in tables.by_token
            if row.get("next"):
                after = tables.by_token[row["next"]]
                assert after["prev"] == row["token"]
                assert after["timestamp"] > row["timestamp"]


def test_two_scenes_of_linked_samples_at_two_hertz(tables):
    assert [s["name"] for s in tables.rows["scene"]] == ["scene-0061", "scene-0103"]
    seen = list(tables.samples())
    assert [(name, number) for name, number, _ in seen] == [
        (name, number) for name in ("scene-0061", "scene-0103") for number in range(SAMPLES)
    ]
    assert all(set(shots) == {*CAMERAS, "LIDAR_TOP"} for _, _, shots in seen)
    assert seen[1][2]["LIDAR_TOP"]["timestamp"] - seen[0][2]["LIDAR_TOP"]["timestamp"] == 500_000


def test_files_are_those_named_and_nothing_else(tables):
    named = {row["filename"] for row in tables.rows["sample_data"]}
    found = {p.relative_to(tables.root).as_posix() for p in tables.root.rglob("*") if p.is_file()}
    assert found == named | {f"v1.0-mini/{name}.json" for name in FIELDS}
    for row in tables.rows["sample_data"]:
        folder = "samples" if row["is_key_frame"] else "sweeps"
        channel = tables.channel(row)
        ending = r"\.pcd\.bin" if channel == "LIDAR_TOP" else r"\.jpg"
        assert re.fullmatch(
            rf"{folder}/{channel}/[^/]+__{channel}__{row['timestamp']}{ending}", row["filename"]
        )
        if channel != "LIDAR_TOP":
            assert (
                Image.open(tables.root / row["filename"]).size == (row["width"], row["height"]) == (320, 180)
            )
    assert sum(not row["is_key_frame"] for row in tables.rows["sample_data"]) == 1


def test_each_sensor_has_its_own_time_and_pose(tables):
    assert len({row["ego_pose_token"] for row in tables.rows["sample_data"]}) == len(tables.rows["ego_pose"])
    for _, _, shots in tables.samples():
        lags_us = {c: shots["LIDAR_TOP"]["timestamp"] - shots[c]["timestamp"] for c in CAMERAS}
        assert len(set(lags_us.values())) == len(CAMERAS)
        assert all(0 < lag <= 45_000 for lag in lags_us.values())
        shift = tables.pose(shots["LIDAR_TOP"], "ego_pose_token") - tables.pose(
            shots["CAM_FRONT"], "ego_pose_token"
        )
        speed_mps = np.linalg.norm(shift[:3, 3]) / (lags_us["CAM_FRONT"] * 1e-6)
        assert 8 < speed_mps < 10
        assert all(tables.by_token[s["ego_pose_token"]]["translation"][2] == 0 for s in shots.values())


def test_rig_looks_where_the_real_one_does(tables):
    _, _, shots = next(tables.samples())
    yaws = {}
    for channel in CAMERAS:
        forward = tables.pose(shots[channel], "calibrated_sensor_token")[:3, 2]
        yaws[channel] = np.degrees(np.arctan2(forward[1], forward[0])) % 360
    expected = dict(zip(CAMERAS, (0, 305, 250, 180, 110, 55), strict=True))
    assert all(abs((yaws[c] - expected[c] + 180) % 360 - 180) < 2 for c in CAMERAS)
    lidar = tables.pose(shots["LIDAR_TOP"], "calibrated_sensor_token")
    np.testing.assert_allclose(lidar[:3, 0], [0, -1, 0], atol=0.02)


def test_lidar_file_has_five_columns_in_their_ranges(tables):
    for _, _, shots in tables.samples():
        points = tables.points(shots["LIDAR_TOP"]["filename"])
        assert len(points) > 20_000
        assert np.linalg.norm(points[:, :3], axis=1).max() < 100.001
        assert 0 <= points[:, 3].min() < points[:, 3].max() <= 255
        assert set(np.unique(points[:, 4])) == set(range(32))


def test_projected_lidar_lands_on_the_truth_unless_hidden_from_the_camera(tables):
    for name, number, shots in tables.samples():
        for channel in CAMERAS:
            u, v, z = project(tables, shots["LIDAR_TOP"], shots[channel])
            truth = nuscenes_truth(name, number, channel, u, v, **SIZE)
            assert len(z) > 1500
            # Both see the same surfaces: a point can lie behind what the camera sees, never in front of it.
            assert (z > truth - 0.02).mean() > 0.995
            # The LiDAR looks over things that the camera, mounted lower, has in its way.
            hidden = z > truth * 1.02 + 0.2
            assert hidden.mean() < 0.12
            assert (np.abs(z - truth) < 0.02)[~hidden].mean() >= 0.97


def test_leaving_ego_motion_out_is_clearly_worse(tables):
    shares = {True: [], False: []}
    for name, number, shots in tables.samples():
        for channel in ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT"):
            for ego_motion, share in shares.items():
                u, v, z = project(tables, shots["LIDAR_TOP"], shots[channel], ego_motion=ego_motion)
                truth = nuscenes_truth(name, number, channel, u, v, **SIZE)
                share.append((np.abs(z - truth) < 0.02).mean())
    # Ground and walls slid along themselves stay right, so leaving it out does not spoil every point.
    assert min(shares[True]) > 0.95
    assert max(shares[False]) < 0.85
    assert np.mean(shares[False]) < 0.6


def test_truth_is_nan_in_the_sky_and_scales_with_the_picture():
    sky = nuscenes_truth("scene-0103", 0, "CAM_BACK", [160.0], [-400.0], **SIZE)
    assert np.isnan(sky).all()
    u, v = np.array([100.25, 180.0]), np.array([150.0, 160.5])
    small = nuscenes_truth("scene-0061", 1, "CAM_FRONT", u, v, **SIZE)
    large = nuscenes_truth("scene-0061", 1, "CAM_FRONT", 2 * u, 2 * v, width=640, height=360)
    np.testing.assert_allclose(small, large)
    assert ((small > 1) & (small < 60)).all()


def test_the_two_scenes_are_different_worlds(tables):
    first, second = (
        np.asarray(Image.open(tables.root / shots["CAM_FRONT"]["filename"])).astype(float)
        for _, number, shots in tables.samples()
        if number == 0
    )
    assert np.abs(first - second).mean() > 15


def test_two_runs_give_the_same_bytes(tables, tmp_path):
    write_nuscenes(tmp_path, samples=SAMPLES, **SIZE)
    files = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert len(files) == 13 + 2 * SAMPLES * 7 + 1
    assert all((tmp_path / f).read_bytes() == (tables.root / f).read_bytes() for f in files)


@pytest.mark.parametrize("samples", [0, 13])
def test_impossible_numbers_of_samples_are_refused(tmp_path, samples):
    with pytest.raises(ValueError, match="1 to 12"):
        write_nuscenes(tmp_path, samples=samples)
    assert not list(tmp_path.iterdir())
