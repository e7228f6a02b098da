"""Random weights of a given seed, and what all tiny checkpoints are written with."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from depthvlm_bench.records.files import write_json


def random_model(model_class: Any, config: Any, seed: int) -> Any:  # noqa: ANN401 - transformers has no types
    """A model in eval mode whose weights keep the scale of what they are given, drawn from a seed.

    Biases are 0, norms and scales 1, all else is normal with the inverse of its inputs as variance.
    """
    with torch.random.fork_rng(devices=[]):
        model = model_class(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if weight.ndim == 1:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                weight.normal_(0.0, 1 / math.sqrt(weight[0].numel()), generator=generator)
    return model.eval()


def always(layer: Any, value: float) -> None:  # noqa: ANN401 - a convolution
    """Make a layer give one value, whatever it is given."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(value)


def before_softplus(value: float) -> float:
    """What softplus makes `value` of."""
    return value + math.log(-math.expm1(-value))


def write(folder: Path, model: Any, pictures: Mapping[str, Any]) -> Path:  # noqa: ANN401 - a transformers model
    """Write a checkpoint as `save_pretrained` does, with its picture settings; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    shared = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
    write_json(folder / "preprocessor_config.json", shared | dict(pictures))
    return folder
