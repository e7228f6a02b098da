"""One family of errors: what went wrong, where, why it matters, and what to do next."""

import difflib
from collections.abc import Iterable
from enum import IntEnum
from typing import Literal, get_args

# Names that an error lists where none is near: those of every dataset, not of every published model.
NAMES_SHOWN = 20


class ExitCode(IntEnum):
    """What a command's exit status says."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    DATA_MISSING = 3
    PARTIAL = 4


class DvbenchError(Exception):
    """A mistake or fault that a user can act on; the command line prints it as one line, without a traceback.

    Args:
        what: what went wrong.
        where: file, sample id or option it concerns.
        why: why it matters, or what was found instead.
        next_step: what to do, with the command where there is one.
    """

    exit_code = ExitCode.CHECK_FAILED

    def __init__(self, what: str, *, where: object = "", why: str = "", next_step: str = "") -> None:
        self.what, self.where, self.why, self.next_step = what, str(where), why, next_step
        super().__init__(self.one_line())

    def one_line(self) -> str:
        """The error as the single line a user reads."""
        parts = [self.what + (f" [{self.where}]" if self.where else "")]
        parts += [self.why] if self.why else []
        parts += [f"next: {self.next_step}"] if self.next_step else []
        return " — ".join(" ".join(part.split()) for part in parts)


class UsageError(DvbenchError):
    """A name, option or combination that the command cannot take."""

    exit_code = ExitCode.USAGE


class DataMissingError(DvbenchError):
    """A tree, split, set or file that has to be there and is not."""

    exit_code = ExitCode.DATA_MISSING


class PartialError(DvbenchError):
    """Work that ended before all of it was done; what is done is kept."""

    exit_code = ExitCode.PARTIAL


class CheckError(DvbenchError):
    """A check that failed: data that contradict their card, receipt or manifest."""

    exit_code = ExitCode.CHECK_FAILED


SkipReason = Literal[
    "missing_image",
    "missing_depth",
    "missing_intrinsics",
    "bad_intrinsics",
    "missing_scene",
    "unreadable",
    "size_mismatch",
    "no_valid_depth",
    "not_in_split",
    "time_gap",
    "quarantined",
]
SKIP_REASONS: tuple[SkipReason, ...] = get_args(SkipReason)


class FrameError(Exception):
    """One frame cannot be used; becomes a counted skip under its reason, never a crash of the run."""

    def __init__(self, reason: SkipReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: SkipReason = reason
        self.detail = " ".join(detail.split())


def unknown_name(kind: str, name: str, known: Iterable[str], *, next_step: str = "") -> UsageError:
    """The error for a name that is not registered, with the nearest known name as a hint."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    more = f", and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    known = ", ".join(names[:NAMES_SHOWN]) + more or "none"
    hint = f"did you mean {close[0]!r}?" if close else f"known: {known}"
    return UsageError(f"unknown {kind} {name!r}", why=hint, next_step=next_step)
