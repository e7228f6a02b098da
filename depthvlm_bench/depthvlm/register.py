"""DepthVLM's configuration and class made known to transformers' Auto classes."""

from transformers import AutoConfig, AutoModelForImageTextToText

from depthvlm_bench.depthvlm.config import MODEL_TYPE, DepthVLMConfig
from depthvlm_bench.depthvlm.modeling import DepthVLMForConditionalGeneration


def register() -> None:
    """Let AutoConfig and AutoModelForImageTextToText open our own model type; may be called again."""
    AutoConfig.register(MODEL_TYPE, DepthVLMConfig, exist_ok=True)
    AutoModelForImageTextToText.register(DepthVLMConfig, DepthVLMForConditionalGeneration, exist_ok=True)
