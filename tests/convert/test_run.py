import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from raw_ibims1 import write_ibims1_tree
from raw_nuscenes import TRAIN_SCENE, real_nuscenes_tree, write_nuscenes_tree
from raw_scannetpp import real_scannetpp_tree, write_scannetpp_tree

from depthvlm_bench.convert.run import ConvertRequest, convert, open_source, plan_split, resolve_split
from depthvlm_bench.errors import (
    CheckError,
    DataMissingError,
    DvbenchError,
    ExitCode,
    PartialError,
    UsageError,
)
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.receipts import read_receipt
from depthvlm_bench.registry import load_converter


def files_of(folder):
    """Every file of a set and its bytes; logs are no part of it."""
    files = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith("logs/")}


def rows_of(folder, role="eval"):
    """id -> record, in order."""
    tables = [pq.read_table(path) for path in sorted((folder / "data").glob(f"{role}-*.parquet"))]
    return {row["id"]: row for table in tables for row in table.to_pylist()}


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "data").iterdir()}


def reading(converter, before_read):
    """The converter, with something that happens before each frame is read."""

    def opened(root, options):
        source = converter.open(root, options)
        read = source.read

        def watched(ref):
            before_read(ref)
            return read(ref)

        source.read = watched
        return source

    return replace(converter, open=opened)


class StopAt:
    """Raises once, when a frame is read for the nth time in all."""

    def __init__(self, count, error):
        self.left, self.error = count, error

    def __call__(self, _ref):
        self.left -= 1
        if self.left == 0:
            raise self.error


@pytest.fixture
def ibims1(tmp_path):
    return write_ibims1_tree(tmp_path / "raw")


# ---- resuming


def test_a_finished_set_is_taken_up_whole_and_unchanged(ibims1_set, copy_of, convert_split):
    folder = copy_of(ibims1_set)
    before, times = files_of(folder), stamps(folder)
    summary = convert_split("ibims1", ibims1_set.root, folder.parent)
    assert summary.plan_resumed
    assert (summary.shards, summary.shards_resumed) == (3, 3)
    assert files_of(folder) == before
    assert stamps(folder) == times


def delete(path):
    path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (delete, "data/eval-00001-of-00003.parquet"),
        (truncate, "data/eval-00001-of-00003.parquet"),
        (empty, "data/eval-00001-of-00003.parquet"),
        (delete, "receipts/eval-00001-of-00003.json"),
        (truncate, "receipts/eval-00001-of-00003.json"),
        (empty, "receipts/eval-00001-of-00003.json"),
    ],
)
def test_only_the_damaged_shard_is_made_again(ibims1_set, copy_of, convert_split, damage, where):
    folder = copy_of(ibims1_set)
    before, times = files_of(folder), stamps(folder)
    damage(folder / where)
    summary = convert_split("ibims1", ibims1_set.root, folder.parent)
    assert (summary.plan_resumed, summary.shards_resumed) == (True, 2)
    assert files_of(folder) == before
    kept = {name: at for name, at in stamps(folder).items() if "00001-of" not in name}
    assert kept.items() <= times.items()


def test_a_lost_plan_is_made_again_to_the_same_bytes(ibims1_set, copy_of, convert_split):
    folder = copy_of(ibims1_set)
    before = files_of(folder)
    (folder / "plan-eval.parquet").unlink()
    summary = convert_split("ibims1", ibims1_set.root, folder.parent, shard_rows=1)
    assert not summary.plan_resumed
    assert files_of(folder) == before


@pytest.mark.parametrize("garbage", [b"", b"PAR1", b"no parquet at all"])
def test_a_damaged_plan_is_one_clear_error(ibims1_set, copy_of, convert_split, garbage):
    folder = copy_of(ibims1_set)
    (folder / "plan-eval.parquet").write_bytes(garbage)
    with pytest.raises(DvbenchError, match=r"plan-eval\.parquet"):
        convert_split("ibims1", ibims1_set.root, folder.parent)


