import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather
from raw_argoverse2 import (
    FIRST_NS,
    HALF_CALIBRATED,
    MS,
    NO_LIDAR,
    NO_POSES,
    RING,
    SPEED_M_S,
    STEREO,
    TRAIN_LOG,
    UNCALIBRATED,
    UNLISTED,
    VAL_LOG,
    official_logs,
    real_argoverse2_tree,
    world_from_camera,
    write_argoverse2_tree,
)

from depthvlm_bench.convert.doctor import examine
from depthvlm_bench.errors import DataMissingError, FrameError, UsageError
from depthvlm_bench.frames import FrameRef, Skip, Split, scorable
from depthvlm_bench.geometry.lidar import project_nearest
from depthvlm_bench.geometry.rigid import transform_points
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter

CONVERTER = load_converter("argoverse2")
VAL, TRAIN = Split("eval", "val"), Split("train", "train")
LOGS = (VAL_LOG, UNCALIBRATED, HALF_CALIBRATED, NO_LIDAR, NO_POSES)
UV_STEP_PX, HALF_Z_STEP_M, ROUNDING = 1 / 16, 0.5 / 256, 1e-9


def open_tree(root, **options):
    return CONVERTER.open(root, CONVERTER.options_type(**options))


def name_of(item):
    return item.id.split("/", 2)[2]


def index(source, split=VAL):
    return {name_of(item): item for item in source.index(split) if isinstance(item, FrameRef)}


def skips(source, split=VAL):
    return [item for item in source.index(split) if isinstance(item, Skip)]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_argoverse2_tree(tmp_path_factory.mktemp("argoverse2"))


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture(scope="module")
def refs(source):
    return index(source)


@pytest.fixture(scope="module")
def frames(truth, source, refs):
    return {name: source.read(refs[name]) for name in truth.times_ns if name in refs}


@pytest.fixture
def tree(tmp_path):
    return write_argoverse2_tree(tmp_path)


def front(time_ns):
    return f"{VAL_LOG}/{RING[0]}/{time_ns}"


# Which frames there are


def test_ring_pictures_of_official_logs_are_indexed_and_nothing_else(truth, refs):
    assert set(refs) == set().union(*map(truth.emitted, LOGS))
    assert not any(camera in name for name in refs for camera in STEREO)


def test_names_groups_and_order(refs):
    for name, ref in refs.items():
        log, camera, time_ns = name.split("/")
        assert ref.id == f"argoverse2/eval/{log}/{camera}/{time_ns}"
        assert (ref.scene, ref.group, ref.time) == (log, f"{log}/{camera}", int(time_ns))


def test_one_sweep_serves_the_pictures_that_follow_each_other(refs):
    ordered = [ref for ref in sorted(refs.values(), key=lambda ref: ref.order_key) if ref.scene == VAL_LOG]
    sweeps = [ref.locator["sweep_ns"] for ref in ordered]
    assert sweeps == sorted(sweeps)


def test_official_logs_that_are_not_on_disk_keep_their_share_of_every_camera(truth, source):
    missing = {skip.group for skip in skips(source) if skip.reason == "missing_scene"}
    away = set(official_logs("val")) - set(LOGS)
    assert len(away) == 145
    assert missing == {f"{log}/{camera}" for log in away for camera in RING} | truth.absent


def test_training_counts_a_log_that_is_not_on_disk_once(source):
    away = set(official_logs("train")) - {TRAIN_LOG}
    whole_logs = [skip for skip in skips(source, TRAIN) if skip.id.endswith("/-/-")]
    assert {skip.id.split("/")[2] for skip in whole_logs} == away
    assert {skip.reason for skip in skips(source, TRAIN)} == {"missing_scene"}
    assert len(skips(source, TRAIN)) == 699 + 6  # and six cameras of the log that is


def test_training_on_some_of_the_logs_loses_no_frame(truth, tmp_path, convert_split):
    summary = convert_split("argoverse2", truth.root, tmp_path, role="train", max_skip_share=0.0)
    assert summary.images == 3
    assert summary.skips == {"missing_scene": 699 + 6}


