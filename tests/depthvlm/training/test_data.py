"""Training samples of converted sets, read at random and in order, and what damage looks like."""

import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("torch")

from converted import TinyImage, constant_depth, ramp_depth, write_tiny_set

from depthvlm_bench.depthvlm.training.data import DepthSource, open_sets, record_messages
from depthvlm_bench.depthvlm.training.faults import BadSampleError
from depthvlm_bench.depthvlm.training.labels import depth_label
from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.frames import FLAG_OCCLUSION_SUSPECT
from depthvlm_bench.records.prompts import DENSE_PROMPT, load_prompt
from depthvlm_bench.records.reader import RecordSet, depth_of, view_of


def source_of(converted, **options):
    return DepthSource(RecordSet(converted.folder, "train"), **options)


def rows_of(converted):
    return list(RecordSet(converted.folder, "train").rows())


def tiny(folder, count, **depths):
    """A training split of some records, all of them 2 m deep but those named."""
    images = [TinyImage(f"{i:03d}", depths.get(f"at{i}", constant_depth(2.0))) for i in range(count)]
    return DepthSource(write_tiny_set(folder, images, role="train"))


def same(one, other):
    return (
        one.record_id == other.record_id
        and np.array_equal(one.picture, other.picture)
        and one.messages == other.messages
        and np.array_equal(one.depth_label_m, other.depth_label_m)
    )


@pytest.mark.parametrize("name", ["scannetpp_set", "nuscenes_set"])
def test_samples_are_the_records_with_their_canonical_pictures(name, request):
    converted = request.getfixturevalue(name)
    source, rows = source_of(converted), rows_of(converted)
    assert len(source) == len(rows)
    for index, row in enumerate(rows):
        sample = source[index]
        assert sample.record_id == row["id"]
        assert sample.dataset == source.name == converted.name
        assert np.array_equal(sample.picture, np.asarray(view_of(row).picture))
        assert sample.picture.shape[:2] == tuple(sample.depth_label_m.shape) == (row["height"], row["width"])


@pytest.mark.parametrize("name", ["scannetpp_set", "nuscenes_set"])
def test_labels_are_the_stored_depth_within_the_range_of_the_card(name, request):
    converted = request.getfixturevalue(name)
    for sample, row in zip(source_of(converted).samples(), rows_of(converted), strict=True):
        expected = depth_label(
            depth_of(row),
            view_of(row).view_from_source,
            (row["width"], row["height"]),
            valid_min_m=row["valid_min"],
            valid_max_m=row["valid_max"],
        )
        label_m = sample.depth_label_m.numpy()
        assert np.array_equal(label_m, expected)
        assert label_m.dtype == np.float32
        known = label_m[label_m > 0]
        assert len(known) > 10
        assert row["valid_min"] <= known.min() <= known.max() <= row["valid_max"]


def test_a_plane_is_a_plane_in_the_label(scannetpp_set):
    """The training frame is z = 1 + 0.001 v over the 256x192 depth grid."""
    label_m = source_of(scannetpp_set)[0].depth_label_m.numpy()
    height = len(label_m)
    v_depth = (np.arange(height) + 0.5) * 192 / height - 0.5
    assert np.abs(label_m - (1 + 0.001 * v_depth)[:, None]).max() <= 0.0005 + 0.0005 + 1e-6


def test_flagged_points_can_be_left_out(nuscenes_set):
    records = RecordSet(nuscenes_set.folder, "eval")
    whole, without = DepthSource(records), DepthSource(records, drop_flags=FLAG_OCCLUSION_SUSPECT)
    suspects = [int((depth_of(row).flags & FLAG_OCCLUSION_SUSPECT > 0).sum()) for row in records.rows()]
    assert max(suspects) > 0
    for index, flagged in enumerate(suspects):
        known, kept = (int((source[index].depth_label_m > 0).sum()) for source in (whole, without))
        assert known - flagged <= kept < known if flagged else kept == known


def test_the_conversation_is_that_of_the_record_with_its_answer(scannetpp_set):
    prompt = load_prompt(DENSE_PROMPT)
    assert source_of(scannetpp_set)[0].messages == [
        {"role": "system", "content": [{"type": "text", "text": prompt.system}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt.user}]},
        {"role": "assistant", "content": prompt.answer},
    ]


def test_a_record_without_a_conversation_has_that_of_its_prompt(scannetpp_set):
    (row,) = rows_of(scannetpp_set)
    stored = record_messages(row)
    for missing in ({"messages": None}, {"messages": None, "prompt_id": None, "answer": None}):
        assert record_messages(row | missing) == stored


def test_a_record_without_an_answer_has_no_last_turn(scannetpp_set):
    (row,) = rows_of(scannetpp_set)
    assert [turn["role"] for turn in record_messages(row | {"answer": None})] == ["system", "user"]


def test_rows_are_found_in_any_order_over_shards_and_groups(tmp_path, nuscenes_set):
    for source in (tiny(tmp_path, 70), source_of(nuscenes_set)):
        in_order = list(source.samples())
        assert len(in_order) == len(source) == source.group_rows.sum()
        for index in np.random.default_rng(1).permutation(len(source)):
            assert same(source[int(index)], in_order[index])
    assert tiny(tmp_path / "again", 70).group_rows.tolist() == [32, 32, 6]


