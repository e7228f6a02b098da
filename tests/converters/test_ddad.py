import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from raw_ddad import (
    ABSENT_SCENE,
    BROKEN_SCENE,
    CAMERAS,
    DRIFT_M_S,
    FIRST_TICKS,
    LIDAR,
    OFFSET_MS,
    SPEED_M_S,
    TICKS_PER_MS,
    TRAIN_SCENE,
    VAL_SCENE,
    real_ddad_tree,
    write_ddad_tree,
)

from depthvlm_bench.convert.doctor import examine
from depthvlm_bench.errors import CheckError, DataMissingError, FrameError
from depthvlm_bench.frames import FrameRef, Skip, Split
from depthvlm_bench.geometry.lidar import project_nearest
from depthvlm_bench.geometry.rigid import invert_transform, transform_from_quaternion, transform_points
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter

CONVERTER = load_converter("ddad")
VAL, TRAIN = Split("eval", "val"), Split("train", "train")
UV_STEP_PX, HALF_Z_STEP_M = 1 / 16, 0.5 / 256


def open_tree(root):
    return CONVERTER.open(root, CONVERTER.options_type())


def name_of(item):
    return item.id.split("/", 2)[2]


def index(source, split=VAL):
    return {name_of(item): item for item in source.index(split) if isinstance(item, FrameRef)}


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_ddad_tree(tmp_path_factory.mktemp("ddad"))


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture(scope="module")
def refs(source):
    return index(source) | index(source, TRAIN)


@pytest.fixture(scope="module")
def frames(truth, source, refs):
    return {name: source.read(refs[name]) for name in truth.ticks}


@pytest.fixture
def tree(tmp_path):
    return write_ddad_tree(tmp_path)


def first(camera):
    """The record name of a camera's first picture of the val scene."""
    return f"{VAL_SCENE}/{camera}/{FIRST_TICKS + round(OFFSET_MS[camera] * TICKS_PER_MS)}"


def edit_scene(truth, change, scene=VAL_SCENE):
    (path,) = (truth.root / scene).glob("scene_*.json")
    message = json.loads(path.read_text())
    change(message)
    path.write_text(json.dumps(message))


# Which frames there are


def test_pictures_of_the_listed_scenes_are_indexed_and_nothing_else(truth, source):
    assert set(index(source)) == truth.emitted(VAL_SCENE)
    assert set(index(source, TRAIN)) == truth.emitted(TRAIN_SCENE)


def test_names_groups_and_times(truth, refs):
    for name in truth.ticks:
        scene, camera, stem = name.split("/")
        ref = refs[name]
        assert ref.id == f"ddad/{ref.split.role}/{scene}/{camera}/{stem}"
        assert (ref.group, ref.time) == (f"{scene}/{camera}", truth.ticks[name][1])


def test_pictures_of_a_sweep_follow_each_other(source):
    ordered = sorted(index(source).values(), key=lambda ref: ref.order_key)
    sweeps = [(ref.locator["lidar"] or {"filename": ""})["filename"] for ref in ordered]
    assert [s for i, s in enumerate(sweeps) if i == 0 or s != sweeps[i - 1]] == list(dict.fromkeys(sweeps))


@pytest.mark.parametrize(
    ("scene", "reason", "detail"),
    [(ABSENT_SCENE, "missing_scene", "scene_"), (BROKEN_SCENE, "unreadable", "scene_")],
)
def test_scenes_that_cannot_be_read_keep_their_share_of_every_camera(source, scene, reason, detail):
    left_out = [item for item in source.index(VAL) if isinstance(item, Skip)]
    of_scene = [skip for skip in left_out if skip.group.startswith(scene)]
    assert {skip.group for skip in of_scene} == {f"{scene}/{camera}" for camera in CAMERAS}
    assert all(skip.reason == reason and f"{scene}/{detail}" in skip.detail for skip in of_scene)
    assert len(left_out) == 12


def test_splits_are_those_of_the_list_by_number(source):
    assert source.source_splits() == ["train", "val"]
    assert list(source.scenes("val")) == sorted([VAL_SCENE, ABSENT_SCENE, BROKEN_SCENE])
    assert list(source.scenes("train")) == [TRAIN_SCENE]


def test_a_list_without_training_scenes_has_no_such_split(tree):
    lists = json.loads((tree.root / "ddad.json").read_text())
    del lists["scene_splits"]["0"]
    (tree.root / "ddad.json").write_text(json.dumps(lists))
    assert open_tree(tree.root).source_splits() == ["val"]