def test_a_camera_folder_without_a_picture_keeps_its_share(tree):
    (picture,) = (tree.root / "val" / VAL_LOG / "sensors/cameras" / RING[3]).iterdir()
    picture.unlink()
    missing = {skip.group: skip.detail for skip in skips(open_tree(tree.root))}
    assert missing[f"{VAL_LOG}/{RING[3]}"] == f"no picture in val/{VAL_LOG}/sensors/cameras/{RING[3]}"


def test_logs_of_another_split_or_of_none_are_counted_and_not_taken(source):
    strange = [skip for skip in skips(source) if skip.reason == "not_in_split"]
    assert {skip.id.split("/")[2] for skip in strange} == {UNLISTED, TRAIN_LOG}
    assert all("val/" in skip.detail and not skip.group for skip in strange)


def test_the_official_lists_share_no_log():
    lists = {split: set(official_logs(split)) for split in ("train", "val", "test")}
    assert {split: len(logs) for split, logs in lists.items()} == {"train": 700, "val": 150, "test": 150}
    assert len(set().union(*lists.values())) == 1000


def test_splits_and_scenes(source):
    assert source.source_splits() == ["train", "val"]
    assert list(source.scenes("test")) == official_logs("test")


@pytest.mark.parametrize(("every", "taken"), [(1, 21), (10, 3), (7, 3), (40, 1)])
def test_training_takes_every_nth_picture_and_evaluation_all(truth, every, taken):
    source = open_tree(truth.root, every=every)
    times = [ref.time for ref in index(source, TRAIN).values()]
    assert times == [FIRST_NS + i * MS for i in range(0, 21, every)]
    assert len(times) == taken
    assert len(index(source)) == len(index(open_tree(truth.root)))


@pytest.mark.parametrize("options", [{"every": 0}, {"max_point_dt_ms": 0.0}, {"max_point_dt_ms": -1.0}])
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError, match="cannot be"):
        CONVERTER.options_type(**options)


# Which sweep a picture has


@pytest.mark.parametrize(
    ("after_ns", "sweep_ms"),
    [(0, 0), (50 * MS, 0), (100 * MS + 3 * MS, 100), (100 * MS - 7 * MS, 100), (100 * MS + 51 * MS, 100)],
)
def test_the_nearest_sweep_is_taken_the_earlier_of_two(refs, after_ns, sweep_ms):
    ns = FIRST_NS + after_ns + (round(-22.410557 * MS) if not after_ns else 0)
    assert refs[front(ns)].locator["sweep_ns"] == FIRST_NS + sweep_ms * MS


# What a frame holds


def test_every_good_frame_is_read(frames):
    assert len(frames) == 7 + 5 + 3  # about the first sweep; of the front camera; of the half calibrated log


def test_each_pixel_holds_the_nearest_return_of_the_moved_sweep(truth, frames):
    """Pixels, sub-pixels and depths are those of an independent projection, one point after the other."""
    checked = 0
    for name, frame in frames.items():
        expected, depth = truth.seen(name), frame.depth
        u, v = depth.source_pixels()
        pixels = list(zip(np.floor(u + 0.5).astype(int), np.floor(v + 0.5).astype(int), strict=True))
        assert sorted(expected, key=lambda p: p[::-1]) == pixels, name
        wanted = np.array([expected[pixel] for pixel in pixels]).reshape(-1, 3)
        for stored, exact in ((u, wanted[:, 0]), (v, wanted[:, 1])):
            assert (stored <= exact + 1e-6).all()
            assert (stored > exact - UV_STEP_PX - 1e-6).all()
        assert np.abs(depth.depth_m - wanted[:, 2]).max(initial=0) <= HALF_Z_STEP_M + 1e-6
        checked += len(pixels)
    assert checked > 8000


def test_some_returns_lie_just_outside_and_share_pixels(truth, frames):
    """Or the test above could not tell clipping, truncation and the last return of a pixel."""
    name = front(FIRST_NS + 103 * MS)
    (fx, fy, cx, cy), (width, height) = truth.rig.intrinsics(RING[0]), truth.rig.size(RING[0])
    x, y, z = truth.points_cam(name).T
    u, v = fx * x / z + cx, fy * y / z + cy
    assert ((u > -1) & (u < -0.5) & (v > 0) & (v < height - 1)).sum() >= 8
    assert ((u > -0.5) & (u < 0) & (v > 0) & (v < height - 1)).sum() >= 8
    inside = (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5) & (z > 0.05)
    assert inside.sum() > len(frames[name].depth.z_raw) + 6


