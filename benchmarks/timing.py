"""CPU time of pieces of work, taken in turns so that a busy machine slows all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping


def cpu_ms(works: Mapping[str, Callable[[], object]], *, rounds: int, units: int = 1) -> dict[str, float]:
    """Median CPU milliseconds a unit of each piece of work; the first round warms up and does not count."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            begun = time.process_time()
            work()
            if turn:
                taken[name].append((time.process_time() - begun) * 1000 / units)
    return {name: statistics.median(times) for name, times in taken.items()}
