"""Rows of parquet files in any order: what is decoded, how often, and what happens after a fault."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from depthvlm_bench.converters._parquet import BATCH_ROWS, ParquetRows, array, numbers
from depthvlm_bench.errors import FrameError

ROWS, GROUP = 64, 32
COLUMNS = ["number", "values"]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rows.parquet"
    values = [np.full(40, number, dtype=np.float32) for number in range(ROWS)]
    columns = {"number": np.arange(ROWS), "values": pa.array(values, pa.list_(pa.float32()))}
    pq.write_table(pa.table(columns), path, row_group_size=GROUP, compression="zstd", use_dictionary=False)
    return path


@pytest.fixture
def passes(monkeypatch):
    """The row groups that were begun, in order."""
    begun = []
    decode = ParquetRows._row_group
    monkeypatch.setattr(
        ParquetRows,
        "_row_group",
        lambda self, group, columns: begun.append(group) or decode(self, group, columns),
    )
    return begun


def open_rows(path):
    return ParquetRows(path, "a/rows.parquet", "missing_depth")


def check(rows, number):
    row = rows.row(number, COLUMNS)
    assert row["number"].as_py() == number
    assert set(numbers(row, "values")) == {float(number)}


@pytest.mark.parametrize("order", [range(ROWS), range(ROWS - 1, -1, -1), [0, 63, 31, 32, 5, 5, 4, 60, 10]])
def test_rows_are_found_in_any_order(path, order):
    rows = open_rows(path)
    for number in order:
        check(rows, number)


def test_rows_in_the_files_order_are_decoded_once(path, passes):
    rows = open_rows(path)
    for number in range(0, ROWS, 3):
        check(rows, number)
    assert passes == [0, 1]


@pytest.mark.parametrize("begin", range(BATCH_ROWS))
def test_the_rows_of_a_frame_are_decoded_in_one_pass(path, passes, begin):
    """Five rows that lie together, in any order, wherever among the batches they begin."""
    rows = open_rows(path)
    for first in range(begin, GROUP - 5, 5):
        for offset in (0, 1, 3, 2, 4):
            check(rows, first + offset)
    assert passes == [0]


def test_other_columns_of_a_row_are_its_own(path):
    rows = open_rows(path)
    check(rows, 20)
    assert rows.row(20, ["number"])["number"].as_py() == 20
    check(rows, 21)


def test_after_a_fault_the_next_row_is_looked_up_anew(path):
    """Bytes spoilt within a row group leave the other's rows as they were, and its own unreadable twice."""
    with pq.ParquetFile(path) as file:
        chunk = file.metadata.row_group(0).column(1)
    encoded = bytearray(path.read_bytes())
    begin = chunk.data_page_offset + 8
    encoded[begin : begin + chunk.total_compressed_size - 16] = bytes(chunk.total_compressed_size - 16)
    path.write_bytes(bytes(encoded))
    rows = open_rows(path)
    check(rows, 40)
    for number in (3, 20):
        with pytest.raises(FrameError, match=r"unreadable: a/rows\.parquet"):
            rows.row(number, COLUMNS)
    check(rows, 41)


def test_what_is_not_there_is_named(path, tmp_path):
    with pytest.raises(FrameError, match=r"missing_depth: a/rows\.parquet"):
        open_rows(tmp_path / "other.parquet")
    with pytest.raises(FrameError, match=r"unreadable: a/rows\.parquet has no column depth"):
        open_rows(path).row(0, ["number", "depth"])
    with pytest.raises(FrameError, match="has no column key"):
        list(open_rows(path).keys(["key"]))


def test_numbers_of_any_type_and_null():
    row = {
        "one": pa.scalar(3, pa.int8()),
        "list": pa.scalar([1.5, 2.5], pa.list_(pa.float32(), 2)),
        "null": pa.scalar(None, pa.float64()),
        "null list": pa.scalar(None, pa.list_(pa.float64())),
    }
    assert numbers(row, "one").tolist() == [3.0]
    assert numbers(row, "list").tolist() == [1.5, 2.5]
    assert numbers(row, "null") is None
    assert numbers(row, "null list") is None


def test_flattened_arrays():
    values, shape = (
        pa.scalar(list(range(6)), pa.list_(pa.float32())),
        pa.scalar([1, 2, 3], pa.list_(pa.int32(), 3)),
    )
    assert array({"a.values": values, "a.shape": shape}, "a", "x").tolist() == [[[0, 1, 2], [3, 4, 5]]]
    null = pa.scalar(None, pa.list_(pa.float32()))
    assert array({"a.values": null, "a.shape": shape}, "a", "x") is None
    wrong = pa.scalar([1, 2, 4], pa.list_(pa.int32(), 3))
    with pytest.raises(FrameError, match=r"unreadable: x: a: cannot reshape"):
        array({"a.values": values, "a.shape": wrong}, "a", "x")
