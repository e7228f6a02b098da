"""The sizes of a checkpoint on disk, from its config.json: any Qwen3-VL, with a depth head or without."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depthvlm_bench.depthvlm.cost.sheets import (
    Architecture,
    CostModel,
    Decoder,
    Head,
    PictureRule,
    Tower,
    load_cost_model,
)
from depthvlm_bench.depthvlm.identity import has_depth_head
from depthvlm_bench.errors import CheckError, DataMissingError

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
KINDS = ("qwen3_vl", "depthvlm_qwen3_vl")
# Whose prompt and reply a checkpoint is taken to have, with a depth head and without.
LIKE_WITH_HEAD, LIKE_WITHOUT = "depthvlm-4b", "qwen3-vl-4b"


def read_checkpoint(folder: Path) -> CostModel:
    """Sizes of a checkpoint; with a depth head it makes its map in one pass, else by questions.

    Raises:
        DataMissingError: no config.json.
        CheckError: another kind of model, or a config that lacks a size.
    """
    config = _read(folder / CONFIG)
    if config.get("model_type") not in KINDS:
        raise CheckError(
            f"costs of {config.get('model_type')!r} are not known",
            where=folder / CONFIG,
            why=f"known: {', '.join(KINDS)}, and the models that dvbench efficiency lists",
        )
    try:
        sizes = Architecture(
            decoder=_decoder(config),
            tower=_tower(config["vision_config"]),
            picture=_picture(folder, config["vision_config"]),
            source=str(folder / CONFIG),
        )
    except KeyError as error:
        raise CheckError(f"no {error} in the config", where=folder / CONFIG) from error
    with_head = has_depth_head(folder)
    like = load_cost_model(LIKE_WITH_HEAD if with_head else LIKE_WITHOUT)
    return CostModel(folder.resolve().name, like.sheet, sizes, _head(config) if with_head else None)


def _decoder(config: Mapping[str, Any]) -> Decoder:
    text = config["text_config"]
    heads = text["num_attention_heads"]
    return Decoder(
        hidden=text["hidden_size"],
        mlp=text["intermediate_size"],
        layers=text["num_hidden_layers"],
        heads=heads,
        kv_heads=text.get("num_key_value_heads") or heads,
        head_dim=text.get("head_dim") or text["hidden_size"] // heads,
        vocabulary=text["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        qk_norm=True,
    )


def _tower(vision: Mapping[str, Any]) -> Tower:
    return Tower(
        width=vision["hidden_size"],
        mlp=vision["intermediate_size"],
        layers=vision["depth"],
        heads=vision["num_heads"],
        patch_px=vision["patch_size"],
        frames=vision["temporal_patch_size"],
        merge=vision["spatial_merge_size"],
        position_rows=vision["num_position_embeddings"],
        connector_norm="layer",
        taps=len(vision["deepstack_visual_indexes"]),
    )


def _picture(folder: Path, vision: Mapping[str, Any]) -> PictureRule:
    """Limits of area are those of the preprocessor's file; its edges are areas in spite of their names."""
    path = folder / PREPROCESSOR
    size = _read(path).get("size", {}) if path.is_file() else {}
    return PictureRule(
        rule="nearest",
        multiple_px=vision["patch_size"] * vision["spatial_merge_size"],
        smallest_px=size.get("shortest_edge", 65536),
        largest_px=size.get("longest_edge", 16777216),
    )


def _head(config: Mapping[str, Any]) -> Head:
    """The fields of our own config; where the published one lacks them, its defaults."""
    plain = Head()
    mode = config.get("depth_head_feature_mode", "llm_last")
    return Head(
        kind=config.get("depth_head_type", plain.kind),
        features=config.get("depth_head_features", plain.features),
        out_channels=tuple(config.get("depth_head_out_channels", plain.out_channels)),
        mlp_hidden=config.get("depth_head_mlp_hidden", plain.mlp_hidden),
        inputs=4 if mode == "concat" else 1,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        why = f"there is no {path.name}"
        raise DataMissingError("no checkpoint here", where=path.parent, why=why) from error
    except json.JSONDecodeError as error:
        raise CheckError("not valid JSON", where=path, why=str(error)) from error
    if not isinstance(read, dict):
        raise CheckError("not a table of keys", where=path)
    return read
