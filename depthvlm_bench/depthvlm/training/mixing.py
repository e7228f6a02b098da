"""The endless stream of training samples: several sets and chat files, shuffled, in fixed shares.

Every sample has a slot, a number from 0 on; which sample that is follows from the slot alone (see `order`).
The default is the paper's: each image of the union of all sets is equally likely, and comes once an epoch.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, TypeVar

import numpy as np

from depthvlm_bench.conventions import BoolArray, IntArray
from depthvlm_bench.depthvlm.training.data import Sample, Source
from depthvlm_bench.depthvlm.training.faults import BadSampleError, Fault
from depthvlm_bench.depthvlm.training.order import RowOrder, Schedule, Window
from depthvlm_bench.errors import CheckError, UsageError, unknown_name

UNION, CHAT = "union of all sets", "chat"
# So many bad samples in a row are no accident, whatever share of them is allowed.
STAND_INS = 100

Made = TypeVar("Made")


@dataclass(frozen=True)
class MixSettings:
    """How sources are mixed.

    Attributes:
        weights: share of each set among depth samples, of any sum; None: uniform over the union of their
            images.
        chat_share: share of chat samples among all, where there are chat files.
        seed: of everything.
        window_rows: rows that are shuffled together, and whose encoded pictures are in memory, over all
            workers of a machine about once. To be well above the global batch, or a batch is made of whole
            row groups.
    """

    weights: Mapping[str, float] | None = None
    chat_share: float = 0.2
    seed: int = 42
    window_rows: int = 4096

    def __post_init__(self) -> None:
        """Refuse shares and sizes that mean nothing (UsageError)."""
        if not 0 <= self.chat_share <= 1:
            raise UsageError("chat_share must lie between 0 and 1", why=f"it is {self.chat_share}")
        if self.window_rows < 1:
            raise UsageError("window_rows must be at least 1", why=f"it is {self.window_rows}")


@dataclass(frozen=True)
class Share:
    """The part of the stream that one worker of one process reads.

    The stream is dealt out in batches: to the processes in turn, and within a process to its workers in turn.
    So one step of all processes is a run of slots whatever their number, and batches come in the same order
    from any number of workers.

    Attributes:
        start: first slot that is dealt.
        batch: samples of a batch on one process.
        rank, ranks: which process of how many.
        worker, workers: which worker of how many, of that process.
    """

    start: int = 0
    batch: int = 1
    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1

    def slots(self) -> Iterator[int]:
        """Its slots, without end."""
        for turn in count(self.worker, self.workers):
            first = self.start + (turn * self.ranks + self.rank) * self.batch
            yield from range(first, first + self.batch)

    def holds(self, slots: IntArray) -> BoolArray:
        """Which of some slots are its own."""
        turn, rank = np.divmod((slots - self.start) // self.batch, self.ranks)
        return np.asarray((slots >= self.start) & (rank == self.rank) & (turn % self.workers == self.worker))


@dataclass(frozen=True)
class Drawn(Generic[Made]):
    """A slot's sample, and the faults of those that it stands in for."""

    slot: int
    sample: Made
    faults: tuple[Fault, ...]


