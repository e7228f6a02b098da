"""Waymo Open v2: which frames there are, what each holds, what cannot be used, and the sample."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from raw_waymo import (
    CAMERA_MOUNTS,
    CAMERAS,
    DRIVE_SCENE,
    FAULTY_SCENE,
    FIRST_US,
    FRAME_US,
    FRONT,
    IMAGE_AFTER_US,
    INTRINSICS,
    NO_LIDAR_SCENE,
    REAL_SCENE,
    REAR,
    TOP,
    TOP_SHAPE,
    TRAIN_SCENE,
    UNLISTED_SCENE,
    Drive,
    SegmentWriter,
    WaymoTruth,
    frame_name,
    lens,
    measure,
    mount_matrix,
    official_segments,
    real_waymo_tree,
    write_waymo_tree,
)

from depthvlm_bench.convert.doctor import examine
from depthvlm_bench.converters import _waymo_sweeps
from depthvlm_bench.converters._parquet import ParquetRows
from depthvlm_bench.converters._waymo_cameras import camera_model, read_shot
from depthvlm_bench.converters._waymo_depth import seen_points
from depthvlm_bench.converters._waymo_sweeps import SweepReader
from depthvlm_bench.converters._waymo_tables import frame_pose
from depthvlm_bench.errors import DataMissingError, FrameError, UsageError
from depthvlm_bench.frames import DepthGrid, FrameRef, Skip, Split
from depthvlm_bench.geometry.lens import lens_pixels
from depthvlm_bench.geometry.rigid import invert_transform, transform_points
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter
from depthvlm_bench.sampling.pick import allocate

CONVERTER = load_converter("waymo")
Options = CONVERTER.options_type
EVAL, TRAIN = Split("eval", "testing"), Split("train", "training")
UV_STEP_PX = 1 / 16
# The pose of a pixel is float32, 42 km from the origin: half of 1/256 m off on each axis.
POSE_NOISE_M, HALF_Z_STEP_M = 1.5 / 256, 0.5 / 256
SLACK_M = POSE_NOISE_M + HALF_Z_STEP_M
EVERYTHING = {"lasers": (TOP, FRONT, REAR), "returns": (1, 2)}
DRIVES = {
    DRIVE_SCENE: Drive(),
    FAULTY_SCENE: Drive(),
    TRAIN_SCENE: Drive(start_m=(1811.5, 903.25, 12.0), heading_rad=2.1, turn_rad_s=-0.2),
}


def open_tree(root, **options):
    return CONVERTER.open(root, Options(**options))


def name_of(ref):
    return "/".join((ref.scene, ref.camera, ref.frame))


def index(source, split=EVAL):
    return {name_of(item): item for item in source.index(split) if isinstance(item, FrameRef)}


def read_all(root, names=None, **options):
    source = open_tree(root, **options)
    refs = index(source) | index(source, TRAIN)
    frames = {name: source.read(refs[name]) for name in sorted(refs if names is None else names)}
    source.close()
    return frames


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> WaymoTruth:
    return write_waymo_tree(tmp_path_factory.mktemp("waymo"))


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture(scope="module")
def frames(truth):
    return read_all(truth.root, truth.good)


@pytest.fixture(scope="module")
def all_frames(truth):
    """With every laser and both returns."""
    return read_all(truth.root, truth.good, **EVERYTHING)


@pytest.fixture
def tree(tmp_path):
    return write_waymo_tree(tmp_path / "raw")


def fully_posed(frames):
    """Names of the frames whose pictures have a pose of their own."""
    return [name for name, frame in frames.items() if frame.extra["pose_of"] == "picture"]


def depth_bounds_m(frame, step_px=UV_STEP_PX):
    """Least and greatest depth of the world within the step of each stored place: 1/z is linear there."""
    number, (u, v) = CAMERAS.index(frame.ref.camera) + 1, frame.depth.source_pixels()
    drive, time_us = DRIVES[frame.ref.scene], frame.ref.time + IMAGE_AFTER_US[number]
    corners = [
        drive.depth_at(number, time_us, u + du, v + dv)
        for du in (-1e-3, step_px + 1e-3)
        for dv in (-1e-3, step_px + 1e-3)
    ]
    return np.min(corners, axis=0), np.max(corners, axis=0)


# Which frames there are


def test_pictures_of_the_split_are_indexed_and_nothing_else(truth, source):
    assert set(index(source)) == truth.indexed(DRIVE_SCENE, FAULTY_SCENE, NO_LIDAR_SCENE)
    assert set(index(source, TRAIN)) == truth.indexed(TRAIN_SCENE)


def test_names_groups_and_order_of_the_frames(source):
    refs = sorted(
        (r for r in index(source).values() if r.scene == DRIVE_SCENE), key=lambda ref: ref.order_key
    )
    assert [ref.time for ref in refs] == [FIRST_US] * 5 + [FIRST_US + FRAME_US] * 5
    assert [ref.camera for ref in refs] == [*CAMERAS, *CAMERAS]
    for ref in refs:
        assert ref.id == f"waymo/eval/{ref.scene}/{ref.camera}/{ref.time}"
        assert ref.group == f"{ref.scene}/{ref.camera}"


def test_splits_and_scenes_are_the_folders(source):
    assert source.source_splits() == ["testing", "training"]
    assert source.scenes("training") == [TRAIN_SCENE]
    assert source.scenes("testing") == sorted([*official_segments("testing"), UNLISTED_SCENE])
    assert source.scenes("validation") == official_segments("validation")


def test_a_segment_without_pictures_or_not_on_disk_keeps_its_share_of_the_budget(source):
    away = set(official_segments("testing")) - {DRIVE_SCENE, FAULTY_SCENE, NO_LIDAR_SCENE}
    skips = [item for item in source.index(EVAL) if isinstance(item, Skip) and item.group]
    assert len(away) == 147
    assert {skip.group for skip in skips} == {f"{scene}/{camera}" for scene in away for camera in CAMERAS}
    assert {skip.reason for skip in skips} == {"missing_scene"}
    assert {skip.detail for skip in skips} == {f"testing/camera_image/{scene}.parquet" for scene in away}


def test_a_segment_of_another_split_is_counted_and_not_taken(source):
    (strange,) = [item for item in source.index(EVAL) if isinstance(item, Skip) and not item.group]
    assert (strange.id, strange.reason) == (f"waymo/eval/{UNLISTED_SCENE}/-/-", "not_in_split")
    assert "is not in the official list" in strange.detail


def test_training_takes_what_its_folder_holds(source):
    assert not [item for item in source.index(TRAIN) if isinstance(item, Skip)]


def test_a_strict_set_of_few_segments_is_a_subset_of_the_whole(truth, tmp_path, convert_split):
    """750 groups share 1,000 images, and those on disk give no more than their share."""
    groups = {f"{scene}/{camera}": 199 for scene in official_segments("testing") for camera in CAMERAS}
    share = allocate(groups, 1000, "waymo")
    summary = convert_split("waymo", truth.root, tmp_path)
    taken = Counter(f"{row['scene']}/{row['camera']}" for row in RecordSet(summary.folder, "eval").rows())
    assert summary.subset
    assert summary.images + summary.dropped == 1000
    assert {group: count for group, count in taken.items() if count > share[group]} == {}
    assert 1 in {share[group] for group in taken}


def test_the_index_opens_no_picture(tree, monkeypatch):
    asked = []
    row = ParquetRows.row
    monkeypatch.setattr(ParquetRows, "row", lambda self, *a: asked.append(self.where) or row(self, *a))
    assert len(index(open_tree(tree.root))) > 50
    assert asked == []


# What a frame holds


def test_every_good_frame_is_read(truth, frames):
    assert set(frames) == set(truth.good)
    assert len(frames) == 10 + 5 + 3 + 3 + 1


def test_intrinsics_are_the_cameras_own_with_pixel_centres_at_integers(frames):
    for frame in frames.values():
        f_u, f_v, c_u, c_v, *distortion, width, height = INTRINSICS[CAMERAS.index(frame.ref.camera) + 1]
        camera = frame.camera
        assert (camera.fx_px, camera.fy_px) == (f_u, f_v)
        assert (camera.cx_px, camera.cy_px) == (c_u - 0.5, c_v - 0.5)
        assert (camera.width, camera.height) == (width, height)
        assert frame.lens.parameters == tuple(distortion)
        assert frame.depth_kind == "z"


def test_every_point_lies_on_the_surface_its_pixel_shows(frames):
    checked = 0
    for name in fully_posed(frames):
        low_m, high_m = depth_bounds_m(frames[name])
        stored_m = frames[name].depth.depth_m
        assert (stored_m >= low_m - SLACK_M).all(), name
        assert (stored_m <= high_m + SLACK_M).all(), name
        checked += len(low_m)
    assert checked > 1500


def test_wall_and_ground_are_both_seen(frames):
    frame = frames[frame_name(DRIVE_SCENE, 1, FIRST_US)]
    time_us = frame.extra["image_time_us"]
    _, place = DRIVES[DRIVE_SCENE].camera_pose(1, time_us)
    points = frame.camera.rays(*frame.depth.source_pixels()) * frame.depth.depth_m[:, None]
    turn, _ = DRIVES[DRIVE_SCENE].camera_pose(1, time_us)
    up_m = (points @ np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]]) @ turn.T + place)[:, 2] + 160.6
    assert (np.abs(up_m) < 0.05).sum() > 40
    assert (up_m > 0.3).sum() > 40


def test_all_lasers_and_both_returns_lie_on_the_surfaces(frames, all_frames):
    more = 0
    for name in fully_posed(all_frames):
        low_m, high_m = depth_bounds_m(all_frames[name])
        stored_m = all_frames[name].depth.depth_m
        assert (stored_m >= low_m - SLACK_M).all(), name
        assert (stored_m <= high_m + SLACK_M).all(), name
        more += len(low_m) - len(frames[name].depth.depth_m)
    assert more > 600


def test_which_lasers_measured_is_recorded(frames, all_frames):
    name = frame_name(DRIVE_SCENE, 1, FIRST_US)
    assert frames[name].extra["lasers"] == [TOP]
    assert all_frames[name].extra["lasers"] == [TOP, FRONT, REAR]
    faulty = next(n for n in all_frames if n.startswith(FAULTY_SCENE))
    assert all_frames[faulty].extra["lasers"] == [TOP]


def test_null_second_returns_add_nothing(truth):
    names = [frame_name(DRIVE_SCENE, 1, time_us) for time_us in (FIRST_US, FIRST_US + FRAME_US)]
    first, both = (read_all(truth.root, names, returns=returns) for returns in ((1,), (1, 2)))
    null, full = (len(both[n].depth.z_raw) - len(first[n].depth.z_raw) for n in names)
    assert null == 0
    assert full > 50


def test_second_returns_alone_are_no_depth_where_all_are_null(truth):
    source = open_tree(truth.root, returns=(2,))
    with pytest.raises(FrameError, match=r"missing_depth: .*nothing of lasers"):
        source.read(index(source)[frame_name(DRIVE_SCENE, 1, FIRST_US)])


def test_both_cameras_of_a_doubly_seen_point_have_it():
    """A point in the overlap of two cameras names the second in channels 3 to 5."""
    projections = measure(Drive(), FIRST_US, TOP, TOP_SHAPE).projections.reshape(-1, 6)
    assert ((projections[:, 3] == 2) & (projections[:, 0] == 1)).sum() > 3


def test_points_of_the_second_slot_are_not_left_out(truth, frames):
    measured = measure(Drive(), FIRST_US, TOP, TOP_SHAPE)
    kept = measured.projections[:, ::2].reshape(-1, 6)
    count = ((kept[:, 0] == 2) | (kept[:, 3] == 2)).sum()
    only_first = (kept[:, 0] == 2).sum()
    stored = len(frames[frame_name(DRIVE_SCENE, 2, FIRST_US)].depth.z_raw)
    assert only_first < stored <= count


def test_points_are_where_the_lens_is_undone_from_where_the_range_image_has_them(frames):
    """Stored places, put through the lens again, are the table's own to the step that is stored."""
    name = frame_name(DRIVE_SCENE, 4, FIRST_US)
    frame, measured = (
        frames[name],
        measure(Drive(), FIRST_US, TOP, TOP_SHAPE).projections[:, ::2].reshape(-1, 6),
    )
    table = np.concatenate([measured[measured[:, slot] == 4, slot + 1 : slot + 3] for slot in (0, 3)])
    u, v = frame.depth.source_pixels()
    rays = frame.camera.rays(u + UV_STEP_PX / 2, v + UV_STEP_PX / 2)
    there = np.stack(lens(4, rays[:, 0], rays[:, 1]), axis=-1)
    apart_px = np.abs(there[:, None] - table[None]).max(axis=-1).min(axis=1)
    assert len(u) > 50
    assert apart_px.max() < UV_STEP_PX


