import json

import pyarrow.parquet as pq
import pytest

from depthvlm_bench.convert import finish as finishing
from depthvlm_bench.convert.finish import finish, manifest_path, read_columns, success_path
from depthvlm_bench.convert.plan import read_plan
from depthvlm_bench.records.receipts import read_receipt
from depthvlm_bench.records.schema import POINTS_SCHEMA
from depthvlm_bench.registry import load_converter
from depthvlm_bench.sampling.manifest import manifest_hash, read_manifest


def parts_of(folder, role):
    plan = read_plan(folder, role)
    return plan, [read_receipt(folder, plan.shard_file(i)) for i in range(plan.shards)]


def described(folder):
    return json.loads((folder / "dataset.json").read_text(encoding="utf-8"))


def test_the_manifest_pins_every_record(nuscenes_set):
    for role, images in (("eval", 7), ("train", 12)):
        manifest = read_manifest(manifest_path(nuscenes_set.folder, role))
        assert len(manifest) == images
        entry = described(nuscenes_set.folder)["splits"][role]
        assert entry["manifest_hash"] == manifest_hash(manifest)
        marker = json.loads(success_path(nuscenes_set.folder, role).read_text())
        assert marker == {"manifest_hash": entry["manifest_hash"], "shards": entry["shards"]}


def test_the_points_file_is_the_shards_without_heavy_columns_in_plan_order(nuscenes_set):
    plan, receipts = parts_of(nuscenes_set.folder, "eval")
    points = pq.read_table(nuscenes_set.folder / "points-eval.parquet")
    assert points.schema.equals(POINTS_SCHEMA)
    assert points.schema.metadata == POINTS_SCHEMA.metadata
    assert points.column("id").to_pylist() == [frame.ref.id for frame in plan.frames]
    assert points.column("points").to_pylist() == [frame.points for frame in plan.frames]
    assert points.equals(read_columns(nuscenes_set.folder, receipts, points.column_names))
    assert not (nuscenes_set.folder / "points-train.parquet").exists()


def test_dataset_json_says_what_the_split_is(scannetpp_set):
    found = described(scannetpp_set.folder)
    assert (found["set"], found["dataset"]) == ("scannetpp", "scannetpp")
    evaluation, training = found["splits"]["eval"], found["splits"]["train"]
    assert (evaluation["images"], evaluation["points"], evaluation["shards"]) == (3, 30, 1)
    assert (evaluation["images_of_the_full_set"], evaluation["subset"]) == (1000, True)
    assert (evaluation["set_kind"], evaluation["sampling"]) == ("strict", "strict")
    assert evaluation["options"] == {"every": 60, "masks": False}
    shards = (scannetpp_set.folder / "data").glob("eval-*")
    assert evaluation["bytes"] == sum(path.stat().st_size for path in shards)
    assert (training["images"], training["points"], training["subset"]) == (1, 0, False)


def test_skips_of_planning_are_counted_by_reason(scannetpp_set):
    skips = described(scannetpp_set.folder)["splits"]["eval"]["skips"]
    reasons = [reason for reason, _ in scannetpp_set.truth.faults.values()]
    reasons += ["no_valid_depth", "missing_scene", "missing_intrinsics"]
    assert skips == {reason: reasons.count(reason) for reason in set(reasons)}


def test_finishing_again_gives_the_same_bytes(copy_of, nuscenes_set):
    folder = copy_of(nuscenes_set)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    plan, receipts = parts_of(folder, "eval")
    digest = finish(folder, plan, load_converter("nuscenes").card, receipts)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert digest == described(folder)["splits"]["eval"]["manifest_hash"]


def test_one_split_s_entry_leaves_the_other_s_alone(copy_of, scannetpp_set):
    folder = copy_of(scannetpp_set)
    found = described(folder)
    found["splits"]["train"]["images"] = 99
    (folder / "dataset.json").write_text(json.dumps(found))
    plan, receipts = parts_of(folder, "eval")
    finish(folder, plan, load_converter("scannetpp").card, receipts)
    assert described(folder)["splits"] == found["splits"]


def test_the_mark_of_success_is_written_last(copy_of, scannetpp_set, monkeypatch):
    folder = copy_of(scannetpp_set)
    success_path(folder, "eval").unlink()

    def full_disk(path, _value):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(finishing, "write_json", full_disk)
    plan, receipts = parts_of(folder, "eval")
    with pytest.raises(OSError, match="No space left"):
        finish(folder, plan, load_converter("scannetpp").card, receipts)
    assert not success_path(folder, "eval").exists()
    assert success_path(folder, "train").exists()
