"""Tiny checkpoints in the formats of real ones, by model: they load and run in seconds, and know nothing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from depthvlm_bench.errors import UsageError, unknown_name

NEEDED = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True)
class Maker:
    """What makes the tiny checkpoints of a model.

    Attributes:
        module: its `make_tiny(folder, *, seed, answer_m, **arguments)` writes one.
        arguments: of this model.
    """

    module: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


_DEPTH_ANYTHING = {
    f"depth-anything-v2-metric-{domain}-{size}": Maker(
        "depthvlm_bench.predict.tiny.depth_anything", {"max_depth_m": max_depth_m}
    )
    for domain, max_depth_m in (("indoor", 20), ("outdoor", 80))
    for size in "sbl"
}
MAKERS: Mapping[str, Maker] = {
    "depthvlm": Maker("depthvlm_bench.depthvlm.tiny", {"kind": "depthvlm"}),
    "qwen3vl": Maker("depthvlm_bench.depthvlm.tiny", {"kind": "qwen3vl"}),
    "zoedepth": Maker("depthvlm_bench.predict.tiny.zoedepth"),
    "depth-pro": Maker("depthvlm_bench.predict.tiny.depth_pro"),
    **_DEPTH_ANYTHING,
}


def make_tiny(name: str, folder: Path, *, seed: int = 0, answer_m: float | None = None) -> Path:
    """Write a tiny checkpoint of a model.

    Args:
        name: one of MAKERS.
        folder: made; must not hold a checkpoint.
        seed: of the random weights.
        answer_m: every pixel of every picture answers this depth, m; None: what random weights give.
            Depth Pro answers it where the focal length is as long as the picture is wide, and estimates 60
            degrees.

    Returns:
        the folder.

    Raises:
        UsageError: an unknown name, a checkpoint that is there, an answer that the model cannot give, or the
            extra `models` is not installed.
    """
    if name not in MAKERS:
        raise unknown_name("tiny model", name, MAKERS)
    if not all(map(find_spec, NEEDED)):
        raise UsageError(
            "make-tiny needs torch and transformers", next_step="pip install 'depthvlm-bench[models]'"
        )
    if (folder / "config.json").exists():
        raise UsageError("there is a checkpoint already", where=folder, next_step="name another folder")
    if answer_m is not None and not 0 < answer_m < math.inf:
        raise UsageError(f"{answer_m:g} m is no answer", why="a depth in metres is positive and finite")
    maker = MAKERS[name]
    made = import_module(maker.module).make_tiny(folder, seed=seed, answer_m=answer_m, **maker.arguments)
    return Path(made)