def test_whole_pixels_are_read_as_pixels_not_as_edges(tmp_path):
    """The real tables name pixels: points lie around their middles, on neither side more often."""
    truth = write_waymo_tree(tmp_path, whole=True)
    frames = read_all(truth.root, [n for n in truth.good if n.startswith(DRIVE_SCENE)])
    signed = []
    for frame in frames.values():
        assert frame.extra["whole_pixels"]
        drive, number = Drive(), CAMERAS.index(frame.ref.camera) + 1
        u, v = frame.depth.source_pixels()
        at_m = drive.depth_at(number, frame.extra["image_time_us"], u + UV_STEP_PX / 2, v + UV_STEP_PX / 2)
        below_m = drive.depth_at(number, frame.extra["image_time_us"], u, v + 1)
        slope = (below_m - at_m) / 1.0
        steep = np.abs(slope) > 0.05
        signed.append(((frame.depth.depth_m - at_m) / slope)[steep])
    off_px = np.concatenate(signed)
    assert len(off_px) > 300
    assert np.percentile(np.abs(off_px), 95) < 0.65
    assert abs(np.median(off_px)) < 0.15


def test_sub_pixel_places_are_told_from_whole_ones(frames):
    assert not any(frame.extra["whole_pixels"] for frame in frames.values() if frame.ref.scene == DRIVE_SCENE)


