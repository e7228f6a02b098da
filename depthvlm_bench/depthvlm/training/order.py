"""Seeded orders that are computed, never stored: which pool a slot draws from, and which row that pool gives.

The endless stream of samples is numbered in **slots**. A slot's sample follows from its number alone, so a
run is resumed from one integer, and the number of processes or workers changes nothing of what is drawn.

Rows are shuffled in two levels. The groups of all files (row groups of about 32 rows) are put into a seeded
order, cut into windows of a few thousand rows, and the rows of a window are shuffled. A plain shuffle of all
rows would read a whole group for each row, 32 times the data; this way a group is read once while its window
is drawn, the memory is that of one window's encoded rows, and the numbers kept are those of groups: 156,000
for five million records. Where a set is smaller than a window, its order is a uniform permutation.

Source: the permutations are the order of keys of PCG64, whose stream no release of NumPy changes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import IntArray
from depthvlm_bench.errors import UsageError
from depthvlm_bench.hashing import hash64

# Slots after which a schedule repeats its counts; shares are kept to 1 / PERIOD.
PERIOD = 10_000
BLOCK = 20
KEPT = 2

Key = TypeVar("Key")
Made = TypeVar("Made")


def kept(memory: dict[Key, Made], key: Key, make: Callable[[], Made]) -> Made:
    """The value of a key, made where `memory` has none; of more than a few the oldest is let go."""
    if key not in memory:
        while len(memory) >= KEPT:
            del memory[next(iter(memory))]
        memory[key] = make()
    return memory[key]


def keys(count: int, *seed: object) -> npt.NDArray[np.uint64]:
    """Random 64-bit keys (count,) of a seed."""
    return np.random.PCG64(hash64(*map(str, seed))).random_raw(count)


def permutation(count: int, *seed: object) -> IntArray:
    """A uniform permutation of 0 .. count - 1."""
    return np.argsort(keys(count, *seed), kind="stable")


def whole_shares(shares: Sequence[float], total: int = PERIOD) -> list[int]:
    """Shares as whole parts of `total`, by largest remainder; each at least 1.

    Raises:
        UsageError: a share that is not above 0, or more shares than parts.
    """
    if not shares or not all(np.isfinite(share) and share > 0 for share in shares) or len(shares) > total:
        raise UsageError("shares of a mixture must be numbers above 0", why=f"they are {list(shares)}")
    exact = np.asarray(shares) / sum(shares) * total
    parts = np.maximum(1, np.floor(exact)).astype(np.int64)
    for index in np.argsort(parts - exact, kind="stable")[: max(0, total - int(parts.sum()))]:
        parts[index] += 1
    while parts.sum() > total:  # tiny shares were raised to 1
        parts[np.argmax(parts)] -= 1
    return [int(part) for part in parts]


class Schedule:
    """Which pool each slot draws from: every stretch of the stream has the pools in their shares.

    The j-th of a pool's n slots of a period falls at a random place of the j-th of n equal parts, so that
    shares hold in a batch as they do in an epoch. A few slots in a row are then shuffled: were every fifth of
    them chat, one of five processes would get nothing else.

    Args:
        shares: of the pools, above 0, of any sum.
        seed: of the places.
    """

    def __init__(self, shares: Sequence[float], seed: int) -> None:
        self.counts = whole_shares(shares)
        self._seed = seed
        self._periods: dict[int, tuple[IntArray, IntArray]] = {}

    def place(self, slot: int) -> tuple[int, int]:
        """The pool of a slot, and how many earlier slots drew from it."""
        period, offset = divmod(slot, PERIOD)
        pools, ranks = self._period(period)
        pool = int(pools[offset])
        return pool, period * self.counts[pool] + int(ranks[offset])

    def slots(self, pool: int, drawn: IntArray) -> IntArray:
        """The slots of a pool's draws, by their number: `place` backwards."""
        periods, ranks = np.divmod(drawn, self.counts[pool])
        slots = np.empty_like(drawn)
        for period in np.unique(periods):
            own = np.flatnonzero(self._period(int(period))[0] == pool)
            here = periods == period
            slots[here] = period * PERIOD + own[ranks[here]]
        return slots

    def _period(self, period: int) -> tuple[IntArray, IntArray]:
        return kept(self._periods, period, lambda: self._make_period(period))

    def _make_period(self, period: int) -> tuple[IntArray, IntArray]:
        """Pool of each slot of a period, and the slot's rank among those of its pool."""
        ranks = np.concatenate([np.arange(count) for count in self.counts])
        pools = np.repeat(np.arange(len(self.counts)), self.counts)
        jitter = keys(PERIOD, "schedule", self._seed, period) / 2.0**64
        even = np.argsort((ranks + jitter) / np.asarray(self.counts)[pools], kind="stable")
        blocks = np.arange(PERIOD) // BLOCK + keys(PERIOD, "blocks", self._seed, period) / 2.0**64
        order = even[np.argsort(blocks, kind="stable")]
        # Draws of a pool are counted by slot, so its ranks have to rise again within a block.
        by_pool = np.argsort(pools[order], kind="stable")
        counted = np.empty_like(ranks)
        counted[by_pool] = ranks
        return pools[order], counted


@dataclass(frozen=True, eq=False)
class Window:
    """Rows that are drawn together.

    Attributes:
        first: how many rows are drawn before this window's, from the first epoch on.
        group, row: (n,) which row of which group, in the order drawn.
    """

    first: int
    group: IntArray
    row: IntArray


@dataclass(frozen=True, eq=False)
class _Epoch:
    """Groups in an epoch's order, and the bounds of its windows in that list and in rows."""

    groups: IntArray
    group_bounds: IntArray
    row_bounds: IntArray


class RowOrder:
    """An endless order over the rows of groups: every row once an epoch, each epoch in another order.

    Args:
        group_rows: (G,) rows of each group.
        window_rows: rows of a window, up to whole groups.
        seed: of the order.
    """

    def __init__(self, group_rows: IntArray, window_rows: int, *seed: object) -> None:
        self.rows = int(group_rows.sum())
        self._group_rows, self._window_rows, self._seed = group_rows, window_rows, seed
        self._epochs: dict[int, _Epoch] = {}
        self._windows: dict[int, Window] = {}

    def window(self, drawn: int) -> Window:
        """The window of a draw, by its number (0 is the first row of the first epoch)."""
        number, position = divmod(drawn, self.rows)
        epoch = kept(self._epochs, number, lambda: self._make_epoch(number))
        index = int(np.searchsorted(epoch.row_bounds, position, side="right")) - 1
        first = number * self.rows + int(epoch.row_bounds[index])
        return kept(self._windows, first, lambda: self._make_window(number, epoch, index))

    def _make_epoch(self, number: int) -> _Epoch:
        groups = permutation(len(self._group_rows), "groups", *self._seed, number)
        starts = np.concatenate([[0], np.cumsum(self._group_rows[groups])])
        # A group belongs to the window in which it begins; one larger than a window fills it and the next.
        _, firsts = np.unique(starts[:-1] // self._window_rows, return_index=True)
        bounds = np.append(firsts, len(groups))
        return _Epoch(groups, bounds, starts[bounds])

    def _make_window(self, number: int, epoch: _Epoch, index: int) -> Window:
        groups = epoch.groups[epoch.group_bounds[index] : epoch.group_bounds[index + 1]]
        sizes = self._group_rows[groups]
        row = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        order = permutation(len(row), "rows", *self._seed, number, index)
        first = number * self.rows + int(epoch.row_bounds[index])
        return Window(first, np.repeat(groups, sizes)[order], row[order])