class MixedStream:
    """Sets and chat files as one endless stream.

    Args:
        sets: converted sets, in any order.
        chat: chat files; of several, each example is equally likely.
        settings: how they are mixed.

    Raises:
        UsageError: weights that do not fit the sets, or nothing to draw from.
    """

    def __init__(
        self, sets: Sequence[Source], chat: Sequence[Source] = (), settings: MixSettings | None = None
    ) -> None:
        self.settings = settings = settings or MixSettings()
        sets, chat = (sorted(sources, key=lambda source: source.name) for sources in (sets, chat))
        members, self.shares = _members(sets, chat, settings)
        self._pools = [Pool(name, sources, settings) for name, sources in members.items()]
        self._schedule = Schedule([self.shares[name] for name in members], settings.seed)

    @property
    def epoch_slots(self) -> int:
        """Slots of as many depth samples as there are depth images (chat alone: of as many examples)."""
        depth = [pool for pool in self._pools if pool.name != CHAT] or self._pools
        share = sum(self.shares[pool.name] for pool in depth)
        return math.ceil(sum(pool.rows for pool in depth) / share - 1e-9)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the stream; it must not change between a checkpoint and its resumption. JSON."""
        return {
            "seed": self.settings.seed,
            "window_rows": self.settings.window_rows,
            "shares": self.shares,
            "sources": {pool.name: [source.identity for source in pool.sources] for pool in self._pools},
        }

    def draw(
        self, share: Share, prepare: Callable[[Sample], Made], slots: Iterable[int] | None = None
    ) -> Iterator[Drawn[Made]]:
        """The samples of a share, prepared.

        A sample that cannot be used is replaced by the next of its pool's order, counted from its own place
        in the next epoch: a random one of the same sets, where the next of this epoch would be of the same
        batch. Nothing else moves.

        Args:
            share: which part of the stream.
            prepare: makes of a sample what is wanted; it may refuse it by a BadSampleError.
            slots: some of the share's, in any order; None: all of them, without end.

        Raises:
            CheckError: a hundred samples in a row cannot be used.
        """
        readers = [self._reader(index, share) for index in range(len(self._pools))]
        for slot in share.slots() if slots is None else slots:
            index, drawn = self._schedule.place(slot)
            yield _fill(slot, drawn, readers[index], prepare)

    def _reader(self, index: int, share: Share) -> "_Reader":
        return _Reader(self._pools[index], lambda drawn: share.holds(self._schedule.slots(index, drawn)))


def _fill(slot: int, drawn: int, reader: "_Reader", prepare: Callable[[Sample], Made]) -> Drawn[Made]:
    faults: list[Fault] = []
    for tried in range(STAND_INS + 1):
        try:
            sample = reader.take(drawn) if not tried else reader.stand_in(drawn, tried - 1)
            return Drawn(slot, prepare(sample), tuple(faults))
        except BadSampleError as error:
            faults.append(error.fault)
    raise CheckError(
        f"{len(faults)} samples in a row cannot be used",
        where=reader.pool.name,
        why=f"the first: {faults[0].text}",
        next_step="dvbench verify names what is damaged",
    )


def _members(
    sets: Sequence[Source], chat: Sequence[Source], settings: MixSettings
) -> tuple[dict[str, Sequence[Source]], dict[str, float]]:
    """Sources that are shuffled together, by name, and their share among all samples."""
    if not sets and not chat:
        raise UsageError("there is nothing to train on", next_step="name a converted set or a chat file")
    if sets and chat and not 0 < settings.chat_share < 1:
        why = f"chat_share is {settings.chat_share:g}"
        raise UsageError("sets and chat files are given, and one of them is never drawn", why=why)
    members, shares = _depth_members(sets, settings)
    chat_share = (settings.chat_share if sets else 1.0) if chat else 0.0
    shares = {name: share * (1 - chat_share) for name, share in shares.items()}
    return (members | {CHAT: chat}, shares | {CHAT: chat_share}) if chat else (members, shares)


def _depth_members(
    sets: Sequence[Source], settings: MixSettings
) -> tuple[dict[str, Sequence[Source]], dict[str, float]]:
    names = [source.name for source in sets]
    if len(set(names)) < len(names):
        raise UsageError("a set is given twice", why=", ".join(names))
    if settings.weights is None:
        return ({UNION: sets}, {UNION: 1.0}) if sets else ({}, {})
    for name in settings.weights:
        if name not in names:
            raise unknown_name("set in weights", name, names)
    unweighted = [name for name in names if settings.weights.get(name, 0.0) <= 0]
    if unweighted:
        raise UsageError(
            "weights must name every set, above 0",
            why=f"none for {', '.join(unweighted)}",
            next_step="leave the set out, or give it a weight",
        )
    total = sum(settings.weights.values())
    return {s.name: [s] for s in sets}, {name: settings.weights[name] / total for name in names}


class Pool:
    """Sources whose rows are shuffled together."""

    def __init__(self, name: str, sources: Sequence[Source], settings: MixSettings) -> None:
        self.name, self.sources = name, tuple(sources)
        sizes = [source.group_rows for source in self.sources]
        self._firsts = np.cumsum([0, *map(len, sizes)])
        self.order = RowOrder(np.concatenate(sizes), settings.window_rows, settings.seed, name)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.order.rows

    def read(self, group: int, rows: Sequence[int]) -> dict[int, Any]:
        """Encoded rows of one of its groups; the fault instead of each, where the group is damaged."""
        source, own = self._source(group)
        try:
            return source.read(own, rows)
        except BadSampleError as error:
            return dict.fromkeys(rows, error)

    def sample(self, group: int, raw: Any) -> Sample:  # noqa: ANN401 - a source's own
        """The sample of an encoded row; BadSampleError where it cannot be used."""
        if isinstance(raw, BadSampleError):
            raise raw
        return self._source(group)[0].sample(raw)

    def _source(self, group: int) -> tuple[Source, int]:
        index = int(np.searchsorted(self._firsts, group, side="right")) - 1
        return self.sources[index], group - int(self._firsts[index])


class _Reader:
    """Draws of a pool for one share: of each group in the window its own rows are kept, until drawn."""

    def __init__(self, pool: Pool, holds: Callable[[IntArray], BoolArray]) -> None:
        self.pool, self._holds = pool, holds
        self._window: Window | None = None
        self._own: BoolArray = np.zeros(0, dtype=bool)
        self._raw: dict[tuple[int, int], Any] = {}

    def take(self, drawn: int) -> Sample:
        """The pool's sample of a draw; draws come in ascending order."""
        window = self.pool.order.window(drawn)
        if self._window is None or window.first != self._window.first:
            self._window, self._raw = window, {}
            self._own = self._holds(window.first + np.arange(len(window.row)))
        index = drawn - window.first
        group, row = int(window.group[index]), int(window.row[index])
        if (group, row) not in self._raw:
            own = self._own & (window.group == group)
            own[index] = True
            read = self.pool.read(group, window.row[own].tolist())
            self._raw |= {(group, one): raw for one, raw in read.items()}
        return self.pool.sample(group, self._raw.pop((group, row)))

    def stand_in(self, drawn: int, number: int) -> Sample:
        """The sample that the pool gives an epoch later, or one of those after it."""
        later = drawn + self.pool.rows + number
        window = self.pool.order.window(later)
        group, row = int(window.group[later - window.first]), int(window.row[later - window.first])
        return self.pool.sample(group, self.pool.read(group, [row])[row])
