import json
from dataclasses import replace

import pytest

from depthvlm_bench.frames import Skip
from depthvlm_bench.records.receipts import (
    ShardReceipt,
    codec_versions,
    count_reasons,
    merge_counts,
    read_receipt,
    reasons_text,
    receipt_path,
    shard_file,
)

FILE = "eval-00001-of-00003.parquet"
SKIPS = (
    Skip("d/train/s/-/a", "unreadable", "truncated"),
    Skip("d/train/s/-/b", "missing_depth", "b.png"),
    Skip("d/train/s/-/c", "unreadable", "é"),
)
RECEIPT = ShardReceipt(
    key="k",
    file=FILE,
    rows=7,
    sha256="0" * 64,
    bytes=4,
    skips=SKIPS,
    versions={"pillow": "1", "pyarrow": "2"},
)


def put_shard(folder, data=b"1234"):
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / FILE).write_bytes(data)


def test_file_names_have_the_form_that_datasets_reads_splits_from():
    assert shard_file("eval", 1, 3) == FILE
    assert shard_file("train", 0, 12345) == "train-00000-of-12345.parquet"


def test_a_receipt_comes_back_as_it_was_written(tmp_path):
    RECEIPT.write(tmp_path)
    assert receipt_path(tmp_path, FILE) == tmp_path / "receipts" / "eval-00001-of-00003.json"
    assert read_receipt(tmp_path, FILE) == RECEIPT


def test_no_receipt_is_none(tmp_path):
    assert read_receipt(tmp_path, FILE) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"{}", b"[]", b'"text"', b"null", b"3", b"\xff\xfe\x00garbage", b'{"key": 1}'],
    ids=["empty", "cut", "no keys", "list", "text", "null", "number", "bytes", "wrong type"],
)
def test_whatever_is_no_receipt_counts_as_none(tmp_path, data):
    receipt_path(tmp_path, FILE).parent.mkdir()
    receipt_path(tmp_path, FILE).write_bytes(data)
    assert read_receipt(tmp_path, FILE) is None


@pytest.mark.parametrize("change", [{"reason": "other"}, {"more": 1}])
def test_a_receipt_with_unknown_content_counts_as_none(tmp_path, change):
    RECEIPT.write(tmp_path)
    written = json.loads(receipt_path(tmp_path, FILE).read_text())
    written["skips"][0] |= change
    receipt_path(tmp_path, FILE).write_text(json.dumps(written))
    assert read_receipt(tmp_path, FILE) is None


def test_it_holds_for_the_wanted_key_and_the_whole_file_only(tmp_path):
    assert not RECEIPT.holds(tmp_path, "k")
    put_shard(tmp_path)
    assert RECEIPT.holds(tmp_path, "k")
    assert not RECEIPT.holds(tmp_path, "other")
    assert not replace(RECEIPT, bytes=5).holds(tmp_path, "k")
    put_shard(tmp_path, b"123")
    assert not RECEIPT.holds(tmp_path, "k")


def test_skips_are_counted_by_reason_and_summed():
    counts = count_reasons(SKIPS)
    assert counts == {"missing_depth": 1, "unreadable": 2}
    assert list(counts) == sorted(counts)
    assert merge_counts([counts, {}, {"time_gap": 3, "unreadable": 1}]) == {
        "missing_depth": 1,
        "time_gap": 3,
        "unreadable": 3,
    }
    assert reasons_text(counts) == "1 missing_depth, 2 unreadable"
    assert reasons_text({}) == "none"


def test_codec_versions_are_those_of_the_libraries_in_use():
    import PIL
    import pyarrow

    assert codec_versions() == {"pillow": PIL.__version__, "pyarrow": pyarrow.__version__}