def test_some_rows_of_a_group_are_those_rows_in_any_order(tmp_path):
    source = tiny(tmp_path, 40)
    raw = source.read(0, [30, 2, 17])
    assert [source.sample(raw[row]).record_id[-3:] for row in (30, 2, 17)] == ["030", "002", "017"]
    everything = source.read(1, [7, 6, 5, 4, 3, 2, 1, 0])
    assert all(everything[row]["id"].endswith(f"{32 + row:03d}") for row in range(8))


def test_a_group_is_read_once_while_its_rows_are_asked(tmp_path, monkeypatch):
    source, read = tiny(tmp_path, 70), []
    whole = DepthSource.read
    monkeypatch.setattr(DepthSource, "read", lambda self, g, rows: read.append(g) or whole(self, g, rows))
    for index in (0, 31, 40, 5, 50, 69, 40):
        assert source[index].record_id.endswith(f"{index:03d}")
    assert read == [0, 1, 2]


def test_there_is_no_row_beyond_the_last(tmp_path):
    source = tiny(tmp_path, 3)
    for index in (3, -1):
        with pytest.raises(IndexError):
            source[index]


def test_a_source_travels_to_another_process_after_use(tmp_path):
    source = tiny(tmp_path, 5)
    first = source[3]
    assert same(pickle.loads(pickle.dumps(source))[3], first)


def test_the_identity_is_the_content_of_the_split(tmp_path):
    one, same_one = tiny(tmp_path / "a", 3), tiny(tmp_path / "b", 3)
    other = tiny(tmp_path / "c", 4)
    assert one.identity == same_one.identity
    assert one.identity != other.identity


def test_a_record_without_depth_in_range_is_named(tmp_path):
    source = tiny(tmp_path, 3, at1=constant_depth(30.0))
    assert source[0].depth_label_m.max() == 2.0
    with pytest.raises(BadSampleError) as caught:
        source[1]
    assert caught.value.fault.reason == "no_valid_depth"
    assert caught.value.fault.where.endswith("001")
    assert "0.01 to 25.0 m" in caught.value.fault.detail


def test_depth_out_of_range_is_unknown_in_the_label(tmp_path):
    depth_m = ramp_depth(start_m=20.0, column_step_m=1.0, row_step_m=0.0)
    label_m = tiny(tmp_path, 1, at0=depth_m)[0].depth_label_m
    assert label_m[0].tolist() == [v for k in range(16) for v in [20.0 + k if k <= 5 else 0.0] * 2]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": {"bytes": b"no picture", "path": None}}, "unreadable"),
        ({"depth": {"bytes": b"no depth", "path": None}}, "unreadable"),
        ({"width": 31}, "unreadable"),
        ({"depth_kind": "ray"}, "not_z_depth"),
    ],
)
def test_a_damaged_record_is_named_with_its_fault(tmp_path, change, reason):
    source = tiny(tmp_path, 1)
    with pytest.raises(BadSampleError) as caught:
        source.sample(source.read(0, [0])[0] | change)
    assert caught.value.fault.reason == reason
    assert caught.value.fault.where == "tiny/train/-/-/000"


def test_a_damaged_row_group_is_named_with_its_shard(tmp_path):
    source = tiny(tmp_path, 40)
    (shard,) = source.records.shards
    chunk = pq.read_metadata(shard).row_group(1).column(0)
    damaged = bytearray(shard.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    damaged[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    shard.write_bytes(damaged)
    assert source[31].record_id.endswith("031")
    with pytest.raises(BadSampleError, match="unreadable") as caught:
        source[32]
    assert caught.value.fault.where == f"{shard.name} row group 1"


def test_a_shard_that_cannot_be_opened_is_an_error_at_once(copy_of, nuscenes_set):
    records = RecordSet(copy_of(nuscenes_set), "train")
    shard = records.shards[0]
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(CheckError) as caught:
        DepthSource(records)
    assert caught.value.where == str(shard)


def test_an_evaluation_split_can_be_read_too(scannetpp_set):
    source = DepthSource(RecordSet(scannetpp_set.folder, "eval"))
    assert all(sample.depth_label_m.any() for sample in source.samples())


def test_all_training_sets_of_a_folder_are_opened_or_those_named(tmp_path):
    for name in ("rooms", "streets", "fields"):
        write_tiny_set(tmp_path, [TinyImage("a", constant_depth(1.0))], role="train", name=name)
    write_tiny_set(tmp_path, [TinyImage("a", constant_depth(1.0))], role="eval", name="held-out")
    assert [source.name for source in open_sets(tmp_path)] == ["fields", "rooms", "streets"]
    assert [source.name for source in open_sets(tmp_path, ["streets", "fields"])] == ["streets", "fields"]
    with pytest.raises(UsageError, match="did you mean 'rooms'") as caught:
        open_sets(tmp_path, ["room"])
    assert "dvbench convert room --split train" in caught.value.next_step
    with pytest.raises(UsageError, match="named twice"):
        open_sets(tmp_path, ["rooms", "rooms"])


def test_a_folder_without_training_sets_is_an_error(tmp_path):
    with pytest.raises(DataMissingError, match="no training split"):
        open_sets(tmp_path)


def test_a_split_without_records_is_an_error(tmp_path):
    with pytest.raises(DataMissingError, match="no train record"):
        tiny(tmp_path, 0)
