"""Samples to model inputs: pictures as patches, conversations as tokens, depth as labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image

from depthvlm_bench.depthvlm.chat import Encoded, encode, pad
from depthvlm_bench.depthvlm.preprocess import PreparedPicture, Profile, prepare
from depthvlm_bench.depthvlm.training.data import ChatSample, DepthSample, Sample
from depthvlm_bench.depthvlm.training.faults import BadSampleError
from depthvlm_bench.errors import CheckError, UsageError

Task = Literal["depth", "chat"]


@dataclass(frozen=True, eq=False)
class PreparedSample:
    """A sample as tensors.

    Attributes:
        encoded: the conversation.
        pictures: in the order of their tokens.
        depth_labels_m: one a picture: (h, w) float32, m, 0 where unknown; None for pictures of chat samples.
        task: what it supervises.
        dataset: the set or file it is from.
    """

    encoded: Encoded
    pictures: tuple[PreparedPicture, ...]
    depth_labels_m: tuple[torch.Tensor | None, ...]
    task: Task
    dataset: str


@dataclass(frozen=True)
class Collator:
    """Makes batches for the model's `forward`; what a batch is made of is prepared by sample, in the worker.

    Attributes:
        tokenizer: with a chat template and a padding token.
        supervise: label the answers; False (stage 1): no label, and depth samples without their answer, of
            which nothing in the picture depends.
        profile: preprocessing of pictures.
        max_pixels: pictures with more are shrunk; None: the model's own limit.
        max_length: longer samples, in tokens with pictures, are refused, never cut; None: none is.
    """

    tokenizer: Any
    supervise: bool
    profile: Profile = "native"
    max_pixels: int | None = None
    max_length: int | None = None

    def prepare(self, sample: Sample) -> PreparedSample:
        """Patches, tokens and labels of a sample.

        Raises:
            BadSampleError: `over_long`, `refused_image`, or `malformed` (a chat sample that the template
                refuses).
        """
        made = self._depth(sample) if isinstance(sample, DepthSample) else self._chat(sample)
        length = len(made.encoded)
        if self.max_length is not None and length > self.max_length:
            raise BadSampleError(
                "over_long", _where(sample), f"{length} tokens, max_length {self.max_length}"
            )
        return made

    def __call__(self, samples: Sequence[PreparedSample]) -> dict[str, Any]:
        """Inputs of a batch, padded on the right.

        Returns:
            input_ids, attention_mask, labels, mm_token_type_ids (B, L); tasks and datasets, a text a sample;
            and where there are pictures pixel_values (P, D), image_grid_thw (I, 3) and pixel_depth_labels, a
            map or None a picture.
        """
        batch: dict[str, Any] = pad([one.encoded for one in samples], self.tokenizer.pad_token_id, "right")
        batch |= {"tasks": [one.task for one in samples], "datasets": [one.dataset for one in samples]}
        pictures = [picture for one in samples for picture in one.pictures]
        if pictures:
            batch["pixel_values"] = torch.cat([picture.pixel_values for picture in pictures])
            batch["image_grid_thw"] = torch.stack([picture.grid_thw for picture in pictures])
            batch["pixel_depth_labels"] = [label for one in samples for label in one.depth_labels_m]
        return batch

    def _depth(self, sample: DepthSample) -> PreparedSample:
        messages = sample.messages
        answered = messages[-1]["role"] == "assistant"
        asked = messages if self.supervise or not answered else messages[:-1]
        pictures = self._pictures([Image.fromarray(sample.picture)], sample)
        encoded = encode(self.tokenizer, asked, pictures, supervise=self.supervise and answered)
        return PreparedSample(encoded, pictures, (sample.depth_label_m,), "depth", sample.dataset)

    def _chat(self, sample: ChatSample) -> PreparedSample:
        pictures = self._pictures(sample.pictures, sample)
        try:
            encoded = encode(self.tokenizer, sample.messages, pictures, supervise=self.supervise)
        except (CheckError, UsageError) as error:
            detail = f"{error.what} {error.why}".strip()
            raise BadSampleError("malformed", sample.source_id, detail) from error
        return PreparedSample(encoded, pictures, (None,) * len(pictures), "chat", sample.dataset)

    def _pictures(self, pictures: Sequence[Image.Image], sample: Sample) -> tuple[PreparedPicture, ...]:
        try:
            return tuple(prepare(one, self.profile, max_pixels=self.max_pixels) for one in pictures)
        except UsageError as error:
            raise BadSampleError("refused_image", _where(sample), f"{error.what}: {error.why}") from error


def _where(sample: Sample) -> str:
    return sample.record_id if isinstance(sample, DepthSample) else sample.source_id
