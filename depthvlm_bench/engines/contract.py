"""What an engine takes and tells: a task over numbered items, in any order, surviving lost workers."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# An item whose worker dies this many times is left out: it would take every other one down with it.
MAX_DEATHS = 3

Advance = Callable[[int], None]
# (item, advance) -> result; `advance` is told of progress within the item. Must be a pure function of its
# item, and picklable where it leaves the process.
Task = Callable[[int, Advance], Any]


@dataclass
class Stop:
    """Whether the run was asked to end: no item is begun any more, those in hand are finished."""

    asked: bool = False


@dataclass(frozen=True)
class Done:
    """An item was finished; `seconds` is how long its worker took."""

    item: int
    result: Any
    seconds: float


@dataclass(frozen=True)
class Died:
    """A worker died over an item, for the nth time; `given_up`: it will not be tried again."""

    item: int
    times: int
    given_up: bool


@dataclass(frozen=True)
class Failed:
    """An item's task raised."""

    item: int
    error: Exception


Event = Done | Died | Failed


class Engine(Protocol):
    """Runs a task over items."""

    @property
    def name(self) -> str:
        """What a run log calls it."""
        ...

    @property
    def leaves_the_process(self) -> bool:
        """Whether tasks are pickled and run elsewhere."""
        ...

    def run(
        self, task: Task, items: Sequence[int], stop: Stop, advance: Callable[[int, int], None]
    ) -> Generator[Event, None, None]:
        """Yield what becomes of each item; ends when all are done, or after those in hand when stopped.

        Args:
            task: what is done with an item.
            items: what is to be done, in the order of submission.
            stop: looked at before an item is begun.
            advance: called with (item, how much more of it is done) while it is worked on.
        """
        ...
