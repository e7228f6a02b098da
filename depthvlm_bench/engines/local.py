"""Spawned processes on this machine; one that dies is replaced, and only its own item is done again."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import Any

from depthvlm_bench.engines.contract import MAX_DEATHS, Died, Done, Event, Failed, Stop, Task
from depthvlm_bench.engines.environment import worker_environment
from depthvlm_bench.engines.stopping import children_deaf_to_signals
from depthvlm_bench.engines.worker import DONE, FAILED, READY, TICK, serve
from depthvlm_bench.errors import CheckError

LEAVE_S = 5.0
LOOK_S = 0.5


class LocalProcesses:
    """A crew of worker processes. A pipe of its own tells which item a dead worker had in hand.

    (A shared pool does not: when one of its processes is killed, all that was in hand is lost, and the item
    to blame is not known.)
    """

    name = "local"
    leaves_the_process = True

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(
        self, task: Task, items: Sequence[int], stop: Stop, advance: Callable[[int, int], None]
    ) -> Generator[Event, None, None]:
        """See Engine.run; CheckError where workers do not even start."""
        crew = _Crew(task, min(self.workers, len(items)), deque(items))
        try:
            while True:
                if not stop.asked:
                    crew.hand_out()
                busy = [worker for worker in crew.workers if worker.item is not None]
                if not busy:
                    return
                told = wait([worker.connection for worker in busy], timeout=LOOK_S)
                for worker in (worker for worker in busy if worker.connection in told):
                    event = crew.hear(worker, advance)
                    if event is not None:
                        yield event
        finally:
            crew.leave()


class _Worker:
    """One process, the parent's end of its pipe, and the item it has in hand (None: idle)."""

    def __init__(self, task: Task) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, task), daemon=True)
        with worker_environment(), children_deaf_to_signals():
            self.process.start()
        theirs.close()  # else the pipe would not end with the process
        self.ready = False
        self.item: int | None = None

    def leave(self) -> None:
        """Let an idle process end by itself; kill one that has work in hand or does not listen."""
        self.connection.close()
        if self.item is None:
            self.process.join(LEAVE_S)
        self.process.kill()
        self.process.join()


class _Crew:
    """All workers and what is left to do."""

    def __init__(self, task: Task, size: int, waiting: deque[int]) -> None:
        self.task, self.size, self.waiting = task, size, waiting
        self.workers: list[_Worker] = []
        self.deaths: Counter[int] = Counter()
        self.stillborn = 0

    def hand_out(self) -> None:
        """Give every idle worker an item, starting workers while there are too few."""
        while self.waiting:
            worker = next((w for w in self.workers if w.item is None), None)
            if worker is None:
                if len(self.workers) == self.size:
                    return
                try:
                    worker = _Worker(self.task)
                except BrokenPipeError:  # it died while it was told what to do
                    self._count_stillborn(None)
                    continue
                self.workers.append(worker)
            item = self.waiting.popleft()
            worker.item = item
            try:
                worker.connection.send(item)
            except OSError:  # it died idle: nothing was lost, and reading from it will tell
                continue

    def hear(self, worker: _Worker, advance: Callable[[int, int], None]) -> Event | None:
        """Take one message of a worker; what it means for the caller."""
        assert worker.item is not None
        try:
            kind, payload = worker.connection.recv()
        except (EOFError, OSError):
            return self._dead(worker)
        return self._told(worker, worker.item, kind, payload, advance)

    def leave(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.connection.close()  # they end side by side
        for worker in self.workers:
            worker.leave()

    def _told(
        self,
        worker: _Worker,
        item: int,
        kind: str,
        payload: Any,  # noqa: ANN401 - as the kind says
        advance: Callable[[int, int], None],
    ) -> Event | None:
        if kind == READY:
            worker.ready, self.stillborn = True, 0
        elif kind == TICK:
            advance(item, payload)
        elif kind == DONE:
            worker.item = None
            return Done(item, *payload)
        elif kind == FAILED:
            worker.item = None
            return Failed(item, payload)
        return None

    def _dead(self, worker: _Worker) -> Event | None:
        """Take a dead worker off the crew; its item waits for another, unless it has killed too many."""
        item = worker.item
        assert item is not None
        self.workers.remove(worker)
        worker.leave()
        if not worker.ready:
            self.waiting.appendleft(item)
            self._count_stillborn(worker.process.exitcode)
            return None
        self.deaths[item] += 1
        given_up = self.deaths[item] >= MAX_DEATHS
        if not given_up:
            self.waiting.appendleft(item)
        return Died(item, self.deaths[item], given_up)

    def _count_stillborn(self, status: int | None) -> None:
        self.stillborn += 1
        if self.stillborn >= MAX_DEATHS:
            raise CheckError(
                "worker processes end before they begin",
                why=f"the last one with exit status {status}; what it said is above",
                next_step="--workers 1 starts none; a script of your own must guard its main part "
                'with `if __name__ == "__main__":`',
            )
