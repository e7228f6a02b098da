"""The depth branch of a forward: from the backbone's features to maps, losses and what joins the total."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from depthvlm_bench.depthvlm.config import DepthVLMConfig
from depthvlm_bench.depthvlm.generation import DepthSink
from depthvlm_bench.depthvlm.head import DepthHead, Grid
from depthvlm_bench.depthvlm.loss import DepthLoss, depth_loss
from depthvlm_bench.depthvlm.maps import blank_answer, depth_maps
from depthvlm_bench.depthvlm.taps import gather_taps, merged_grids
from depthvlm_bench.errors import UsageError

OutputSize = Grid | Sequence[Grid] | None
T = TypeVar("T")
Labels = Sequence[Tensor | None]


@dataclass(frozen=True, eq=False)
class DepthAnswer:
    """Maps (H, W), metres, float32, one an image, and the row of the batch that each image stands in."""

    maps: list[Tensor]
    samples: list[int]


class DepthBranch:
    """The part of the model that reads the head; over a class that has stock's `model`."""

    config: DepthVLMConfig
    model: Any
    depth_head: DepthHead
    head_memory_bytes: int
    head_autocast: bool

    def _depth_answer(
        self,
        encoded: Mapping[str, Any],
        hidden: Tensor,
        image_mask: Tensor,
        image_grid_thw: Tensor | None,
        output_size: OutputSize,
        sink: DepthSink | None,
    ) -> DepthAnswer:
        grid_thw = sink.image_grid_thw if sink is not None else image_grid_thw
        if encoded.get("image") is None:
            return DepthAnswer([], [])
        if grid_thw is None:
            raise UsageError("images without image_grid_thw", why="a map needs the grid of its tokens")
        grids = merged_grids(grid_thw, self.config.merged_patches)
        repeats = 1 if sink is None else len(hidden) // sink.rows
        images = gather_taps(encoded["image"].deepstack_features, hidden, image_mask, grids, repeats=repeats)
        maps = depth_maps(
            self.depth_head,
            images,
            self._sizes(grids, output_size),
            memory_bytes=self.head_memory_bytes,
            autocast=self.head_autocast,
        )
        answer = DepthAnswer(maps, [image.sample for image in images])
        if sink is not None:
            sink.take(answer.maps, answer.samples)
        return answer

    def _sizes(self, grids: Sequence[Grid], output_size: OutputSize) -> list[Grid]:
        if output_size is None:
            stride = self.config.depth_stride_px
            return [(stride * height, stride * width) for height, width in grids]
        if isinstance(output_size[0], int):
            return [(int(output_size[0]), int(output_size[1]))] * len(grids)  # type: ignore[arg-type]
        sizes = [(int(height), int(width)) for height, width in output_size]  # type: ignore[misc]
        return list(_one_an_image("output sizes", sizes, len(grids)))

    def _measure(self, answer: DepthAnswer | None, labels: Labels | None) -> DepthLoss | None:
        if labels is None or (answer is None and all(label is None for label in labels)):
            return None
        maps = answer.maps if answer is not None else []
        return depth_loss(maps, _one_an_image("depth labels", labels, len(maps)))

    def _total(
        self, lm_loss: Tensor | None, depth: Tensor | None, hidden: Tensor, *, keep_head: bool
    ) -> Tensor | None:
        """The loss to descend; as in the paper's code, depth is weighted only beside a language loss."""
        if depth is None and keep_head:
            depth = blank_answer(self.depth_head, hidden.shape[-1], autocast=self.head_autocast)
        if lm_loss is None or depth is None:
            return depth if lm_loss is None else lm_loss
        return lm_loss + self.config.depth_loss_weight * depth.to(lm_loss.device)


def _one_an_image(what: str, values: Sequence[T], images: int) -> Sequence[T]:
    if len(values) != images:
        raise UsageError(f"{len(values)} {what} for {images} maps", why="there is one an image, or None")
    return values
