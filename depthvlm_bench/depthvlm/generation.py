"""Text and depth in one pass: `generate` whose first step also runs the head."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from depthvlm_bench.depthvlm.outputs import DepthGeneration
from depthvlm_bench.depthvlm.taps import token_types
from depthvlm_bench.errors import UsageError

# Ways of generating whose steps are not a prefill followed by single tokens of this model.
REFUSED = (
    *("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp"),
    *("custom_generate", "prefill_chunk_size"),
)


class DepthSink:
    """Where one call of `generate` collects its maps.

    Args:
        image_grid_thw: (n, 3) patches of the images of the prompts; None: no images.
        rows: prompts, before they are repeated for beams or several answers.
    """

    def __init__(self, image_grid_thw: Tensor | None, rows: int) -> None:
        self.image_grid_thw, self.rows = image_grid_thw, rows
        self.maps: list[Tensor] | None = None
        self.samples: list[int] = []

    def take(self, maps: list[Tensor], samples: list[int]) -> None:
        """Keep the maps of the first step."""
        self.maps, self.samples = maps, samples


class DepthGenerationMixin:
    """`generate` with depth, over a class that has stock's."""

    config: Any
    generation_config: Any

    def generate(
        self,
        inputs: Tensor | None = None,
        *args: Any,  # noqa: ANN401 - stock's own
        return_depth: bool = False,
        **kwargs: Any,  # noqa: ANN401 - stock's own
    ) -> Any:  # noqa: ANN401 - token ids, or stock's output class
        """Stock's `generate`; with `return_depth`, the head is run in its first step.

        The vision tower is run once, the head once an image, and the tokens are those of plain `generate`.
        `mm_token_type_ids` is derived from the prompt where absent: without it, positions would silently be
        those of plain text.

        Returns:
            DepthGeneration with `return_depth`; otherwise what stock returns.

        Raises:
            UsageError: `return_depth` with assisted decoding, or with a prefill in chunks.
        """
        input_ids = inputs if inputs is not None else kwargs.get("input_ids")
        grids = [kwargs.get("image_grid_thw"), kwargs.get("video_grid_thw")]
        if (
            kwargs.get("mm_token_type_ids") is None
            and input_ids is not None
            and any(g is not None for g in grids)
        ):
            kwargs["mm_token_type_ids"] = token_types(
                input_ids, self.config.image_token_id, self.config.video_token_id
            )
        if not return_depth:
            return super().generate(inputs, *args, depth=False, **kwargs)  # type: ignore[misc]
        _refuse_assisted(kwargs, args[0] if args else kwargs.get("generation_config"), self.generation_config)
        prompt = input_ids if input_ids is not None else kwargs.get("inputs_embeds")
        if prompt is None:
            raise UsageError("generate needs input_ids or inputs_embeds")
        sink = DepthSink(grids[0], len(prompt))
        answer = super().generate(inputs, *args, depth=True, depth_sink=sink, **kwargs)  # type: ignore[misc]
        plain = isinstance(answer, Tensor)
        sequences = answer if plain else answer.sequences
        return DepthGeneration(sequences, sink.maps or [], sink.samples, None if plain else answer)


def _refuse_assisted(kwargs: Mapping[str, Any], *configs: object) -> None:
    for name in REFUSED:
        values = [kwargs.get(name), *(getattr(config, name, None) for config in configs)]
        if any(value is not None and value is not False for value in values):
            raise UsageError(
                f"generate(return_depth=True) does not go with {name}",
                why="the depth maps come from the one pass over the whole prompt",
                next_step="generate without it, or run the model's forward for the depth",
            )
