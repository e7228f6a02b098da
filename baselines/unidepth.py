"""UniDepth v1 (arXiv 2403.18913) and v2 (arXiv 2502.20110): metres, with a given or estimated camera."""

from dataclasses import dataclass
from typing import Literal

from depthvlm_bench.baselines._exposure import trained_on
from depthvlm_bench.baselines._isolated import Isolated, IsolatedOptions, check_level, isolated_model
from depthvlm_bench.predict.contracts import Exposure, Model, ModelCard
from depthvlm_bench.predict.isolated.weights import Published

FILES = ("model.safetensors", "config.json")
V1_SOURCE = (
    "README and configs/train_v1_vitl14.json of lpiccinelli-eth/UniDepth; the README gives zero-shot results "
    "on NYUv2, SUN RGB-D, ETH3D, iBims-1, nuScenes and DDAD; neither speaks of ScanNet++, HM3D, Matterport3D"
)
V2_SOURCE = (
    "README of lpiccinelli-eth/UniDepth, which gives zero-shot results on NYUv2, SUN RGB-D, ETH3D, iBims-1, "
    "nuScenes and DDAD and lists no training data"
)
ROOMS_AND_STREETS = ("scannetpp", "hm3d", "matterport3d")


@dataclass(frozen=True)
class UniDepthV2Options(IsolatedOptions):
    """resolution_level: how many pixels the model sees, from its least (0) to its most (9)."""

    resolution_level: int = 9

    def __post_init__(self) -> None:
        """Refuse other levels (UsageError)."""
        check_level(self.resolution_level)


def _isolated(
    version: Literal["v1", "v2"], backbone: str, name: str, exposure: dict[str, Exposure], source: str
) -> Isolated:
    published = Published(f"lpiccinelli/unidepth-{version}-{backbone}", "main", FILES)
    card = ModelCard(
        id=name,
        family="unidepth",
        kind="dense",
        summary=f"{version}, {backbone}; estimates the camera where none is given",
        licence="CC-BY-NC-4.0",
        camera="optional",
        isolation="worker",
        repos=published.repos,
        max_batch=4,
        trained_on=exposure,
        trained_on_source=source,
    )
    argument = "intrinsics" if version == "v1" else "camera"
    return Isolated(card, published, "_unidepth_worker.py", {"version": version, "camera_argument": argument})


def _v1(backbone: str) -> Model:
    exposure = trained_on("argoverse2", "waymo", "taskonomy", unknown=ROOMS_AND_STREETS)
    return isolated_model(_isolated("v1", backbone, f"unidepth-v1-{backbone}", dict(exposure), V1_SOURCE))


def _v2(size: str, backbone: str) -> Model:
    exposure = trained_on(unknown=("argoverse2", "waymo", "taskonomy", *ROOMS_AND_STREETS))
    isolated = _isolated("v2", backbone, f"unidepth-v2-{size}", dict(exposure), V2_SOURCE)
    return isolated_model(isolated, UniDepthV2Options)


V1_CNVNXTL, V1_VITL14 = _v1("cnvnxtl"), _v1("vitl14")
V2_S, V2_B, V2_L = _v2("s", "vits14"), _v2("b", "vitb14"), _v2("l", "vitl14")
