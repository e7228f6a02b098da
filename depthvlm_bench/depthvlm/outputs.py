"""What the model returns: stock's output class with the depth fields added, on each transformers version."""

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor
from transformers import modeling_outputs

# 5.24 gave multimodal models an output class of their own, and renamed past_key_values to cache.
_Stock: Any = getattr(
    modeling_outputs, "MultimodalCausalLMOutputWithPast", modeling_outputs.CausalLMOutputWithPast
)


@dataclass
class DepthVLMOutput(_Stock):  # type: ignore[misc, unused-ignore]
    """Stock's fields (loss, logits, past_key_values, hidden_states, attentions) and those of depth.

    Attributes:
        lm_loss: language loss alone; None: no label.
        depth_loss: SILog alone, mean over images with a valid pixel; None: no such image.
        depth_pred: a map (H, W) an image in `image_grid_thw` order, metres, float32; None: head not run.
        depth_sample_index: the row of the batch that each image stands in.
        depth_hits: label pixels within δ1 (scalar int64).
        depth_valid: label pixels with a depth (scalar int64).
    """

    lm_loss: Tensor | None = None
    depth_loss: Tensor | None = None
    depth_pred: list[Tensor] | None = None
    depth_sample_index: list[int] | None = None
    depth_hits: Tensor | None = None
    depth_valid: Tensor | None = None


CACHE_FIELD = "cache" if "cache" in {field.name for field in fields(_Stock)} else "past_key_values"


@dataclass(frozen=True, eq=False)
class DepthGeneration:
    """Text and depth of one pass.

    Attributes:
        sequences: (B * num_return_sequences, L) token ids, as `generate` returns them.
        depth_pred: a map (H, W) an image of the prompts, metres, float32; not repeated with the sequences.
        depth_sample_index: the prompt that each image stands in.
        details: the full answer of `generate` where `return_dict_in_generate` was asked; otherwise None.
    """

    sequences: Tensor
    depth_pred: list[Tensor]
    depth_sample_index: list[int]
    details: Any = None
