"""Checkpoints of models in transformers: found, refused by name where they give no metres, and identified."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from depthvlm_bench.depthvlm.identity import content_sha256
from depthvlm_bench.errors import DataMissingError, UsageError
from depthvlm_bench.predict.contracts import Identity
from depthvlm_bench.records.files import reading

NEEDED = ("torch", "transformers", "safetensors")
CONFIG, PICTURES = "config.json", "preprocessor_config.json"
# Where and how fast, not what: no part of what identifies a run.
PLACES = ("device", "checkpoint", "revision")
# Repositories that are taken for metric ones, told before a byte is fetched.
RELATIVE = re.compile(
    r"LiheYoung/depth-anything-\w+-hf|depth-anything/Depth-Anything-V2-(Small|Base|Large)(-hf)?|Intel/dpt-.+",
    re.IGNORECASE,
)
ORIGINAL = re.compile(
    r"depth-anything/Depth-Anything-V2-Metric-(Hypersim|VKITTI)-(Small|Base|Large)", re.IGNORECASE
)
DOMAIN_OF = {"hypersim": "Indoor", "vkitti": "Outdoor"}
METRIC = "depth-anything/Depth-Anything-V2-Metric-{Indoor,Outdoor}-{Small,Base,Large}-hf"


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded.

    Attributes:
        checkpoint: a folder, or a hub repository ORG/NAME; null: the published one.
        revision: of a repository.
        dtype: of the weights; maps are finished in float32 whatever it is.
        device: a torch device; auto: the GPU where there is one.
    """

    checkpoint: str | None = None
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "auto"


@dataclass(frozen=True)
class Weights:
    """Which checkpoints an adapter loads.

    Attributes:
        title: the family, as people write it.
        model_type: as in config.json.
        model_class: its class in transformers.
        published: hub repository -> revision; empty: checkpoints of one's own alone.
    """

    title: str
    model_type: str
    model_class: str
    published: Mapping[str, str]


@dataclass(frozen=True)
class Found:
    """A checkpoint on this machine.

    Attributes:
        name: of its repository, or of its folder.
        folder: where its files are.
        commit: of the repository; None: a folder of one's own.
        config: its config.json.
    """

    name: str
    folder: Path
    commit: str | None
    config: Mapping[str, Any]


def find_weights(weights: Weights, options: LoadOptions) -> Found:
    """The checkpoint that options ask for, refused where it cannot answer in metres.

    Raises:
        UsageError: the extra `models` is not installed; a relative-depth or foreign checkpoint.
        DataMissingError: no such checkpoint, or no published one.
    """
    if not all(map(find_spec, NEEDED)):
        raise UsageError(
            f"{weights.title} needs torch and transformers", next_step="pip install 'depthvlm-bench[models]'"
        )
    if options.checkpoint is None and not weights.published:
        raise DataMissingError(
            "no published weights are known of this model", next_step="give a checkpoint: --checkpoint DIR"
        )
    source = options.checkpoint or next(iter(weights.published))
    local = Path(source).expanduser().is_dir()
    if not local:
        _refuse_by_name(source)
    from depthvlm_bench.depthvlm.checkpoint import find_checkpoint

    folder = find_checkpoint(source, options.revision or (None if local else weights.published.get(source)))
    name = folder.resolve().name if local else source
    config = read_config(folder)
    _refuse_by_kind(weights, name, config)
    return Found(name, folder, None if local else folder.name, config)


def read_config(folder: Path) -> Mapping[str, Any]:
    """A checkpoint's config.json; CheckError where it is damaged, DataMissingError where there is none."""
    path = folder / CONFIG
    if not path.is_file():
        raise DataMissingError("the folder holds no model", where=folder, why=f"there is no {CONFIG}")
    return _read_json(path)


def picture_settings(found: Found) -> Mapping[str, Any]:
    """A checkpoint's preprocessor_config.json; DataMissingError where there is none."""
    path = found.folder / PICTURES
    if not path.is_file():
        raise DataMissingError(
            f"{found.name} does not say how its pictures are prepared",
            where=found.folder,
            why=f"there is no {PICTURES}",
            next_step="copy it from the checkpoint that this one was made of",
        )
    return _read_json(path)


def _read_json(path: Path) -> Mapping[str, Any]:
    with reading(path, "fetch the checkpoint again"):
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content.get("")
        return content


def _refuse_by_name(repository: str) -> None:
    if RELATIVE.fullmatch(repository):
        raise _relative(repository, "its maps are disparity up to an unknown scale and shift, not metres")
    original = ORIGINAL.fullmatch(repository)
    if original:
        domain, size = DOMAIN_OF[original[1].lower()], original[2].capitalize()
        raise UsageError(
            f"{repository} holds pickled weights for the authors' own code",
            next_step=f"the same weights: depth-anything/Depth-Anything-V2-Metric-{domain}-{size}-hf",
        )


def _refuse_by_kind(weights: Weights, name: str, config: Mapping[str, Any]) -> None:
    kind = config.get("model_type")
    if kind != weights.model_type:
        raise UsageError(
            f"{name} is no {weights.title} checkpoint",
            why=f"its model_type is {kind!r}, not {weights.model_type!r}",
            next_step="dvbench models lists what else there is",
        )
    # Only Depth Anything has both kinds under one type, and what says nothing is relative.
    if kind == "depth_anything" and config.get("depth_estimation_type", "relative") != "metric":
        raise _relative(name, "its depth_estimation_type is not 'metric': its maps are disparity, not metres")


def _relative(name: str, why: str) -> UsageError:
    return UsageError(
        f"{name} is a relative-depth checkpoint", why=why, next_step=f"take a metric one: {METRIC}"
    )


def identity(
    found: Found,
    options: LoadOptions,
    machine: dict[str, Any],
    **known: Any,  # noqa: ANN401 - whatever JSON holds
) -> Identity:
    """The checkpoint by its content, and every option; the label names those that are no defaults.

    Args:
        found: what the options ask for.
        options: of the model.
        machine: what it runs on.
        known: what else can change an answer.
    """
    digest = content_sha256(found.folder)
    plain = {field.name: getattr(options, field.name) for field in fields(options)}
    default = type(options)()
    changed = {k: v for k, v in plain.items() if k not in PLACES and v != getattr(default, k)}
    if options.checkpoint is not None or options.revision is not None:
        # Rows of a table are told apart by this: two folders of one name are not the same weights.
        changed["checkpoint"] = f"{found.name}@{digest[:8]}"
    loaded = {k: v for k, v in plain.items() if k not in PLACES}
    loaded |= {"checkpoint": found.name, "revision": found.commit, "content_sha256": digest, **known}
    return Identity(changed, loaded, machine)
