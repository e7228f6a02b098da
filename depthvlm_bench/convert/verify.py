"""Checks after the work: is a converted set still what its plan, receipts and manifest say?"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from depthvlm_bench.cards import Role
from depthvlm_bench.convert.finish import manifest_path, read_columns, success_path
from depthvlm_bench.convert.plan import Plan, plan_path, read_plan
from depthvlm_bench.convert.plan_rows import PlannedFrame
from depthvlm_bench.convert.verify_rows import Finding, row_findings
from depthvlm_bench.engines.contract import Done, Engine, Failed, Stop
from depthvlm_bench.engines.here import ThisProcess
from depthvlm_bench.errors import DvbenchError
from depthvlm_bench.hashing import sha256_file
from depthvlm_bench.progress import Progress
from depthvlm_bench.records.receipts import ShardReceipt, codec_versions, read_receipt, receipt_path
from depthvlm_bench.records.schema import POINTS_COLUMNS, POINTS_SCHEMA, SCHEMA
from depthvlm_bench.sampling.manifest import MANIFEST_COLUMNS, manifest_hash, manifest_table, read_manifest

__all__ = ["Finding", "roles_of", "verify"]

# What a damaged file makes Arrow, JSON or our own reading of them raise.
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, DvbenchError)


def roles_of(folder: Path) -> list[Role]:
    """The splits of which a set folder holds anything at all."""
    patterns = ("plan-{}.parquet", "_SUCCESS-{}", "data/{}-*.parquet", "receipts/{}-*.json")
    roles: tuple[Role, ...] = get_args(Role)
    return [role for role in roles if any(any(folder.glob(p.format(role))) for p in patterns)]


def verify(
    folder: Path, roles: Sequence[Role], progress: Progress, engine: Engine | None = None
) -> list[Finding]:
    """Check every file and every record of some splits of a set; memory stays at one row group a worker.

    Args:
        folder: the set's folder.
        roles: the splits to check.
        progress: told of stages, and of what is worth knowing but no fault.
        engine: where shards are checked; None: one after the other in this process.

    Returns:
        what is wrong, in the order of the shards; empty for a set that is whole.
    """
    chosen = engine or ThisProcess()
    return [finding for role in roles for finding in _verify_split(folder, role, progress, chosen)]


@dataclass
class _Split:
    """A split under examination: its plan, and the receipts of shards that could be read to the end."""

    folder: Path
    plan: Plan
    receipts: list[ShardReceipt] = field(default_factory=list)


@dataclass(frozen=True)
class ShardCheck:
    """The check of one shard by its number, as a task for engines; gives its findings and its receipt."""

    folder: Path
    plan: Plan

    def __call__(
        self, index: int, advance: Callable[[int], None]
    ) -> tuple[list[Finding], ShardReceipt | None]:
        """All that is wrong with the shard in itself and against its plan rows."""
        one = _Split(self.folder, self.plan)
        findings = list(_check_shard(one, index, advance))
        findings += [finding for receipt in one.receipts for finding in _check_key(one, index, receipt)]
        return findings, next(iter(one.receipts), None)


def _verify_split(folder: Path, role: Role, progress: Progress, engine: Engine) -> Iterator[Finding]:
    if not success_path(folder, role).is_file():
        why = f"there is no {success_path(folder, role).name}; the same dvbench convert finishes it"
        yield Finding("the conversion was not finished", str(folder), why)
    try:
        plan = read_plan(folder, role)
    except DAMAGE as error:
        yield Finding("the plan cannot be read", str(plan_path(folder, role)), _text(error))
        return
    if plan is None:
        why = "without it nothing can be checked against what was meant"
        yield Finding("the plan is missing", str(plan_path(folder, role)), why)
        return
    split = _Split(folder, plan)
    with progress.stage(f"verifying {folder.name} {role}", len(plan.frames), "image") as advance:
        yield from _check_shards(split, engine, advance)
    _note_versions(split, progress)
    yield from _check_strays(split)
    if len(split.receipts) == plan.shards and success_path(folder, role).is_file():
        yield from _check_whole(split)


def _check_shards(split: _Split, engine: Engine, advance: Callable[[int], None]) -> Iterator[Finding]:
    """Findings of all shards in their order, whichever is checked first; receipts go to the split."""
    checked: dict[int, tuple[list[Finding], ShardReceipt | None]] = {}
    task, shards = ShardCheck(split.folder, split.plan), range(split.plan.shards)
    for event in engine.run(task, shards, Stop(), lambda _shard, more: advance(more)):
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Done):
            checked[event.item] = event.result
        elif event.given_up:
            path = split.folder / "data" / split.plan.shard_file(event.item)
            why = f"{event.times} processes died over it"
            checked[event.item] = ([Finding("a shard could not be checked", str(path), why)], None)
    for index in shards:
        findings, receipt = checked[index]
        split.receipts += [receipt] if receipt is not None else []
        yield from findings


def _check_shard(split: _Split, index: int, advance: Callable[[int], None]) -> Iterator[Finding]:
    folder, file = split.folder, split.plan.shard_file(index)
    path, receipt = folder / "data" / file, read_receipt(folder, file)
    if receipt is None:
        why = "it is missing or no receipt; dvbench convert makes the shard again"
        yield Finding("a shard has no receipt", str(receipt_path(folder, file)), why)
    if not path.is_file():
        yield Finding("a shard is missing", str(path), "dvbench convert makes it again")
        return
    if receipt is not None:
        yield from _check_file(path, receipt)
    ids: list[str] = []
    try:
        schema = pq.read_schema(path)
        if not schema.equals(SCHEMA) or schema.metadata != SCHEMA.metadata:
            yield Finding("a shard has another schema", str(path), "every set has the project's one schema")
            return
        yield from _check_rows(path, split.plan, index, ids, advance)
        yield from _check_ids(path, split.plan.shard(index), receipt, ids)
    except DAMAGE as error:
        yield Finding("a shard cannot be read", str(path), f"after {len(ids)} records: {_text(error)}")
        return
    split.receipts += [receipt] if receipt is not None else []


def _check_file(path: Path, receipt: ShardReceipt) -> Iterator[Finding]:
    size = path.stat().st_size
    if receipt.file != path.name:
        yield Finding("a receipt speaks of another shard", str(path), f"its file is {receipt.file!r}")
    if size != receipt.bytes:
        yield Finding(
            "a shard has another size than its receipt", str(path), f"{size} bytes, not {receipt.bytes}"
        )
    elif (found := sha256_file(path)) != receipt.sha256:
        yield Finding(
            "a shard has another hash than its receipt", str(path), f"{found}, not {receipt.sha256}"
        )


def _check_rows(
    path: Path, plan: Plan, index: int, ids: list[str], advance: Callable[[int], None]
) -> Iterator[Finding]:
    """Check the records of a shard one row group at a time; their ids are appended to `ids`."""
    planned = {frame.ref.id: frame for frame in plan.shard(index)}
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            for row in file.read_row_group(group).to_pylist():
                ids.append(row["id"])
                advance(1)
                if row["id"] in planned:
                    yield from row_findings(row, planned[row["id"]], plan.settings)


def _check_ids(
    path: Path, frames: Sequence[PlannedFrame], receipt: ShardReceipt | None, ids: Sequence[str]
) -> Iterator[Finding]:
    """Plan order, less what the receipt says was skipped."""
    skipped = {skip.id for skip in receipt.skips} if receipt else set()
    expected = [frame.ref.id for frame in frames if frame.ref.id not in skipped]
    differing = next((pair for pair in zip_longest(ids, expected) if pair[0] != pair[1]), None)
    if differing:
        yield Finding("records are not the plan's", str(path), f"{differing[0]} where {differing[1]} belongs")
    if receipt and receipt.rows != len(ids):
        yield Finding(
            "a receipt counts other records", str(path), f"it says {receipt.rows}, there are {len(ids)}"
        )
    if unknown := sorted(skipped - {frame.ref.id for frame in frames}):
        yield Finding("a receipt skips a frame that was not planned", str(path), unknown[0])


def _check_key(split: _Split, index: int, receipt: ShardReceipt) -> Iterator[Finding]:
    """A receipt against its plan rows, with the library versions that it names."""
    if receipt.key != split.plan.shard_key(index, receipt.versions):
        why = "its key is not that of the plan's rows and settings"
        yield Finding("a receipt is of another plan", str(receipt_path(split.folder, receipt.file)), why)


def _note_versions(split: _Split, progress: Progress) -> None:
    """Say where a set was made with other libraries than these."""
    made_by = {tuple(sorted(receipt.versions.items())) for receipt in split.receipts}
    for versions in made_by - {tuple(sorted(codec_versions(split.plan.settings.backend).items()))}:
        named = ", ".join(f"{name} {number}" for name, number in versions)
        progress.note(f"{split.folder.name}: made with {named}; bytes may differ from what you would make")


def _check_strays(split: _Split) -> Iterator[Finding]:
    """Shards beside the plan's: every reader of `data/` would take them in."""
    planned = {split.plan.shard_file(index) for index in range(split.plan.shards)}
    for path in sorted((split.folder / "data").glob(f"{split.plan.settings.role}-*")):
        if path.name not in planned:
            yield Finding(
                "a file in data/ is not of the plan", str(path), "readers would take it in; remove it"
            )


