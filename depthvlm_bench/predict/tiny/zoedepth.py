"""Tiny ZoeDepth with a head for rooms and one for streets, as the published NYU-KITTI weights have."""

from pathlib import Path
from typing import Any

from transformers import ZoeDepthConfig, ZoeDepthForDepthEstimation

from depthvlm_bench.predict.tiny.weights import always, before_softplus, random_model, write

BACKBONE = {
    "model_type": "beit",
    "image_size": 64,
    "patch_size": 16,
    "num_hidden_layers": 4,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "use_relative_position_bias": True,
    "reshape_hidden_states": False,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
HEADS = [
    {"name": "nyu", "n_bins": 8, "min_depth": 1e-3, "max_depth": 10.0},
    {"name": "kitti", "n_bins": 8, "min_depth": 1e-3, "max_depth": 80.0},
]
# As published, but for the size.
PICTURES = {
    "image_processor_type": "ZoeDepthImageProcessor",
    "do_pad": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "keep_aspect_ratio": True,
    "ensure_multiple_of": 32,
    "resample": 2,
    "size": {"height": 96, "width": 128},
}


def make_tiny(folder: Path, *, seed: int = 0, answer_m: float | None = None) -> Path:
    """Write one.

    Args:
        folder: made.
        seed: of the weights.
        answer_m: both heads answer this depth everywhere, m; None: what random weights give.
    """
    config = ZoeDepthConfig(
        backbone_config=BACKBONE,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        bottleneck_features=16,
        num_relative_features=8,
        bin_embedding_dim=16,
        num_attractors=[4, 2, 2, 1],
        bin_configurations=HEADS,
        # The class counts on these two whatever the configuration says.
        num_patch_transformer_layers=4,
        patch_transformer_hidden_size=128,
        patch_transformer_intermediate_size=64,
        patch_transformer_num_attention_heads=2,
    )
    model = random_model(ZoeDepthForDepthEstimation, config, seed)
    if answer_m is not None:
        _answer(model.metric_head, answer_m)
    return write(folder, model, PICTURES)


def _answer(head: Any, depth_m: float) -> None:  # noqa: ANN401 - a metric head of several domains
    """Put every bin at one depth, and what bins are drawn to there too: any mixture of them is that depth."""
    for name in (str(of["name"]) for of in HEADS):
        always(head.seed_bin_regressors[name].conv2, before_softplus(depth_m))
        for attractor in head.attractors[name]:
            always(attractor.conv2, before_softplus(depth_m))