def test_times_and_the_cars_way_between_them_are_recorded(truth, frames):
    for name, (number, time_us) in truth.good.items():
        extra, frame = frames[name].extra, frames[name]
        assert extra["frame_time_us"] == time_us == frame.ref.time
        if extra["pose_of"] == "picture":
            assert abs(extra["image_time_us"] - time_us - IMAGE_AFTER_US[number]) <= 1
            way_m = 12.5 * abs(IMAGE_AFTER_US[number] - 50_000) / 1e6
            assert extra["ego_shift_m"] == pytest.approx(way_m, abs=1e-4)


def test_without_its_own_pose_a_picture_has_the_frames_and_says_so(frames):
    fallen = {n for n, frame in frames.items() if frame.extra["pose_of"] == "frame"}
    times = {frames[n].ref.time for n in fallen}
    assert len(fallen) == 3
    assert len(times) == 1
    for name in fallen:
        assert frames[name].extra["image_time_us"] is None
        assert frames[name].extra["ego_shift_m"] == 0
        # What it costs is the car's way since: at most 28 ms at 12.5 m/s, and its turn.
        low_m, high_m = depth_bounds_m(frames[name])
        stored_m = frames[name].depth.depth_m
        assert ((stored_m < low_m - SLACK_M) | (stored_m > high_m + SLACK_M)).any()
        assert ((stored_m > low_m - 0.4) & (stored_m < high_m + 0.4)).all()


def test_the_picture_is_the_cameras_own(frames):
    for name, frame in frames.items():
        if not name.startswith(DRIVE_SCENE):
            continue
        number, late = CAMERAS.index(frame.ref.camera) + 1, frame.ref.time > FIRST_US
        pixels = np.asarray(frame.picture.decode(), dtype=int)
        assert np.abs(pixels[40, 104] - [96, 32, 16 * number + late]).max() <= 6


