"""The manifest that pins an evaluation set: which images, which pixels, which depths."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from depthvlm_bench.errors import UsageError
from depthvlm_bench.hashing import sha256_json
from depthvlm_bench.records.schema import POINTS
from depthvlm_bench.records.writer import write_table

MANIFEST_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source_sha256", pa.string()),
        ("canonical_sha256", pa.string()),
        ("points", POINTS),
        ("points_balanced", POINTS),
    ]
)
MANIFEST_COLUMNS = tuple(MANIFEST_SCHEMA.names)


def manifest_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """The manifest of records (any mapping with its columns), in id order."""
    chosen = [{name: row[name] for name in MANIFEST_COLUMNS} for row in rows]
    return pa.Table.from_pylist(sorted(chosen, key=lambda row: row["id"]), MANIFEST_SCHEMA)


def manifest_hash(manifest: pa.Table) -> str:
    """SHA-256 of the canonical JSON of the rows, floats by repr, in id order."""
    return sha256_json(sorted(manifest.to_pylist(), key=lambda row: row["id"]))


def write_manifest(path: Path, manifest: pa.Table) -> None:
    """Write a manifest as parquet."""
    write_table(path, manifest)


def read_manifest(path: Path) -> pa.Table:
    """Read a manifest; UsageError where the file is none."""
    try:
        table = pq.read_table(path)
        return table.select(MANIFEST_COLUMNS).cast(MANIFEST_SCHEMA)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise UsageError(
            "not a manifest",
            where=path,
            why=str(error).splitlines()[0],
            next_step="give the manifest-eval.parquet of a set",
        ) from error
