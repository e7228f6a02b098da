"""What a run will need, told before a weight is read: trained parameters, and memory on one card."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from depthvlm_bench.depthvlm.checkpoint import read_checkpoint
from depthvlm_bench.depthvlm.keys import describe
from depthvlm_bench.depthvlm.modeling import DepthVLMForConditionalGeneration
from depthvlm_bench.depthvlm.preprocess import TOKEN_PX
from depthvlm_bench.depthvlm.training.freeze import Trainable, count, freeze
from depthvlm_bench.depthvlm.training.lora import add_lora
from depthvlm_bench.depthvlm.training.recipe import Recipe

# A canonical picture of 1342x1006 px: 32 x 42 tokens.
CANONICAL_TOKENS = 1344
TEXT_TOKENS = 60
# Values that the head keeps for its backward pass, a token and a unit of its width: 2.45 GB in float32 were
# counted on the head of width 256 at 1344 tokens.
HEAD_VALUES = 2.45e9 / 4 / CANONICAL_TOKENS / 256
# What a decoder layer keeps a token and a unit of its width in 16-bit training: Korthikanti et al., arXiv
# 2205.05198, without the attention matrix, which fused kernels never hold.
LAYER_BYTES = 34
GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """Memory of one process, GiB, before anything else that runs on the card.

    Attributes:
        trainable: parameters by part.
        weights: of the model.
        optimiser: gradients and the two moments of AdamW, float32.
        activations: of `micro_batch` canonical pictures; about, within a third.
    """

    trainable: Trainable
    weights: float
    optimiser: float
    activations: float

    @property
    def total(self) -> float:
        """All together."""
        return self.weights + self.optimiser + self.activations


def head_options(recipe: Recipe) -> dict[str, Any]:
    """Fields of DepthVLMConfig for a fresh head."""
    if recipe.depth_head == "mlp":
        return {"depth_head_type": "mlp"}
    return {
        "depth_head_type": "dpt",
        "depth_head_features": recipe.head_features,
        "depth_head_out_channels": list(recipe.head_channels),
    }


def estimate(recipe: Recipe, base: Path, *, fresh_head: bool, world: int) -> Estimate:
    """Count parameters on the meta device, and reckon the memory of a process.

    Args:
        recipe: the run's figures.
        base: folder of the checkpoint.
        fresh_head: it has none yet.
        world: processes that a sharded model is shared by.

    Raises:
        as `load_depthvlm`: no checkpoint, no head, foreign tensors.
    """
    options = head_options(recipe) if fresh_head else None
    config = describe(read_checkpoint(base), init_head=fresh_head, head_options=options)
    with torch.device("meta"):
        model = DepthVLMForConditionalGeneration(config)
        if recipe.lora_rank:
            add_lora(model, recipe)
    freeze(model, recipe)
    found = count(model)
    frozen_bytes = found.frozen * (2 if recipe.weights == "bfloat16" else 4)
    shared_by = world if recipe.sharding == "fsdp" else 1
    return Estimate(
        found,
        weights=(frozen_bytes + 4 * found.trained) / shared_by / GIB,
        optimiser=12 * found.trained / shared_by / GIB,
        activations=_activations(config, recipe) / GIB,
    )


def _activations(config: Any, recipe: Recipe) -> float:  # noqa: ANN401
    tokens = CANONICAL_TOKENS
    if recipe.max_pixels is not None:
        tokens = min(tokens, recipe.max_pixels // TOKEN_PX**2)
    features = int(config.depth_head_features) if config.depth_head_type == "dpt" else 8
    head = HEAD_VALUES * (2 if recipe.autocast else 4) * features * tokens
    if recipe.stage == 1:
        return recipe.micro_batch * head
    values = int(config.text_config.hidden_size) * (tokens + TEXT_TOKENS)
    layers = int(config.text_config.num_hidden_layers)
    if recipe.gradient_checkpointing:  # each layer keeps its input, and one at a time is run again
        return recipe.micro_batch * (head + values * (2 * layers + LAYER_BYTES))
    return recipe.micro_batch * (head + values * LAYER_BYTES * layers)
