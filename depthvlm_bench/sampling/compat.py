"""The paper's own selection and ground truth, as its code runs: for reproducing published numbers only.

Every oddity here is deliberate: points of the depth file scaled as if they were picture pixels, rounding
half to even without a half-pixel term, truth read again from a nearest-resized map.

Source: the data and evaluation scripts of DepthVLM (arXiv 2605.15876), described by behaviour.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import IntArray

SEED = 42
MAX_ROUNDS = 10
MAX_RESAMPLE_ROUNDS = 5

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ListedPoints:
    """One line of an annotation list.

    Attributes:
        row: position in the list; the pixel draw is seeded with it.
        xy: [column, row] of each point in the depth file.
        depth_m: the list's depths, 4 decimals.
        record: the JSON line as read; None for lists made here.
    """

    row: int
    xy: tuple[tuple[int, int], ...]
    depth_m: tuple[float, ...]
    record: str | None = None


def allocate(sizes: Mapping[str, int], budget: int) -> dict[str, int]:
    """Spread a budget over groups in order of their names; ten rounds at most, ending when none fills up."""
    quota = dict.fromkeys(sizes, 0)
    open_groups = sorted(sizes)
    remaining = budget
    for _ in range(MAX_ROUNDS):
        if not open_groups or remaining <= 0:
            break
        base, extra = divmod(remaining, len(open_groups))
        for rank, group in enumerate(open_groups):
            given = min(base + (rank < extra), sizes[group] - quota[group])
            quota[group] += given
            remaining -= given
        left = [group for group in open_groups if quota[group] < sizes[group]]
        if len(left) == len(open_groups):
            break
        open_groups = left
    return quota


def pick_balanced(groups: Sequence[str], budget: int, usable: Callable[[int], bool]) -> list[int]:
    """Rows chosen from a list with a group name a row, in the order the paper's list would have them.

    Args:
        groups: group of each row, rows in list order.
        budget: rows wanted.
        usable: whether a row has at least one depth in range; asked in the order of the paper's code.

    Returns:
        row numbers, shuffled as the list is; fewer than the budget where groups fall short.
    """
    chance = random.Random(SEED)
    rows_of: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows_of.setdefault(group, []).append(row)
    quota = allocate({group: len(rows) for group, rows in rows_of.items()}, budget)
    tried = {group: _evenly(len(rows), quota[group]) for group, rows in rows_of.items()}
    names = sorted(rows_of)
    valid = {g: {rows_of[g][i] for i in sorted(tried[g]) if usable(rows_of[g][i])} for g in names}
    for _ in range(MAX_RESAMPLE_ROUNDS):
        if all(len(valid[group]) >= quota[group] for group in names):
            break
        found = [_refill(rows_of[g], tried[g], valid[g], quota[g], usable, chance) for g in names]
        if not any(found):
            break
    chosen = sorted(row for rows in valid.values() for row in rows)
    chance.shuffle(chosen)
    return chosen


def _evenly(size: int, count: int) -> set[int]:
    return set(range(size)) if count >= size else {int(j * size / count) for j in range(count)}


def _refill(
    rows: Sequence[int],
    tried: set[int],
    valid: set[int],
    quota: int,
    usable: Callable[[int], bool],
    chance: random.Random,
) -> bool:
    """One round of replacements in a group; whether it found any."""
    if len(valid) >= quota:
        return False
    before = len(valid)
    pool = [index for index in range(len(rows)) if index not in tried]
    chance.shuffle(pool)
    for index in pool:
        if len(valid) >= quota:
            break
        tried.add(index)
        if usable(rows[index]):
            valid.add(rows[index])
    return len(valid) > before


def pick_uniform(rows: int, budget: int, usable: Callable[[int], bool]) -> list[int]:
    """Rows chosen from an ungrouped list; all usable ones where the list is no longer than the budget."""
    chance = random.Random(SEED)
    if rows <= budget:
        chosen = [row for row in range(rows) if usable(row)]
    else:
        first = [int(i * rows / budget) for i in range(budget)]
        chosen = [row for row in first if usable(row)]
        pool = [row for row in range(rows) if row not in set(first)]
        chance.shuffle(pool)
        chosen += _top_up(pool, budget - len(chosen), usable)
    chance.shuffle(chosen)
    return chosen


def _top_up(pool: Sequence[int], wanted: int, usable: Callable[[int], bool]) -> list[int]:
    """Replacements, looked for in slices of twice what is still wanted, five slices at most."""
    found: list[int] = []
    cursor = 0
    for _ in range(MAX_RESAMPLE_ROUNDS):
        missing = wanted - len(found)
        if missing <= 0 or cursor >= len(pool):
            break
        piece = pool[cursor : cursor + 2 * missing]
        cursor += len(piece)
        for row in piece:
            if len(found) >= wanted:
                break
            if usable(row):
                found.append(row)
    return found


def points_per_row(rows: int, points_per_image: int, total_points: int | None) -> list[int]:
    """Points asked of each row: the same everywhere, or a total, its remainder on the first rows."""
    if total_points is None:
        return [points_per_image] * rows
    base, extra = divmod(total_points, rows)
    return [base + (row < extra) for row in range(rows)]


def draw_listed(depth_m: Float32Array, row: int, count: int) -> ListedPoints:
    """Points of one row: `RandomState(42 + row)` without replacement over valid pixels, row-major.

    Args:
        depth_m: (h, w) float32, masks and range applied, 0 = invalid.
        row: position in the shuffled list.
        count: points wanted; fewer are drawn where there are fewer valid pixels.
    """
    valid = np.argwhere(depth_m > 0)
    chance = np.random.RandomState(SEED + row)
    chosen = (
        valid[chance.choice(len(valid), size=min(count, len(valid)), replace=False)] if len(valid) else valid
    )
    xy = tuple((int(column), int(line)) for line, column in chosen)
    depths = tuple(round(float(depth_m[line, column]), 4) for column, line in xy)
    return ListedPoints(row, xy, depths)


def in_range(depth_m: Float32Array, valid_min_m: float, valid_max_m: float) -> Float32Array:
    """Depth with values outside the inclusive range set to 0."""
    return np.where((depth_m < valid_min_m) | (depth_m > valid_max_m), np.float32(0), depth_m).astype(
        np.float32
    )


def nearest_resize(values: npt.NDArray[np.generic], width: int, height: int) -> npt.NDArray[np.generic]:
    """OpenCV's INTER_NEAREST to the last pixel: source index = floor(target index * (1 / (target / source))).

    The reciprocal is rounded, so that at exact multiples the previous pixel may be read: integer division
    (target * source) // target differs there, on 7 of 1,144 columns made from 640.
    """
    rows, columns = _nearest_index(values.shape[0], height), _nearest_index(values.shape[1], width)
    return np.asarray(values[rows[:, None], columns])


def _nearest_index(source: int, target: int) -> IntArray:
    step = 1.0 / (target / source)
    return np.asarray(np.minimum(np.floor(np.arange(target) * step), source - 1), dtype=np.int64)


def canonical_xy(
    xy: Sequence[tuple[int, int]],
    original_size: tuple[int, int],
    canonical_size: tuple[int, int],
    crop_size: tuple[int, int],
) -> IntArray:
    """Listed points in the canonical picture: scaled by the sizes, less half the crop, rounded half to even.

    Args:
        xy: (N, 2) as listed.
        original_size, canonical_size, crop_size: (width, height); without a crop the last two are equal.

    Returns:
        (N, 2) int64; may lie outside the picture.
    """
    scale = np.array(canonical_size, dtype=np.float64) / np.array(original_size)
    offset = (np.array(canonical_size, dtype=np.float64) - np.array(crop_size)) / 2
    listed = np.reshape(np.asarray(xy, dtype=np.float64), (-1, 2))
    return np.asarray(np.round(listed * scale - offset), dtype=np.int64)


def truth_at(canonical_depth_m: Float32Array, xy: IntArray, listed_m: Sequence[float]) -> Float32Array:
    """Truth of listed points: the map's value, else the listed one; 0 outside the map (never scored)."""
    height, width = canonical_depth_m.shape
    x, y = xy[:, 0], xy[:, 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    truth = np.zeros(len(xy), dtype=np.float32)
    read = canonical_depth_m[y[inside], x[inside]]
    truth[inside] = np.where(read > 0, read, np.asarray(listed_m, dtype=np.float32)[inside])
    return truth
