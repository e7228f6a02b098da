"""Rows of plans: planned frames as parquet holds them, read a few at a time however many there are."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from depthvlm_bench.cards import Tags
from depthvlm_bench.config import from_mapping
from depthvlm_bench.convert.settings import SetSettings
from depthvlm_bench.frames import FrameRef, locator_json
from depthvlm_bench.hashing import canonical_json
from depthvlm_bench.records.files import reading
from depthvlm_bench.records.schema import POINTS, TAGS
from depthvlm_bench.records.writer import open_writer
from depthvlm_bench.sampling.compat import ListedPoints

PLAN_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("shard", pa.int32()),
        ("id", pa.string()),
        ("scene", pa.string()),
        ("camera", pa.string()),
        ("frame", pa.string()),
        ("time", pa.int64()),
        ("group", pa.string()),
        ("locator", pa.string()),
        ("tags", TAGS),
        ("points", POINTS),
        ("points_balanced", POINTS),
        ("listed", pa.string()),
    ]
)
# Rows read at a time where a plan stays on disk; no shard is read in more pieces than it has thousands.
GROUP_ROWS = 1000
# Of these, made to objects at a time: a merge holds as many of every piece.
OBJECT_ROWS = 50

Points = list[dict[str, Any]]
Row = dict[str, Any]


@dataclass(frozen=True)
class PlannedFrame:
    """One row of the plan: a frame and, for evaluation, the points frozen for it (or listed by others)."""

    ref: FrameRef
    points: Points | None = None
    points_balanced: Points | None = None
    listed: ListedPoints | None = None


def plan_row(frame: PlannedFrame) -> Row:
    """A planned frame as a row of PLAN_SCHEMA, without its place."""
    ref = frame.ref
    names = ("id", "scene", "camera", "frame", "time", "group")
    row: Row = {name: getattr(ref, name) for name in names}
    row |= {"locator": locator_json(ref), "tags": dict(vars(ref.tags))}
    row |= {"points": frame.points, "points_balanced": frame.points_balanced}
    return row | {"listed": canonical_json(frame.listed) if frame.listed is not None else None}


def planned_frame(row: Mapping[str, Any], settings: SetSettings) -> PlannedFrame:
    """The planned frame of a row."""
    listed = json.loads(row["listed"]) if row["listed"] is not None else None
    points = from_mapping(ListedPoints, listed, row["id"]) if listed is not None else None
    ref = FrameRef(
        dataset=settings.dataset,
        split=settings.split,
        scene=row["scene"],
        camera=row["camera"],
        frame=row["frame"],
        time=row["time"],
        group=row["group"],
        locator=json.loads(row["locator"]),
        tags=Tags(**row["tags"]),
    )
    return PlannedFrame(ref, row["points"], row["points_balanced"], points)


def write_plan_rows(
    path: Path, frames: Iterable[PlannedFrame | Row], shard_rows: int, metadata: Mapping[bytes, bytes]
) -> None:
    """Write frames in order as a parquet file of their own, a row group at a time.

    Args:
        frames: as objects or as rows already.
        shard_rows: rows a shard, for the column that says which shard a row is in.
        metadata: of the file's schema.
    """
    with open_writer(path, PLAN_SCHEMA.with_metadata(dict(metadata))) as writer:
        first = 0
        for table in _tables(frames):
            rows = np.arange(first, first + len(table))
            placed = table.set_column(0, "row", pa.array(rows, pa.int64()))
            placed = placed.set_column(1, "shard", pa.array(rows // shard_rows, pa.int32()))
            writer.write_table(placed.cast(writer.schema))
            first += len(table)


def _tables(frames: Iterable[PlannedFrame | Row]) -> Iterator[pa.Table]:
    """Tables of GROUP_ROWS rows; frames that are stored already are not made to objects and back."""
    if isinstance(frames, StoredFrames):
        with reading(frames.path), pq.ParquetFile(frames.path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)
        return
    rows = (frame if isinstance(frame, dict) else plan_row(frame) for frame in frames)
    while group_rows := list(itertools.islice(rows, GROUP_ROWS)):
        yield pa.Table.from_pylist(group_rows, PLAN_SCHEMA)


@dataclass(frozen=True)
class StoredFrames(Sequence[PlannedFrame]):
    """Planned frames that stay in their file: as good as a tuple of them, for any number.

    Attributes:
        path: written by `write_plan_rows`.
        keeps: whatever has to live as long as the file (a temporary folder).
    """

    path: Path
    settings: SetSettings
    keeps: object = None

    @cached_property
    def _starts(self) -> list[int]:
        """First row of each row group, and the number of rows."""
        with reading(self.path, "--replan makes it anew"):
            found = pq.read_metadata(self.path)
            sizes = (found.row_group(group).num_rows for group in range(found.num_row_groups))
            return [0, *itertools.accumulate(sizes)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[PlannedFrame]:
        return self._between(0, len(self))

    @overload
    def __getitem__(self, index: int) -> PlannedFrame: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[PlannedFrame, ...]: ...

    def __getitem__(self, index: int | slice) -> PlannedFrame | tuple[PlannedFrame, ...]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return tuple(self._between(start, stop))[::step]
        place = range(len(self))[index]
        return next(self._between(place, place + 1))

    def _between(self, start: int, stop: int) -> Iterator[PlannedFrame]:
        return (planned_frame(row, self.settings) for row in self.rows(start, stop))

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """Rows as they are stored."""
        stop = len(self) if stop is None else stop
        with reading(self.path, "--replan makes it anew"), pq.ParquetFile(self.path) as file:
            for group, (first, end) in enumerate(itertools.pairwise(self._starts)):
                if first < stop and end > start:
                    rows = file.read_row_group(group).slice(max(0, start - first), None)
                    rows = rows.slice(0, min(stop, end) - max(start, first))
                    for batch in rows.to_batches(max_chunksize=OBJECT_ROWS):
                        yield from batch.to_pylist()
