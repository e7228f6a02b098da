"""DepthVLM's configuration: that of Qwen3-VL and the depth head's."""

from typing import Any, cast

from transformers import Qwen3VLConfig

from depthvlm_bench.depthvlm.head import (
    DPT_FEATURES,
    DPT_OUT_CHANNELS,
    FEATURE_MODES,
    DepthHead,
    DptHead,
    FeatureMode,
    MlpHead,
)

MODEL_TYPE = "depthvlm_qwen3_vl"
STOCK_MODEL_TYPE = "qwen3_vl"
HEAD_TYPES = ("dpt", "mlp")


class DepthVLMConfig(Qwen3VLConfig):  # type: ignore[misc, no-untyped-call, unused-ignore]
    """Qwen3VLConfig and six fields; those that the published checkpoint has are named as there.

    Attributes:
        depth_head_type: dpt or mlp.
        depth_head_features: width of the DPT head's fusion path.
        depth_head_out_channels: width of the DPT head's four maps, ViT low first.
        depth_head_mlp_hidden: hidden width of the MLP head.
        depth_head_feature_mode: which taps the MLP head reads: llm_last, concat or sum.
        depth_loss_weight: factor of the depth loss beside a language loss.
    """

    model_type = MODEL_TYPE

    depth_head_type: str = "dpt"
    depth_head_features: int = DPT_FEATURES
    depth_head_out_channels: list[int] | tuple[int, ...] = DPT_OUT_CHANNELS
    depth_head_mlp_hidden: int = 1024
    depth_head_feature_mode: str = "llm_last"
    depth_loss_weight: float = 1.0

    def __post_init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - whatever a checkpoint's file holds
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call, unused-ignore]
        if self.depth_head_type not in HEAD_TYPES:
            raise ValueError(
                f"depth_head_type is one of {', '.join(HEAD_TYPES)}, not {self.depth_head_type!r}"
            )
        if self.depth_head_feature_mode not in FEATURE_MODES:
            raise ValueError(
                f"depth_head_feature_mode is one of {', '.join(FEATURE_MODES)}, "
                f"not {self.depth_head_feature_mode!r}"
            )

    @property
    def depth_stride_px(self) -> int:
        """Side of a merged image token, px of the model's own image."""
        vision: Any = self.vision_config
        return int(vision.patch_size) * self.merged_patches

    @property
    def merged_patches(self) -> int:
        """Side of a merged image token, patches."""
        vision: Any = self.vision_config
        return int(vision.spatial_merge_size)

    @property
    def width(self) -> int:
        """Channels of the language model, and of every tap."""
        text: Any = self.text_config
        return int(text.hidden_size)

    @property
    def vocabulary(self) -> int:
        """Tokens that the language model tells apart."""
        text: Any = self.text_config
        return int(text.vocab_size)


def build_head(config: DepthVLMConfig) -> DepthHead:
    """The head that a configuration describes, with torch's own initial values."""
    if config.depth_head_type == "mlp":
        mode = cast(FeatureMode, config.depth_head_feature_mode)
        return MlpHead(config.width, config.depth_head_mlp_hidden, config.depth_stride_px, mode)
    return DptHead(config.width, config.depth_head_features, tuple(config.depth_head_out_channels))
