import hashlib

import pyarrow.parquet as pq
import pytest
from raw_nuscenes import TRAIN_SCENE, write_nuscenes_tree

from depthvlm_bench.convert.plan import read_plan
from depthvlm_bench.convert.shards import convert_shard
from depthvlm_bench.errors import PartialError
from depthvlm_bench.records.receipts import ShardReceipt, read_receipt
from depthvlm_bench.registry import load_converter


def open_again(converted):
    converter = load_converter(converted.name)
    return converter.open(converted.root, converter.options_type()), converter.card


@pytest.mark.parametrize(("role", "index"), [("eval", 1), ("train", 0)])
def test_a_shard_is_a_pure_function_of_its_plan_rows(nuscenes_set, tmp_path, role, index):
    source, card = open_again(nuscenes_set)
    plan = read_plan(nuscenes_set.folder, role)
    receipt = convert_shard(plan, index, source, card, tmp_path)
    again = convert_shard(plan, index, source, card, tmp_path / "again")
    assert receipt == again == read_receipt(nuscenes_set.folder, plan.shard_file(index))
    file = plan.shard_file(index)
    assert (tmp_path / "data" / file).read_bytes() == (nuscenes_set.folder / "data" / file).read_bytes()


def test_the_receipt_tells_of_the_file(nuscenes_set, tmp_path):
    source, card = open_again(nuscenes_set)
    plan = read_plan(nuscenes_set.folder, "eval")
    receipt = convert_shard(plan, 0, source, card, tmp_path)
    data = (tmp_path / "data" / receipt.file).read_bytes()
    assert receipt.sha256 == hashlib.sha256(data).hexdigest()
    assert receipt.bytes == len(data)
    assert receipt.rows == pq.read_table(tmp_path / "data" / receipt.file).num_rows == 5
    assert receipt.key == plan.shard_key(0)
    assert receipt.skips == ()
    assert receipt.holds(tmp_path, plan.shard_key(0))


def test_the_receipt_comes_after_the_shard(nuscenes_set, tmp_path, monkeypatch):
    source, card = open_again(nuscenes_set)
    plan = read_plan(nuscenes_set.folder, "eval")

    def written(receipt, folder):
        assert (folder / "data" / receipt.file).is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(ShardReceipt, "write", written)
    with pytest.raises(KeyboardInterrupt):
        convert_shard(plan, 0, source, card, tmp_path)
    assert read_receipt(tmp_path, plan.shard_file(0)) is None


@pytest.fixture
def broken_tree(tmp_path):
    """The session's nuScenes tree again, with one truncated picture in each split's first frame."""

    def breaking(converted, role):
        truth = write_nuscenes_tree(tmp_path / "raw")
        plan = read_plan(converted.folder, role)
        ref = plan.frames[1].ref
        path = truth.root / ref.locator["filename"]
        path.write_bytes(path.read_bytes()[:500])
        converter = load_converter("nuscenes")
        return converter.open(truth.root, converter.options_type()), converter.card, plan, ref

    return breaking


def test_a_training_frame_that_cannot_be_read_is_a_counted_skip(nuscenes_set, broken_tree, tmp_path):
    source, card, plan, ref = broken_tree(nuscenes_set, "train")
    receipt = convert_shard(plan, 0, source, card, tmp_path / "set")
    assert receipt.rows == len(plan.shard(0)) - 1
    (skip,) = receipt.skips
    assert (skip.id, skip.reason) == (ref.id, "unreadable")
    assert ref.scene == TRAIN_SCENE
    ids = pq.read_table(tmp_path / "set/data" / receipt.file).column("id").to_pylist()
    assert ids == [frame.ref.id for frame in plan.shard(0) if frame.ref.id != ref.id]


def test_an_evaluation_frame_that_cannot_be_read_leaves_no_shard(nuscenes_set, broken_tree, tmp_path):
    source, card, plan, ref = broken_tree(nuscenes_set, "eval")
    with pytest.raises(PartialError, match="can no longer be read") as caught:
        convert_shard(plan, 0, source, card, tmp_path / "set")
    assert caught.value.where == ref.id
    assert "unreadable" in caught.value.why
    assert not [path for path in (tmp_path / "set").rglob("*") if path.is_file()]
