"""When pictures shown at once do not fit: fewer from then on, said, and nothing of the work lost."""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from depthvlm_bench.errors import PartialError

Item = TypeVar("Item")
Done = TypeVar("Done")

# What allocators say that have no exception class of their own: torch's on the CPU, on Apple's GPUs, cuBLAS'.
SAID = ("can't allocate memory", "backend out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
FAULTS = (MemoryError, RuntimeError)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, whichever library it comes from; none has to be imported."""
    named = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    return named or isinstance(error, MemoryError) or any(phrase in str(error) for phrase in SAID)


class Portions:
    """Work in portions of a size that is halved, for good, whenever memory runs out.

    Args:
        size: items at once to begin with.
        note: told of each halving.
    """

    def __init__(self, size: int, note: Callable[[str], None]) -> None:
        self.size, self._note = size, note

    def each(
        self,
        items: Sequence[Item],
        work: Callable[[Sequence[Item]], Done],
        name: Callable[[Item], str],
    ) -> Iterator[tuple[int, Done]]:
        """Yield (how many items, what `work` made of them), in order.

        Raises:
            PartialError: a single item does not fit.
        """
        at = 0
        while at < len(items):
            portion = items[at : at + self.size]
            why: str | None = None
            try:
                done = work(portion)
            except FAULTS as error:
                if not out_of_memory(error):
                    raise
                why = str(error).strip().partition("\n")[0] or type(error).__name__
            if why is not None:  # outside the handler: there, the error would still hold what has to be freed
                self._halve(portion, name, why)
                continue
            yield len(portion), done
            at += len(portion)

    def _halve(self, portion: Sequence[Item], name: Callable[[Item], str], why: str) -> None:
        _free()
        if len(portion) == 1:
            raise PartialError(
                "out of memory with a single picture",
                where=name(portion[0]),
                why=why,
                next_step="give it more, or use less (options of the model); the same command resumes",
            )
        self.size = len(portion) // 2
        self._note(f"out of memory with {len(portion)} pictures at once: {self.size} from here on ({why})")


def _free() -> None:
    """Give back what torch keeps for later, where it is in use."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
