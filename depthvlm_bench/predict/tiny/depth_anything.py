"""Tiny Depth Anything, with a metric head or, to be refused, a relative one."""

import math
from pathlib import Path

from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict.tiny.weights import always, random_model, write

BACKBONE = {
    "model_type": "dinov2",
    "image_size": 56,
    "patch_size": 14,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "out_indices": [1, 2, 3, 4],
    "reshape_hidden_states": False,
    "apply_layernorm": True,
}
# As published, but for the size.
PICTURES = {
    "image_processor_type": "DPTImageProcessor",
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "keep_aspect_ratio": True,
    "ensure_multiple_of": 14,
    "do_pad": False,
    "resample": 3,
    "size": {"height": 56, "width": 56},
}


def make_tiny(
    folder: Path,
    *,
    seed: int = 0,
    answer_m: float | None = None,
    max_depth_m: int = 20,
    metric: bool = True,
) -> Path:
    """Write one.

    Args:
        folder: made.
        seed: of the weights.
        answer_m: the depth that it answers everywhere, m; None: what random weights give.
        max_depth_m: beyond which it sees nothing.
        metric: a metric head; else one that answers disparity.

    Raises:
        UsageError: an answer at or beyond the greatest depth.
    """
    if answer_m is not None and not 0 < answer_m < max_depth_m:
        raise UsageError(
            f"{answer_m:g} m is no answer of this model", why=f"its depths end before {max_depth_m} m"
        )
    config = DepthAnythingConfig(
        backbone_config=BACKBONE,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type="metric" if metric else "relative",
        max_depth=max_depth_m if metric else 1,
    )
    model = random_model(DepthAnythingForDepthEstimation, config, seed)
    if answer_m is not None:
        share = answer_m / max_depth_m
        always(model.head.conv3, math.log(share / (1 - share)))
    return write(folder, model, PICTURES)