# What a frame holds


def test_every_good_frame_is_read(frames):
    assert len(frames) == 6 + 2 + 1 + 1 + 2


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
    assert checked > 5000


def test_some_returns_lie_just_outside_and_share_pixels(truth, frames):
    """Or the test above could not tell clipping, truncation and the last return of a pixel."""
    name = first(CAMERAS[0])
    (fx, fy, cx, cy), (width, height) = truth.intrinsics(name), truth.rig.size
    x, y, z = truth.points_cam(name).T
    u, v = fx * x / z + cx, fy * y / z + cy
    for low, high in ((-1, -0.5), (-0.5, 0)):
        assert ((u > low) & (u < high) & (v > 0) & (v < height - 1)).sum() >= 8
    inside = (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5) & (z > 0.05)
    assert inside.sum() > len(frames[name].depth.z_raw) + 6


def test_defaults_that_the_json_leaves_out_are_zero_and_an_empty_pose_none(truth, refs):
    train, val = refs[next(iter(truth.emitted(TRAIN_SCENE)))], refs[first(CAMERAS[0])]
    assert train.locator["lidar"]["pose"] == {}
    assert set(val.locator["lidar"]["pose"]["rotation"]) == {"qz"}
    assert set(val.locator["lidar"]["pose"]["translation"]) == {"x", "z"}


def test_the_car_moved_between_sweep_and_picture(truth, frames):
    for name, frame in frames.items():
        image, sweep = truth.ticks[name]
        way_m = np.hypot(SPEED_M_S, DRIFT_M_S) * abs(image - sweep) / 1e7
        assert frame.extra["ego_shift_m"] == pytest.approx(way_m, abs=1e-9)
    assert max(frame.extra["ego_shift_m"] for frame in frames.values()) > 0.5


def test_times_are_the_digits_of_the_file_names(truth, frames):
    for name, frame in frames.items():
        if not name.endswith("cover"):
            assert (frame.extra["image_time_100ns"], frame.extra["lidar_time_100ns"]) == truth.ticks[name]


def test_intrinsics_are_those_of_the_samples_calibration_to_the_last_digit(truth, frames):
    for name, frame in frames.items():
        camera = frame.camera
        assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == truth.intrinsics(name)
        assert (camera.width, camera.height) == truth.rig.size
    assert {truth.variants[name] for name in frames} == {"a", "b"}


def test_the_picture_is_the_file_that_the_json_names(frames):
    for name, frame in frames.items():
        scene, camera, stem = name.split("/")
        suffix = "jpg" if scene == TRAIN_SCENE else "png"
        assert frame.picture.path == f"{scene}/rgb/{camera}/{stem}.{suffix}"
        pixels = np.asarray(frame.picture.decode(), dtype=int)
        assert np.abs(pixels[8, 40] - [32, 0, 16 * CAMERAS.index(camera)]).max() <= 6


def test_a_sweep_without_points_gives_a_frame_without_points(truth, frames):
    empty = [name for name in frames if len(truth.points[name.split("/")[0], truth.ticks[name][1]]) == 0]
    assert len(empty) == 1
    assert len(frames[empty[0]].depth.z_raw) == 0


def test_cameras_are_read_alike_in_any_order(truth, frames, refs):
    source = open_tree(truth.root)
    for name in sorted(frames, key=lambda name: name[::-1]):
        assert np.array_equal(source.read(refs[name]).depth.z_raw, frames[name].depth.z_raw)


# What cannot be used


def test_a_frame_that_cannot_be_used_says_why_and_where(truth, source, refs):
    reasons = set()
    for name, (reason, detail) in truth.faults.items():
        with pytest.raises(FrameError) as caught:
            source.read(refs[name]).picture.decode()
        assert (caught.value.reason, name) == (reason, name)
        assert detail in caught.value.detail
        reasons.add(reason)
    assert len(truth.faults) == 6 + 5 + 5 + 3
    assert reasons == {
        *("time_gap", "unreadable", "size_mismatch", "missing_intrinsics", "bad_intrinsics", "missing_depth"),
        "missing_image",
    }


