"""Metric3D v1 (arXiv 2307.10984) and v2 (arXiv 2404.15506): canonical depth, scaled by the focal length."""

from depthvlm_bench.baselines._exposure import DATASETS, trained_on
from depthvlm_bench.baselines._isolated import Isolated, isolated_model
from depthvlm_bench.predict.contracts import Exposure, Model, ModelCard
from depthvlm_bench.predict.isolated.weights import Published

REPOSITORY, REVISION = "JUGGHM/Metric3D", "main"
# (height, width) that each network sees.
CONVNEXT_SIZE, VIT_SIZE = (544, 1216), (616, 1064)
V1_SOURCE = "its list of training data is in arXiv 2307.10984, not in its repository: not looked up"
V2_SOURCE = (
    "training/mono/configs/RAFTDecoder of YvanYin/Metric3D, all three sizes alike; what its DINOv2 encoder "
    "saw without depth is in arXiv 2304.07193"
)


def _model(
    name: str,
    summary: str,
    entry: str,
    file: str,
    size: tuple[int, int],
    exposure: dict[str, Exposure],
    source: str,
) -> Model:
    published = Published(REPOSITORY, REVISION, (file,))
    card = ModelCard(
        id=name,
        family="metric3d",
        kind="dense",
        summary=summary,
        licence="BSD-2-Clause",
        camera="required",
        isolation="worker",
        repos=published.repos,
        max_batch=4,
        trained_on=exposure,
        trained_on_source=source,
    )
    return isolated_model(
        Isolated(card, published, "_metric3d_worker.py", {"entry": entry, "input_size": size})
    )


def _v2(size: str, entry: str, file: str, summary: str) -> Model:
    seen = ("argoverse2", "waymo", "ddad", "taskonomy", "matterport3d", "hm3d")
    exposure = dict(trained_on(*seen))
    return _model(f"metric3d-v2-{size}", summary, entry, file, VIT_SIZE, exposure, V2_SOURCE)


V1_CONVL = _model(
    "metric3d-v1-convl",
    "v1, ConvNeXt-Large; metres by the camera's focal length",
    "metric3d_convnext_large",
    "convlarge_hourglass_0.3_150_step750k_v1.1.pth",
    CONVNEXT_SIZE,
    dict.fromkeys(DATASETS, "unknown"),
    V1_SOURCE,
)
V2_S = _v2("s", "metric3d_vit_small", "metric_depth_vit_small_800k.pth", "v2, ViT-Small")
V2_L = _v2("l", "metric3d_vit_large", "metric_depth_vit_large_800k.pth", "v2, ViT-Large")
V2_G = _v2("g", "metric3d_vit_giant2", "metric_depth_vit_giant2_800k.pth", "v2, ViT-giant2")
