"""From a checkpoint's files to the configuration it needs, and the check that its tensors are the model's."""

from collections.abc import Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from depthvlm_bench.depthvlm.checkpoint import CONFIG, HEAD_PREFIX, Checkpoint, Shape, some
from depthvlm_bench.depthvlm.config import MODEL_TYPE, STOCK_MODEL_TYPE, DepthVLMConfig
from depthvlm_bench.depthvlm.head import TAPS
from depthvlm_bench.depthvlm.modeling import DepthVLMForConditionalGeneration
from depthvlm_bench.errors import CheckError, UsageError

TIED = "lm_head.weight"
LEARN_A_HEAD = "dvbench train --stage 1 --backbone gives it one; so does init_head=True, untrained"


def describe(
    checkpoint: Checkpoint, *, init_head: bool = False, head_options: Mapping[str, Any] | None = None
) -> DepthVLMConfig:
    """The configuration of a checkpoint, head widths read from its tensors; every tensor is accounted for.

    Args:
        checkpoint: what lies in the folder.
        init_head: expect no head, and describe a fresh one.
        head_options: fields of DepthVLMConfig for the fresh head.

    Raises:
        UsageError: init_head where there is a head, or options that describe none.
        CheckError: no Qwen3-VL, no head, or tensors that are missing, foreign or of another shape.
    """
    kind = checkpoint.config.get("model_type")
    if kind not in (STOCK_MODEL_TYPE, MODEL_TYPE):
        raise CheckError(
            f"a checkpoint of model type {kind!r}",
            where=checkpoint.folder,
            why=f"DepthVLM is built on {STOCK_MODEL_TYPE}",
            next_step="name a Qwen3-VL or DepthVLM checkpoint",
        )
    head = checkpoint.head_shapes
    if head and init_head:
        raise UsageError(
            "the checkpoint has a depth head already",
            where=checkpoint.folder,
            next_step="load it without init_head, or name the stock backbone",
        )
    if not head and not init_head:
        raise CheckError(
            "the checkpoint has no depth head",
            where=checkpoint.folder,
            why="it is a language model without depth",
            next_step=LEARN_A_HEAD,
        )
    fields = dict(head_options or {}) if init_head else head_fields(checkpoint)
    config = _build_config(checkpoint, fields)
    _check_tensors(checkpoint, config, init_head=init_head)
    return config


def head_fields(checkpoint: Checkpoint) -> dict[str, Any]:
    """Fields of DepthVLMConfig as the shapes of the head's tensors tell them.

    Raises:
        CheckError: tensors of neither head.
    """
    head = checkpoint.head_shapes
    if "mlp.0.weight" in head:
        return {"depth_head_type": "mlp"} | _mlp_fields(checkpoint, head["mlp.0.weight"])
    names = ("scratch.layer1_rn.weight", *(f"projects.{tap}.weight" for tap in range(TAPS)))
    absent = [HEAD_PREFIX + name for name in names if name not in head]
    if absent:
        raise CheckError(
            f"the depth head lacks {some(absent)}",
            where=checkpoint.folder,
            why=f"it has {some(HEAD_PREFIX + name for name in head)}",
            next_step="fetch the checkpoint again, or name another",
        )
    features, *channels = (head[name][0] for name in names)
    return {
        "depth_head_type": "dpt",
        "depth_head_features": features,
        "depth_head_out_channels": channels,
    }


def _mlp_fields(checkpoint: Checkpoint, first: Shape) -> dict[str, Any]:
    hidden, width = first
    fields: dict[str, Any] = {"depth_head_mlp_hidden": hidden}
    if width != _width(checkpoint):
        fields["depth_head_feature_mode"] = "concat"
    return fields


def _width(checkpoint: Checkpoint) -> int:
    text = checkpoint.config.get("text_config")
    return int(text.get("hidden_size", 0)) if isinstance(text, dict) else 0


def _build_config(checkpoint: Checkpoint, fields: Mapping[str, Any]) -> DepthVLMConfig:
    described = {
        "model_type": MODEL_TYPE,
        "architectures": [DepthVLMForConditionalGeneration.__name__],
    }
    unknown = {name for name in fields if name not in DepthVLMConfig.__dataclass_fields__}
    if unknown:
        raise UsageError(f"unknown fields of a depth head: {some(unknown)}")
    try:
        config: DepthVLMConfig = DepthVLMConfig.from_dict({**checkpoint.config, **described, **fields})
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise CheckError(
            "the configuration describes no DepthVLM",
            where=checkpoint.folder / CONFIG,
            why=str(error),
        ) from error
    return config


def _check_tensors(checkpoint: Checkpoint, config: DepthVLMConfig, *, init_head: bool) -> None:
    with torch.device("meta"):
        model = DepthVLMForConditionalGeneration(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    missing = expected.keys() - checkpoint.shapes.keys()
    if init_head:
        missing = {name for name in missing if not name.startswith(HEAD_PREFIX)}
    if config.tie_word_embeddings:
        missing = missing - {TIED}
    foreign = checkpoint.shapes.keys() - expected.keys()
    shaped = {
        f"{name} {checkpoint.shapes[name]} for {shape}"
        for name, shape in expected.items()
        if checkpoint.shapes.get(name, shape) != shape
    }
    faults = {"missing": missing, "foreign": foreign, "of another shape": shaped}
    found = [f"{len(names)} tensors {kind}: {some(names)}" for kind, names in faults.items() if names]
    if found:
        raise CheckError(
            "the tensors are not the model's",
            where=checkpoint.folder,
            why="; ".join(found),
            next_step="fetch the checkpoint again, or name the one that its config.json describes",
        )
