import json
import shutil
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from raw_nuscenes import (
    CAMERA_BEFORE_LIDAR_US,
    CHANNELS,
    DRIVES,
    HEIGHT,
    INTRINSICS,
    LIDAR,
    NEAR_M,
    POSITION_M,
    TRAIN_SCENE,
    UNLISTED_SCENE,
    VAL_SCENE,
    WIDTH,
    real_nuscenes_tree,
    rotation_matrix,
    sensor_rotation,
    write_nuscenes_tree,
)

from depthvlm_bench.errors import CheckError, DataMissingError, DvbenchError, FrameError, UsageError
from depthvlm_bench.frames import FrameRef, Skip, Split
from depthvlm_bench.geometry.rigid import transform_points
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter

CONVERTER = load_converter("nuscenes")
VAL, TRAIN = Split("eval", "val"), Split("train", "train")
UV_STEP_PX = 1 / 16
HALF_Z_STEP_M = 0.5 / 256
FLOAT32_M = 1e-4


def open_tree(root, **options):
    return CONVERTER.open(root, CONVERTER.options_type(**options))


def name_of(item):
    return item.id.split("/", 2)[2]


def index(source, split=VAL):
    return {name_of(item): item for item in source.index(split) if isinstance(item, FrameRef)}


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_nuscenes_tree(tmp_path_factory.mktemp("nuscenes"))


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture(scope="module")
def frames(truth, source):
    refs = index(source) | index(source, TRAIN)
    good = [name for name in truth.times_us if not name.startswith(UNLISTED_SCENE)]
    return {name: source.read(refs[name]) for name in good}


@pytest.fixture
def tree(tmp_path):
    return write_nuscenes_tree(tmp_path)


def edit_table(truth, table, change):
    path = truth.root / "v1.0-trainval" / f"{table}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


# Which frames there are


def test_keyframes_of_the_splits_scenes_are_indexed_and_nothing_else(truth, source):
    assert set(index(source)) == truth.emitted(VAL_SCENE)
    assert set(index(source, TRAIN)) == truth.emitted(TRAIN_SCENE)


def test_names_groups_and_times_of_the_frames(truth, source):
    for name, ref in index(source).items():
        scene, channel, stem = name.split("/")
        assert ref.id == f"nuscenes/eval/{scene}/{channel}/{stem}"
        assert ref.group == f"{scene}/{channel}"
        assert stem.startswith("n001-2018-01-01-00-00-00+0800__" + channel)


def test_frames_of_a_sample_follow_each_other_by_its_time(truth, source):
    refs = sorted(index(source, TRAIN).values(), key=lambda ref: ref.order_key)
    sample_us = [truth.times_us[name_of(ref)][1] for ref in refs]
    assert sample_us == sorted(sample_us) == [ref.time for ref in refs]


def test_the_index_leaves_nothing_out(source):
    """A frame that lacks its sweep is still a frame, so that the choice of the others does not move."""
    assert [item for item in source.index(VAL) if isinstance(item, Skip)] == []


def test_splits_and_scenes_are_those_the_tables_know(source):
    assert set(source.source_splits()) == {"train", "val"}
    assert list(source.scenes("val")) == [VAL_SCENE]
    assert list(source.scenes("train")) == [TRAIN_SCENE]
    assert list(source.scenes("mini_val")) == []


@pytest.mark.parametrize("version", ["v1.0-mini", "v1.0-test"])
def test_other_versions_hold_no_scene_of_trainval(tmp_path, version):
    truth = write_nuscenes_tree(tmp_path, version=version)
    assert list(open_tree(truth.root).source_splits()) == []


# What a frame holds


def test_every_good_frame_is_read(truth, frames):
    assert len(frames) == 12 + 6 + 1 + 1


def test_intrinsics_are_the_cameras_own_to_the_last_digit(frames):
    for frame in frames.values():
        camera = frame.camera
        assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == INTRINSICS[frame.ref.camera]
        assert (camera.width, camera.height) == (WIDTH, HEIGHT)


def test_times_and_the_cars_way_between_them_are_recorded(truth, frames):
    for name, frame in frames.items():
        image_us, lidar_us = truth.times_us[name]
        assert (frame.extra["image_time_us"], frame.extra["lidar_time_us"]) == (image_us, lidar_us)
        way_m = DRIVES[frame.ref.scene].speed_m_s * (lidar_us - image_us) / 1e6
        assert frame.extra["ego_shift_m"] == pytest.approx(way_m, abs=1e-9)