def test_the_undone_picture_shows_what_the_lens_put_elsewhere(frames):
    frame = frames[frame_name(DRIVE_SCENE, 1, FIRST_US)]
    pixels = np.asarray(frame.picture.decode(), dtype=float)
    undone = np.asarray(frame.source_picture(), dtype=float)
    f_u, f_v, c_u, c_v = INTRINSICS[1][:4]
    moved = 0
    for row, column in [(15, 16), (15, 175), (112, 16), (112, 175), (64, 95), (80, 160), (96, 32)]:
        x, y = lens(1, (column + 0.5 - c_u) / f_u, (row + 0.5 - c_v) / f_v)
        u, v = x - 0.5, y - 0.5
        left, top = int(u), int(v)
        right, below = u - left, v - top
        patch = pixels[top : top + 2, left : left + 2]
        shown = np.einsum("i,j,ijk->k", [1 - below, below], [1 - right, right], patch)
        assert np.abs(undone[row, column] - shown).max() <= 0.5 + 1e-3
        moved += np.abs(undone[row, column] - pixels[row, column]).max() > 2
    assert moved >= 3
    assert (undone.max(axis=-1) == 0).mean() < 0.02


def test_a_frame_in_which_nothing_came_back_has_no_points(truth, frames):
    for name in truth.empty:
        assert len(frames[name].depth.z_raw) == 0


def test_points_are_row_major_one_a_pixel_and_inside(frames):
    for frame in frames.values():
        u, v = frame.depth.source_pixels()
        flat = np.floor(v + 0.5) * frame.camera.width + np.floor(u + 0.5)
        assert (np.diff(flat) > 0).all()
        assert frame.camera.contains(u, v).all()


def test_what_the_laser_did_not_measure_is_no_point(tmp_path):
    """-1, 0, NaN and infinity are no ranges, whatever places they are given."""
    writer = SegmentWriter(tmp_path, "testing", DRIVE_SCENE, lasers=(TOP,))
    writer.frame(FIRST_US)
    (row,) = writer.rows("lidar")
    values = row["[LiDARComponent].range_image_return1.values"].reshape(*TOP_SHAPE, 4)
    sound = values[..., 0] > 0
    values[..., 0] = np.where(
        sound, np.array([-1, 0, np.nan, np.inf])[np.arange(TOP_SHAPE[1]) // 2 % 4], values[..., 0]
    )
    writer.write()
    for frame in read_all(tmp_path).values():
        assert len(frame.depth.z_raw) == 0
    for frame in read_all(tmp_path, paper=True).values():
        assert not frame.depth.values.any()


# Types and orders that files differ in


def test_old_files_with_text_keys_and_single_precision_are_read_alike(truth, frames):
    schema = pq.read_schema(truth.root / f"training/camera_image/{TRAIN_SCENE}.parquet")
    assert pa.types.is_dictionary(schema.field("key.camera_name").type)
    pose = schema.field("[CameraImageComponent].pose.transform").type
    assert pose.value_type == pa.float32()
    assert {f.ref.camera for n, f in frames.items() if n.startswith(TRAIN_SCENE)} == set(CAMERAS)


@pytest.mark.parametrize("spelt", ["numbers", "names"])
def test_sensors_may_be_named_in_words(tmp_path, spelt):
    writer = SegmentWriter(tmp_path, "testing", DRIVE_SCENE, lasers=(TOP,), old=True)
    writer.frame(FIRST_US)
    words = {
        "key.camera_name": CAMERAS,
        "key.laser_name": ("TOP", "FRONT", "SIDE_LEFT", "SIDE_RIGHT", "REAR"),
    }
    for rows in writer.tables.values() if spelt == "names" else ():
        for row in rows:
            row.update({key: names[row[key] - 1] for key, names in words.items() if key in row})
    writer.write()
    frames = read_all(tmp_path)
    assert {frame.ref.camera for frame in frames.values()} == set(CAMERAS)
    assert all(len(frame.depth.z_raw) > 20 for frame in frames.values())


@pytest.mark.parametrize("camera", ["REAR_VIEW", "9", "0", None])
def test_a_camera_there_is_none_of_is_named(tmp_path, camera):
    writer = SegmentWriter(tmp_path, "testing", DRIVE_SCENE, lasers=(TOP,), old=True)
    writer.frame(FIRST_US)
    writer.rows("camera_image")[0]["key.camera_name"] = camera
    writer.write()
    skips = [s for s in open_tree(tmp_path).index(EVAL) if isinstance(s, Skip) and DRIVE_SCENE in s.id]
    assert [skip.reason for skip in skips] == ["unreadable"] * 5
    assert f"camera_image/{DRIVE_SCENE}.parquet: no key" in skips[0].detail


def values_of(frame):
    depth = frame.depth
    return (
        [depth.u_raw, depth.v_raw, depth.z_raw, depth.flags],
        frame.picture.encoded,
        frame.extra,
        frame.camera,
    )


def same(one, other):
    (arrays, *rest), (others, *more) = values_of(one), values_of(other)
    return all(map(np.array_equal, arrays, others)) and rest == more


def test_rows_and_listings_in_any_order_give_the_same_frames(truth, frames, tmp_path, monkeypatch):
    in_order = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, p: iter(sorted(in_order(self, p), reverse=True)))
    shuffled = write_waymo_tree(tmp_path, order=7)
    others = read_all(shuffled.root, shuffled.good)
    assert set(others) == set(frames)
    assert all(same(others[name], frames[name]) for name in frames)


def test_frames_are_read_alike_in_any_order(truth, frames):
    source = open_tree(truth.root)
    refs = index(source) | index(source, TRAIN)
    for name in sorted(truth.good, key=lambda name: name[::-1]):
        assert same(source.read(refs[name]), frames[name])


