"""Tiny Depth Pro, with the part that estimates the field of view."""

from pathlib import Path

import torch
from transformers import DepthProConfig, DepthProForDepthEstimation

from depthvlm_bench.predict.tiny.weights import always, random_model, write

ENCODER = {
    "model_type": "dinov2",
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
}
ENCODERS = ("image_model_config", "patch_model_config", "fov_model_config")
# As published, but for the size.
PICTURES = {
    "image_processor_type": "DepthProImageProcessor",
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 2,
    "size": {"height": 64, "width": 64},
}
FOV_DEG, SOME_INVERSE = 60.0, 2.0


def make_tiny(
    folder: Path, *, seed: int = 0, answer_m: float | None = None, estimates_fov: bool = True
) -> Path:
    """Write one.

    Args:
        folder: made.
        seed: of the weights.
        answer_m: canonical depth everywhere, m: that of a picture as wide as its focal length is long. None:
            what random weights give.
        estimates_fov: whether it estimates a field of view; one with an answer estimates FOV_DEG.
    """
    config = DepthProConfig(
        patch_size=32,
        fusion_hidden_size=16,
        intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[10, 8],
        scaled_images_ratios=[0.5, 1],
        scaled_images_overlap_ratios=[0.0, 0.2],
        scaled_images_feature_dims=[12, 12],
        use_fov_model=estimates_fov,
        **{name: dict(ENCODER) for name in ENCODERS},
    )
    model = random_model(DepthProForDepthEstimation, config, seed)
    inverse, fov = model.head.layers[-2], model.fov_model.head.layers[-1] if estimates_fov else None
    with torch.no_grad():  # what random weights give is no inverse depth and no angle without these
        inverse.bias.fill_(SOME_INVERSE)
        if fov is not None:
            fov.bias.fill_(FOV_DEG)
    if answer_m is not None:
        always(inverse, 1 / answer_m)
        if fov is not None:
            always(fov, FOV_DEG)
    return write(folder, model, PICTURES)
