"""Ray Core tasks, on this machine or on a cluster: one task an item, a bounded window of them."""

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from importlib import import_module
from typing import Any

from depthvlm_bench.engines.contract import MAX_DEATHS, Died, Done, Event, Failed, Stop, Task
from depthvlm_bench.engines.environment import WORKER_ENVIRONMENT
from depthvlm_bench.errors import DataMissingError, UsageError

LOOK_S = 1.0
# Submitted beyond the CPUs there are, so that none idles and a cluster that can grow sees that it should.
AHEAD = 2


class RayTasks:
    """Tasks of one CPU each; Ray runs one again whose worker or node is lost, or that failed in I/O.

    Args:
        address: of a running cluster (`auto`, `ray://host:port`); None starts Ray on this machine.
        workers: CPUs that Ray may use where it is started here; None: all.
    """

    name = "ray"
    leaves_the_process = True

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self.address, self.workers = address, workers
        self.ray: Any = import_ray()

    def run(
        self, task: Task, items: Sequence[int], stop: Stop, advance: Callable[[int, int], None]
    ) -> Generator[Event, None, None]:
        """See Engine.run; progress within an item is not told."""
        ray = self.ray
        self._connect()
        try:
            remote = ray.remote(num_cpus=1, max_retries=MAX_DEATHS, retry_exceptions=[OSError])(_timed)
            shared = ray.put(task)
            waiting, in_hand = deque(items), dict[Any, int]()
            while in_hand or (waiting and not stop.asked):
                while waiting and not stop.asked and len(in_hand) < self._window():
                    item = waiting.popleft()
                    in_hand[remote.remote(shared, item)] = item
                ready, _ = ray.wait(list(in_hand), num_returns=1, timeout=LOOK_S)
                for reference in ready:
                    yield self._event(reference, in_hand.pop(reference))
        finally:
            ray.shutdown()

    def _connect(self) -> None:
        where = {"address": self.address} if self.address else {"num_cpus": self.workers}
        try:
            self.ray.init(
                **where,
                runtime_env={"env_vars": WORKER_ENVIRONMENT},
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=True,
                include_dashboard=None if self.address else False,
            )
        except (ConnectionError, ValueError) as error:
            raise UsageError(
                "no Ray cluster answers",
                where=self.address or "this machine",
                why=str(error),
                next_step="start one with `ray start --head`, or leave --address out",
            ) from error

    def _window(self) -> int:
        """How many tasks may be in hand; a cluster may grow while it works."""
        return int(self.ray.cluster_resources().get("CPU", 1)) + AHEAD

    def _event(self, reference: Any, item: int) -> Event:  # noqa: ANN401 - an ObjectRef
        exceptions = self.ray.exceptions
        try:
            result, seconds = self.ray.get(reference)
        except exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)
            return Failed(item, cause if isinstance(cause, Exception) else error)
        except exceptions.RayError:  # its worker or node was lost, at the first try and at every retry
            return Died(item, MAX_DEATHS + 1, given_up=True)
        return Done(item, result, seconds)


def import_ray() -> Any:  # noqa: ANN401 - a module without types of its own
    """Ray; DataMissingError with the pip command where it is not installed."""
    try:
        return import_module("ray")
    except ImportError as error:
        raise DataMissingError(
            "--engine ray needs Ray", why=str(error), next_step="pip install 'depthvlm-bench[ray]'"
        ) from error


def _timed(task: Task, item: int) -> tuple[Any, float]:
    start = time.monotonic()
    return task(item, _untold), time.monotonic() - start


def _untold(_more: int) -> None:
    """Ray has no channel back while a task runs."""