def test_points_are_decoded_once_for_the_cameras_of_a_frame(truth, monkeypatch):
    asked = []
    row = ParquetRows.row
    monkeypatch.setattr(ParquetRows, "row", lambda self, *a: asked.append(self.where) or row(self, *a))
    source = open_tree(truth.root)
    refs = [ref for ref in index(source).values() if ref.scene == DRIVE_SCENE]
    for ref in sorted(refs, key=lambda ref: ref.order_key):
        source.read(ref)
    assert sum(where.startswith("testing/lidar/") for where in asked) == 2


def test_closing_lets_go_of_the_files(tree):
    source = open_tree(tree.root)
    source.read(index(source)[frame_name(DRIVE_SCENE, 1, FIRST_US)])
    source.close()
    shutil.rmtree(tree.root / "testing" / "lidar")
    with pytest.raises(FrameError, match="missing_depth"):
        source.read(index(source)[frame_name(DRIVE_SCENE, 2, FIRST_US + FRAME_US)])


# What cannot be used


def test_a_frame_that_cannot_be_used_says_why_and_where(truth, source):
    refs = index(source)
    assert len(truth.faults) == 5 + 6 * 3 + 3 + 2 + 2 * 10
    for name, (reason, detail) in truth.faults.items():
        with pytest.raises(FrameError) as caught:
            source.read(refs[name]).picture.decode()
        assert caught.value.reason == reason, name
        assert detail in caught.value.detail, name


@pytest.mark.parametrize(
    ("after_us", "kept"), [(-55_000, True), (-55_001, False), (155_000, True), (155_001, False)]
)
def test_a_picture_is_kept_up_to_55_ms_off_the_spin(tmp_path, after_us, kept):
    writer = SegmentWriter(tmp_path, "testing", DRIVE_SCENE, top_shape=(4, 8), lasers=(TOP,))
    writer.frame(FIRST_US)
    writer.rows("camera_image", sensor=1)[0]["[CameraImageComponent].pose_timestamp"] = (
        FIRST_US + after_us
    ) / 1e6
    writer.write()
    source = open_tree(tmp_path)
    ref = index(source)[frame_name(DRIVE_SCENE, 1, FIRST_US)]
    if kept:
        assert source.read(ref).extra["image_time_us"] == FIRST_US + after_us
    else:
        with pytest.raises(FrameError, match="time_gap"):
            source.read(ref)


def component_file(truth, component, scene=DRIVE_SCENE):
    return truth.root / "testing" / component / f"{scene}.parquet"


@pytest.mark.parametrize(
    ("component", "reason"),
    [
        ("camera_calibration", "missing_intrinsics"),
        ("lidar", "missing_depth"),
        ("lidar_calibration", "missing_depth"),
        ("lidar_camera_projection", "missing_depth"),
        ("lidar_pose", "missing_depth"),
        ("vehicle_pose", "missing_depth"),
    ],
)
@pytest.mark.parametrize("damage", ["absent", "cut", "no column"])
def test_a_table_that_cannot_be_read_spoils_its_segment_alone(tree, frames, component, reason, damage):
    path = component_file(tree, component)
    if damage == "absent":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        table = pq.read_table(path)
        pq.write_table(
            table.drop_columns([n for n in table.column_names if not n.startswith("key.")][:1]), path
        )
    source = open_tree(tree.root)
    refs = index(source)
    for number in INTRINSICS:
        with pytest.raises(FrameError) as caught:
            source.read(refs[frame_name(DRIVE_SCENE, number, FIRST_US)])
        assert caught.value.reason == (reason if damage == "absent" else "unreadable")
        assert f"testing/{component}/{DRIVE_SCENE}.parquet" in caught.value.detail
    rest = [name for name in tree.good if name.startswith(FAULTY_SCENE)]
    assert all(same(source.read(refs[name]), frames[name]) for name in rest)


def test_pictures_that_cannot_be_listed_are_counted_for_each_camera(tree):
    path = component_file(tree, "camera_image")
    path.write_bytes(path.read_bytes()[:-40])
    skips = [s for s in open_tree(tree.root).index(EVAL) if isinstance(s, Skip) and DRIVE_SCENE in s.id]
    assert {(skip.group, skip.reason) for skip in skips} == {
        (f"{DRIVE_SCENE}/{c}", "unreadable") for c in CAMERAS
    }


