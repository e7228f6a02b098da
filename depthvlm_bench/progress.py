"""How long work tells what it does: the library speaks to this, the command line draws it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Receives the stages of long work."""

    def stage(self, title: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """Enter a stage; the context gives a function to call with how much more is done."""
        ...

    def note(self, text: str) -> None:
        """One line worth reading."""
        ...


class Silent:
    """Says nothing: for library use and tests."""

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Do nothing."""
        yield lambda _done: None

    def note(self, text: str) -> None:
        """Do nothing."""
