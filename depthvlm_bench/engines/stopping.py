"""The first Ctrl-C lets a run end in order, the second ends it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from depthvlm_bench.engines.contract import Stop
from depthvlm_bench.progress import Progress

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signal(progress: Progress, what: str) -> Iterator[Stop]:
    """Within, Ctrl-C or SIGTERM asks to stop; again, it raises KeyboardInterrupt.

    Args:
        progress: told that the request was heard.
        what: what is finished first.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        progress.note(f"stopping: {what} in hand are finished first; once more stops at once")

    before = {number: signal.signal(number, ask) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def children_deaf_to_signals() -> Iterator[None]:
    """Processes started within do not hear Ctrl-C until they have said what to do with it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
