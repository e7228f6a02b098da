import json
from dataclasses import replace

import numpy as np
import pytest
from raw_argoverse2 import write_argoverse2_tree
from raw_nuscenes import VAL_SCENE, write_nuscenes_tree
from raw_scannetpp import EMPTY, GOOD, VAL, VAL_ABSENT, VAL_BROKEN_JSON, write_scannetpp_tree
from raw_waymo import write_waymo_tree

from depthvlm_bench.convert.plan import (
    MAX_SHARD_ROWS,
    MIN_LIDAR_CANDIDATES,
    Plan,
    PlannedFrame,
    default_shard_rows,
    draw_points,
    index_frames,
    plan_evaluation,
    plan_training,
    read_plan,
    require_valid_depth,
    write_plan,
)
from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.convert.settings import make_settings
from depthvlm_bench.errors import DataMissingError, FrameError, UsageError
from depthvlm_bench.frames import Split
from depthvlm_bench.progress import Silent
from depthvlm_bench.records import receipts
from depthvlm_bench.registry import load_converter


def settings_for(name, split, limit=None):
    converter = load_converter(name)
    return make_settings(
        converter, split, "strict", converter.options_type(), limit=limit, keep_source_image=True
    )


def open_tree(name, root):
    converter = load_converter(name)
    return converter.open(root, converter.options_type()), converter.card


@pytest.fixture(scope="module")
def scannetpp(tmp_path_factory):
    root = tmp_path_factory.mktemp("plan-scannetpp")
    truth = write_scannetpp_tree(root)
    source, card = open_tree("scannetpp", root)
    return source, card, truth, Split("eval", "nvs_sem_val")


@pytest.fixture(scope="module")
def scannetpp_plan(scannetpp):
    source, card, _, split = scannetpp
    return plan_evaluation(source, card, settings_for("scannetpp", split), Silent())


@pytest.fixture(scope="module")
def nuscenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("plan-nuscenes")
    truth = write_nuscenes_tree(root)
    source, card = open_tree("nuscenes", root)
    return source, card, truth, Split("eval", "val")


def test_only_frames_that_can_be_read_to_the_end_are_planned(scannetpp_plan):
    assert [frame.ref.frame for frame in scannetpp_plan.frames] == list(GOOD)
    assert scannetpp_plan.replaced == 0


def test_what_is_left_out_is_listed_once_with_its_reason(scannetpp, scannetpp_plan):
    found = {skip.id: skip.reason for skip in scannetpp_plan.skips}
    assert len(found) == len(scannetpp_plan.skips)
    _, _, truth, _ = scannetpp
    for frame, (reason, detail) in truth.faults.items():
        name = f"scannetpp/eval/{VAL}/-/{frame}"
        assert found.pop(name) == reason
        (skip,) = (skip for skip in scannetpp_plan.skips if skip.id == name)
        assert detail in skip.detail
    assert found == {
        f"scannetpp/eval/{VAL}/-/{EMPTY}": "no_valid_depth",
        f"scannetpp/eval/{VAL_BROKEN_JSON}/-/frame_000000": "missing_intrinsics",
        f"scannetpp/eval/{VAL_ABSENT}/-/-": "missing_scene",
    }


def test_every_image_has_as_many_points_as_the_card_says(scannetpp_plan, nuscenes):
    source, card, _, split = nuscenes
    for plan in (scannetpp_plan, plan_evaluation(source, card, settings_for("nuscenes", split), Silent())):
        for frame in plan.frames:
            assert len(frame.points) == len(frame.points_balanced) == 10


def test_frames_come_in_the_order_of_scene_time_camera(nuscenes):
    source, card, _, _ = nuscenes
    plan = plan_training(source, card, settings_for("nuscenes", Split("train", "train")))
    keys = [frame.ref.order_key for frame in plan.frames]
    assert keys == sorted(keys)
    assert len({key[1] for key in keys[:6]}) == 1  # one sweep serves its six cameras in a row
    assert all(frame.points is None for frame in plan.frames)


def test_a_limit_on_training_spreads_over_the_groups(nuscenes):
    source, card, _, _ = nuscenes
    plan = plan_training(source, card, settings_for("nuscenes", Split("train", "train"), limit=6))
    assert sorted(frame.ref.camera for frame in plan.frames) == sorted(card.cameras)


