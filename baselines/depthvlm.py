"""DepthVLM: a vision-language model with a depth head (arXiv 2605.15876), and checkpoints of one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from depthvlm_bench.conventions import CANONICAL_FX_PX
from depthvlm_bench.depthvlm.identity import content_sha256, has_depth_head
from depthvlm_bench.errors import DataMissingError, UsageError
from depthvlm_bench.predict.contracts import DenseMap, Exposure, Identity, Model, ModelCard, View
from depthvlm_bench.records.prompts import DENSE_PROMPT, load_prompt

NEEDED = ("torch", "transformers", "safetensors")
PUBLISHED = {"JonnyYu828/DepthVLM-4B": "main"}
# Where and how fast, not what: no part of what identifies a run.
PLACES = ("device", "checkpoint", "revision")
TRAINED_ON: Mapping[str, Exposure] = {
    **dict.fromkeys(("argoverse2", "waymo", "ddad", "nuscenes"), "yes"),
    **dict.fromkeys(("scannetpp", "hm3d", "taskonomy", "matterport3d"), "yes"),
    **dict.fromkeys(("sunrgbd", "ibims1", "nyuv2", "nyuv2-sun", "eth3d"), "no"),
}
SOURCE = "configs/train_datasets.conf of hanxunyu/DepthVLM; what its backbone Qwen3-VL saw is not published"


@dataclass(frozen=True)
class DepthVLMOptions:
    """How the model is loaded and asked.

    Attributes:
        checkpoint: a folder, or a hub repository ORG/NAME; null: the published one.
        revision: of a repository.
        dtype: of all but the head.
        head_dtype: bfloat16 is what the paper's programs run: depth then has steps of 0.4 to 0.8 %.
        device: a torch device; auto: the GPU where there is one.
        attention: the backbone's implementation.
        profile: how pictures are prepared; reference_v1 resizes twice, as the paper's programs do.
        max_pixels: largest area a picture is shown at; null: the checkpoint's own limit.
        text: write an answer beside the map.
        question: asked instead of the paper's prompt; it stands after the picture, and changes no depth.
        max_new_tokens: of a written answer.
    """

    checkpoint: str | None = None
    revision: str | None = None
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    head_dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "auto"
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    profile: Literal["native", "reference_v1"] = "native"
    max_pixels: int | None = None
    text: bool = False
    question: str | None = None
    max_new_tokens: int = 128


class DepthVLMPredictor:
    """Shows each picture at the model's focal length and gives the head's map.

    Args:
        published: hub repository -> revision of the model's own weights; empty: there are none.
    """

    def __init__(self, published: Mapping[str, str]) -> None:
        self.published = published

    def load(self, options: DepthVLMOptions) -> None:
        """Load the checkpoint."""
        folder, _ = checkpoint_of(options, self.published)
        from depthvlm_bench.depthvlm.inference import DepthVLM

        said = ("profile", "max_pixels", "dtype", "head_dtype", "device", "attention")
        self.options = options
        self.model = DepthVLM.open(folder, **{name: getattr(options, name) for name in said})

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        """One map a view, of the model's own size, with what it wrote where that was asked for."""
        from depthvlm_bench.depthvlm.inference import Shown

        shown = [Shown(view.picture, view.camera) for view in views]
        known = {name: getattr(self.options, name) for name in ("text", "question", "max_new_tokens")}
        return [answer.dense_map() for answer in self.model.answer(shown, **known)]


def checkpoint_of(options: DepthVLMOptions, published: Mapping[str, str]) -> tuple[Path, str | None]:
    """The folder of a checkpoint, and the commit if it came from the hub.

    Raises:
        UsageError: the extra `models` is not installed.
        DataMissingError: no such checkpoint, or no published one.
    """
    if not all(map(find_spec, NEEDED)):
        raise UsageError(
            "DepthVLM needs torch and transformers", next_step="pip install 'depthvlm-bench[models]'"
        )
    if options.checkpoint is None and not published:
        raise DataMissingError(
            "no published weights are known of this model", next_step="give a checkpoint: --checkpoint DIR"
        )
    from depthvlm_bench.depthvlm.checkpoint import find_checkpoint

    source = options.checkpoint or next(iter(published))
    local = Path(source).expanduser().is_dir()
    revision = options.revision or (None if local else published.get(source))
    folder = find_checkpoint(source, revision)
    return folder, None if local else folder.name


def identify(published: Mapping[str, str], options: DepthVLMOptions) -> Identity:
    """The checkpoint by its content, and every option; the label names those that are no defaults."""
    folder, commit = checkpoint_of(options, published)
    digest = content_sha256(folder)
    plain = {field.name: getattr(options, field.name) for field in fields(options)}
    default = DepthVLMOptions()
    changed = {k: v for k, v in plain.items() if k not in PLACES and v != getattr(default, k)}
    name = folder.resolve().name if commit is None else options.checkpoint or next(iter(published))
    if options.checkpoint is not None or options.revision is not None:
        # Rows of a table are told apart by this: two folders of one name are not the same weights.
        changed["checkpoint"] = f"{name}@{digest[:8]}"
    prompt = load_prompt(DENSE_PROMPT)
    asked = prompt if options.question is None else replace(prompt, user=options.question)
    loaded = {k: v for k, v in plain.items() if k not in PLACES}
    loaded |= {"checkpoint": name, "revision": commit, "content_sha256": digest, "prompt_hash": asked.hash}
    return Identity(changed, loaded, _machine(options.device))


def _machine(device: str) -> dict[str, Any]:
    import torch

    from depthvlm_bench.depthvlm.inference import device_of

    name = device_of(device)
    gpu = torch.cuda.get_device_name(name) if name.startswith("cuda") and torch.cuda.is_available() else None
    return {"device": name, "gpu": gpu, "torch": version("torch"), "threads": torch.get_num_threads()}


def _model(
    name: str,
    summary: str,
    published: Mapping[str, str],
    trained_on: Mapping[str, Exposure],
    *,
    own: bool = False,
) -> Model:
    card = ModelCard(
        id=name,
        family="depthvlm",
        kind="dense",
        summary=summary,
        licence="Apache-2.0",
        camera="required",
        extra="models",
        repos=published,
        preferred_focal_px=CANONICAL_FX_PX,
        max_batch=4,
        trained_on=trained_on,
        trained_on_source=SOURCE if trained_on else "",
    )
    return Model(
        card,
        partial(DepthVLMPredictor, published),
        DepthVLMOptions,
        compat_options={"profile": "reference_v1", "head_dtype": "bfloat16"},
        identify=partial(identify, published),
        recognises=has_depth_head if own else None,
    )


DEPTHVLM_4B = _model("depthvlm-4b", "the paper's model, Qwen3-VL-4B with a depth head", PUBLISHED, TRAINED_ON)
DEPTHVLM_8B = _model("depthvlm-8b", "the same on Qwen3-VL-8B; --checkpoint DIR", {}, TRAINED_ON)
DEPTHVLM = _model("depthvlm", "a checkpoint of one's own (--model DIR)", {}, {}, own=True)
