"""How long work tells what it does: the library speaks to this, the command line draws it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Tells how much more of a stage is done; less than zero where work was lost and is done again."""

    def __call__(self, more: int, detail: str = "", /) -> None:
        """Add `more`; `detail` is shown beside the rate until another is given."""
        ...


class Progress(Protocol):
    """Receives the stages of long work."""

    def stage(self, title: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """Enter a stage; the context gives what to call with how much more is done."""
        ...

    def note(self, text: str) -> None:
        """One line worth reading."""
        ...


class Silent:
    """Says nothing: for library use and tests."""

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Do nothing."""
        yield _unseen

    def note(self, text: str) -> None:
        """Do nothing."""


def _unseen(_more: int, _detail: str = "") -> None:
    """Do nothing."""