def test_the_car_moved_and_turned_between_sweep_and_picture(truth, frames):
    """Ignoring it, or half of it, is far beyond a step."""
    name = front(FIRST_NS + 50 * MS)
    still = world_from_camera(truth.rig, RING[0], FIRST_NS)
    moved = world_from_camera(truth.rig, RING[0], FIRST_NS + 50 * MS)
    assert np.linalg.norm((still - moved)[:3, 3]) > 0.5
    assert np.abs((still - moved)[:3, :3]).max() > 0.015
    assert frames[name].extra["ego_shift_m"] == pytest.approx(np.hypot(SPEED_M_S, 2.5) * 0.05, abs=1e-6)


def test_a_missing_pose_is_interpolated_between_close_neighbours(truth, frames, refs):
    between_ns = FIRST_NS + 93 * MS
    table = feather.read_table(truth.root / f"val/{VAL_LOG}/city_SE3_egovehicle.feather")
    assert between_ns not in table["timestamp_ns"].to_pylist()
    assert len(frames[front(between_ns)].depth.z_raw) > 500
    source = open_tree(truth.root)
    source.read(refs[front(between_ns)])
    found, _ = source.log.cam_from_lidar(RING[0], between_ns, FIRST_NS + 100 * MS)
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1.0, abs=1e-12)


def test_intrinsics_are_the_cameras_own_to_the_last_digit(truth, frames):
    for frame in frames.values():
        camera, name = frame.camera, frame.ref.camera
        assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == truth.rig.intrinsics(name)
        assert (camera.width, camera.height) == truth.rig.size(name)


def test_the_former_lens_is_kept_and_changes_nothing(frames):
    for frame in frames.values():
        assert frame.extra["former_lens_k1_k2_k3"] == [-0.24, -0.21, 0.33]
        assert frame.lens is None


def test_times_are_recorded_to_the_nanosecond(truth, frames):
    for name, frame in frames.items():
        assert (frame.extra["image_time_ns"], frame.extra["lidar_time_ns"]) == truth.times_ns[name]


def test_the_picture_is_the_cameras_own(frames):
    for name, frame in frames.items():
        log, camera, time_ns = name.split("/")
        assert frame.picture.path == f"val/{log}/sensors/cameras/{camera}/{time_ns}.jpg"
        pixels = np.asarray(frame.picture.decode(), dtype=int)
        assert np.abs(pixels[8, 40] - [32, 0, 16 * RING.index(camera)]).max() <= 6


def test_a_sweep_of_which_nothing_is_in_front_gives_a_frame_without_points(frames):
    assert len(frames[front(FIRST_NS + 501 * MS)].depth.z_raw) == 0


def test_cameras_are_read_alike_in_any_order(truth, frames, refs):
    source = open_tree(truth.root)
    for name in sorted(frames, key=lambda name: name[::-1]):
        assert np.array_equal(source.read(refs[name]).depth.z_raw, frames[name].depth.z_raw)


def test_points_measured_long_before_or_after_the_picture_can_be_left_out(truth, frames, refs):
    name = front(FIRST_NS + 50 * MS)
    near = open_tree(truth.root, max_point_dt_ms=20.0).read(refs[name]).depth
    count = len(truth.points[FIRST_NS])
    offset_ms = np.linspace(2.654, 105.9, count)
    kept = np.abs(offset_ms - 50) <= 20
    assert 0.3 < kept.mean() < 0.5
    whole = frames[name].depth
    assert 0.3 < len(near.z_raw) / len(whole.z_raw) < 0.5
    far = open_tree(truth.root, max_point_dt_ms=100.0).read(refs[name]).depth
    assert np.array_equal(far.z_raw, whole.z_raw)


# What cannot be used


