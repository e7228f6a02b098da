"""A run under watch: operations and tokens that torch sees, and the highest memory; needs no torch itself."""

import os
import platform
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CLEAR_PEAK, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"  # proc(5): sets VmHWM to what is resident now
_KIB = 1024


@dataclass(frozen=True)
class Watched:
    """What torch saw of one run.

    Attributes:
        flops: operations, as `torch.utils.flop_counter` counts them; None: torch saw none.
        prefill_tokens: tokens that entered the language model several at a time, padding included.
        decode_steps: tokens that entered it one at a time. Both None: no embedding was looked up.
    """

    flops: float | None = None
    prefill_tokens: float | None = None
    decode_steps: float | None = None


@dataclass
class _Lookups:
    """Token ids looked up in each embedding: how many at once, by the embedding's rows."""

    by_rows: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def see(self, module: Any, inputs: tuple[Any, ...], _: object) -> None:  # noqa: ANN401 - a torch module
        if type(module).__name__ == "Embedding" and inputs and inputs[0].ndim:
            shape = inputs[0].shape
            self.by_rows.setdefault(module.num_embeddings, []).append((shape[-1], inputs[0].numel()))

    def tokens(self) -> tuple[int, int] | tuple[None, None]:
        """Tokens of prefills and of single steps; the vocabulary is the embedding with the most rows."""
        if not self.by_rows:
            return None, None
        calls = self.by_rows[max(self.by_rows)]
        return sum(n for length, n in calls if length > 1), sum(n for length, n in calls if length == 1)


def watch(run: Callable[[], object]) -> Watched:
    """Run once and count; the run is slower than unwatched ones."""
    if "torch" not in sys.modules:
        run()
        return Watched()
    lookups = _Lookups()
    with _counting() as counter, _looking(lookups):
        run()
    return Watched(counter.get_total_flops() or None, *lookups.tokens())


@contextmanager
def _counting() -> Iterator[Any]:
    """torch's counter, which does not know the fused attention of CPUs by itself."""
    from torch import ops
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def attention_flops(query: Any, key: Any, value: Any, *_: object, **__: object) -> int:  # noqa: ANN401
        return int(sdpa_flop_count(query, key, value))

    fused = getattr(ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    with FlopCounterMode(display=False, custom_mapping={fused: attention_flops} if fused else {}) as counter:
        yield counter


@contextmanager
def _looking(lookups: _Lookups) -> Iterator[None]:
    from torch.nn.modules.module import register_module_forward_hook

    hook = register_module_forward_hook(lookups.see)
    try:
        yield
    finally:
        hook.remove()


def used_device() -> tuple[str, str]:
    """cuda or cpu, and its name: cuda where this process holds memory on one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return "cuda", str(torch.cuda.get_device_name())
    return "cpu", _cpu_name()


def settle() -> None:
    """Wait for what is still running on a GPU."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def forget_peak() -> None:
    """Let the next `peak_bytes` look back no further than now, where the system allows it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if os.access(_CLEAR_PEAK, os.W_OK):
        _CLEAR_PEAK.write_text(_RESET_PEAK)


def peak_bytes() -> tuple[int, str]:
    """The highest memory since `forget_peak`, weights included, and whose it is."""
    if used_device()[0] == "cuda":
        return int(sys.modules["torch"].cuda.max_memory_allocated()), "CUDA allocator"
    if os.access(_CLEAR_PEAK, os.W_OK):
        (line,) = (row for row in _STATUS.read_text().splitlines() if row.startswith("VmHWM:"))
        return int(line.split()[1]) * _KIB, "process"
    unit = 1 if sys.platform == "darwin" else _KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "process since it began"


def _cpu_name() -> str:
    """The processor as /proc/cpuinfo names it, and how many cores this process may use."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    name = names[0].partition(":")[2].strip() if names else platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"
