"""What each stage trains, and in which mode the parts of the model run."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from depthvlm_bench.depthvlm.training.recipe import Recipe

HEAD = "depth_head."
VISION = "model.visual."
Part = Literal["head", "vision", "language"]


def part_of(name: str) -> Part:
    """Which part of the model a parameter belongs to, by its name in the state dict."""
    if name.startswith(HEAD):
        return "head"
    return "vision" if name.startswith(VISION) else "language"


def is_trained(name: str, recipe: Recipe) -> bool:
    """Whether a stage trains a parameter; with LoRA, adapters stand for the language model."""
    part = part_of(name)
    if part == "head":
        return True
    if recipe.stage == 1 or part == "vision":
        return False
    return "lora_" in name if recipe.lora_rank else True


def freeze(model: Any, recipe: Recipe) -> None:  # noqa: ANN401 - transformers has no types
    """Let gradients reach what the stage trains and nothing else; what is trained is kept in float32.

    The vision tower stays frozen in both stages, its mergers (three of the head's four taps) included.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_trained(name, recipe))
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def training_mode(model: Any, recipe: Recipe) -> None:  # noqa: ANN401
    """Modes of a training step: frozen parts in eval mode.

    Layers of a frozen part would be recomputed for nothing, and a dropout there would only be noise.
    """
    model.train(recipe.stage == 2)
    model.model.visual.eval()
    model.depth_head.train()


@dataclass(frozen=True)
class Trainable:
    """Numbers of parameters."""

    head: int
    language: int
    frozen: int

    @property
    def trained(self) -> int:
        """All that an optimiser holds."""
        return self.head + self.language


def count(model: Any) -> Trainable:  # noqa: ANN401
    """How many parameters are trained, by part; a tied one counts once."""
    sizes = {"head": 0, "language": 0, "frozen": 0}
    for name, parameter in model.named_parameters():
        part = part_of(name) if parameter.requires_grad else "frozen"
        sizes[part] += parameter.numel()
    return Trainable(**sizes)


def parameter_groups(model: Any, recipe: Recipe) -> list[dict[str, Any]]:  # noqa: ANN401
    """Groups for the optimiser: the head at its own rate, all else at the recipe's; none is empty."""
    rates = {"head": recipe.learning_rate * recipe.head_rate_multiplier, "language": recipe.learning_rate}
    groups: dict[str, list[torch.nn.Parameter]] = {"head": [], "language": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[part_of(_bare(name))].append(parameter)
    return [{"params": group, "lr": rates[part], "part": part} for part, group in groups.items() if group]


def trained_parameters(model: Any) -> dict[str, torch.nn.Parameter]:  # noqa: ANN401
    """Parameters that are trained, by their name in the state dict."""
    return {_bare(name): parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def norm_of(parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
    """L2 norm of all gradients together, scalar float32; 0 where there is none. Sharded ones are summed."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm: Any = torch.nn.utils.get_total_norm(gradients)
    whole: torch.Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return whole


def _bare(name: str) -> str:
    """A parameter's name without what wraps the model for several processes."""
    return name.removeprefix("module.").replace("_fsdp_wrapped_module.", "").replace("_orig_mod.", "")