def test_a_frame_that_cannot_be_used_says_why_and_where(truth, source, refs):
    reasons = set()
    for name, (reason, detail) in truth.faults.items():
        with pytest.raises(FrameError) as caught:
            source.read(refs[name]).picture.decode()
        assert (caught.value.reason, name) == (reason, name)
        assert detail in caught.value.detail
        reasons.add(reason)
    assert len(truth.faults) == 7 + 7 + 4 + 1 + 7
    assert reasons == {
        *("time_gap", "unreadable", "size_mismatch", "missing_intrinsics", "bad_intrinsics", "missing_depth")
    }


def test_a_picture_that_went_away_is_missing(tree):
    source = open_tree(tree.root)
    ref = index(source)[front(FIRST_NS + 103 * MS)]
    (tree.root / f"val/{VAL_LOG}/sensors/cameras/{RING[0]}/{ref.frame}.jpg").unlink()
    with pytest.raises(FrameError, match="missing_image"):
        source.read(ref)


def test_one_broken_file_changes_only_its_frames(tree, frames):
    path = tree.root / f"val/{VAL_LOG}/sensors/lidar/{FIRST_NS + 100 * MS}.feather"
    path.write_bytes(path.read_bytes()[:100])
    source = open_tree(tree.root)
    for name, ref in index(source).items():
        if tree.times_ns.get(name, (0, 0))[1] == FIRST_NS + 100 * MS:
            with pytest.raises(FrameError, match="unreadable"):
                source.read(ref)
        elif name in frames:
            assert np.array_equal(source.read(ref).depth.z_raw, frames[name].depth.z_raw)


@pytest.mark.parametrize(
    ("table", "reason"),
    [("city_SE3_egovehicle", "unreadable"), ("calibration/intrinsics", "unreadable")],
)
@pytest.mark.parametrize("damage", ["cut", "column"])
def test_a_table_that_cannot_be_read_is_named(tree, table, reason, damage):
    path = tree.root / f"val/{VAL_LOG}/{table}.feather"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        whole = feather.read_table(path)
        feather.write_feather(whole.drop_columns(whole.column_names[-1]), str(path))
    source = open_tree(tree.root)
    with pytest.raises(FrameError) as caught:
        source.read(index(source)[front(FIRST_NS + 103 * MS)])
    assert caught.value.reason == reason
    assert f"{table}.feather" in caught.value.detail


def test_returns_that_are_no_numbers_are_no_points(tree, frames):
    path = tree.root / f"val/{VAL_LOG}/sensors/lidar/{FIRST_NS}.feather"
    columns = {name: column.to_numpy().copy() for name, column in zip(*_columns(path), strict=True)}
    extra = {name: np.repeat(values[:1], 3) for name, values in columns.items()}
    extra["x"][:2] = [np.nan, np.inf]
    extra["y"][2] = -np.inf
    merged = {name: np.concatenate([extra[name], values]) for name, values in columns.items()}
    feather.write_feather(pa.table(merged), str(path))
    source, name = open_tree(tree.root), front(FIRST_NS + 50 * MS)
    assert np.array_equal(source.read(index(source)[name]).depth.z_raw, frames[name].depth.z_raw)


def _columns(path):
    table = feather.read_table(path)
    return table.column_names, table.columns


# Order, roots, layout


def test_listing_order_does_not_matter(truth, refs, monkeypatch):
    in_order = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, p: iter(sorted(in_order(self, p), reverse=True)))
    assert index(open_tree(truth.root)) == refs


@pytest.mark.parametrize("below", ["val", f"val/{VAL_LOG}"])
def test_a_root_one_or_two_levels_too_deep_names_the_right_one(truth, below):
    with pytest.raises(DataMissingError, match=f"--root {truth.root} has it"):
        open_tree(truth.root / below)


def test_a_root_one_level_too_high_names_the_right_one(tree, tmp_path):
    (tmp_path / "sensor").mkdir()
    for split in ("train", "val"):
        shutil.move(tmp_path / split, tmp_path / "sensor" / split)
    with pytest.raises(DataMissingError, match=f"--root {tmp_path / 'sensor'} has it"):
        open_tree(tmp_path)


