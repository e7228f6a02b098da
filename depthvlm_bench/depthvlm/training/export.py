"""A trained model as a checkpoint folder for use: `load_depthvlm` and `dvbench eval --model` open it."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from depthvlm_bench.depthvlm.preprocess import MIN_PIXELS
from depthvlm_bench.depthvlm.training.checkpoints import replace_folder
from depthvlm_bench.depthvlm.training.lora import merged_state
from depthvlm_bench.depthvlm.training.recipe import Recipe
from depthvlm_bench.records.files import reading, write_json

TRAINING_FILE = "training.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
# Beside a model's weights: tokenizer, chat template, picture settings. Configuration is made anew.
_COPIED = (".json", ".txt", ".jinja", ".model")
_OWN = ("config.json", "generation_config.json", TRAINING_FILE)


def write_model(
    model: Any,  # noqa: ANN401 - transformers has no types
    recipe: Recipe,
    base: Path,
    target: Path,
    *,
    provenance: Mapping[str, Any],
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write the model as it stands, whole or not at all.

    Args:
        model: left as it is; adapters are merged into what is written.
        recipe: decides the dtype.
        base: the checkpoint that was trained; its tokenizer goes along.
        target: the folder, replaced if it is there.
        provenance: kept in `training.json`.
        state: gathered from several processes; None: the model's own.
    """
    grown = target.with_name(f".{target.name}")
    shutil.rmtree(grown, ignore_errors=True)
    grown.mkdir(parents=True)
    full = merged_state(model) if recipe.lora_rank else state or model.state_dict()
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    kept = {name: _cast(name, tensor, recipe) for name, tensor in full.items() if name not in tied}
    model.save_pretrained(grown, state_dict=kept)
    _copy_settings(base, grown, recipe)
    write_json(grown / TRAINING_FILE, {**provenance, "recipe": asdict(recipe), "recipe_hash": recipe.hash})
    replace_folder(grown, target)


def _cast(name: str, tensor: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor.detach().cpu()
    half = recipe.save_dtype == "bfloat16" and not name.startswith("depth_head.")
    return tensor.detach().to("cpu", torch.bfloat16 if half else torch.float32)


def _copy_settings(base: Path, folder: Path, recipe: Recipe) -> None:
    for path in sorted(base.iterdir()):
        if path.suffix in _COPIED and path.name not in _OWN and not path.name.endswith(".index.json"):
            shutil.copyfile(path, folder / path.name)
    if recipe.max_pixels is not None:
        _limit_pictures(folder / PREPROCESSOR_FILE, recipe.max_pixels)


def _limit_pictures(path: Path, max_pixels: int) -> None:
    """Let the model be asked with pictures of the size it was trained on."""
    settings: dict[str, Any] = {}
    if path.is_file():
        with reading(path, "copy the checkpoint again"):
            settings = json.loads(path.read_text(encoding="utf-8"))
    least = min(max_pixels, (settings.get("size") or {}).get("shortest_edge", MIN_PIXELS))
    settings = {name: value for name, value in settings.items() if name not in ("min_pixels", "max_pixels")}
    write_json(path, {**settings, "size": {"shortest_edge": least, "longest_edge": max_pixels}})
