"""Samples that cannot be used: told by reason, replaced, counted, and too many of them end the run."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from depthvlm_bench.errors import CheckError

BadReason = Literal[
    "unreadable", "no_valid_depth", "not_z_depth", "malformed", "missing_image", "refused_image", "over_long"
]
# A share is judged over at least so many samples: one bad record among the first ten says nothing.
FEWEST_JUDGED = 1000


@dataclass(frozen=True)
class Fault:
    """Why a sample was not used: the reason, which one (record id, or file and line), and what was found."""

    reason: BadReason
    where: str
    detail: str

    @property
    def text(self) -> str:
        """As a user reads it."""
        return f"{self.where}: {self.detail}"


class BadSampleError(Exception):
    """One sample cannot be used; becomes a counted fault and another sample, never a crash of the run."""

    def __init__(self, reason: BadReason, where: str, detail: str) -> None:
        self.fault = Fault(reason, where, " ".join(detail.split()))
        super().__init__(reason, where, detail)


class FaultCounts:
    """What was given and what was bad, by reason, with the first case of each.

    Args:
        max_share: of bad samples among all that were looked at; beyond it the run ends.
    """

    def __init__(self, max_share: float) -> None:
        self.max_share = max_share
        self.given = 0
        self.bad: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, given: int, faults: Iterable[Fault]) -> None:
        """Count samples that were given out, and the faults met on the way.

        Raises:
            CheckError: more than `max_share` are bad.
        """
        self.given += given
        for fault in faults:
            self.bad[fault.reason] += 1
            self.first.setdefault(fault.reason, fault.text)
        looked_at = self.given + self.bad.total()
        if self.bad.total() > self.max_share * max(looked_at, FEWEST_JUDGED):
            raise CheckError(
                f"{self.bad.total()} of {looked_at} training samples cannot be used",
                why=f"more than {self.max_share:.3g} of them: {self.text()}",
                next_step="mend the data (dvbench verify names damaged records), or allow a larger share",
            )

    def text(self) -> str:
        """Counts with the first case of each reason: `2 malformed (chat.jsonl:17: not JSON)`."""
        return (
            ", ".join(f"{count} {reason} ({self.first[reason]})" for reason, count in self.bad.items())
            or "none"
        )

    def state_dict(self) -> dict[str, Any]:
        """What was counted, for a checkpoint."""
        return {"given": self.given, "bad": dict(self.bad), "first": dict(self.first)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting from a checkpoint."""
        self.given, self.bad, self.first = state["given"], Counter(state["bad"]), dict(state["first"])
