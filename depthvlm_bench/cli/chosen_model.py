"""The model a command is about: by name, by name with a checkpoint, or by a checkpoint folder alone."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthvlm_bench.errors import DataMissingError, UsageError

if TYPE_CHECKING:
    from depthvlm_bench.predict.contracts import Model

CHECKPOINT = "checkpoint"

model_option = click.option(
    "--model",
    "name",
    required=True,
    metavar="NAME|DIR",
    help="One of `dvbench models`, or a checkpoint folder.",
)
checkpoint_option = click.option(
    "--checkpoint",
    metavar="DIR|ORG/NAME",
    help="Other weights of the named model: a folder, or a repository.",
)


def choose_model(
    name: str,
    checkpoint: str | None,
    pairs: Sequence[str],
    *,
    as_the_paper: bool = False,
    preset: Mapping[str, Any] | None = None,
) -> "tuple[Model, Any]":
    """A model and its options.

    Args:
        name: a registered model, or a folder with a checkpoint's config.json.
        checkpoint: value of --checkpoint.
        pairs: KEY=VALUE as typed.
        as_the_paper: where no pair says otherwise, run the model as the paper's code does.
        preset: defaults of options at this place; those the model does not have are left out.

    Raises:
        UsageError: unknown name or option, or a checkpoint for a model that loads none.
        DataMissingError: a folder without a checkpoint.
    """
    from depthvlm_bench.config import parse_options
    from depthvlm_bench.registry import load_model

    if _is_path(name):
        if checkpoint is not None:
            raise UsageError("--checkpoint goes with a model's name", why=f"--model {name} is a checkpoint")
        model, checkpoint = _model_of(Path(name)), name
    else:
        model = load_model(name)
    known = {field.name for field in fields(model.options_type)}
    if checkpoint is not None and CHECKPOINT not in known:
        raise UsageError(f"{name} loads no checkpoint", next_step="leave --checkpoint out")
    given = dict(preset or {}) | (dict(model.compat_options) if as_the_paper else {})
    given |= {CHECKPOINT: checkpoint} if checkpoint is not None else {}
    defaults = model.options_type(**{key: value for key, value in given.items() if key in known})
    return model, parse_options(model.options_type, pairs, f"-o of {name}", defaults=defaults)


def _is_path(name: str) -> bool:
    """A registered name never has a slash; a folder without one needs a config.json to be meant."""
    return "/" in name or name in (".", "..") or (Path(name) / "config.json").is_file()


def _model_of(folder: Path) -> "Model":
    """The model that loads a checkpoint folder."""
    from depthvlm_bench import registry
    from depthvlm_bench.predict.contracts import Model

    if not (folder / "config.json").is_file():
        raise DataMissingError(
            "no checkpoint here",
            where=folder,
            why="there is no config.json",
            next_step="name the folder that holds it, or a model of `dvbench models`",
        )
    models = [item for _, item in registry.each(registry.MODELS) if isinstance(item, Model)]
    for model in models:
        if model.recognises is not None and model.recognises(folder):
            return model
    raise UsageError(
        "no model loads this checkpoint",
        where=folder,
        why="it is no DepthVLM, ZoeDepth, Depth Pro or Depth Anything, or lacks its depth head",
        next_step="dvbench train --stage 1 --backbone gives a Qwen3-VL checkpoint a depth head",
    )
