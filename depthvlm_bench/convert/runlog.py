"""What happened when: a line of JSON for every event of a run, beside the set and no part of it."""

import json
import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from depthvlm_bench.cards import Role


class RunLog:
    """`<set>/logs/convert-<role>[-shards-a-b].jsonl`, appended to by every run.

    Times and machines differ between runs, so it is never among what has to be the same bytes.
    """

    def __init__(self, folder: Path, role: Role, shards: tuple[int, int] | None = None) -> None:
        part = f"-shards-{shards[0]}-{shards[1]}" if shards else ""
        self.path = folder / "logs" / f"convert-{role}{part}.jsonl"

    def write(self, event: str, **what: object) -> None:
        """Append one event. A disk that is full shows in the set itself: the log then falls silent."""
        here = {"host": platform.node(), "pid": os.getpid()}
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"at": at, "event": event} | here | what) + "\n")
