"""Finding what is to be drawn: records by id or a part of it, rows by id, runs by model."""

import difflib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.geometry.grids import native_grid
from depthvlm_bench.predict.keep import kept_map
from depthvlm_bench.predict.store import RunStore, find_runs
from depthvlm_bench.records.codec import record_grid
from depthvlm_bench.records.files import reading
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.scoring.diagnostics import WORST, Diagnostics, diagnose
from depthvlm_bench.scoring.pointtable import DIAGNOSTIC_COLUMNS, point_table
from depthvlm_bench.scoring.protocol import DEFAULT_PROTOCOL, load_protocol
from depthvlm_bench.scoring.scorer import point_values
from depthvlm_bench.viz.shown import ShownMap

NAMED = 3
# Nearest names are looked for among so many records; among more, comparing takes longer than a reader waits.
COMPARED = 5000


def record_ids(records: RecordSet) -> list[str]:
    """Ids of a split in plan order, read from its shards without pixels."""
    ids: list[str] = []
    for shard in records.shards:
        with reading(shard):
            ids += pq.read_table(shard, columns=["id"])["id"].to_pylist()
    return ids


def rows_of(
    records: RecordSet, wanted: Collection[str], columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of some ids in plan order; only row groups that can hold one are read."""
    names = None if columns is None else list(columns)
    for shard in records.shards:
        with reading(shard):
            table = pq.read_table(shard, columns=names, filters=[("id", "in", list(wanted))])
        yield from table.to_pylist()


def find_record(sets: Sequence[RecordSet], name: str) -> tuple[RecordSet, str]:
    """The one record whose id is `name`, or starts or ends with it.

    Raises:
        DataMissingError: there is none; names the nearest.
        UsageError: there are several.
    """
    there = {records: record_ids(records) for records in sets}
    exact = [(records, name) for records, ids in there.items() if name in ids]
    near = [
        (records, record)
        for records, ids in there.items()
        for record in ids
        if record.startswith(name) or record.endswith(name)
    ]
    found = exact or near
    if len(found) == 1:
        return found[0]
    if not found:
        ids = [record for several in there.values() for record in several]
        raise _unknown(name, ids, sorted({records.name for records in sets}))
    if len({record for _, record in found}) == 1:
        names = ", ".join(f"{records.name} ({records.role})" for records, _ in found)
        raise UsageError(f"{name!r} is in several sets", why=names, next_step="name one with --set")
    shown = ", ".join(record for _, record in found[:NAMED])
    raise UsageError(
        f"{name!r} fits {len(found)} records",
        why=shown + (", ..." if len(found) > NAMED else ""),
        next_step="write more of the id",
    )


def _unknown(name: str, ids: Sequence[str], sets: Sequence[str]) -> DataMissingError:
    """The nearest set, whole id or last part of one, else what ids look like."""
    lasts = {record.split("/")[-1]: record for record in ids[:COMPARED]}
    close = difflib.get_close_matches(name, [*sets, *ids[:COMPARED], *lasts], n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"ids look like {ids[0]!r}" if ids else "no records"
    return DataMissingError(
        f"no set or record {name!r}", where=", ".join(sets), why=hint, next_step="dvbench view SET lists ids"
    )


def find_run(runs: Path, name: str, records: RecordSet) -> RunStore:
    """The run of a model on a set, by its name, its label, its folder's name or its folder.

    Raises:
        DataMissingError: there is none; says which there are.
        UsageError: there are several.
        CheckError: the set was converted again since.
    """
    there = [run for run in find_runs(runs) if run.spec.set_name == records.name]
    named = [run for run in there if name in (run.spec.label, run.folder.name, str(run.folder))]
    found = named or [run for run in there if run.spec.model == name]
    known = ", ".join(sorted({run.spec.label for run in there})) or "none"
    if not found:
        raise DataMissingError(
            f"no run of {name!r} on {records.name}",
            where=runs,
            why=f"there are: {known}",
            next_step=f"dvbench eval --model NAME --set {records.name}",
        )
    if len(found) > 1:
        folders = ", ".join(run.folder.name for run in found)
        raise UsageError(f"{name!r} has {len(found)} runs on {records.name}", why=f"name one: {folders}")
    if found[0].spec.manifest_hash != records.manifest_hash:
        raise CheckError(
            "the run was made on another version of the set",
            where=found[0].folder,
            next_step="dvbench eval predicts the new one",
        )
    return found[0]


def answers_of(run: RunStore, record: str, points: int) -> list[float]:
    """A run's answers to the asked points of a record, as `dvbench-1` reads them; NaN where there is none.

    Raises:
        DataMissingError: the record was not predicted.
    """
    given = point_values(run.predictions(), load_protocol(DEFAULT_PROTOCOL)).get(record)
    if given is None:
        raise DataMissingError(
            "the run has no prediction of this record",
            where=run.folder,
            why=record,
            next_step="the same dvbench eval, without --limit, resumes it",
        )
    values = (given.get(index, (None, ""))[0] for index in range(points))
    return [math.nan if value is None else value for value in values]


def map_of(run: RunStore, row: Mapping[str, Any]) -> ShownMap | None:
    """The map that `dvbench eval --keep-maps` kept of a record; None where there is none.

    None too of pictures at a preferred focal length, whose size the run does not hold.
    """
    dense = None if run.spec.input == "preferred" else kept_map(run.folder, row["id"])
    if dense is None:
        return None
    native = native_grid(row["source_width"], row["source_height"])
    return ShownMap.of(dense, native if run.spec.input == "native" else record_grid(row))


def diagnose_run(run: RunStore, records: RecordSet, worst: int = WORST) -> Diagnostics:
    """Where a run errs on the asked points of its set, as `dvbench-1` reads its answers."""
    rows = records.points(list(DIAGNOSTIC_COLUMNS)).to_pylist()
    points = point_table(rows, run.predictions(), load_protocol(DEFAULT_PROTOCOL))
    return diagnose(points, missing=len(rows) - len(set(points.image.tolist())), worst=worst)


def evenly(ids: Sequence[str], number: int) -> list[str]:
    """So many ids at even distances, the first and the last among them; all where there are fewer."""
    if len(ids) <= number:
        return list(ids)
    steps = max(number - 1, 1)
    return [ids[index * (len(ids) - 1) // steps] for index in range(number)]