def test_stopping_in_the_middle_of_a_shard_keeps_what_is_finished(ibims1, ibims1_set, tmp_path):
    converter = load_converter("ibims1")
    planning = len(ibims1.listed) + 1  # every frame is tried, and one sizes the shards
    request = ConvertRequest(ibims1.root, tmp_path / "data", shard_rows=1)
    folder = tmp_path / "data" / "ibims1"
    with pytest.raises(KeyboardInterrupt):
        convert(reading(converter, StopAt(planning + 2, KeyboardInterrupt())), request, Silent())
    assert [path.name for path in (folder / "data").iterdir()] == ["eval-00000-of-00003.parquet"]
    assert not (folder / "_SUCCESS-eval").exists()
    assert not list(folder.rglob("*.tmp-*"))
    summary = convert(converter, request, Silent())
    assert (summary.plan_resumed, summary.shards_resumed) == (True, 1)
    assert files_of(folder) == files_of(ibims1_set.folder)


def test_a_killed_run_resumes_to_the_same_bytes(ibims1, ibims1_set, tmp_path, convert_split):
    code = """
import os, sys
from dataclasses import replace
from pathlib import Path
from depthvlm_bench.convert import shards
from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.progress import Silent
from depthvlm_bench.registry import load_converter
encode, count = shards.encode_record, [0]
def dying(*arguments):
    count[0] += 1
    if count[0] == 2:
        os._exit(9)
    return encode(*arguments)
shards.encode_record = dying
request = ConvertRequest(Path(sys.argv[1]), Path(sys.argv[2]), shard_rows=1)
convert(load_converter("ibims1"), request, Silent())
"""
    command = [sys.executable, "-c", code, str(ibims1.root), str(tmp_path / "data")]
    assert subprocess.run(command, check=False).returncode == 9
    folder = tmp_path / "data" / "ibims1"
    assert list(folder.rglob("*.tmp-*"))
    summary = convert_split("ibims1", ibims1.root, tmp_path / "data")
    assert summary.shards_resumed == 1
    assert files_of(folder) == files_of(ibims1_set.folder)


# ---- same content


def test_the_set_is_the_same_whatever_the_order_on_disk(scannetpp_set, tmp_path, convert_split, monkeypatch):
    glob, iterdir = Path.glob, Path.iterdir
    monkeypatch.setattr(Path, "glob", lambda *a, **k: iter(list(glob(*a, **k))[::-1]))
    monkeypatch.setattr(Path, "iterdir", lambda *a: iter(list(iterdir(*a))[::-1]))
    write_scannetpp_tree(tmp_path / "raw", size=(1920, 1440), reverse=True)
    for role in ("eval", "train"):
        convert_split("scannetpp", tmp_path / "raw", tmp_path / "data", role=role)
    assert files_of(tmp_path / "data" / "scannetpp") == files_of(scannetpp_set.folder)


def test_the_set_is_the_same_whatever_the_order_of_table_rows(nuscenes_set, tmp_path, convert_split):
    write_nuscenes_tree(tmp_path / "raw", reverse=True)
    for role in ("eval", "train"):
        convert_split("nuscenes", tmp_path / "raw", tmp_path / "data", role=role, shard_rows=5)
    assert files_of(tmp_path / "data" / "nuscenes") == files_of(nuscenes_set.folder)


def test_shard_rows_change_no_record(ibims1_set, tmp_path, convert_split):
    for rows in (2, None):
        summary = convert_split("ibims1", ibims1_set.root, tmp_path / f"data{rows}", shard_rows=rows)
        assert summary.shards == {2: 2, None: 1}[rows]
        assert rows_of(summary.folder) == rows_of(ibims1_set.folder)
        same = ("manifest-eval.parquet", "points-eval.parquet")
        for name in same:
            assert (summary.folder / name).read_bytes() == (ibims1_set.folder / name).read_bytes()


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("relative", "damage", "reason"),
    [
        ("rgb/corridor_02.png", cut_in_half, "unreadable"),
        ("rgb/corridor_02.png", delete, "missing_image"),
        ("depth/corridor_02.png", cut_in_half, "unreadable"),
        ("calib/corridor_02.txt", empty, "bad_intrinsics"),
        ("mask_invalid/corridor_02.png", delete, "missing_depth"),
    ],
)
def test_one_bad_file_changes_only_itself(
    ibims1, ibims1_set, tmp_path, convert_split, relative, damage, reason
):
    damage(ibims1.core / relative)
    summary = convert_split("ibims1", ibims1.root, tmp_path / "data")
    before, after = rows_of(ibims1_set.folder), rows_of(summary.folder)
    name = "ibims1/eval/-/-/corridor_02"
    del before[name]
    assert after == before
    usual = convert_split("ibims1", ibims1_set.root, ibims1_set.data).skips
    assert summary.skips == usual | {reason: usual[reason] + 1}


