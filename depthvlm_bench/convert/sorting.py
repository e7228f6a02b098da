"""All frames of a split in order, however many: sorted pieces on disk, merged when they are read."""

import heapq
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from operator import attrgetter, itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthvlm_bench.convert.plan_rows import PlannedFrame, Row, StoredFrames, plan_row, write_plan_rows
from depthvlm_bench.convert.settings import SetSettings
from depthvlm_bench.errors import CheckError
from depthvlm_bench.frames import Skip, Source
from depthvlm_bench.hashing import hash64
from depthvlm_bench.sampling.pick import allocate

# Frames held in memory at a time; a split with no more is never written aside.
PIECE_FRAMES = 50_000

_ORDER, _ROW_ORDER = attrgetter("ref.order_key"), itemgetter("scene", "time", "camera", "frame")


def sorted_frames(
    source: Source, settings: SetSettings, skips: list[Skip], piece_frames: int = PIECE_FRAMES
) -> Sequence[PlannedFrame]:
    """Every frame of the settings' split in order of its key; what the index leaves out goes to `skips`.

    Memory holds one piece, and eight bytes a frame to find two of one name.

    Raises:
        CheckError: two frames have one name.
    """
    pieces: list[StoredFrames] = []
    piece: list[PlannedFrame] = []
    names = array("Q")
    aside = tempfile.TemporaryDirectory(prefix="dvbench-plan-")
    for item in source.index(settings.split):
        if isinstance(item, Skip):
            skips.append(item)
            continue
        if len(piece) == piece_frames:
            pieces.append(_written(Path(aside.name) / f"{len(pieces)}.parquet", piece, settings, aside))
            piece = []
        piece.append(PlannedFrame(item))
        names.append(hash64(item.id))
    piece.sort(key=_ORDER)
    if pieces:
        pieces.append(_written(Path(aside.name) / f"{len(pieces)}.parquet", piece, settings, aside))
        path = Path(aside.name) / "sorted.parquet"
        merged: Iterator[Row] = heapq.merge(*(part.rows() for part in pieces), key=_ROW_ORDER)
        write_plan_rows(path, merged, 1, {})
        for part in pieces:
            part.path.unlink()
    frames: Sequence[PlannedFrame] = StoredFrames(path, settings, aside) if pieces else tuple(piece)
    _refuse_doubles(frames, np.frombuffer(names, dtype=np.uint64) if names else np.empty(0, np.uint64))
    return frames


def _written(path: Path, piece: list[PlannedFrame], settings: SetSettings, aside: object) -> StoredFrames:
    piece.sort(key=_ORDER)
    write_plan_rows(path, piece, 1, {})
    return StoredFrames(path, settings, aside)


def _refuse_doubles(frames: Sequence[PlannedFrame], names: npt.NDArray[np.uint64]) -> None:
    in_order = np.sort(names)
    suspects = set(in_order[1:][in_order[1:] == in_order[:-1]].tolist())
    seen: set[str] = set()
    for frame in frames if suspects else ():
        if hash64(frame.ref.id) in suspects:
            if frame.ref.id in seen:
                where, why = frame.ref.id, "a record's id must be its own"
                raise CheckError("two frames have one name", where=where, why=why)
            seen.add(frame.ref.id)


def spread_choice(frames: Sequence[PlannedFrame], budget: int, settings: SetSettings) -> list[int]:
    """Rows that `pick_images` would choose were every frame usable, in order: 12 bytes a frame in memory.

    Args:
        frames: all of a split, in order.
        budget: frames wanted.
    """
    numbers: dict[str, int] = {}
    group_of, hash_of = array("l"), array("Q")
    for row in frames.rows() if isinstance(frames, StoredFrames) else map(plan_row, frames):
        group_of.append(numbers.setdefault(row["group"], len(numbers)))
        hash_of.append(hash64(settings.seed, settings.dataset, row["id"]))
    groups, hashes = np.array(group_of), np.array(hash_of, dtype=np.uint64)
    sizes = dict(zip(numbers, np.bincount(groups, minlength=len(numbers)).tolist(), strict=True))
    quota = allocate(sizes, budget, settings.dataset, settings.seed)
    chosen: list[int] = []
    order = np.argsort(groups, kind="stable")
    starts = np.cumsum([0, *sizes.values()])
    for group, number in numbers.items():
        rows, count = order[starts[number] : starts[number + 1]], quota[group]
        cuts = [j * len(rows) // count for j in range(count + 1)] if count else [0]
        chosen += [int(part[np.argmin(hashes[part])]) for part in np.split(rows, cuts[1:-1]) if count]
    return sorted(chosen)


def taken(frames: Sequence[PlannedFrame], rows: list[int]) -> Iterator[PlannedFrame]:
    """The frames of some rows, in one pass."""
    wanted = iter(rows)
    following = next(wanted, None)
    for row, frame in enumerate(frames):
        if row == following:
            yield frame
            following = next(wanted, None)