def test_a_squarely_faced_wall_has_its_distance_at_the_pictures_time(truth, frames):
    front = [
        frame
        for frame in frames.values()
        if (frame.ref.scene, frame.ref.camera) == (TRAIN_SCENE, "CAM_FRONT")
    ]
    assert len(front) == 2
    for frame in front:
        _, v = frame.depth.source_pixels()
        on_wall = v + UV_STEP_PX < INTRINSICS["CAM_FRONT"][3]  # above the horizon there is nothing else
        expected = DRIVES[TRAIN_SCENE].wall_depth_m("CAM_FRONT", frame.extra["image_time_us"])
        standing_still = DRIVES[TRAIN_SCENE].wall_depth_m("CAM_FRONT", frame.extra["lidar_time_us"])
        error_m = np.abs(frame.depth.depth_m[on_wall] - expected)
        assert on_wall.sum() > 100
        assert error_m.max() <= HALF_Z_STEP_M + FLOAT32_M
        assert abs(standing_still - expected) > 0.3


def test_every_point_lies_on_the_surface_its_pixel_shows(truth, frames):
    """On a plane 1/z is linear in the pixel, so a stored step bounds how far it can be from the centre's."""
    checked = 0
    for frame in frames.values():
        drive, time_us = DRIVES[frame.ref.scene], frame.extra["image_time_us"]
        u, v = frame.depth.source_pixels()
        corners = [
            drive.depth_at(frame.ref.camera, time_us, u + du, v + dv)
            for du in (-1e-4, UV_STEP_PX + 1e-4)
            for dv in (-1e-4, UV_STEP_PX + 1e-4)
        ]
        slack = HALF_Z_STEP_M + FLOAT32_M
        assert (frame.depth.depth_m >= np.min(corners, axis=0) - slack).all()
        assert (frame.depth.depth_m <= np.max(corners, axis=0) + slack).all()
        checked += len(u)
    assert checked > 10_000


def test_probes_on_the_ground_lie_in_the_row_of_their_depth(frames):
    frame = next(f for f in frames.values() if (f.ref.scene, f.ref.camera) == (TRAIN_SCENE, "CAM_BACK"))
    _, fy, _, cy = INTRINSICS["CAM_BACK"]
    _, v = frame.depth.source_pixels()
    ground_v = cy + fy * 1.57 / frame.depth.depth_m  # the camera is 1.57 m above flat ground
    assert len(v) > 500
    assert (np.abs(ground_v - v - UV_STEP_PX / 2) <= UV_STEP_PX / 2 + 0.02).all()


def test_returns_from_the_car_itself_hide_nothing(frames):
    for frame in frames.values():
        assert frame.depth.depth_m.min(initial=np.inf) > NEAR_M


def test_points_are_row_major_one_a_pixel_and_inside(frames):
    for frame in frames.values():
        u, v = frame.depth.source_pixels()
        flat = np.floor(v + 0.5) * WIDTH + np.floor(u + 0.5)
        assert (np.diff(flat) > 0).all()
        assert ((u >= -0.5) & (u < WIDTH - 0.5) & (v >= -0.5) & (v < HEIGHT - 0.5)).all()


def test_the_picture_is_the_cameras_own(frames):
    for frame in frames.values():
        if frame.ref.scene == TRAIN_SCENE:
            pixels = np.asarray(frame.picture.decode(), dtype=int)
            assert np.abs(pixels[8, 40] - [32, 0, 16 * CHANNELS.index(frame.ref.camera)]).max() <= 6
            assert frame.picture.path == f"samples/{frame.ref.camera}/{frame.ref.frame}.jpg"


def test_a_sweep_without_points_gives_a_frame_without_points(truth, frames):
    assert len(frames[truth.empty].depth.z_raw) == 0


def test_cameras_are_read_alike_in_any_order(truth, frames):
    source = open_tree(truth.root)
    for name, ref in sorted(index(source, TRAIN).items(), key=lambda item: item[0][::-1]):
        assert np.array_equal(source.read(ref).depth.z_raw, frames[name].depth.z_raw)


# What cannot be used


