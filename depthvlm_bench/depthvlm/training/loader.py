"""Batches for the Trainer: the stream through torch's DataLoader, resumable after any batch."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from depthvlm_bench.depthvlm.training.data import Sample
from depthvlm_bench.depthvlm.training.faults import Fault, FaultCounts
from depthvlm_bench.depthvlm.training.mixing import Drawn, MixedStream, Share
from depthvlm_bench.errors import DvbenchError, UsageError
from depthvlm_bench.hashing import canonical_json

MAX_BAD_SHARE = 0.01

Made = TypeVar("Made")
Batch = dict[str, Any]


class Collate(Protocol[Made]):
    """What makes model inputs of samples: each alone, then a batch of them."""

    def prepare(self, sample: Sample) -> Made:
        """What a batch is made of; BadSampleError where the sample cannot be used."""
        ...

    def __call__(self, prepared: Sequence[Made]) -> Batch:
        """A batch."""
        ...


class StreamView(IterableDataset[Drawn[Made] | DvbenchError], Generic[Made]):
    """A process's share of the stream, as torch's DataLoader reads it, with any number of workers.

    An error of the project comes as the last item: raised in a worker it would lose its parts.

    Args:
        stream: samples.
        collate: its `prepare` is done here, in the worker.
        share: of this process; its worker is filled in by the DataLoader's.
    """

    def __init__(self, stream: MixedStream, collate: Collate[Made], share: Share) -> None:
        self._stream, self._collate, self._share = stream, collate, share

    def __iter__(self) -> Iterator[Drawn[Made] | DvbenchError]:
        """Prepared samples without end."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        try:
            yield from self._stream.draw(
                replace(self._share, worker=worker, workers=workers), self._collate.prepare
            )
        except DvbenchError as error:
            yield error


@dataclass(frozen=True, eq=False)
class _Gather(Generic[Made]):
    """A batch with the faults met on the way, and the error that ends the run, if any."""

    collate: Collate[Made]

    def __call__(
        self, drawn: Sequence[Drawn[Made] | DvbenchError]
    ) -> tuple[Batch, list[Fault], DvbenchError | None]:
        faults: list[Fault] = []
        made: list[Made] = []
        for one in drawn:
            if isinstance(one, DvbenchError):
                return {}, faults, one
            faults += one.faults
            made.append(one.sample)
        try:
            return self.collate(made), faults, None
        except DvbenchError as error:
            return {}, faults, error


class SampleLoader(Generic[Made]):
    """Batches of one process, without end; a new iteration goes on where the last one was left.

    Args:
        stream: samples.
        collate: makes batches of them.
        batch_size: samples of a batch.
        rank, ranks: which process of how many.
        workers: processes that read ahead; 0: none. The batches are the same whatever their number.
        max_bad_share: of samples that cannot be used; beyond it the run ends.
        pin_memory: as of torch's DataLoader.
    """

    def __init__(
        self,
        stream: MixedStream,
        collate: Collate[Made],
        *,
        batch_size: int,
        rank: int = 0,
        ranks: int = 1,
        workers: int = 0,
        max_bad_share: float = MAX_BAD_SHARE,
        pin_memory: bool = False,
    ) -> None:
        if batch_size < 1 or not 0 <= rank < ranks:
            raise UsageError(f"no batches of {batch_size} for process {rank} of {ranks}")
        self.stream, self.batch_size, self.rank, self.ranks = stream, batch_size, rank, ranks
        self.slot = 0
        self.faults = FaultCounts(max_bad_share)
        self._collate, self._workers, self._pin_memory = collate, workers, pin_memory

    def __iter__(self) -> Iterator[Batch]:
        """Model inputs.

        Raises:
            CheckError: too many samples cannot be used.
        """
        share = Share(self.slot, self.batch_size, self.rank, self.ranks)
        batches = DataLoader(
            StreamView(self.stream, self._collate, share),
            batch_size=self.batch_size,
            collate_fn=_Gather(self._collate),
            num_workers=self._workers,
            pin_memory=self._pin_memory,
            generator=torch.Generator(),  # else the global one, which the model draws from, would move
        )
        for inputs, faults, failure in batches:
            self.faults.add(0 if failure else self.batch_size, faults)
            if failure is not None:
                raise failure
            self.slot += self.batch_size * self.ranks
            yield inputs

    @property
    def epoch(self) -> float:
        """How often the depth images were gone through, over all processes."""
        return self.slot / self.stream.epoch_slots

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands after the batches given out so far, the same on all processes; JSON."""
        return {"slot": self.slot, "stream": self.stream.identity, "faults": self.faults.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; the numbers of processes, workers and samples a batch may be others.

        Raises:
            UsageError: the data, their shares or the seed are not those of the checkpoint.
        """
        before, now = (json.loads(canonical_json(one)) for one in (state["stream"], self.stream.identity))
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            raise UsageError(
                "the training data are not those of the checkpoint",
                why="; ".join(f"{name} was {before.get(name)}, is {now[name]}" for name in changed),
                next_step="give the same sets and chat files, or start a new run",
            )
        self.slot = int(state["slot"])
        self.faults.load_state_dict(state["faults"])
