import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from depthvlm_bench.records import writer
from depthvlm_bench.records.schema import COLUMNS
from depthvlm_bench.records.writer import leaf_paths, write_rows, write_table


def record(number, size=10):
    row = dict.fromkeys(name for name, _ in COLUMNS)
    return row | {"id": f"d/eval/s/c/{number}", "source_image": bytes(size)}


def group_rows(path):
    metadata = pq.ParquetFile(path).metadata
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def test_rows_come_back_in_order_with_nulls_where_nothing_applies(tmp_path):
    path = tmp_path / "data" / "shard.parquet"
    assert write_rows(path, (record(i) for i in range(3))) == 3
    rows = pq.read_table(path).to_pylist()
    assert [row["id"] for row in rows] == [f"d/eval/s/c/{i}" for i in range(3)]
    assert rows[0]["image"] is None
    assert rows[0]["points"] is None
    assert rows[0]["depth_points"] is None


def test_row_groups_close_at_32_rows(tmp_path):
    write_rows(tmp_path / "shard.parquet", (record(i) for i in range(70)))
    assert group_rows(tmp_path / "shard.parquet") == [32, 32, 6]


def test_row_groups_close_before_they_pass_64_mb(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "ROW_GROUP_BYTES", 1000)
    sizes = [400, 400, 400, 999, 2, 5000, 10]
    write_rows(tmp_path / "shard.parquet", (record(i, size) for i, size in enumerate(sizes)))
    assert group_rows(tmp_path / "shard.parquet") == [2, 1, 1, 1, 1, 1]


def test_blob_bytes_count_every_blob_and_the_lidar_points():
    lists = {name: [1, 2, 3] for name in ("u", "v", "z", "flags")}
    row = record(0, 100) | {
        "image": {"bytes": bytes(20), "path": None},
        "depth": {"bytes": bytes(3), "path": None},
    }
    assert writer._blob_bytes(row) == 123
    assert writer._blob_bytes(record(0, 100) | {"depth_points": lists}) == 100 + 3 * (2 + 2 + 2 + 1)


def test_no_rows_make_a_readable_file_with_the_schema(tmp_path):
    assert write_rows(tmp_path / "shard.parquet", ()) == 0
    assert pq.read_table(tmp_path / "shard.parquet").num_rows == 0


def test_an_error_in_the_middle_leaves_neither_the_file_nor_a_temporary_one(tmp_path):
    def rows():
        yield from (record(i) for i in range(40))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_rows(tmp_path / "data" / "shard.parquet", rows())
    assert list((tmp_path / "data").iterdir()) == []


def test_the_same_rows_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_rows(tmp_path / name, (record(i, 100 * i) for i in range(40)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_leaf_paths_go_through_lists_and_structs():
    schema = pa.schema([("a", pa.list_(pa.struct([("b", pa.list_(pa.int8()))]))), ("c", pa.string())])
    assert leaf_paths(schema) == ["a.list.element.b.list.element", "c"]


def test_a_small_table_is_one_row_group_and_keeps_its_metadata(tmp_path):
    schema = pa.schema([("x", pa.float64())], metadata={"dvbench": "y"})
    write_table(tmp_path / "t.parquet", pa.table({"x": [0.1] * 100}, schema=schema))
    assert group_rows(tmp_path / "t.parquet") == [100]
    assert pq.read_schema(tmp_path / "t.parquet").metadata[b"dvbench"] == b"y"
    write_table(tmp_path / "empty.parquet", pa.table({"x": []}, schema=schema))
    assert pq.read_table(tmp_path / "empty.parquet").num_rows == 0