def _check_whole(split: _Split) -> Iterator[Finding]:
    """Manifest, points file, dataset.json and _SUCCESS against the shards."""
    folder, role = split.folder, split.plan.settings.role
    try:
        manifest = manifest_table(read_columns(folder, split.receipts, MANIFEST_COLUMNS).to_pylist())
        digest = manifest_hash(manifest)
    except ValueError as error:
        yield Finding("the shards give no manifest", str(folder), _text(error))
        return
    yield from _compare_table(manifest_path(folder, role), manifest, read_manifest)
    if role == "eval":
        points = read_columns(folder, split.receipts, POINTS_COLUMNS).select(POINTS_SCHEMA.names)
        yield from _compare_table(
            folder / f"points-{role}.parquet", points.cast(POINTS_SCHEMA), pq.read_table
        )
    marked = {"manifest_hash": digest, "shards": split.plan.shards}
    yield from _compare_json(success_path(folder, role), marked, lambda found: found)
    yield from _compare_json(
        folder / "dataset.json", _described(split) | marked, lambda found: found["splits"][role]
    )


def _described(split: _Split) -> dict[str, Any]:
    """What dataset.json must say of the split."""
    settings = split.plan.settings
    return {
        "source_split": settings.source_split,
        "set_kind": settings.set_kind,
        "sampling": settings.sampling,
        "images": sum(receipt.rows for receipt in split.receipts),
        "bytes": sum(receipt.bytes for receipt in split.receipts),
        "options_hash": settings.hash,
        "converter": settings.converter,
    }


def _compare_table(path: Path, expected: pa.Table, read: Callable[[Path], pa.Table]) -> Iterator[Finding]:
    try:
        found = read(path)
        differing = [n for n in expected.column_names if not found.column(n).equals(expected.column(n))]
    except DAMAGE as error:
        yield Finding("a file cannot be read", str(path), _text(error))
        return
    if differing:
        yield Finding("a file differs from the shards", str(path), f"in {', '.join(differing)}")


def _compare_json(path: Path, expected: dict[str, Any], entry: Callable[[Any], Any]) -> Iterator[Finding]:
    try:
        found = entry(json.loads(path.read_text(encoding="utf-8")))
        differing = {name: found.get(name) for name in expected if found.get(name) != expected[name]}
    except DAMAGE as error:
        yield Finding("a file cannot be read", str(path), _text(error))
        return
    for name, value in differing.items():
        yield Finding(
            "a file differs from the shards", str(path), f"{name} {value!r}, not {expected[name]!r}"
        )


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