def fault_names():
    channels = ["CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT"]
    return [f"sample 1 {channel}" for channel in channels] + [
        "sample 2 CAM_FRONT",
        "sample 3 CAM_FRONT",
        "sample 4 CAM_FRONT",
        "sample 5 CAM_FRONT",
        "sample 5 CAM_BACK",
    ]


@pytest.mark.parametrize("label", fault_names())
def test_a_frame_that_cannot_be_used_says_why_and_where(truth, source, label):
    _, sample, channel = label.split()
    sample_us = DRIVES[VAL_SCENE].first_us + 500_000 * int(sample)
    refs = index(source)
    (name,) = [n for n in truth.faults if n.split("/")[1] == channel and refs[n].time == sample_us]
    reason, detail = truth.faults[name]
    with pytest.raises(FrameError) as caught:
        source.read(refs[name]).picture.decode()
    assert caught.value.reason == reason
    assert detail in caught.value.detail


def test_all_faults_of_the_tree_are_tried(truth):
    assert len(truth.faults) == len(fault_names())


def test_a_sweep_whose_name_leaves_the_tree_is_unreadable(tree):
    def change(rows):
        for row in rows:
            if row["is_key_frame"] and LIDAR in row["filename"]:
                row["filename"] = "../" + row["filename"]

    edit_table(tree, "sample_data", change)
    source = open_tree(tree.root)
    with pytest.raises(FrameError, match=r"unreadable: .*path leaves the raw tree"):
        source.read(next(iter(index(source, TRAIN).values())))


@pytest.mark.parametrize(
    ("before_us", "kept"), [(55_000, True), (55_001, False), (-55_000, True), (-55_001, False)]
)
@pytest.mark.parametrize("offset_us", [0, 2, 3])
def test_a_frame_is_kept_up_to_a_gap_of_55_ms(tree, before_us, kept, offset_us):
    sample_us = DRIVES[TRAIN_SCENE].first_us
    usual_us = sample_us - CAMERA_BEFORE_LIDAR_US["CAM_FRONT"]

    def change(rows):
        for row in rows:
            if row["is_key_frame"] and row["timestamp"] == sample_us:
                row["timestamp"] = sample_us + offset_us
            if row["timestamp"] == usual_us:
                row["timestamp"] = sample_us + offset_us - before_us

    edit_table(tree, "sample_data", change)
    source = open_tree(tree.root)
    ref = next(
        ref for ref in index(source, TRAIN).values() if (ref.camera, ref.time) == ("CAM_FRONT", sample_us)
    )
    if kept:
        assert len(source.read(ref).depth.z_raw) > 0
    else:
        with pytest.raises(FrameError, match="time_gap"):
            source.read(ref)


@pytest.mark.parametrize(
    "table", ["scene", "sample", "sensor", "calibrated_sensor", "sample_data", "ego_pose"]
)
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_table_that_cannot_be_read_is_named(tree, table, damage):
    path = tree.root / "v1.0-trainval" / f"{table}.json"
    if damage == "truncated":
        path.write_text(path.read_text()[:-30])
    else:
        path.unlink()
    with pytest.raises(DvbenchError) as caught:
        list(open_tree(tree.root).index(VAL))
    assert f"{table}.json" in caught.value.what or (table, damage) == ("scene", "missing")


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ("ego_pose", "token"),
        ("calibrated_sensor", "sensor_token"),
        ("sample_data", "ego_pose_token"),
        ("scene", "name"),
    ],
)
def test_tables_that_do_not_fit_together_are_an_error_not_a_crash(tree, table, field):
    edit_table(tree, table, lambda rows: [row.pop(field) for row in rows])
    with pytest.raises(CheckError, match=r"v1\.0-trainval"):
        list(open_tree(tree.root).index(VAL)) + list(open_tree(tree.root).index(TRAIN))


