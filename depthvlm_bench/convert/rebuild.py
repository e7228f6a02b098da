"""Rebuilding a pinned set from a user's own raw data: the manifest's images and points, and what differs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from depthvlm_bench.cards import DatasetCard
from depthvlm_bench.convert.candidates import Candidates, Crew
from depthvlm_bench.convert.finish import read_columns
from depthvlm_bench.convert.plan import Plan, cut, index_frames
from depthvlm_bench.convert.plan_rows import PlannedFrame
from depthvlm_bench.convert.settings import SetSettings
from depthvlm_bench.errors import UsageError
from depthvlm_bench.frames import Frame, Skip, Source
from depthvlm_bench.progress import Progress
from depthvlm_bench.records.codec import decode_depth
from depthvlm_bench.records.receipts import ShardReceipt
from depthvlm_bench.sampling.pick import Pick

DEPTH_COLUMNS = ("depth", "depth_scale", "depth_affine", "depth_points", "depth_uv_step")
COMPARED = ("id", "source_sha256", "canonical_sha256", "points", "points_balanced", *DEPTH_COLUMNS)


@dataclass(frozen=True)
class Difference:
    """One way in which the rebuilt set is not the pinned one.

    Attributes:
        id: the record.
        what: missing, source (other file bytes), pixels (other canonical pixels) or depth (other truth).
        detail: evidence.
    """

    id: str
    what: str
    detail: str


def plan_from_manifest(
    source: Source,
    card: DatasetCard,
    settings: SetSettings,
    manifest: pa.Table,
    progress: Progress,
    crew: Crew | None = None,
) -> Plan:
    """The plan of exactly the manifest's images with exactly its points; images not in the tree are skips.

    Raises:
        UsageError: the manifest is of another dataset or role.
    """
    pinned = {row["id"]: row for row in manifest.to_pylist()}
    expected = f"{settings.dataset}/{settings.role}/"
    strange = next((record for record in pinned if not record.startswith(expected)), None)
    if strange is not None:
        raise UsageError("the manifest is of another set", where=strange, why=f"expected ids {expected}...")
    skips: list[Skip] = []
    indexed = [ref for ref in index_frames(source, settings.split, skips) if ref.id in pinned]
    found = {ref.id for ref in indexed}
    skips += [Skip(record, "missing_image", "not in this raw tree") for record in sorted(set(pinned) - found)]
    candidates = Candidates(source, card, settings, as_it_is, crew)
    with progress.stage("reading the manifest's images", len(indexed), "image") as advance:
        candidates.read_ahead(indexed, advance)
        refs = [ref for ref in indexed if candidates.outcome(ref, skips, advance)]
    frames = [PlannedFrame(r, pinned[r.id]["points"], pinned[r.id]["points_balanced"]) for r in refs]
    return cut(settings, frames, source, card, skips, Pick(dropped=len(pinned) - len(refs)))


def as_it_is(_frame: Frame, _card: DatasetCard, _settings: SetSettings) -> bool:
    """True: a frame that can be read is taken, and compared with its pin when it is written."""
    return True


def differences(folder: Path, receipts: Sequence[ShardReceipt], manifest: pa.Table) -> tuple[Difference, ...]:
    """Compare a rebuilt set with the manifest it was built from, record by record."""
    pinned = {row["id"]: row for row in manifest.to_pylist()}
    found: list[Difference] = []
    seen: set[str] = set()
    for receipt in receipts:
        for row in read_columns(folder, [receipt], COMPARED).to_pylist():
            seen.add(row["id"])
            found += _row_differences(row, pinned[row["id"]])
    missing = [
        Difference(record, "missing", "not in this raw tree, or unreadable")
        for record in sorted(set(pinned) - seen)
    ]
    return (*missing, *found)


def _row_differences(row: dict[str, Any], pinned: dict[str, Any]) -> list[Difference]:
    found = []
    for what, column in (("source", "source_sha256"), ("pixels", "canonical_sha256")):
        if row[column] != pinned[column]:
            found.append(Difference(row["id"], what, f"{row[column][:12]}, pinned {pinned[column][:12]}"))
    moved = _moved_points(row)
    if moved:
        index, measured_m, pinned_m = moved[0]
        evidence = f"{len(moved)} points, the first ({index}) is {measured_m} m, pinned {pinned_m} m"
        found.append(Difference(row["id"], "depth", evidence))
    return found


def _moved_points(row: dict[str, Any]) -> list[tuple[int, float | None, float]]:
    """Pinned points whose depth is not what this tree's depth says there: (index, measured, pinned)."""
    depth_at = _depth_lookup(row)
    measured = [
        (depth_at.get((p["u_src"], p["v_src"])), p["depth_m"]) for p in row["points"] + row["points_balanced"]
    ]
    return [(index, here, there) for index, (here, there) in enumerate(measured) if here != there]


def _depth_lookup(row: dict[str, Any]) -> dict[tuple[float, float], float]:
    """Depth by source coordinates, at the coordinates that the points ask."""
    depth = decode_depth(row)
    asked = {(p["u_src"], p["v_src"]) for p in row["points"] + row["points_balanced"]}
    u, v = depth.source_pixels()
    near = np.flatnonzero(np.isin(u, [a for a, _ in asked]) & np.isin(v, [b for _, b in asked]))
    metres = depth.depth_m
    return {(float(u[i]), float(v[i])): float(metres[i]) for i in near}