def test_a_pickle_is_never_loaded(tree, tmp_path):
    """An object array in the sweep's file would run code on loading."""
    mark = tmp_path / "loaded"

    class Mine:
        def __reduce__(self):
            return (Path.touch, (mark,))

    path = tree.root / VAL_SCENE / "point_cloud" / LIDAR / f"{FIRST_TICKS}.npz"
    np.savez(path, data=np.array([[Mine()] * 4], dtype=object))
    source = open_tree(tree.root)
    with pytest.raises(FrameError, match="unreadable"):
        source.read(index(source)[first(CAMERAS[0])])
    assert not mark.exists()


def test_returns_that_are_no_numbers_are_no_points(tree, frames):
    path = tree.root / VAL_SCENE / "point_cloud" / LIDAR / f"{FIRST_TICKS}.npz"
    points = np.load(path)["data"]
    np.savez(path, data=np.concatenate([[[np.nan, 1, 1, 0], [1, np.inf, 1, 0]], points]))
    source, name = open_tree(tree.root), first(CAMERAS[1])
    assert np.array_equal(source.read(index(source)[name]).depth.z_raw, frames[name].depth.z_raw)


def test_one_broken_file_changes_only_its_frames(tree, frames):
    path = tree.root / VAL_SCENE / "point_cloud" / LIDAR / f"{FIRST_TICKS}.npz"
    path.write_bytes(path.read_bytes()[:100])
    source = open_tree(tree.root)
    refs = index(source) | index(source, TRAIN)
    for name in frames:
        if tree.ticks[name][1] == FIRST_TICKS and name.startswith(VAL_SCENE):
            with pytest.raises(FrameError, match="unreadable"):
                source.read(refs[name])
        else:
            assert np.array_equal(source.read(refs[name]).depth.z_raw, frames[name].depth.z_raw)


@pytest.mark.parametrize(
    "change",
    [
        lambda scene: scene["data"].pop(0),
        lambda scene: scene["data"][0].pop("datum"),
        lambda scene: scene["samples"][0].pop("calibration_key"),
        lambda scene: scene.update(samples={"0": 1}),
    ],
)
def test_a_scene_that_does_not_fit_together_is_left_out_whole(tree, change):
    edit_scene(tree, change)
    items = list(open_tree(tree.root).index(VAL))
    left_out = {skip.group for skip in items if skip.reason == "unreadable"}
    assert left_out == {f"{scene}/{camera}" for scene in (VAL_SCENE, BROKEN_SCENE) for camera in CAMERAS}


@pytest.mark.parametrize("gap_us", [55_000, -55_000, 55_001, -55_001])
def test_a_frame_is_kept_up_to_a_gap_of_55_ms(tree, gap_us):
    stem = FIRST_TICKS + 10 * gap_us

    def change(scene):
        for datum in scene["data"]:
            image = datum["datum"].get("image", {"filename": ""})
            if image["filename"] == f"rgb/CAMERA_01/{first(CAMERAS[0]).rpartition('/')[2]}.png":
                old = tree.root / VAL_SCENE / image["filename"]
                image["filename"] = f"rgb/CAMERA_01/{stem}.png"
                shutil.copy(old, tree.root / VAL_SCENE / image["filename"])

    edit_scene(tree, change)
    source = open_tree(tree.root)
    ref = index(source)[f"{VAL_SCENE}/CAMERA_01/{stem}"]
    if abs(gap_us) <= 55_000:
        assert len(source.read(ref).depth.z_raw) > 0
    else:
        with pytest.raises(FrameError, match="time_gap"):
            source.read(ref)


# Order, roots, layout


def test_row_and_listing_order_do_not_matter(tree, source, refs):
    def turn(scene):
        scene["data"].reverse()
        scene["samples"].reverse()
        for sample in scene["samples"]:
            sample["datum_keys"].reverse()

    edit_scene(tree, turn)
    lists = json.loads((tree.root / "ddad.json").read_text())
    lists["scene_splits"]["1"]["filenames"].reverse()
    (tree.root / "ddad.json").write_text(json.dumps(lists))
    turned = open_tree(tree.root)
    expected = sorted(index(source).values(), key=lambda ref: ref.order_key)
    assert sorted(index(turned).values(), key=lambda ref: ref.order_key) == expected
    assert index(turned, TRAIN) == {n: ref for n, ref in refs.items() if n.startswith(TRAIN_SCENE)}


def test_a_root_one_level_too_high_or_deep_names_the_right_one(tree, tmp_path):
    inner = tmp_path / "ddad_train_val"
    inner.mkdir()
    for path in list(tmp_path.iterdir()):
        if path != inner:
            shutil.move(path, inner)
    for root in (tmp_path, inner / VAL_SCENE):
        with pytest.raises(DataMissingError, match=rf"no ddad\.json .*--root {inner} has it"):
            open_tree(root)