@pytest.mark.parametrize("rotation", [[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [float("nan")] * 4])
def test_a_pose_that_is_no_pose_is_reported_not_a_crash(tree, rotation):
    """Either the tables are refused, or the frames of that pose are: a bare ValueError ends the whole run."""
    edit_table(tree, "ego_pose", lambda rows: rows[0].update(rotation=rotation))
    source = open_tree(tree.root)
    with pytest.raises((DvbenchError, FrameError)):
        for ref in index(source, TRAIN).values():
            source.read(ref)


# Without ego motion, and as the paper's script made its rasters


def sweep_in_still_car(truth, channel, sample_us):
    """A sweep's points in a camera, as if the car stood still between the two; file order."""
    path = truth.root / f"samples/{LIDAR}/n001-2018-01-01-00-00-00+0800__{LIDAR}__{sample_us}.pcd.bin"
    points = np.fromfile(path, "<f4").reshape(-1, 5)[:, :3].astype(np.float64)
    turned = points @ rotation_matrix(sensor_rotation(LIDAR)).T + POSITION_M[LIDAR]
    return (turned - POSITION_M[channel]) @ rotation_matrix(sensor_rotation(channel))


def raster_of_still_car(truth, channel, sample_us):
    """One point after the other: floored indices, all before the camera, the nearer one stays."""
    fx, fy, cx, cy = INTRINSICS[channel]
    raster = np.zeros((HEIGHT, WIDTH), dtype=np.float32)
    for x, y, z in sweep_in_still_car(truth, channel, sample_us).tolist():
        if z > 0:
            column, row = int(np.floor(fx * x / z + cx)), int(np.floor(fy * y / z + cy))
            inside = 0 <= column < WIDTH and 0 <= row < HEIGHT
            if inside and (raster[row, column] == 0 or z < raster[row, column]):
                raster[row, column] = z
    return (raster * np.float32(256)).clip(0, 65535).astype(np.uint16)


def test_compat_frames_are_the_papers_rasters(truth):
    source = CONVERTER.open(truth.root, CONVERTER.compat)
    refs = index(source, TRAIN)
    assert len(refs) == 12
    for ref in refs.values():
        frame = source.read(ref)
        assert (frame.depth_kind, frame.depth.depth_scale) == ("z", 256.0)
        difference = np.abs(frame.depth.values.astype(int) - raster_of_still_car(truth, ref.camera, ref.time))
        # A value that is a whole number of units may fall on either side of it.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.001
        assert (frame.depth.values > 0).sum() > 200


def test_in_the_papers_raster_returns_from_the_car_hide_what_is_behind_them(truth):
    source = CONVERTER.open(truth.root, CONVERTER.compat)
    front = next(ref for ref in index(source, TRAIN).values() if ref.camera == "CAM_FRONT")
    values = source.read(front).depth.values
    assert ((values > 0) & (values < NEAR_M * 256)).sum() == 9


def test_the_paper_looks_at_no_time(truth):
    late = next(name for name, (reason, _) in truth.faults.items() if reason == "time_gap")
    source = CONVERTER.open(truth.root, CONVERTER.compat)
    assert source.read(index(source)[late]).depth.values.any()


def test_without_ego_motion_the_wall_stands_where_the_sweep_saw_it(truth):
    source = open_tree(truth.root, ego_motion=False)
    front = next(ref for ref in index(source, TRAIN).values() if ref.camera == "CAM_FRONT")
    frame, drive = source.read(front), DRIVES[TRAIN_SCENE]
    _, v = frame.depth.source_pixels()
    on_wall = frame.depth.depth_m[v + UV_STEP_PX < INTRINSICS["CAM_FRONT"][3]]
    expected = drive.wall_depth_m("CAM_FRONT", frame.extra["lidar_time_us"])
    assert np.abs(on_wall - expected).max() <= HALF_Z_STEP_M + FLOAT32_M
    assert frame.depth.depth_m.min() > NEAR_M


def test_a_compat_set_says_what_it_measures_and_asks_where_the_raster_has_depth(
    truth, tmp_path, convert_split
):
    summary = convert_split("nuscenes", truth.root, tmp_path, sampling="compat")
    rows = list(RecordSet(summary.folder, "eval").rows())
    assert summary.set_name == "nuscenes@compat"
    assert {row["depth_kind"] for row in rows} == {"z"}
    assert len(rows) == summary.images > 5
    for row in rows:
        sample_us = json.loads(row["extra"])["lidar_time_us"]
        raster = raster_of_still_car(truth, row["camera"], sample_us)
        for (column, row_index), depth_m in zip(row["xy_listed"], row["listed_depth_m"], strict=True):
            assert abs(depth_m - raster[int(row_index), int(column)] / 256) < 1 / 256 + 1e-4


def test_sets_without_ego_motion_are_compat_sets_of_another_identity(truth, tmp_path, convert_split):
    hashes = set()
    for sampling in ("strict", "compat"):
        summary = convert_split("nuscenes", truth.root, tmp_path / sampling, sampling=sampling)
        hashes |= {row["options_hash"] for row in RecordSet(summary.folder, "eval").rows()}
    assert len(hashes) == 2
    with pytest.raises(UsageError, match="-o ego_motion=false is for compat sets"):
        convert_split("nuscenes", truth.root, tmp_path, options=CONVERTER.options_type(ego_motion=False))


# Order, roots, layout


def test_row_and_listing_order_do_not_matter(truth, source, tmp_path, monkeypatch):
    in_order = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, p: iter(sorted(in_order(self, p), reverse=True)))
    turned = open_tree(write_nuscenes_tree(tmp_path, reverse=True).root)
    assert turned.source_splits() == source.source_splits()
    for split in (VAL, TRAIN):
        expected = sorted(index(source, split).values(), key=lambda ref: ref.order_key)
        assert sorted(index(turned, split).values(), key=lambda ref: ref.order_key) == expected


