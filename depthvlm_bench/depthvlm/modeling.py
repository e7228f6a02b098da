"""DepthVLM on stock Qwen3-VL: a subclass with a depth head, no copy of the modelling file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils.generic import can_return_tuple

from depthvlm_bench.depthvlm.branch import DepthBranch, Labels, OutputSize
from depthvlm_bench.depthvlm.config import DepthVLMConfig, build_head
from depthvlm_bench.depthvlm.generation import DepthGenerationMixin, DepthSink
from depthvlm_bench.depthvlm.maps import HEAD_MEMORY_BYTES
from depthvlm_bench.depthvlm.outputs import CACHE_FIELD, DepthVLMOutput
from depthvlm_bench.depthvlm.taps import token_types

IGNORED_LABEL = -100
CACHE_NAMES = ("cache", "past_key_values")


class DepthVLMForConditionalGeneration(DepthBranch, DepthGenerationMixin, Qwen3VLForConditionalGeneration):  # type: ignore[misc, no-untyped-call, unused-ignore]
    """Qwen3-VL with a depth head; state-dict keys are those of the published checkpoint.

    Attributes:
        depth_head: DptHead or MlpHead; kept in float32 whatever dtype is asked for the rest.
        head_memory_bytes: working memory that images run through the head together may take.
        head_autocast: let an autocast around the forward reach the head (its weights stay as they are).
    """

    config: DepthVLMConfig
    _keep_in_fp32_modules_strict: ClassVar = ["depth_head"]  # type: ignore[misc, unused-ignore]

    def __init__(self, config: DepthVLMConfig) -> None:
        super().__init__(config)
        self.depth_head = build_head(config)
        self.head_memory_bytes = HEAD_MEMORY_BYTES
        self.head_autocast = False
        self.post_init()  # type: ignore[no-untyped-call, unused-ignore]

    @can_return_tuple  # type: ignore[untyped-decorator, unused-ignore]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: Mapping[str, Any] | None = None,
        pixel_depth_labels: Labels | None = None,
        depth: bool | None = None,
        output_size: OutputSize = None,
        backbone_no_grad: bool = False,
        lm: bool = True,
        supervised_logits: bool = False,
        keep_head_in_graph: bool = False,
        depth_sink: DepthSink | None = None,
        **kwargs: Any,  # noqa: ANN401 - stock's own
    ) -> DepthVLMOutput:
        """Text and depth of a batch; arguments that are not listed are those of stock Qwen3-VL.

        Args:
            mm_token_type_ids: derived from input_ids where absent.
            pixel_depth_labels: a map (H, W) an image in `image_grid_thw` order, metres, 0: unknown; or None.
            depth: run the head; None: where there are images.
            output_size: (H, W) of the maps, px, for all images or one an image; None: 32 x the token grid.
            backbone_no_grad: vision tower and language model in eval mode and without gradients.
            lm: compute logits and the language loss.
            supervised_logits: logits (n, vocabulary) of the n supervised positions only; the same loss.
            keep_head_in_graph: where the batch has no depth loss, take 0 by way of the head's parameters, so
                that every process of a distributed run has the same gradients to exchange.
            depth_sink: where `generate` collects the maps.

        Returns:
            DepthVLMOutput; `loss` is lm_loss + depth_loss_weight * depth_loss, or the one there is, or None.

        Raises:
            UsageError: labels or sizes that are not one an image; image tokens that do not fit the grids.
        """
        if backbone_no_grad or not lm:
            kwargs.setdefault("use_cache", False)
        grids = (image_grid_thw, video_grid_thw)
        if mm_token_type_ids is None and input_ids is not None and any(grid is not None for grid in grids):
            mm_token_type_ids = token_types(input_ids, self.config.image_token_id, self.config.video_token_id)
        with _frozen(self.model, backbone_no_grad):
            encoded = mm_encoder_outputs or self._encode(
                pixel_values, image_grid_thw, pixel_values_videos, video_grid_thw, kwargs
            )
            outputs = self.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                inputs_embeds=inputs_embeds,
                image_grid_thw=image_grid_thw,
                video_grid_thw=video_grid_thw,
                mm_token_type_ids=mm_token_type_ids,
                mm_encoder_outputs=dict(encoded),
                **kwargs,
            )
        hidden: Tensor = outputs.last_hidden_state
        answer = None
        if _wanted(depth, encoded, depth_sink):
            mask = self._image_mask(input_ids, inputs_embeds)
            answer = self._depth_answer(encoded, hidden, mask, image_grid_thw, output_size, depth_sink)
        logits, lm_loss = None, None
        if lm and supervised_logits and labels is not None:
            logits, lm_loss = self._supervised(hidden, labels, kwargs)
        elif lm:
            logits, lm_loss = self._language(hidden, labels, logits_to_keep, kwargs)
        measured = self._measure(answer, pixel_depth_labels)
        depth_loss = measured.loss if measured else None
        return DepthVLMOutput(
            loss=self._total(lm_loss, depth_loss, hidden, keep_head=keep_head_in_graph),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            lm_loss=lm_loss,
            depth_loss=depth_loss,
            depth_pred=answer.maps if answer else None,
            depth_sample_index=answer.samples if answer else None,
            depth_hits=measured.hits if measured else None,
            depth_valid=measured.valid if measured else None,
            **{CACHE_FIELD: getattr(outputs, CACHE_FIELD, None)},
        )

    def _encode(
        self,
        pixel_values: Tensor | None,
        image_grid_thw: Tensor | None,
        pixel_values_videos: Tensor | None,
        video_grid_thw: Tensor | None,
        kwargs: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Features of images and videos: one run of the vision tower each, as stock would do it."""
        passed = {name: value for name, value in kwargs.items() if name not in CACHE_NAMES}
        encoded = {}
        if pixel_values is not None:
            encoded["image"] = self.model.get_image_features(
                pixel_values, image_grid_thw, return_dict=True, **passed
            )
        if pixel_values_videos is not None:
            encoded["video"] = self.model.get_video_features(
                pixel_values_videos, video_grid_thw, return_dict=True, **passed
            )
        return encoded

    def _image_mask(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        if input_ids is not None:
            return input_ids == self.config.image_token_id
        mask: Tensor = self.model.get_placeholder_mask(None, inputs_embeds)[0][..., 0]
        return mask

    def _language(
        self, hidden: Tensor, labels: Tensor | None, logits_to_keep: int | Tensor, kwargs: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        logits = self.lm_head(slice_logits_to_keep(hidden, logits_to_keep))
        # Stock's mean over no label at all is not a number.
        if labels is None or not bool((labels[:, 1:] != IGNORED_LABEL).any()):
            return logits, None
        vocabulary = self.config.vocabulary
        return logits, self.loss_function(logits=logits, labels=labels, vocab_size=vocabulary, **kwargs)

    def _supervised(
        self, hidden: Tensor, labels: Tensor, kwargs: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        shifted = labels[:, 1:]
        asked = shifted != IGNORED_LABEL
        logits = self.lm_head(hidden[:, :-1][asked])
        if not len(logits):
            return logits, None
        vocabulary, targets = self.config.vocabulary, shifted[asked]
        loss = self.loss_function(
            logits=logits, labels=None, vocab_size=vocabulary, shift_labels=targets, **kwargs
        )
        return logits, loss


def _wanted(depth: bool | None, encoded: Mapping[str, Any], sink: DepthSink | None) -> bool:
    if sink is not None and sink.maps is not None:
        return False  # Without a cache, every step of `generate` sees the images again.
    return depth if depth is not None else encoded.get("image") is not None


@contextmanager
def _frozen(backbone: nn.Module, frozen: bool) -> Iterator[None]:
    """Eval mode and no gradients for the backbone while it runs, if `frozen`."""
    if not frozen:
        yield
        return
    training = [module for module in backbone.modules() if module.training]
    backbone.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
