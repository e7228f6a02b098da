"""Writing the shards of a plan with an engine; what is done is read off the disk, never off the engine."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from depthvlm_bench.convert.finish import success_path
from depthvlm_bench.convert.plan import Plan
from depthvlm_bench.convert.runlog import RunLog
from depthvlm_bench.engines.contract import Died, Done, Engine, Event, Failed, Stop, Task
from depthvlm_bench.engines.stopping import stop_on_signal
from depthvlm_bench.errors import CheckError, PartialError
from depthvlm_bench.progress import Advance, Progress
from depthvlm_bench.records.receipts import ShardReceipt, count_reasons, read_receipt, reasons_text

RESUMES = "the same command resumes"


def rows_of(plan: Plan, shard: int) -> int:
    """How many frames a shard was planned with."""
    return min(plan.shard_rows, len(plan.frames) - shard * plan.shard_rows)


def valid_receipt(folder: Path, plan: Plan, shard: int) -> ShardReceipt | None:
    """The receipt of a shard that is there, whole, and of this plan."""
    receipt = read_receipt(folder, plan.shard_file(shard))
    if receipt is None or not receipt.holds(folder, plan.shard_key(shard)):
        return None
    return receipt


@dataclass
class ShardWriter:
    """One run over some shards of a plan.

    Attributes:
        task: writes a shard and returns its receipt.
        receipts: of the shards that are done, by number; read from disk.
    """

    folder: Path
    plan: Plan
    task: Task
    engine: Engine
    progress: Progress
    log: RunLog
    receipts: dict[int, ShardReceipt] = field(default_factory=dict)
    died: list[int] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def write(self, shards: Sequence[int], *, retry_skipped: bool = False) -> int:
        """Write those of `shards` that have no valid receipt. Returns how many had to be written.

        Raises:
            PartialError: the run was stopped, or shards killed their workers.
            DvbenchError, OSError: the first that a shard raised; the others in hand were finished.
        """
        missing = [shard for shard in shards if not self._holds(shard, retry_skipped=retry_skipped)]
        if missing:
            success_path(self.folder, self.plan.settings.role).unlink(missing_ok=True)
            with self._logged(shards, missing):
                self._run(missing)
        return len(missing)

    def _holds(self, shard: int, *, retry_skipped: bool) -> bool:
        receipt = valid_receipt(self.folder, self.plan, shard)
        if receipt is None or (retry_skipped and receipt.skips):
            return False
        self.receipts[shard] = receipt
        return True

    @contextmanager
    def _logged(self, shards: Sequence[int], missing: Sequence[int]) -> Iterator[None]:
        start = time.monotonic()
        self.log.write(
            "start",
            engine=self.engine.name,
            shards=len(shards),
            there=len(shards) - len(missing),
            frames=sum(rows_of(self.plan, shard) for shard in missing),
        )
        try:
            yield
        except BaseException as error:
            self.log.write("end", how=f"{type(error).__name__}: {error}", seconds=_since(start))
            raise
        self.log.write("end", how="done", seconds=_since(start))

    def _run(self, missing: Sequence[int]) -> None:
        role, total = self.plan.settings.role, sum(rows_of(self.plan, shard) for shard in missing)
        title = f"writing {self.folder.name} {role}"
        with (
            self.progress.stage(title, total, "frame") as advance,
            stop_on_signal(self.progress, "the shards") as stop,
        ):
            tally = _Tally(advance)
            with closing(self.engine.run(self.task, missing, stop, tally.within)) as events:
                for event in events:
                    self._take(event, tally, stop)
        if self.errors:
            raise self.errors[0]
        self._require_all(missing, stop)

    def _take(self, event: Event, tally: "_Tally", stop: Stop) -> None:
        name = self.plan.shard_file(event.item)
        match event:
            case Done(shard, _, seconds):
                receipt = valid_receipt(self.folder, self.plan, shard)
                if receipt is None:
                    stop.asked = True
                    self.errors.append(_unseen(self.folder, name))
                    return
                self.receipts[shard] = receipt
                tally.done(shard, rows_of(self.plan, shard), receipt)
                skips = count_reasons(receipt.skips)
                what = {"rows": receipt.rows, "bytes": receipt.bytes, "skips": skips}
                self.log.write("shard", file=name, seconds=round(seconds, 3), **what)
            case Died(shard, times, given_up):
                tally.lost(shard)
                self.log.write("quarantined" if given_up else "retry", file=name, times=times)
                if given_up:
                    self.died.append(shard)
                    tally.quarantined(rows_of(self.plan, shard))
                self.progress.note(
                    f"{name}: its worker died ({times}), " + ("left out" if given_up else "doing it again")
                )
            case Failed(_, error):
                stop.asked = True
                self.errors.append(error)
                self.log.write("failed", file=name, why=f"{type(error).__name__}: {error}")

    def _require_all(self, missing: Sequence[int], stop: Stop) -> None:
        left = [shard for shard in missing if shard not in self.receipts and shard not in self.died]
        done = f"{len(self.receipts)} of {len(self.receipts) + len(left) + len(self.died)} shards are there"
        if self.died:
            frames = sum(rows_of(self.plan, shard) for shard in self.died)
            names = ", ".join(self.plan.shard_file(shard) for shard in sorted(self.died)[:5])
            raise PartialError(
                f"{len(self.died)} shards killed their workers and were left out: {names}",
                where=self.folder,
                why=f"{frames} quarantined; {done}",
                next_step=f"{RESUMES}; fewer --workers leave each more memory ({self.log.path} tells when)",
            )
        if left:
            assert stop.asked
            raise PartialError(
                "stopped before all was written", where=self.folder, why=done, next_step=RESUMES
            )


class _Tally:
    """What all workers together have done, and its telling."""

    def __init__(self, advance: Advance) -> None:
        self.advance, self.start = advance, time.monotonic()
        self.told: Counter[int] = Counter()
        self.skips: Counter[str] = Counter()
        self.bytes = 0

    def within(self, shard: int, frames: int) -> None:
        """Frames of a shard that is not finished yet."""
        self.told[shard] += frames
        self.advance(frames)

    def done(self, shard: int, frames: int, receipt: ShardReceipt) -> None:
        """A shard is finished."""
        self.bytes += receipt.bytes
        self.skips.update(skip.reason for skip in receipt.skips)
        self.advance(frames - self.told.pop(shard, 0), self._detail())

    def lost(self, shard: int) -> None:
        """What was told of a shard is to be done again."""
        self.advance(-self.told.pop(shard, 0), self._detail())

    def quarantined(self, frames: int) -> None:
        """A shard will not be tried again."""
        self.skips["quarantined"] += frames
        self.advance(frames, self._detail())

    def _detail(self) -> str:
        rate = f"{self.bytes / 1e6 / max(_since(self.start), 1e-3):.1f} MB/s"
        skips = dict(sorted(self.skips.items()))
        return f"{rate}, left out: {reasons_text(skips)}" if skips else rate


def _unseen(folder: Path, file: str) -> CheckError:
    return CheckError(
        "a worker says that a shard is written, and it is not there",
        where=folder / "data" / file,
        why="the worker writes to another disk, or has other library versions",
        next_step="give --out on a disk that all machines share, and install the same versions on them",
    )


def _since(start: float) -> float:
    return round(time.monotonic() - start, 3)
