"""Asking a loaded model: pictures in, metric depth and text out, in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import AutoTokenizer

from depthvlm_bench.conventions import CANONICAL_FX_PX
from depthvlm_bench.depthvlm.chat import depth_messages, encode, pad
from depthvlm_bench.depthvlm.loading import load_depthvlm
from depthvlm_bench.depthvlm.preprocess import (
    PixelLimits,
    PreparedPicture,
    Profile,
    Size,
    canonical_size_of,
    checkpoint_limits,
    prepare,
)
from depthvlm_bench.errors import CheckError, DataMissingError
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.predict.contracts import DenseMap

LISTED_SLACK = 0.05
TOKENIZER = ("tokenizer.json", "vocab.json")


@dataclass(frozen=True)
class Shown:
    """A picture to ask about; `camera` is its own, from which it is brought to the model's focal length."""

    picture: Image.Image
    camera: PinholeCamera | None = None

    def canonical_size(self, profile: Profile) -> Size | None:
        """(width, height) at the model's focal length; None: the picture's own, also where that is unknown.

        Published lists give the size of their pictures, which need not follow from the focal length to the
        last pixel: what they give is what the paper's programs show.
        """
        if self.camera is None:
            return None
        given = abs(self.camera.fx_px / CANONICAL_FX_PX - 1) < LISTED_SLACK
        return None if given and profile == "reference_v1" else canonical_size_of(self.camera)

    def prepared(self, profile: Profile = "native", limits: PixelLimits | None = None) -> PreparedPicture:
        """The picture at the model's focal length and size."""
        limits, size = limits or PixelLimits(), self.canonical_size(profile)
        area = {"max_pixels": limits.most, "min_pixels": limits.least}
        return prepare(self.picture, profile, canonical_size=size, **area)


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says of a picture.

    Attributes:
        depth_m: (h, w) float32 z-depth at the model's size, as the head gave it.
        prepared: the picture as the model saw it.
        text: what it wrote; None: it was not asked to.
    """

    depth_m: npt.NDArray[np.float32]
    prepared: PreparedPicture
    text: str | None = None

    def dense_map(self) -> DenseMap:
        """The map for a reader: all of the picture, brought to it by half-pixel bilinear interpolation."""
        return dense_map(self.depth_m, self.prepared, self.text)


def dense_map(
    depth_m: npt.NDArray[np.float32], prepared: PreparedPicture, text: str | None = None
) -> DenseMap:
    """A map (h, w) of a prepared picture as a prediction; CheckError where it is not of the model's size."""
    if depth_m.shape != prepared.model_size[::-1]:
        raise CheckError(f"a map of {depth_m.shape} for a picture of {prepared.model_size[::-1]}")
    return DenseMap(depth_m, text=text)


def device_of(name: str) -> str:
    """A torch device by name; `auto`: the GPU where there is one."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, eq=False)
class DepthVLM:
    """A model with its tokenizer, ready to be asked.

    Attributes:
        model: DepthVLMForConditionalGeneration in eval mode.
        profile: how pictures are prepared.
        limits: their area limits.
    """

    model: Any
    tokenizer: Any
    profile: Profile = "native"
    limits: PixelLimits = field(default_factory=PixelLimits)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        profile: Profile = "native",
        max_pixels: int | None = None,
        dtype: str = "bfloat16",
        head_dtype: str = "float32",
        device: str = "auto",
        attention: str = "sdpa",
    ) -> Self:
        """Load a checkpoint folder.

        Raises:
            DataMissingError: it lacks weights or a tokenizer.
            CheckError: it has no depth head, or wants pictures of another kind.
        """
        limits = checkpoint_limits(folder)
        if max_pixels is not None:
            limits = PixelLimits(min(limits.least, max_pixels), max_pixels)
        model = load_depthvlm(
            folder, dtype=dtype, device=device_of(device), attention=attention, head_dtype=head_dtype
        )
        return cls(model, load_tokenizer(folder), profile, limits)

    def answer(
        self,
        shown: Sequence[Shown],
        *,
        text: bool = False,
        question: str | None = None,
        max_new_tokens: int = 128,
    ) -> list[Answer]:
        """One answer a picture, in order; the batch is padded on the left.

        Args:
            shown: pictures of any sizes.
            text: write an answer too, greedily; depth is the same without.
            question: asked instead of the paper's prompt.
            max_new_tokens: of a written answer.
        """
        if not shown:
            return []
        prepared = [one.prepared(self.profile, self.limits) for one in shown]
        messages = depth_messages(question)
        encoded = [encode(self.tokenizer, messages, [picture], supervise=False) for picture in prepared]
        batch = pad(encoded, self.tokenizer.pad_token_id, "left")
        del batch["labels"]
        batch["pixel_values"] = torch.cat([picture.pixel_values for picture in prepared])
        batch["image_grid_thw"] = torch.stack([picture.grid_thw for picture in prepared])
        batch = {name: values.to(self.model.device) for name, values in batch.items()}
        with torch.inference_mode():
            maps, texts = self._generate(batch, max_new_tokens) if text else self._depth_alone(batch)
        return [
            Answer(np.ascontiguousarray(depth.float().cpu().numpy()), picture, said)
            for depth, picture, said in zip(maps, prepared, texts, strict=True)
        ]

    def _depth_alone(self, batch: dict[str, torch.Tensor]) -> tuple[list[torch.Tensor], list[str | None]]:
        maps: list[torch.Tensor] = self.model(**batch, logits_to_keep=1).depth_pred
        return maps, [None] * len(maps)

    def _generate(
        self, batch: dict[str, torch.Tensor], max_new_tokens: int
    ) -> tuple[list[torch.Tensor], list[str | None]]:
        # A checkpoint's own sampling settings would be reported as unused beside greedy decoding.
        greedy = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        done = self.model.generate(
            **batch,
            **greedy,
            max_new_tokens=max_new_tokens,
            return_depth=True,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        written = done.sequences[:, batch["input_ids"].shape[1] :]
        texts = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        return done.depth_pred, [said.strip() for said in texts]


def load_tokenizer(folder: Path) -> Any:  # noqa: ANN401 - a transformers tokenizer
    """The tokenizer of a checkpoint folder; DataMissingError where it has none."""
    if not any((folder / name).is_file() for name in TOKENIZER):
        raise DataMissingError(
            "the checkpoint has no tokenizer",
            where=folder,
            why=f"none of {', '.join(TOKENIZER)} is there",
            next_step="copy the tokenizer files of the Qwen3-VL checkpoint that it came from",
        )
    return AutoTokenizer.from_pretrained(folder)