def test_a_split_unpacked_into_a_folder_of_its_name_names_the_right_root(tree, tmp_path):
    for split in ("train", "val"):
        shutil.move(tmp_path / split, tmp_path / "inner")
        (tmp_path / split).mkdir()
        shutil.move(tmp_path / "inner", tmp_path / split / split)
    with pytest.raises(DataMissingError, match=r"--root .*/(train|val) has it"):
        open_tree(tmp_path)


def test_a_root_of_something_else_says_what_is_there_and_what_should_be(tmp_path):
    (tmp_path / "train-000.tar").touch()
    with pytest.raises(DataMissingError) as caught:
        open_tree(tmp_path)
    assert "holds train-000.tar" in str(caught.value)
    assert "dvbench datasets argoverse2" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "meaning"),
    [
        ("train1/11953248/vehicle_calibration_info.json", "Argoverse 1 logs"),
        ("val/0000b0f9/scenario_0000b0f9.parquet", "Argoverse 2 motion forecasting"),
    ],
)
def test_another_release_is_refused_by_name(tmp_path, file, meaning):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(DataMissingError, match=meaning):
        open_tree(tmp_path)


def test_logs_without_pictures_are_missing_and_doctor_fails(tmp_path):
    """The lidar dataset of the same release has the same logs' layout, without cameras."""
    (tmp_path / "val" / VAL_LOG / "sensors" / "lidar").mkdir(parents=True)
    source = open_tree(tmp_path)
    assert {skip.reason for skip in skips(source)} == {"missing_scene"}
    diagnosis = examine(CONVERTER, tmp_path, None, 1, Silent(), workspace=tmp_path)
    assert diagnosis.status == "fail"


def test_layout_counts_tables_and_sensor_files(truth, source):
    found = {item.pattern: item.found for item in source.layout()}
    assert found["*/*/city_SE3_egovehicle.feather"] == 7
    assert found["*/*/calibration/*.feather"] == 14
    lidar = [p for p in truth.root.glob("*/*/sensors/lidar/*.feather") if not p.name.startswith(".")]
    assert found["*/*/sensors/lidar/*.feather"] == len(lidar)
    for camera in RING:
        files = [
            p for p in truth.root.glob(f"*/*/sensors/cameras/{camera}/*.jpg") if not p.name.startswith(".")
        ]
        assert found[f"*/*/sensors/cameras/{camera}/*.jpg"] == len(files)


# The paper's rasters


def paper_raster(truth, name):
    """The devkit's projection and the paper's script, one point after the other."""
    _, camera, _ = name.split("/")
    (fx, fy, cx, cy), (width, height) = truth.rig.intrinsics(camera), truth.rig.size(camera)
    raster = np.zeros((height, width), dtype=np.float32)
    for x, y, z in truth.points_cam(name).tolist():
        if z <= 0:
            continue
        u, v = fx * x / z + cx, fy * y / z + cy
        if 0 <= u < width - 1 and 0 <= v < height - 1:
            raster[round(v), round(u)] = np.float32(np.sqrt(x * x + y * y + z * z + 1.0**2))
    return (raster * np.float32(256)).clip(0, 65535).astype(np.uint16)


def test_compat_frames_are_the_papers_rasters(truth, refs, frames):
    source = CONVERTER.open(truth.root, CONVERTER.compat)
    for name in frames:
        frame = source.read(refs[name])
        assert (frame.depth_kind, frame.depth.depth_scale) == ("ray_homogeneous", 256.0)
        difference = np.abs(frame.depth.values.astype(int) - paper_raster(truth, name))
        # A value that is a whole number of units may fall on either side of it.
        assert difference.max(initial=0) <= 1
        assert (difference > 0).mean() < 0.001


def test_the_papers_raster_is_neither_z_nor_the_nearest(truth, refs, frames):
    source = CONVERTER.open(truth.root, CONVERTER.compat)
    name = front(FIRST_NS + 103 * MS)
    paper, strict = source.read(refs[name]).depth, frames[name].depth
    u, v = strict.source_pixels()
    theirs = paper.values[np.floor(v + 0.5).astype(int), np.floor(u + 0.5).astype(int)] / 256
    both = theirs > 0
    assert np.median(theirs[both] / strict.depth_m[both]) > 1.01
    assert (theirs[both] > 1.4 * strict.depth_m[both]).sum() >= 4  # ghosts behind nearer returns