def test_lidar_images_need_fifty_candidates(nuscenes):
    source, card, truth, split = nuscenes
    refs = {ref.frame: ref for ref in index_frames(source, split, [])}
    good = next(name for name in truth.times_us if name.startswith(VAL_SCENE) and name != truth.empty)
    frame = source.read(refs[good.split("/")[2]])
    assert MIN_LIDAR_CANDIDATES == 50
    chosen, balanced = draw_points(frame, card, 10, "42")
    assert len(chosen) == len(balanced) == 10
    depth = frame.depth
    first = {name: getattr(depth, name)[:49] for name in ("u_raw", "v_raw", "z_raw", "flags")}
    few = replace(frame, depth=replace(depth, **first))
    with pytest.raises(FrameError, match=r"no_valid_depth: \d+ valid pixels, 50 needed"):
        draw_points(few, card, 10, "42")


def test_the_empty_sweep_is_left_out(nuscenes):
    source, card, truth, split = nuscenes
    plan = plan_evaluation(source, card, settings_for("nuscenes", split), Silent())
    (skip,) = (skip for skip in plan.skips if skip.id.endswith(truth.empty))
    assert skip.reason == "no_valid_depth"


def test_grids_need_as_many_distinct_canonical_pixels_as_points(scannetpp):
    source, card, _, split = scannetpp
    frame = source.read(next(ref for ref in index_frames(source, split, []) if ref.frame == GOOD[0]))
    values = np.zeros_like(frame.depth.values)
    values[0, :9] = 1000
    poor = replace(frame, depth=replace(frame.depth, values=values))
    assert len(draw_points(poor, card, 9, "42")[0]) == 9
    with pytest.raises(FrameError, match="9 valid pixels, 10 needed"):
        draw_points(poor, card, 10, "42")


def test_training_frames_without_depth_in_range_supervise_nothing(scannetpp):
    source, card, _, split = scannetpp
    frame = source.read(next(ref for ref in index_frames(source, split, []) if ref.frame == GOOD[0]))
    require_valid_depth(frame, card)
    with pytest.raises(FrameError, match="no_valid_depth"):
        require_valid_depth(frame, replace(card, valid_min_m=60.0, valid_max_m=65.0))


def test_no_usable_frame_says_why(tmp_path):
    truth = write_scannetpp_tree(tmp_path)
    for path in truth.iphone().glob("depth/*.png"):
        path.unlink()
    source, card = open_tree("scannetpp", tmp_path)
    with pytest.raises(DataMissingError, match="no usable frame") as caught:
        plan_evaluation(source, card, settings_for("scannetpp", Split("eval", "nvs_sem_val")), Silent())
    assert "missing_depth" in caught.value.why
    assert caught.value.next_step.startswith("dvbench doctor scannetpp")


@pytest.mark.parametrize(("rows", "shards"), [(1, 3), (2, 2), (3, 1), (50, 1)])
def test_shards_are_consecutive_rows(scannetpp_plan, rows, shards):
    plan = replace(scannetpp_plan, shard_rows=rows)
    assert plan.shards == shards
    cut = [plan.shard(index) for index in range(shards)]
    assert tuple(frame for shard in cut for frame in shard) == plan.frames
    assert all(len(shard) == rows for shard in cut[:-1])
    assert plan.shard_file(0) == f"eval-00000-of-{shards:05d}.parquet"


def test_a_plan_comes_back_as_it_was_written(tmp_path, scannetpp_plan):
    plan = replace(scannetpp_plan, shard_rows=2, replaced=4, dropped=5)
    write_plan(tmp_path, plan)
    back = read_plan(tmp_path, "eval")
    assert back == plan
    assert [back.shard_key(i) for i in range(2)] == [plan.shard_key(i) for i in range(2)]
    assert read_plan(tmp_path, "train") is None


def test_a_lidar_plan_with_its_transforms_comes_back_to_the_last_bit(tmp_path, nuscenes):
    source, card, _, _ = nuscenes
    plan = plan_training(source, card, settings_for("nuscenes", Split("train", "train")))
    write_plan(tmp_path, plan)
    back = read_plan(tmp_path, "train")
    assert [frame.ref.id for frame in back.frames] == [frame.ref.id for frame in plan.frames]
    for a, b in zip(plan.frames, back.frames, strict=True):
        assert json.loads(json.dumps(a.ref.locator)) == b.ref.locator
    assert back.shard_key(0) == plan.shard_key(0)


