"""The life of a local worker process: take an item, do it, tell; end when the parent does."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from depthvlm_bench.engines.contract import Task
from depthvlm_bench.errors import DvbenchError

READY, TICK, DONE, FAILED = "ready", "tick", "done", "failed"
TICK_EVERY_S = 0.5


def serve(connection: Connection, task: Task) -> None:
    """Do items from `connection` until it is closed. Messages to the parent are (kind, payload)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole group; the parent decides what to do
    _end_with_the_parent()
    connection.send((READY, None))
    while True:
        try:
            item = connection.recv()
        except EOFError:
            os._exit(0)  # whatever was written is on disk, and taking torch down would take most of a second
        connection.send(_outcome(task, item, _Ticks(connection)))


class _Ticks:
    """Sends progress within an item, a few times a second at most; the end of the item settles the rest."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.unsent, self.last = connection, 0, time.monotonic()

    def __call__(self, more: int) -> None:
        self.unsent += more
        if time.monotonic() - self.last >= TICK_EVERY_S:
            self.connection.send((TICK, self.unsent))
            self.unsent, self.last = 0, time.monotonic()


def _outcome(task: Task, item: int, ticks: _Ticks) -> tuple[str, Any]:
    start = time.monotonic()
    try:
        return DONE, (task(item, ticks), time.monotonic() - start)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return FAILED, _portable(error)


def _portable(error: Exception) -> Exception:
    """The error as it can travel; the traceback goes with those that are faults of ours."""
    if not isinstance(error, DvbenchError | OSError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever an exception of a library does when it is pickled
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _end_with_the_parent() -> None:
    """A worker whose parent was killed must not go on writing beside the run that resumes."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