def test_a_compat_set_says_what_it_measures(truth, tmp_path, convert_split):
    summary = convert_split("argoverse2", truth.root, tmp_path, sampling="compat")
    rows = list(RecordSet(summary.folder, "eval").rows())
    assert summary.set_name == "argoverse2@compat"
    assert {row["depth_kind"] for row in rows} == {"ray_homogeneous"}
    assert len(rows) == summary.images > 3


def test_a_strict_set_of_few_logs_is_a_subset_of_the_whole(truth, tmp_path, convert_split):
    """1,050 groups share 1,000 images: each of these 35 groups gives at most one."""
    summary = convert_split("argoverse2", truth.root, tmp_path)
    rows = list(RecordSet(summary.folder, "eval").rows())
    assert summary.subset
    assert summary.images + summary.dropped == 1000
    assert max(np.unique([f"{row['scene']}/{row['camera']}" for row in rows], return_counts=True)[1]) == 1
    assert {row["depth_kind"] for row in rows} == {"z"}
    assert all(len(row["points"]) == 10 for row in rows)


# The real log


@pytest.fixture(scope="module")
def real():
    source = open_tree(real_argoverse2_tree())
    found = sorted(index(source).values(), key=lambda ref: ref.order_key)
    return source, {ref.camera: (ref, source.read(ref)) for ref in found}


def test_the_real_log_has_seven_frames_of_the_val_split(real):
    source, frames = real
    assert source.source_splits() == ["val"]
    assert set(frames) == set(RING)
    sizes = {camera: frame.picture.size for camera, (_, frame) in frames.items()}
    assert sizes == dict.fromkeys(RING, (2048, 1550)) | {"ring_front_center": (1550, 2048)}
    assert frames["ring_front_center"][1].camera.fx_px == 1776.0414843455
    assert {ref.locator["sweep_ns"] for ref, _ in frames.values()} == {315966265259836000}


@pytest.mark.parametrize(
    ("camera", "in_front", "in_picture", "pixels", "least_m", "median_m", "most_m"),
    [
        ("ring_front_center", 49413, 11453, 11399, 3.76, 29.18, 208.51),
        ("ring_front_left", 49454, 17083, 17048, 3.52, 22.55, 105.72),
        ("ring_side_left", 48555, 17569, 17520, 3.46, 12.46, 70.87),
        ("ring_front_right", None, None, 17901, None, None, None),
        ("ring_side_right", None, None, 18169, None, None, None),
        ("ring_rear_left", None, None, 15367, None, None, None),
        ("ring_rear_right", None, None, 14890, None, None, None),
    ],
)
def test_real_frames_have_the_published_figures(
    real, camera, in_front, in_picture, pixels, least_m, median_m, most_m
):
    """Exactly under the figures' own rule (floor, no near limit); stored frames have centred pixels."""
    source, frames = real
    ref, frame = frames[camera]
    sweep_ns = ref.locator["sweep_ns"]
    cam_from_lidar, _ = source.log.cam_from_lidar(camera, int(ref.frame), sweep_ns)
    points = source.sweep(f"{ref.locator['log']}/sensors/lidar/{sweep_ns}.feather")
    assert len(points) == 99229
    moved = transform_points(cam_from_lidar, points[:, :3])
    projected = project_nearest(moved, frame.camera, near_m=0.0, pixel_centre=0.5)
    assert len(projected.depth_m) == pixels
    if in_front is not None:
        assert (projected.in_front, projected.in_picture) == (in_front, in_picture)
        found = projected.depth_m
        assert (found.min(), np.median(found), found.max()) == pytest.approx(
            (least_m, median_m, most_m), abs=0.005
        )
    assert len(frame.depth.z_raw) == pytest.approx(pixels, rel=0.004)
    assert 0.05 < (frame.depth.flags & 1).mean() < 0.16
    assert scorable(frame.depth, 0.05, 120.0).sum() > 9000
