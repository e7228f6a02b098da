"""Parquet as every reader wants it: small row groups, blobs as they are, small columns zstd, page index."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from depthvlm_bench.records.files import whole_file
from depthvlm_bench.records.schema import BLOB_LEAVES, SCHEMA

ROW_GROUP_ROWS = 32
ROW_GROUP_BYTES = 64 * 2**20


def leaf_paths(schema: pa.Schema) -> list[str]:
    """Every leaf column's path as parquet spells it (`points.list.element.u`)."""
    return [path for field in schema for path in _leaves(field.name, field.type)]


def _leaves(path: str, kind: pa.DataType) -> list[str]:
    if pa.types.is_struct(kind):
        return [leaf for field in kind for leaf in _leaves(f"{path}.{field.name}", field.type)]
    if pa.types.is_list(kind):
        return _leaves(f"{path}.list.element", kind.value_type)
    return [path]


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A parquet writer with the project's settings for every leaf of `schema`."""
    leaves = leaf_paths(schema)
    return pq.ParquetWriter(
        path,
        schema,
        compression={leaf: "NONE" if leaf in BLOB_LEAVES else "ZSTD" for leaf in leaves},
        use_dictionary=[leaf for leaf in leaves if leaf not in BLOB_LEAVES],
        write_statistics=[leaf for leaf in leaves if leaf not in BLOB_LEAVES],
        write_page_index=True,
    )


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write records, row groups as they fill; whole file or none. Returns the number of rows."""
    written = 0
    with whole_file(path) as temporary, open_writer(temporary, SCHEMA) as writer:
        group: list[dict[str, Any]] = []
        size = 0
        for row in rows:
            row_bytes = _blob_bytes(row)
            if group and (len(group) == ROW_GROUP_ROWS or size + row_bytes > ROW_GROUP_BYTES):
                writer.write_table(pa.Table.from_pylist(group, SCHEMA))
                group, size = [], 0
            group.append(row)
            size += row_bytes
            written += 1
        if group:
            writer.write_table(pa.Table.from_pylist(group, SCHEMA))
    return written


def write_table(path: Path, table: pa.Table) -> None:
    """Write a small table (points, manifest, predictions) as one file, whole or not at all."""
    with whole_file(path) as temporary, open_writer(temporary, table.schema) as writer:
        writer.write_table(table, row_group_size=max(1, len(table)))


def _blob_bytes(row: dict[str, Any]) -> int:
    blobs = [row["source_image"], *(row[name] and row[name]["bytes"] for name in ("image", "depth"))]
    points = row["depth_points"]
    return sum(len(blob) for blob in blobs if blob) + (7 * len(points["u"]) if points else 0)