def test_the_shard_key_hangs_on_rows_settings_and_versions(scannetpp_plan, monkeypatch):
    plan = replace(scannetpp_plan, shard_rows=2)
    keys = {plan.shard_key(0), plan.shard_key(1)}
    first = plan.frames[0]
    moved = replace(first, points=[first.points[0] | {"depth_m": 9.0}, *first.points[1:]])
    elsewhere = replace(first, ref=replace(first.ref, locator=first.ref.locator | {"folder": "other"}))
    for changed in (moved, elsewhere, replace(first, points_balanced=None)):
        other = replace(plan, frames=(changed, *plan.frames[1:]))
        assert other.shard_key(1) == plan.shard_key(1)
        keys.add(other.shard_key(0))
    keys.add(replace(plan, settings=replace(plan.settings, keep_source_image=False)).shard_key(0))
    assert len(keys) == 6
    monkeypatch.setattr(receipts, "CODEC_LIBRARIES", ("pillow", "pyarrow", "numpy"))
    assert plan.shard_key(0) not in keys


def test_default_shards_are_about_256_mb_and_between_1_and_1000_rows(scannetpp):
    source, card, _, split = scannetpp
    ref = next(r for r in index_frames(source, split, []) if r.frame == GOOD[0])
    rows = default_shard_rows([ref], source, card, "eval")
    frame = source.read(ref)
    scale = 1000 / frame.camera.fx_px
    pixels = round(frame.camera.width * scale) * round(frame.camera.height * scale)
    assert 0.5 * 256 * 2**20 < rows * 1.2 * pixels <= 256 * 2**20
    assert default_shard_rows([], source, card, "eval") == MAX_SHARD_ROWS == 1000
    huge = replace(card, max_canonical_edge=None)

    class Wide:
        def read(self, _ref):
            camera = replace(frame.camera, fx_px=0.1 * frame.camera.width, fy_px=0.1 * frame.camera.width)
            return replace(frame, camera=camera)

    assert default_shard_rows([ref], Wide(), huge, "eval") == 2


def test_default_shard_rows_come_from_the_first_frame_that_can_be_read(scannetpp):
    source, card, truth, split = scannetpp
    refs = index_frames(source, split, [])
    broken = [ref for ref in refs if ref.frame in truth.faults]
    good = [ref for ref in refs if ref.frame in GOOD]
    assert default_shard_rows(broken + good, source, card, "eval") == default_shard_rows(
        good, source, card, "eval"
    )


def test_a_plan_with_one_frame_has_one_shard(scannetpp_plan):
    plan = Plan(scannetpp_plan.settings, (PlannedFrame(scannetpp_plan.frames[0].ref),), 1000)
    assert plan.shards == 1
    assert len(plan.shard(0)) == 1


def test_ray_distance_is_no_depth_of_a_strict_set(tmp_path):
    """Whatever a converter's options say: a third party's may have no compat options to tell by."""
    truth = write_argoverse2_tree(tmp_path / "raw")
    converter = load_converter("argoverse2")
    request = ConvertRequest(truth.root, tmp_path / "data", options=converter.compat)
    for role in ("eval", "train"):
        with pytest.raises(UsageError, match=r"ray homogeneous distance, not z-depth.*--sampling compat"):
            convert(replace(converter, compat=None), replace(request, role=role), Silent())
    assert convert(converter, replace(request, sampling="compat"), Silent()).images


@pytest.mark.parametrize("name", ["argoverse2", "ddad", "eth3d", "nuscenes", "nyuv2-sun", "sunrgbd", "waymo"])
def test_frames_of_the_paper_s_scripts_are_for_compat_sets(name, tmp_path):
    converter = load_converter(name)
    request = ConvertRequest(tmp_path, tmp_path / "data", options=converter.compat)
    with pytest.raises(UsageError, match=r"-o .* is for compat sets.*--sampling compat"):
        convert(converter, request, Silent())


def test_options_that_are_tuples_do_not_stop_a_run_from_being_resumed(tmp_path):
    """JSON has lists only: the same command typed twice once found other settings."""
    truth = write_waymo_tree(tmp_path / "raw")
    request = ConvertRequest(truth.root, tmp_path / "data")
    converter = load_converter("waymo")
    first = convert(converter, request, Silent())
    again = convert(converter, request, Silent())
    assert again.plan_resumed and again.shards_resumed == first.shards