def test_a_root_of_something_else_says_what_is_there_and_what_should_be(tmp_path):
    (tmp_path / "scene_dataset_v1.0.json").touch()
    with pytest.raises(DataMissingError) as caught:
        open_tree(tmp_path)
    assert "holds scene_dataset_v1.0.json" in str(caught.value)
    assert "dvbench datasets ddad" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"scene_splits": [1]}', "\xff"])
def test_a_list_that_is_none_is_an_error_that_names_it(tree, text):
    (tree.root / "ddad.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckError, match=r"list of scenes cannot be read \[.*ddad\.json\]"):
        open_tree(tree.root)


def test_layout_counts_scenes_and_sensor_files(truth, source):
    found = {item.pattern: item.found for item in source.layout()}
    assert found["*/scene_*.json"] == 4
    assert found["*/calibration/*.json"] == 4 * 2 + 1
    assert found[f"*/point_cloud/{LIDAR}/*.npz"] == len(list(truth.root.glob(f"*/point_cloud/{LIDAR}/*.npz")))
    files = [path for path in truth.root.glob("*/rgb/CAMERA_05/*") if not path.name.startswith(".")]
    assert found["*/rgb/CAMERA_05/*"] == len(files)


def test_doctor_names_what_is_absent(truth, tmp_path):
    found = {c.name: c for c in examine(CONVERTER, truth.root, None, 4, Silent(), workspace=tmp_path).checks}
    assert "missing_scene" in found["val: left out"].found
    assert (
        found["val: frames"].found == f"{len(truth.emitted(VAL_SCENE))} in the index, 23700 in the full set"
    )


# The paper's rasters


def paper_raster(truth, name):
    """DGP's generator, one point after the other: truncated indices, last one wins, K in float32."""
    (fx, fy, cx, cy), (width, height) = np.float32(truth.intrinsics(name)).tolist(), truth.rig.size
    raster = np.zeros((height, width), dtype=np.float32)
    for x, y, z in truth.points_cam(name).tolist():
        if z > 0:
            column, row = int(fx * x / z + cx), int(fy * y / z + cy)
            if 0 <= column < width and 0 <= row < height:
                raster[row, column] = z
    return (raster * np.float32(256)).clip(0, 65535).astype(np.uint16)


def test_compat_frames_are_the_papers_rasters(truth, refs, frames):
    source = CONVERTER.open(truth.root, CONVERTER.compat)
    for name in frames:
        frame = source.read(refs[name])
        assert (frame.depth_kind, frame.depth.depth_scale) == ("z", 256.0)
        difference = np.abs(frame.depth.values.astype(int) - paper_raster(truth, name))
        # A value that is a whole number of units may fall on either side of it.
        assert difference.max(initial=0) <= 1
        assert (difference > 0).mean() < 0.001


def test_in_the_papers_raster_what_lies_left_of_the_picture_falls_into_its_first_column(truth, refs):
    source = CONVERTER.open(truth.root, CONVERTER.compat)
    values = source.read(refs[first(CAMERAS[0])]).depth.values
    assert (values[20:50, 0] > 0).sum() >= 8


def test_the_paper_looks_at_no_time(truth, refs):
    late = next(name for name, (reason, _) in truth.faults.items() if reason == "time_gap")
    assert CONVERTER.open(truth.root, CONVERTER.compat).read(refs[late]).depth.values.any()


def test_a_compat_set_says_what_it_measures(truth, tmp_path, convert_split):
    summary = convert_split("ddad", truth.root, tmp_path, sampling="compat")
    rows = list(RecordSet(summary.folder, "eval").rows())
    assert summary.set_name == "ddad@compat"
    assert {row["depth_kind"] for row in rows} == {"z"}
    assert len(rows) == summary.images > 3


def test_a_strict_set_counts_the_shares_of_scenes_that_are_not_there(truth, tmp_path, convert_split):
    summary = convert_split("ddad", truth.root, tmp_path)
    rows = list(RecordSet(summary.folder, "eval").rows())
    assert summary.subset
    assert summary.skips["missing_scene"] == 6
    assert {row["depth_kind"] for row in rows} == {"z"}
    assert all(len(row["points"]) == 10 for row in rows)


# The real scenes


@pytest.fixture(scope="module")
def real():
    source = open_tree(real_ddad_tree())
    found = sorted((*index(source).values(), *index(source, TRAIN).values()), key=lambda ref: ref.order_key)
    samples = sorted({(ref.scene, ref.time) for ref in found})
    return source, {(samples.index((ref.scene, ref.time)), ref.camera): ref for ref in found}


def moved_points(source, ref):
    """The sweep in the camera's frame, by poses read here."""
    poses = []
    for datum in (ref.locator["image"], ref.locator["lidar"]):
        turn, place = datum["pose"]["rotation"], datum["pose"]["translation"]
        poses.append(
            transform_from_quaternion([turn[k] for k in ("qw", "qx", "qy", "qz")], [place[k] for k in "xyz"])
        )
    points = source.sweep(ref.locator["lidar"]["filename"])
    return points, transform_points(invert_transform(poses[0]) @ poses[1], points)


def test_the_real_scenes_have_twelve_and_three_frames(real):
    source, refs = real
    assert source.source_splits() == ["train", "val"]
    assert len(refs) == 15
    assert {ref.camera for ref in refs.values() if ref.scene == VAL_SCENE} == set(CAMERAS[:3])


@pytest.mark.parametrize(
    ("sample", "camera", "points", "in_front", "in_picture", "pixels", "percentiles_m"),
    [
        (0, "CAMERA_01", 47230, 24854, 5157, 5154, (5.13, 6.49, 26.10, 88.38, 176.01)),
        (0, "CAMERA_05", 47230, 23758, 11916, 11849, (2.52, 5.45, 17.12, 50.33, 115.85)),
        (0, "CAMERA_06", 47230, 23335, 11566, 11499, (2.43, 4.43, 13.41, 64.12, 126.47)),
        (0, "CAMERA_07", 47230, 22912, 10718, 10663, (2.56, 7.25, 17.57, 49.81, 106.19)),
        (0, "CAMERA_08", 47230, 22128, 10130, 10063, (2.49, 5.88, 24.93, 58.82, 126.75)),
        (0, "CAMERA_09", 47230, 21018, 9393, 9358, (2.59, 5.79, 24.12, 63.34, 229.93)),
        (1, "CAMERA_01", 48620, 25557, 5275, 5268, (5.03, 6.40, 24.97, 85.53, 173.92)),
        (2, "CAMERA_01", 40733, 22511, 4819, 4818, (5.06, 6.53, 11.43, 73.60, 226.09)),
    ],
)
def test_real_frames_have_the_published_figures(
    real, sample, camera, points, in_front, in_picture, pixels, percentiles_m
):
    """Exactly under the figures' own rule (floor, no near limit); stored frames have centred pixels."""
    source, refs = real
    frame, (sweep, moved) = source.read(refs[sample, camera]), moved_points(source, refs[sample, camera])
    projected = project_nearest(moved, frame.camera, near_m=0.0, pixel_centre=0.5)
    assert (len(sweep), projected.in_front, projected.in_picture) == (points, in_front, in_picture)
    assert len(projected.depth_m) == pixels
    found_m = np.percentile(projected.depth_m, [0, 5, 50, 95, 100])
    assert found_m == pytest.approx(percentiles_m, abs=0.0051)
    assert len(frame.depth.z_raw) == pytest.approx(pixels, rel=0.003)
    assert frame.picture.size == (1936, 1216)


def test_the_real_car_moved_between_sweep_and_picture_and_the_parked_one_did_not(real):
    """Poses of their own differ from the fixed mounting by what the car moved in 9 ms."""
    source, refs = real
    driven = [source.read(ref).extra["ego_shift_m"] for ref in refs.values() if ref.scene == TRAIN_SCENE]
    parked = [source.read(ref).extra["ego_shift_m"] for ref in refs.values() if ref.scene == VAL_SCENE]
    assert 0.038 < min(driven) <= max(driven) < 0.049
    assert max(parked) < 1e-5


def test_the_real_pictures_and_sweeps_are_9_and_21_ms_apart(real):
    source, refs = real
    for (sample, _), ref in refs.items():
        extra = source.read(ref).extra
        apart_ms = (extra["image_time_100ns"] - extra["lidar_time_100ns"]) / TICKS_PER_MS
        assert apart_ms == pytest.approx((-9.137, -9.2356, 21.1478)[sample], abs=1e-3)


def test_suspects_of_the_real_scenes(real):
    source, refs = real
    for ref in refs.values():
        assert 0.02 < (source.read(ref).depth.flags & 1).mean() < 0.27
