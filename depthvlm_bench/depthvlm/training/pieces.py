"""One optimiser step as sums over pieces: whatever it is cut into, the same gradient comes of it.

Both losses are means over the whole step, all processes and micro-batches together: the language loss over
supervised tokens, SILog over images with depth. A piece's own means are weighted by its share of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from depthvlm_bench.depthvlm.chat import IGNORED
from depthvlm_bench.depthvlm.head import resize
from depthvlm_bench.depthvlm.loss import known, silog
from depthvlm_bench.depthvlm.preprocess import MERGE
from depthvlm_bench.depthvlm.training.logs import Means

Batch = dict[str, Any]
ROWS = ("input_ids", "attention_mask", "labels", "mm_token_type_ids")
# What a batch tells of its samples, one entry each, beside the model's inputs.
TOLD = ("tasks", "datasets", "slots")


@dataclass(frozen=True)
class Weights:
    """What a mean is over: supervised tokens, and images with depth."""

    tokens: float
    images: float

    def __add__(self, other: "Weights") -> "Weights":
        return Weights(self.tokens + other.tokens, self.images + other.images)


def weights_of(batch: Batch) -> Weights:
    """Supervised tokens of a batch, and its images with any valid depth."""
    tokens = int((batch["labels"][:, 1:] != IGNORED).sum())
    images = sum(label is not None and bool(label.max() > 0) for label in depth_labels(batch))
    return Weights(tokens, images)


def depth_labels(batch: Batch) -> Sequence[Tensor | None]:
    """A label or None for each picture of a batch."""
    labels: Sequence[Tensor | None] = batch.get("pixel_depth_labels") or ()
    return labels


def picture_rows(batch: Batch) -> list[int]:
    """The row of a batch that each of its pictures stands in."""
    if "image_grid_thw" not in batch:
        return []
    left = batch["mm_token_type_ids"].eq(1).sum(1).tolist()
    rows, row = [], 0
    for tokens in (batch["image_grid_thw"].prod(-1) // MERGE**2).tolist():
        while left[row] == 0:
            row += 1
        left[row] -= tokens
        rows.append(row)
    return rows


def split(batch: Batch, size: int) -> list[Batch]:
    """A batch in pieces of at most `size` samples, each padded no further than it needs."""
    total = len(batch["input_ids"])
    if total <= size:
        return [batch]
    return [_rows(batch, first, min(first + size, total)) for first in range(0, total, size)]


def _rows(batch: Batch, first: int, last: int) -> Batch:
    length = int(batch["attention_mask"][first:last].sum(1).max())
    piece = {name: batch[name][first:last, :length] for name in ROWS}
    piece |= {name: batch[name][first:last] for name in TOLD if name in batch}
    rows = picture_rows(batch)
    own = [index for index, row in enumerate(rows) if first <= row < last]
    if own:
        patches = batch["image_grid_thw"].prod(-1).tolist()
        start, end = sum(patches[: own[0]]), sum(patches[: own[-1] + 1])
        piece["pixel_values"] = batch["pixel_values"][start:end]
        piece["image_grid_thw"] = batch["image_grid_thw"][own[0] : own[-1] + 1]
        piece["pixel_depth_labels"] = [batch["pixel_depth_labels"][index] for index in own]
    return piece


def weighted_loss(
    output: Any,  # noqa: ANN401 - DepthVLMOutput
    piece: Weights,
    step: Weights,
    depth_loss_weight: float,
) -> Tensor | None:
    """A piece's part of the step's loss; None: it supervises nothing.

    As in the paper's code, the depth loss is weighted only beside a language loss.
    """
    lm, depth = output.lm_loss, output.depth_loss
    if lm is not None and depth is not None:
        weighted = depth_loss_weight * depth.to(lm.device) * (piece.images / step.images)
        both: Tensor = lm * (piece.tokens / step.tokens) + weighted
        return both
    if depth is not None:
        weight = depth_loss_weight if step.tokens else 1.0
        alone: Tensor = depth * (weight * piece.images / step.images)
        return alone
    # `loss` holds zero by way of the head too, where several processes exchange gradients.
    rest: Tensor | None = output.loss
    return rest if lm is None or rest is None else rest * (piece.tokens / step.tokens)


@torch.no_grad()
def measure(output: Any, batch: Batch, weights: Weights, means: Means) -> None:  # noqa: ANN401
    """Add what a piece shows to the running means: losses, δ1, and the same by task and by set."""
    if output.lm_loss is not None:
        means.add("lm_loss", float(output.lm_loss) * weights.tokens, weights.tokens)
        _add_tasks(output.logits, batch, means)
    if output.depth_loss is not None:
        means.add("depth_loss", float(output.depth_loss) * weights.images, weights.images)
        means.add("delta1", float(output.depth_hits), float(output.depth_valid))
    if output.depth_pred is not None:
        _add_sets(output.depth_pred, batch, means)


def _add_tasks(logits: Tensor, batch: Batch, means: Means) -> None:
    """Language loss by task, of logits (n, vocabulary) at the n supervised positions."""
    shifted = batch["labels"][:, 1:]
    asked = shifted != IGNORED
    losses = functional.cross_entropy(logits.float(), shifted[asked], reduction="none")
    rows = asked.nonzero()[:, 0]
    for task in sorted(set(batch["tasks"])):
        own = torch.tensor([name == task for name in batch["tasks"]], device=rows.device)[rows]
        means.add(f"lm_loss_by_task/{task}", float(losses[own].sum()), float(own.sum()))


def _add_sets(maps: Sequence[Tensor], batch: Batch, means: Means) -> None:
    """SILog and share of pixels with depth, by set."""
    for depth_m, label_m, row in zip(maps, depth_labels(batch), picture_rows(batch), strict=True):
        if label_m is None:
            continue
        name = batch["datasets"][row]
        means.add(f"valid_share/{name}", float(known(label_m).float().mean()))
        found = silog(
            resize(depth_m.float()[None, None], (label_m.shape[0], label_m.shape[1]))[0, 0], label_m
        )
        if found is not None:
            means.add(f"depth_loss_by_set/{name}", float(found))