@pytest.mark.parametrize("limit", [2, 5])
def test_a_bad_image_of_a_smaller_budget_is_replaced_and_the_others_stay(tmp_path, convert_split, limit):
    """A tree of twelve good frames; each chosen one in turn is broken."""
    truth = write_scannetpp_tree(tmp_path / "raw")
    folder = truth.iphone()
    (tmp_path / "raw/splits/nvs_sem_val.txt").write_text(f"{folder.parent.name}\n")
    for frame in (*truth.faults, "frame_000480"):
        for relative in ("rgb/{}.jpg", "depth/{}.png"):
            (folder / relative.format(frame)).write_bytes(
                (folder / relative.format("frame_000000")).read_bytes()
            )
    plain = rows_of(convert_split("scannetpp", truth.root, tmp_path / "data", limit=limit).folder)
    assert len(plain) == limit
    for number, broken in enumerate(sorted(plain)):
        path = folder / f"depth/{broken.split('/')[-1]}.png"
        whole = path.read_bytes()
        cut_in_half(path)
        summary = convert_split("scannetpp", truth.root, tmp_path / f"data{number}", limit=limit)
        after = rows_of(summary.folder)
        assert (summary.replaced >= 1, summary.images) == (True, limit)
        assert broken not in after
        assert {name: after[name] for name in plain if name != broken}.items() <= plain.items()
        path.write_bytes(whole)


# ---- refusals and rules


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"limit": 2}, "--limit 100 -> 2"),
        ({"keep_source_image": False}, "keeping source images True -> False"),
        ({"shard_rows": 2}, "--shard-rows 1 -> 2"),
    ],
)
def test_other_settings_are_refused_naming_what_differs(ibims1_set, copy_of, convert_split, change, named):
    folder = copy_of(ibims1_set)
    before = files_of(folder)
    with pytest.raises(UsageError, match="other settings") as caught:
        convert_split("ibims1", ibims1_set.root, folder.parent, **change)
    assert named in caught.value.why
    assert "--replan" in caught.value.next_step
    assert files_of(folder) == before
    summary = convert_split("ibims1", ibims1_set.root, folder.parent, replan=True, **change)
    assert not summary.plan_resumed


def test_other_reader_options_are_refused(scannetpp_set, copy_of, convert_split):
    options = load_converter("scannetpp").options_type(every=120)
    with pytest.raises(UsageError, match=r"-o every 60 -> 120"):
        convert_split("scannetpp", scannetpp_set.root, copy_of(scannetpp_set).parent, options=options)


def test_replanning_leaves_nothing_of_the_earlier_split_and_all_of_the_other(
    scannetpp_set, copy_of, convert_split
):
    folder = copy_of(scannetpp_set)
    train = {name: data for name, data in files_of(folder).items() if "train" in name}
    convert_split("scannetpp", scannetpp_set.root, folder.parent, replan=True, shard_rows=1)
    names = sorted(path.name for path in (folder / "data").glob("eval-*"))
    assert names == [f"eval-{i:05d}-of-00003.parquet" for i in range(3)]
    assert len(list((folder / "receipts").glob("eval-*"))) == 3
    assert {name: data for name, data in files_of(folder).items() if "train" in name} == train


