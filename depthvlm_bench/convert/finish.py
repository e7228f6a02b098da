"""The end of a conversion, from the shards alone: manifest, points, dataset.json, mark of success."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from depthvlm_bench.cards import DatasetCard, Role
from depthvlm_bench.convert.plan import Plan
from depthvlm_bench.records.codec import AREA_WITHOUT_TRUTH
from depthvlm_bench.records.files import reading, write_json
from depthvlm_bench.records.receipts import ShardReceipt, count_reasons, merge_counts
from depthvlm_bench.records.schema import POINTS_COLUMNS, POINTS_SCHEMA
from depthvlm_bench.records.writer import write_table
from depthvlm_bench.sampling.manifest import MANIFEST_COLUMNS, manifest_hash, manifest_table, write_manifest


def success_path(folder: Path, role: Role) -> Path:
    """The file whose presence says that a split is whole."""
    return folder / f"_SUCCESS-{role}"


def is_finished(folder: Path, role: Role) -> bool:
    """Whether a split has all that describes it."""
    files = (success_path(folder, role), manifest_path(folder, role))
    points = folder / f"points-{role}.parquet"
    there = all(path.is_file() for path in files) and (role == "train" or points.is_file())
    return there and role in _described_splits(folder)


def finished_hash(folder: Path, role: Role) -> str:
    """The manifest hash of a finished split."""
    path = success_path(folder, role)
    with reading(path, "delete it and convert again"):
        return str(json.loads(path.read_text(encoding="utf-8"))["manifest_hash"])


def manifest_path(folder: Path, role: Role) -> Path:
    """Where a set's manifest lies."""
    return folder / f"manifest-{role}.parquet"


def read_columns(folder: Path, receipts: Sequence[ShardReceipt], columns: Sequence[str]) -> pa.Table:
    """Some columns of all shards, in plan order."""
    tables = [pq.read_table(folder / "data" / receipt.file, columns=list(columns)) for receipt in receipts]
    return pa.concat_tables(tables)


def finish(folder: Path, plan: Plan, card: DatasetCard, receipts: Sequence[ShardReceipt]) -> str:
    """Write everything that describes the whole split, `_SUCCESS` last. Returns the manifest hash."""
    role = plan.settings.role
    manifest = manifest_table(read_columns(folder, receipts, MANIFEST_COLUMNS).to_pylist())
    digest = manifest_hash(manifest)
    write_manifest(manifest_path(folder, role), manifest)
    if role == "eval":
        points = read_columns(folder, receipts, POINTS_COLUMNS).select(POINTS_SCHEMA.names)
        write_table(folder / f"points-{role}.parquet", points.cast(POINTS_SCHEMA))
    area = mean_area_without_truth(folder, receipts) if role == "eval" else None
    entry = _split_entry(plan, card, receipts, manifest, digest) | {AREA_WITHOUT_TRUTH: area}
    _describe(folder, role, entry)
    write_json(success_path(folder, role), {"manifest_hash": digest, "shards": plan.shards})
    return digest


def asked_points(folder: Path, role: Role) -> int:
    """How many points a finished evaluation split asks."""
    with reading(manifest_path(folder, role), "--replan makes it anew"):
        lists = pq.read_table(manifest_path(folder, role), columns=["points"])["points"]
        return sum(len(points or ()) for points in lists.to_pylist())


def mean_area_without_truth(folder: Path, receipts: Sequence[ShardReceipt]) -> float:
    """Share of the picture area without ground truth, mean over an evaluation split's images."""
    extras = read_columns(folder, receipts, ["extra"])["extra"].to_pylist()
    shares = [float(json.loads(extra)[AREA_WITHOUT_TRUTH]) for extra in extras]
    return round(sum(shares) / len(shares), 4)


def _split_entry(
    plan: Plan, card: DatasetCard, receipts: Sequence[ShardReceipt], manifest: pa.Table, digest: str
) -> dict[str, Any]:
    settings = plan.settings
    skips = merge_counts([count_reasons(plan.skips), *(count_reasons(r.skips) for r in receipts)])
    rows = sum(receipt.rows for receipt in receipts)
    expected = card.images if settings.role == "eval" else None
    points = sum(len(row or ()) for row in manifest.column("points").to_pylist())
    return {
        "source_split": settings.source_split,
        "set_kind": settings.set_kind,
        "sampling": settings.sampling,
        "images": rows,
        "points": points,
        "images_of_the_full_set": expected,
        "subset": expected is not None and rows < expected,
        "replaced": plan.replaced,
        "dropped": plan.dropped,
        "skips": skips,
        "shards": plan.shards,
        "bytes": sum(receipt.bytes for receipt in receipts),
        "manifest_hash": digest,
        "options_hash": settings.hash,
        "converter": settings.converter,
        "options": settings.options,
    }


def _describe(folder: Path, role: Role, entry: dict[str, Any]) -> None:
    """Put one split's entry into dataset.json, leaving the other split's as it is."""
    splits = _described_splits(folder) | {role: entry}
    described = {"schema": 1, "set": folder.name, "dataset": folder.name.split("@")[0], "splits": splits}
    write_json(folder / "dataset.json", described)


def _described_splits(folder: Path) -> dict[str, Any]:
    """The splits that dataset.json describes; none where it is damaged, so that converting mends it."""
    path = folder / "dataset.json"
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))["splits"]
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return {}
    return splits if isinstance(splits, dict) else {}
