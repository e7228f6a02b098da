"""Low-rank adapters on the language model: put in for training, merged into the weights for use.

The adapters sit inside the model: its class, its `generate` and the names of all else stay as they are. The
depth head has none and is trained whole. Checkpoints of a run hold adapters and head alone.
"""

from typing import Any

import torch

from depthvlm_bench.depthvlm.training.recipe import Recipe
from depthvlm_bench.errors import UsageError

ADAPTER = "default"
_BASE_LAYER = ".base_layer."


def add_lora(model: Any, recipe: Recipe) -> None:  # noqa: ANN401 - transformers has no types
    """Put adapters into the language model's linear layers, in place.

    Raises:
        UsageError: peft is not installed, or no layer has any of the names.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UsageError("LoRA needs peft", next_step="pip install peft") from error
    names = "|".join(recipe.lora_targets)
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,  # type: ignore[arg-type, unused-ignore]  # it only divides by r
        lora_dropout=recipe.lora_dropout,
        target_modules=rf"model\.language_model\..*\.({names})",
        bias="none",
    )
    try:
        inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    except ValueError as error:
        raise UsageError("adapters find no layer", where="lora_targets", why=str(error)) from error


def merged_state(model: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
    """The model's state with adapters added to the weights they stand beside, named as in a plain model.

    Sums are made in float32 and rounded once, to the dtype of the base weight; the model is left as it is.
    """
    layers = dict(model.named_modules())
    state = {}
    for name, tensor in model.state_dict().items():
        if "lora_" in name:
            continue
        owner, is_base, kind = name.partition(_BASE_LAYER)
        if not is_base:
            state[name] = tensor
        elif kind == "weight":
            delta = layers[owner].get_delta_weight(ADAPTER)
            state[f"{owner}.{kind}"] = (tensor.float() + delta.float()).to(tensor.dtype)
        else:
            state[f"{owner}.{kind}"] = tensor
    return state