def test_a_damaged_row_group_spoils_the_frames_in_it_and_no_other(tree, frames):
    path = component_file(tree, "lidar")
    column = "[LiDARComponent].range_image_return1.values"
    with pq.ParquetFile(path) as file:
        times = file.read_row_group(0, ["key.frame_timestamp_micros", "key.laser_name"]).to_pylist()
        position = file.schema_arrow.names.index(column)
        chunk = file.metadata.row_group(0).column(position)
        begin, size = chunk.data_page_offset, chunk.total_compressed_size
    hit = {r["key.frame_timestamp_micros"] for r in times if r["key.laser_name"] == TOP}
    encoded = bytearray(path.read_bytes())
    encoded[begin + size // 4 : begin + size // 2] = bytes(size // 2 - size // 4)
    path.write_bytes(bytes(encoded))
    source = open_tree(tree.root)
    refs = index(source)
    outcomes = {}
    for time_us in (FIRST_US, FIRST_US + FRAME_US):
        name = frame_name(DRIVE_SCENE, 1, time_us)
        try:
            outcomes[time_us] = "same" if same(source.read(refs[name]), frames[name]) else "other"
        except FrameError as error:
            outcomes[time_us] = error.reason
    assert hit
    assert {time_us for time_us, outcome in outcomes.items() if outcome == "unreadable"} == hit
    assert set(outcomes.values()) <= {"same", "unreadable"}


def test_a_name_that_leaves_the_tree_is_unreadable(source):
    ref = next(iter(index(source).values()))
    outside = FrameRef(ref.dataset, Split("eval", ".."), ref.scene, ref.camera, ref.frame, ref.time, "", {})
    with pytest.raises(FrameError, match="path leaves the raw tree"):
        source.read(outside)


# Memory

READ_FAR_ROWS = """
import json, pathlib, sys
import numpy as np, pyarrow as pa
from depthvlm_bench.converters._parquet import ParquetRows
name = "[LiDARComponent].range_image_return1.values"
rows = ParquetRows(pathlib.Path(sys.argv[1]), "huge.parquet", "missing_depth")
cells = (rows.row(number, [name])[name].values.to_numpy(zero_copy_only=False) for number in (399, 3, 200))
sums = [float(cell.sum(dtype=np.float64)) for cell in cells]
print(json.dumps([sums, pa.default_memory_pool().max_memory()]))
"""


def test_a_huge_row_group_is_not_read_into_memory(tmp_path):
    """All frames of a real segment lie in four row groups of 256 rows, each of a gigabyte."""
    rows, length, name = 400, 20_000, "[LiDARComponent].range_image_return1.values"
    noise = np.random.default_rng(0).random((rows, length), dtype=np.float32)
    table = pa.table(
        {"key.frame_timestamp_micros": np.arange(rows), name: pa.array(list(noise), pa.list_(pa.float32()))}
    )
    path = tmp_path / "huge.parquet"
    pq.write_table(table, path, row_group_size=rows, compression="zstd", use_dictionary=False)
    done = subprocess.run(
        [sys.executable, "-P", "-c", READ_FAR_ROWS, str(path)], capture_output=True, text=True, check=True
    )
    sums, peak = json.loads(done.stdout)
    assert sums == [float(noise[number].sum(dtype=np.float64)) for number in (399, 3, 200)]
    assert path.stat().st_size > 20_000_000
    assert peak < 8_000_000


# Options, roots, layout


@pytest.mark.parametrize("asked", [{"lasers": ()}, {"lasers": (0,)}, {"lasers": (2, 1)}, {"returns": (1, 3)}])
def test_lasers_and_returns_there_are_none_of_are_refused(asked):
    with pytest.raises(UsageError, match="name some of 1 to"):
        Options(**asked)


@pytest.mark.parametrize("below", [True, False])
def test_a_root_one_level_off_names_the_right_one(tree, below):
    root = tree.root.parent if below else tree.root / "testing"
    with pytest.raises(DataMissingError) as caught:
        open_tree(root)
    assert "no camera_image/ in this waymo tree" in str(caught.value)
    assert f"--root {tree.root} has it" in str(caught.value)


def test_an_empty_root_says_where_the_tree_is_shown(tmp_path):
    with pytest.raises(DataMissingError, match="dvbench datasets waymo shows the expected tree"):
        open_tree(tmp_path)


@pytest.mark.parametrize("name", ["segment-1_with_camera_labels.tfrecord", "validation/segment-1.tfrecord"])
def test_version_1_is_refused_by_name(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\0")
    with pytest.raises(DataMissingError) as caught:
        open_tree(tmp_path)
    assert "tfrecords (Perception v1 or Motion)" in str(caught.value)
    assert str(path) in str(caught.value)


def test_tfrecords_beside_the_tables_do_no_harm(tree):
    (tree.root / "testing" / "segment-1.tfrecord").write_bytes(b"\0")
    assert open_tree(tree.root).source_splits() == ["testing", "training"]


def test_of_two_calibrations_of_one_camera_none_is_taken(tmp_path):
    writer = SegmentWriter(tmp_path, "testing", DRIVE_SCENE, lasers=(TOP,))
    writer.frame(FIRST_US)
    writer.tables["camera_calibration"] *= 2
    writer.write()
    source = open_tree(tmp_path)
    with pytest.raises(FrameError, match=r"unreadable: .*camera_calibration.*two rows have one key"):
        source.read(next(iter(index(source).values())))


def test_layout_counts_the_tables_of_the_splits_that_are_there(source):
    found = {item.pattern: item.found for item in source.layout()}
    assert found["testing/camera_image/*.parquet"] == 4
    assert found["testing/lidar/*.parquet"] == 4
    assert found["testing/vehicle_pose/*.parquet"] == 5
    assert found["training/lidar_pose/*.parquet"] == 1
    assert len(found) == 14


def test_doctor_finds_both_roles(truth, tmp_path):
    diagnosis = examine(CONVERTER, truth.root, None, 4, Silent(), workspace=tmp_path)
    found = {check.name: check.found for check in diagnosis.checks}
    assert found["split for eval"].startswith("testing")
    assert found["split for train"].startswith("training")


# As the paper's script makes frames


@pytest.fixture(scope="module")
def paper_frames(truth):
    source = CONVERTER.open(truth.root, CONVERTER.compat)
    refs = index(source)
    return {name: source.read(refs[name]) for name in truth.good if name.startswith(DRIVE_SCENE)}


def expected_raster(number, time_us):
    """The paper's raster, by loops: nearest distance a pixel of the lens's picture, looked up by nearest."""
    f_u, f_v = INTRINSICS[number][:2]
    width, height = INTRINSICS[number][9:]
    drive, measured = Drive(), measure(Drive(), time_us, TOP, TOP_SHAPE)
    place = (drive.pose(time_us + 50_000) @ mount_matrix(CAMERA_MOUNTS[number]))[:3, 3]
    raw = {}
    for row, column in np.argwhere(measured.ranges[..., 0] > 0):
        slots = measured.projections[row, column]
        if column % 2 == 0 and number in (slots[0], slots[3]):
            x, y = slots[1:3] if slots[0] == number else slots[4:6]
            ray_m = float(np.linalg.norm(measured.points_global[row, column] - place))
            raw[int(y), int(x)] = min(ray_m, raw.get((int(y), int(x)), np.inf))
    values = np.zeros((height, width))
    for v in range(height):
        for u in range(width):
            x, y = lens(number, (u - width / 2) / f_u, (v - height / 2) / f_v)
            values[v, u] = raw.get((round(float(y)), round(float(x))), 0.0)
    return values


@pytest.mark.parametrize("number", [1, 4])
def test_the_papers_raster_is_what_its_script_makes(paper_frames, number):
    frame, expected = (
        paper_frames[frame_name(DRIVE_SCENE, number, FIRST_US + FRAME_US)],
        expected_raster(number, FIRST_US + FRAME_US),
    )
    assert isinstance(frame.depth, DepthGrid)
    assert frame.depth_kind == "ray"
    values = frame.depth.values / frame.depth.depth_scale
    assert np.array_equal(values > 0, expected > 0)
    assert (expected > 0).sum() > 30
    error_m = (expected - values)[expected > 0]
    assert error_m.min() > -POSE_NOISE_M
    assert error_m.max() < 1 / 256 + POSE_NOISE_M


def test_the_papers_raster_has_the_nearest_of_a_pixels_points(tmp_path):
    """All points moved to one pixel of the picture: what it then has is the nearest."""
    writer = SegmentWriter(tmp_path, "testing", DRIVE_SCENE, lasers=(TOP,))
    writer.frame(FIRST_US)
    (row,) = writer.rows("lidar_camera_projection")
    places = row["[LiDARCameraProjectionComponent].range_image_return1.values"].reshape(-1, 6)
    in_front = places[:, 0] == 1
    places[in_front, 1:3] = (90.0, 60.0)
    writer.write()
    frame = read_all(tmp_path, [frame_name(DRIVE_SCENE, 1, FIRST_US)], paper=True).popitem()[1]
    source = open_tree(tmp_path)
    segment = source.segment(frame.ref)
    seen = seen_points(
        source.sweep(segment, FIRST_US),
        1,
        camera_model(segment, 1, as_paper=True),
        frame_pose(segment, FIRST_US),
    )
    (value,) = frame.depth.values[frame.depth.values > 0]
    rays_m = np.linalg.norm(seen.points_cam, axis=1)
    assert len(rays_m) > 50
    assert value == int(rays_m.min() * 256)


def test_the_papers_principal_point_is_the_middle_of_the_picture(paper_frames):
    for frame in paper_frames.values():
        width, height = frame.picture.size
        assert (frame.camera.cx_px, frame.camera.cy_px) == (width / 2, height / 2)
        assert frame.extra["pose_of"] == "frame"


def test_the_papers_side_pictures_drop_and_turn_black_above(paper_frames, frames):
    """c_v lies near a quarter of the side cameras' pictures: re-centred, a fifth of the rows show nothing."""
    name = frame_name(DRIVE_SCENE, 4, FIRST_US)
    dropped, kept = (np.asarray(f[name].source_picture(), dtype=int) for f in (paper_frames, frames))
    down = round(INTRINSICS[4][10] / 2 - INTRINSICS[4][3])
    black = (dropped.max(axis=(1, 2)) == 0).sum()
    assert down == 20
    assert abs(black - down) <= 2
    assert np.abs(dropped[down + 20 : down + 60, 40:150] - kept[20:60, 39:149]).mean() < 8


def test_the_papers_side_pictures_lose_points(paper_frames, frames):
    name = frame_name(DRIVE_SCENE, 4, FIRST_US)
    left = (paper_frames[name].depth.values > 0).sum() / len(frames[name].depth.z_raw)
    assert left < 0.95


@pytest.mark.parametrize("sampling", ["strict", "compat"])
def test_the_tree_converts_under_both_samplings(truth, tmp_path, convert_split, sampling):
    summary = convert_split("waymo", truth.root, tmp_path, sampling=sampling)
    rows = list(RecordSet(summary.folder, "eval").rows())
    assert {row["scene"] for row in rows} >= {DRIVE_SCENE}
    assert len(rows) >= 3
    kinds = {row["depth_kind"] for row in rows}
    models = {row["lens"]["model"] for row in rows}
    assert kinds == {"z" if sampling == "strict" else "ray"}
    assert models == {"brown_conrady" if sampling == "strict" else "shifted_brown_conrady"}


def test_frames_without_a_point_are_counted_when_images_are_chosen(truth, tmp_path, convert_split):
    summary = convert_split("waymo", truth.root, tmp_path)
    assert summary.skips["no_valid_depth"] >= 3


# The sample: real pictures, calibrations and poses; ray-cast ranges


@pytest.fixture(scope="module")
def sample():
    source = open_tree(real_waymo_tree(), lasers=(TOP, FRONT))
    return source, {ref.camera: source.read(ref) for ref in source.index(TRAIN)}


@pytest.mark.parametrize(
    ("camera", "pixels"),
    [
        ("FRONT", 9307),
        ("FRONT_LEFT", 10449),
        ("FRONT_RIGHT", 9212),
        ("SIDE_LEFT", 7299),
        ("SIDE_RIGHT", 5933),
    ],
)
def test_the_sample_has_its_published_pixel_counts(sample, camera, pixels):
    source, frames = sample
    frame = frames[camera]
    _, x, y = source.sweep(source.segment(frame.ref), frame.ref.time).in_camera(CAMERAS.index(camera) + 1)
    assert len(set(zip(x.tolist(), y.tolist(), strict=True))) == pixels
    # Undone, the corners leave the picture, and a few points meet in a pixel.
    assert 0.97 * pixels < len(frame.depth.z_raw) < pixels


def test_the_samples_depths_are_the_published_ones(sample):
    _, frames = sample
    for camera, published in {
        "FRONT": (6.48, 7.21, 11.89, 64.13, 74.61),
        "SIDE_LEFT": (4.81, 4.92, 5.59, 46.56, 70.39),
    }.items():
        found = np.percentile(frames[camera].depth.depth_m, (0, 5, 50, 95, 100))
        assert np.allclose(found, published, rtol=0.02)


def test_the_samples_top_laser_has_its_returns(sample):
    path = real_waymo_tree() / "training" / "lidar" / f"{REAL_SCENE}.parquet"
    rows = pq.read_table(path).to_pylist()
    (top,) = [row for row in rows if row["key.laser_name"] == TOP]
    ranges = np.array(top["[LiDARComponent].range_image_return1.values"]).reshape(-1, 4)[:, 0]
    assert (ranges > 0).sum() == 43276


def reprojection_px(sample, camera):
    """How far points of the sample, put through the camera, are from the pixels that the table gives."""
    source, frames = sample
    frame, number = frames[camera], CAMERAS.index(camera) + 1
    segment = source.segment(frame.ref)
    model = camera_model(segment, number, as_paper=False)
    sweep = source.sweep(segment, frame.ref.time)
    seen, x, y = sweep.in_camera(number)
    pose = read_shot(segment, frame.ref.time, number, at_frame_pose=False).global_from_vehicle
    points = transform_points(model.cam_from_vehicle @ invert_transform(pose), sweep.points_global[seen])
    there = lens_pixels(model.camera, model.lens, *model.camera.project(points))
    return there[0] - x, there[1] - y


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_samples_points_fall_on_the_pixels_that_its_table_gives(sample, camera):
    """From range image, pixel pose, extrinsics, axes and lens to the stored pixel, or its corner."""
    off_u, off_v = reprojection_px(sample, camera)
    # Pixel poses are float32: 2 mm of noise are up to a pixel where the road is near.
    assert np.percentile(np.hypot(off_u, off_v), (50, 99.9)) == pytest.approx((0.38, 1.1), abs=0.3)
    assert abs(off_u.mean()) < 0.05
    assert abs(off_v.mean()) < 0.05


def test_without_the_pose_of_each_pixel_the_sample_is_most_of_a_metre_off(sample, monkeypatch):
    source, frames = sample
    ref = frames["FRONT"].ref
    segment, top = source.segment(ref), SweepReader((TOP,), (1,))
    moved = top(segment, ref.time).points_global
    pose = frame_pose(segment, ref.time)
    monkeypatch.setattr(_waymo_sweeps, "moved_by_pixel_pose", lambda p, _: transform_points(pose, p))
    still = SweepReader((TOP,), (1,))(segment, ref.time).points_global
    assert np.linalg.norm(moved - still, axis=1).max() == pytest.approx(0.84, abs=0.01)


def test_the_sample_was_taken_while_the_laser_turned(sample):
    _, frames = sample
    after_ms = {c: (f.extra["image_time_us"] - f.extra["frame_time_us"]) / 1000 for c, f in frames.items()}
    expected = {"FRONT": 52.4, "FRONT_LEFT": 42.4, "FRONT_RIGHT": 62.4, "SIDE_LEFT": 22.4, "SIDE_RIGHT": 72.4}
    assert after_ms == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("camera", "lost", "black"), [("SIDE_LEFT", 0.204, 194), ("SIDE_RIGHT", 0.255, 200)])
def test_the_papers_centring_loses_a_quarter_of_the_samples_side_pictures(sample, camera, lost, black):
    source, frames = sample
    paper = open_tree(real_waymo_tree(), lasers=(TOP, FRONT), paper=True)
    frame = paper.read(frames[camera].ref)
    sweep = source.sweep(source.segment(frame.ref), frame.ref.time)
    _, x, y = sweep.in_camera(CAMERAS.index(camera) + 1)
    measured = len(set(zip(x.tolist(), y.tolist(), strict=True)))
    assert 1 - (frame.depth.values > 0).sum() / measured == pytest.approx(lost, abs=0.01)
    picture = np.asarray(frame.source_picture())
    assert (picture.max(axis=(1, 2)) == 0).sum() == pytest.approx(black, abs=1)


def test_undone_with_its_intrinsics_kept_the_sample_has_hardly_a_border(sample):
    _, frames = sample
    picture = np.asarray(frames["SIDE_LEFT"].source_picture())
    assert (picture.max(axis=-1) == 0).mean() < 0.002