def test_several_versions_in_one_root_keep_their_own_scenes(tree):
    shutil.copytree(tree.root / "v1.0-trainval", tree.root / "v1.0-mini")
    edit_table_of_mini = tree.root / "v1.0-mini" / "scene.json"
    rows = json.loads(edit_table_of_mini.read_text())
    rows[0]["name"] = "scene-0103"
    edit_table_of_mini.write_text(json.dumps(rows))
    source = open_tree(tree.root)
    assert set(source.source_splits()) == {"train", "val", "mini_val"}
    assert {ref.scene for ref in index(source, Split("eval", "mini_val")).values()} == {"scene-0103"}
    assert set(index(source)) == tree.emitted(VAL_SCENE)


@pytest.mark.parametrize(("removed", "named"), [("v1.0-trainval", "v1.0-trainval"), ("samples", "samples")])
def test_a_root_without_a_folder_says_what_is_there_instead(tree, removed, named):
    shutil.rmtree(tree.root / removed)
    with pytest.raises(DataMissingError) as caught:
        open_tree(tree.root)
    other = {"v1.0-trainval": "samples", "samples": "v1.0-trainval"}[removed]
    text = str(caught.value)
    assert f"no {named}/ in this nuscenes tree" in text
    assert f"holds {other}" in text
    assert "dvbench datasets nuscenes" in text


def test_a_version_folder_without_its_scene_table_is_named(tree):
    (tree.root / "v1.0-trainval" / "scene.json").unlink()
    with pytest.raises(DvbenchError, match=r"v1\.0-trainval"):
        open_tree(tree.root)


def test_nuimages_is_named_as_what_it_is(tmp_path):
    for name in ("v1.0-mini/sample_data", "v1.0-mini/surface_ann", "v1.0-mini/object_ann"):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text("[]")
    (tmp_path / "samples").mkdir()
    with pytest.raises(DataMissingError, match=r"holds nuImages.*surface_ann\.json"):
        open_tree(tmp_path)


@pytest.mark.parametrize("version", ["v1.0-trainval", "v1.0-mini", "v1.0-test"])
@pytest.mark.parametrize("below", ["nuscenes", "data/nuscenes"])
def test_a_tree_one_level_off_is_pointed_at(tmp_path, below, version):
    root = write_nuscenes_tree(tmp_path / below).root
    (root / "v1.0-trainval").rename(root / version)
    for off in (tmp_path, root / version):
        with pytest.raises(DataMissingError) as caught:
            open_tree(off)
        assert f"no {version}/ in this nuscenes tree" in str(caught.value)
        assert f"--root {root} has it" in str(caught.value)


def test_layout_counts_tables_and_sensor_files(truth, source):
    found = {item.pattern: item.found for item in source.layout()}
    assert found["v1.0-trainval/*.json"] == 13
    assert found["samples/LIDAR_TOP/*.pcd.bin"] == len(list((truth.root / "samples" / LIDAR).iterdir()))
    for channel in CHANNELS:
        assert found[f"samples/{channel}/*.jpg"] == len(list((truth.root / "samples" / channel).iterdir()))


# The real keyframe


@pytest.fixture(scope="module")
def real_frames():
    source = open_tree(real_nuscenes_tree())
    return {ref.camera: source.read(ref) for ref in source.index(Split("eval", "mini_train"))}


