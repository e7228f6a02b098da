"""Depth Anything 3 (arXiv 2511.10647): the metric network, and the nested pair that needs no camera."""

from dataclasses import dataclass
from typing import Literal

from depthvlm_bench.baselines._exposure import DATASETS
from depthvlm_bench.baselines._isolated import Isolated, IsolatedOptions, isolated_model
from depthvlm_bench.predict.contracts import Model, ModelCard
from depthvlm_bench.predict.isolated.weights import Published

SOURCE = "its README says public academic datasets, and names none: see arXiv 2511.10647"
METRIC, NESTED = "depth-anything/DA3METRIC-LARGE", "depth-anything/DA3NESTED-GIANT-LARGE"


@dataclass(frozen=True)
class DepthAnything3Options(IsolatedOptions):
    """How the network is asked.

    Attributes:
        size: of the longer side that it sees, px; sides are brought to multiples of 14.
        dtype: of its arithmetic; its own programs take bfloat16 where the GPU has it.
    """

    size: int = 504
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


def _model(
    name: str,
    summary: str,
    repository: str,
    licence: str,
    camera: Literal["required", "ignored"],
    network: str,
) -> Model:
    published = Published(repository, "main", ("model.safetensors",))
    card = ModelCard(
        id=name,
        family="depth-anything-3",
        kind="dense",
        summary=summary,
        licence=licence,
        camera=camera,
        isolation="worker",
        repos=published.repos,
        max_batch=1,
        trained_on=dict.fromkeys(DATASETS, "unknown"),
        trained_on_source=SOURCE,
    )
    fixed = {"network": network, "in_metres": camera == "ignored"}
    return isolated_model(
        Isolated(card, published, "_depth_anything_3_worker.py", fixed), DepthAnything3Options
    )


METRIC_LARGE = _model(
    "da3-metric-large",
    "metres by the camera's focal length",
    METRIC,
    "Apache-2.0",
    "required",
    "da3metric-large",
)
NESTED_GIANT_LARGE_11 = _model(
    "da3-nested-giant-large",
    "estimates its camera; version 1.1, trained again without a fault in street scenes",
    f"{NESTED}-1.1",
    "CC-BY-NC-4.0",
    "ignored",
    "da3nested-giant-large",
)
NESTED_GIANT_LARGE_10 = _model(
    "da3-nested-giant-large-1.0",
    "the same as first published, which its authors advise against",
    NESTED,
    "CC-BY-NC-4.0",
    "ignored",
    "da3nested-giant-large",
)
