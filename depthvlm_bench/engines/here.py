"""One item after another in this process."""

import time
from collections.abc import Callable, Generator, Sequence
from functools import partial

from depthvlm_bench.engines.contract import Done, Event, Failed, Stop, Task


class ThisProcess:
    """The engine of one worker: nothing is started and nothing is pickled."""

    name = "this process"
    leaves_the_process = False

    def run(
        self, task: Task, items: Sequence[int], stop: Stop, advance: Callable[[int, int], None]
    ) -> Generator[Event, None, None]:
        """See Engine.run."""
        for item in items:
            if stop.asked:
                return
            start = time.monotonic()
            try:
                result = task(item, partial(advance, item))
            except Exception as error:  # noqa: BLE001 - the caller raises it once the others have ended
                yield Failed(item, error)
            else:
                yield Done(item, result, time.monotonic() - start)