def test_the_real_keyframe_has_six_frames(real_frames):
    assert set(real_frames) == set(CHANNELS)
    assert {frame.picture.size for frame in real_frames.values()} == {(1600, 900)}
    stem = PurePosixPath(real_frames["CAM_FRONT"].picture.path).stem
    assert real_frames["CAM_FRONT"].ref.id == f"nuscenes/eval/scene-0061/CAM_FRONT/{stem}"


@pytest.mark.parametrize(
    ("channel", "pixels", "median_m", "max_m"),
    [
        ("CAM_FRONT", 3064, 10.33, 98.12),
        ("CAM_FRONT_RIGHT", 3079, 13.79, 88.83),
        ("CAM_FRONT_LEFT", 3704, 12.06, 31.25),
        ("CAM_BACK", 4826, 10.18, 95.14),
        ("CAM_BACK_LEFT", 4097, 8.79, 65.26),
        ("CAM_BACK_RIGHT", 3379, 15.97, 99.98),
    ],
)
def test_real_frames_have_the_published_figures_within_the_pixel_centre_convention(
    real_frames, channel, pixels, median_m, max_m
):
    depth_m = real_frames[channel].depth.depth_m
    assert len(depth_m) == pytest.approx(pixels, rel=0.02)
    assert np.median(depth_m) == pytest.approx(median_m, rel=0.02)
    assert depth_m.max() == pytest.approx(max_m, rel=0.02)


def chain_by_hand(channel):
    """cam_from_lidar of the real keyframe, multiplied here out of the tables."""
    folder = real_nuscenes_tree() / "v1.0-mini"
    rows = {
        name: {row["token"]: row for row in json.loads((folder / f"{name}.json").read_text())}
        for name in ("sample_data", "ego_pose", "calibrated_sensor", "sensor")
    }

    def chain_of(wanted):
        for row in rows["sample_data"].values():
            mounted = rows["calibrated_sensor"][row["calibrated_sensor_token"]]
            if rows["sensor"][mounted["sensor_token"]]["channel"] == wanted:
                found = np.eye(4)
                for step in (mounted, rows["ego_pose"][row["ego_pose_token"]]):
                    matrix = np.eye(4)
                    matrix[:3, :3], matrix[:3, 3] = rotation_matrix(step["rotation"]), step["translation"]
                    found = matrix @ found
                return found
        raise LookupError(wanted)

    return np.linalg.inv(chain_of(channel)) @ chain_of(LIDAR)


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_chain_is_that_of_the_tables_which_repeat_the_published_lidar2cam(real_frames, channel):
    """The sample's README: these tables agree with the published lidar2cam within 1e-4 px and 1e-5 m."""
    found = np.reshape(real_frames[channel].ref.locator["cam_from_lidar"], (4, 4))
    assert np.abs(found - chain_by_hand(channel)).max() < 1e-9


@pytest.mark.parametrize(
    ("channel", "median_px", "furthest_px"), [("CAM_FRONT", 13.6, 66), ("CAM_FRONT_LEFT", 38.5, 158)]
)
def test_leaving_ego_motion_out_moves_the_real_points_as_published(
    real_frames, channel, median_px, furthest_px
):
    frame = real_frames[channel]
    still = open_tree(real_nuscenes_tree(), ego_motion=False)
    ref = next(r for r in still.index(Split("eval", "mini_train")) if r.camera == channel)
    points = still.sweep(ref.locator["lidar"])
    moved, unmoved = (
        transform_points(np.reshape(r.locator["cam_from_lidar"], (4, 4)), points) for r in (frame.ref, ref)
    )
    seen = np.flatnonzero(moved[:, 2] > NEAR_M)
    seen = seen[frame.camera.contains(*frame.camera.project(moved[seen]))]
    (u, v), (u_still, v_still) = (frame.camera.project(p[seen]) for p in (moved, unmoved))
    off_px = np.hypot(u - u_still, v - v_still)
    assert np.median(off_px) == pytest.approx(median_px, abs=0.1)
    assert off_px.max() == pytest.approx(furthest_px, abs=1)


def test_the_car_moved_between_sweep_and_front_picture(real_frames):
    assert real_frames["CAM_FRONT"].extra["ego_shift_m"] == pytest.approx(0.328, abs=0.001)


def test_few_points_of_the_real_keyframe_are_suspect(real_frames):
    for frame in real_frames.values():
        assert 0.001 < (frame.depth.flags & 1).mean() < 0.06