def test_a_missing_tree_is_data_missing(tmp_path, convert_split):
    with pytest.raises(DataMissingError, match="does not exist"):
        convert_split("ibims1", tmp_path / "absent", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_an_overlap_set_is_marked_in_every_record(nuscenes_set, tmp_path, convert_split):
    request = {"source_split": "train", "limit": 2}
    with pytest.raises(UsageError, match="--allow-overlap"):
        convert_split("nuscenes", nuscenes_set.root, tmp_path, **request)
    assert not list(tmp_path.iterdir())
    summary = convert_split("nuscenes", nuscenes_set.root, tmp_path, allow_overlap=True, **request)
    assert summary.set_name == summary.folder.name == "nuscenes@train"
    rows = rows_of(summary.folder)
    assert {row["set_kind"] for row in rows.values()} == {"overlap"}
    assert all(name.startswith(f"nuscenes/eval/{TRAIN_SCENE}/") for name in rows)
    assert {row["source_split"] for row in rows.values()} == {"train"}


@pytest.fixture
def broken_training_tree(tmp_path):
    truth = write_nuscenes_tree(tmp_path / "raw")
    name = next(name for name in truth.times_us if name.startswith(TRAIN_SCENE))
    path = truth.root / f"samples/{name.split('/')[1]}/{name.split('/')[2]}.jpg"
    return truth, path, path.read_bytes()


def train(convert_split, truth, tmp_path, **request):
    request = {"max_skip_share": 0.01, "shard_rows": 4} | request
    return convert_split("nuscenes", truth.root, tmp_path / "data", role="train", **request)


def test_training_fails_beyond_its_share_of_skips_and_resumes(broken_training_tree, tmp_path, convert_split):
    truth, path, _ = broken_training_tree
    cut_in_half(path)
    with pytest.raises(CheckError, match=r"8\.3% of the training frames") as caught:
        train(convert_split, truth, tmp_path)
    assert caught.value.exit_code == ExitCode.CHECK_FAILED
    assert "1 unreadable (11 frames kept" in caught.value.why
    assert not (tmp_path / "data/nuscenes/_SUCCESS-train").exists()
    summary = train(convert_split, truth, tmp_path, max_skip_share=0.1)
    assert (summary.shards_resumed, summary.images, summary.skips) == (3, 11, {"unreadable": 1})
    receipts = [read_receipt(summary.folder, f"train-{i:05d}-of-00003.parquet") for i in range(3)]
    (skip,) = (skip for receipt in receipts for skip in receipt.skips)
    assert path.stem in skip.id
    assert path.name in skip.detail


def test_a_mended_training_tree_gives_its_frames_when_skips_are_retried(
    broken_training_tree, tmp_path, convert_split
):
    """The error for too many skips says: mend the raw tree and run again with --retry-skipped."""
    truth, path, whole = broken_training_tree
    cut_in_half(path)
    with pytest.raises(CheckError):
        train(convert_split, truth, tmp_path)
    path.write_bytes(whole)
    summary = train(convert_split, truth, tmp_path, retry_skipped=True)
    assert (summary.images, summary.skips) == (12, {})


def test_the_error_for_skips_names_the_folder_of_the_set(broken_training_tree, tmp_path, convert_split):
    truth, path, _ = broken_training_tree
    cut_in_half(path)
    with pytest.raises(CheckError) as caught:
        train(convert_split, truth, tmp_path, source_split="train")
    assert caught.value.where == str(tmp_path / "data" / "nuscenes@train")


def test_a_planned_evaluation_frame_that_vanishes_stops_the_run(ibims1, ibims1_set, tmp_path):
    converter = load_converter("ibims1")
    path = ibims1.core / "rgb/lab_01.png"
    whole = path.read_bytes()

    reads = itertools.count(1)

    def vanish(_ref):
        if next(reads) == len(ibims1.listed) + 1:  # every frame is tried, and one sizes the shards
            path.unlink()

    request = ConvertRequest(ibims1.root, tmp_path / "data", shard_rows=1)
    with pytest.raises(PartialError, match="lab_01") as caught:
        convert(reading(converter, vanish), request, Silent())
    assert caught.value.exit_code == ExitCode.PARTIAL
    assert "missing_image" in caught.value.why
    folder = tmp_path / "data" / "ibims1"
    assert not (folder / "_SUCCESS-eval").exists()
    path.write_bytes(whole)
    convert(converter, request, Silent())
    assert files_of(folder) == files_of(ibims1_set.folder)


def test_a_split_short_of_its_card_is_a_subset(ibims1_set, convert_split):
    summary = convert_split("ibims1", ibims1_set.root, ibims1_set.data)
    assert (summary.images, summary.images_of_the_full_set, summary.subset) == (3, 100, True)


def test_planning_alone_writes_nothing(ibims1, tmp_path):
    converter = load_converter("ibims1")
    source = open_source(converter, ibims1.root)
    request = ConvertRequest(ibims1.root, tmp_path / "data")
    chosen = resolve_split(converter, request, source)
    plan, resumed = plan_split(converter, request, source, chosen, Silent())
    assert chosen.set_name == "ibims1"
    assert (len(plan.frames), resumed) == (3, False)
    assert not (tmp_path / "data").exists()


def test_the_source_is_closed_even_when_work_fails(ibims1, tmp_path):
    closed = []
    converter = load_converter("ibims1")

    def opened(root, options):
        source = converter.open(root, options)
        source.close = lambda: closed.append(True)
        return source

    watched = replace(converter, open=opened)
    convert(watched, ConvertRequest(ibims1.root, tmp_path / "data"), Silent())
    with pytest.raises(UsageError):
        convert(watched, ConvertRequest(ibims1.root, tmp_path / "data", role="train"), Silent())
    assert closed == [True, True]


# ---- real samples


@pytest.fixture(scope="module")
def real_scannetpp(tmp_path_factory, convert_split):
    root = real_scannetpp_tree()
    return root, convert_split("scannetpp", root, tmp_path_factory.mktemp("real"))


def test_every_real_point_is_the_raw_depth_under_it(real_scannetpp):
    """Read with Pillow alone: one depth pixel covers 7.5 x 7.5 picture pixels, centres at integers."""
    root, summary = real_scannetpp
    table = pd.read_parquet(summary.folder / "points-eval.parquet")
    assert len(table) == summary.images == 30
    furthest_u, counted = 0.0, 0
    for row in table.itertuples():
        with Image.open(root / f"data/{row.scene}/iphone/depth/{row.frame}.png") as image:
            raw = np.array(image)
        assert raw.shape == (192, 256)
        for point in (*row.points, *row.points_balanced):
            column = int(np.floor((point["u_src"] + 0.5) / 7.5))
            line = int(np.floor((point["v_src"] + 0.5) / 7.5))
            assert raw[line, column] > 0
            assert point["depth_m"] == raw[line, column] / 1000
            furthest_u, counted = max(furthest_u, point["u_src"]), counted + 1
    assert counted == 600
    assert furthest_u > 1800


def test_the_real_keyframe_becomes_an_overlap_set_of_its_six_cameras(tmp_path, convert_split):
    root = real_nuscenes_tree()
    summary = convert_split("nuscenes", root, tmp_path, source_split="mini_train", allow_overlap=True)
    assert (summary.images, summary.skips, summary.settings.set_kind) == (6, {}, "overlap")
    table = pd.read_parquet(summary.folder / "points-eval.parquet")
    assert set(table["scene"]) == {"scene-0061"}
    assert table["camera"].nunique() == 6
    depths = [point["depth_m"] for points in table["points"] for point in points]
    assert len(depths) == 60
    assert 1.0 < min(depths) < max(depths) <= 80.0


def test_nothing_but_the_set_is_written(real_scannetpp):
    _, summary = real_scannetpp
    assert [path.name for path in summary.folder.parent.glob("[!.]*")] == ["scannetpp"]
    assert sorted(files_of(summary.folder)) == [
        "_SUCCESS-eval",
        f"data{os.sep}eval-00000-of-00001.parquet",
        "dataset.json",
        "manifest-eval.parquet",
        "plan-eval.parquet",
        "points-eval.parquet",
        f"receipts{os.sep}eval-00000-of-00001.json",
    ]


def test_scenes_that_are_not_on_disk_are_no_frames_that_were_lost(tmp_path, convert_split):
    """Someone with 5 of 856 scenes trains on them; their tree lacks no frame."""
    truth = write_scannetpp_tree(tmp_path / "raw")
    listed = truth.root / "splits/nvs_sem_train.txt"
    absent = [f"{number:010x}" for number in range(500)]
    listed.write_text("\n".join([*listed.read_text().split(), *absent]))
    request = {"role": "train", "max_skip_share": 0.99}
    summary = convert_split("scannetpp", truth.root, tmp_path / "data", **request)
    assert summary.skips["missing_scene"] == 500
    assert summary.images > 0
