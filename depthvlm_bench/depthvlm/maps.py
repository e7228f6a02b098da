"""The head run over the images of a batch: equal grids together, as many at once as a budget allows."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from depthvlm_bench.depthvlm.head import STRIDE_PX, TAPS, DepthHead, Grid
from depthvlm_bench.depthvlm.taps import ImageTaps

# About what one picture of 1342x1006 takes in float32: large pictures go one by one, small ones together.
HEAD_MEMORY_BYTES = 2 * 2**30


def depth_maps(
    head: DepthHead,
    images: Sequence[ImageTaps],
    sizes: Sequence[Grid],
    *,
    memory_bytes: int = HEAD_MEMORY_BYTES,
    autocast: bool = False,
) -> list[Tensor]:
    """One map an image, in order.

    Args:
        head: the head; it computes in the dtype of its own weights.
        images: taps of each image.
        sizes: (H, W) of each answer, px.
        memory_bytes: working memory that images run together may take; one image is always run.
        autocast: let the caller's autocast reach the head; otherwise it is switched off for the head.

    Returns:
        maps (H, W), metres, float32.
    """
    maps: dict[int, Tensor] = {}
    for indices in _batches(head, images, sizes, memory_bytes):
        size = sizes[indices[0]]
        answers = _run(head, [images[index] for index in indices], size, autocast)
        maps |= dict(zip(indices, answers.float(), strict=True))
    return [maps[index] for index in range(len(images))]


def _batches(
    head: DepthHead, images: Sequence[ImageTaps], sizes: Sequence[Grid], memory_bytes: int
) -> Iterator[list[int]]:
    groups: dict[tuple[Grid, Grid], list[int]] = {}
    for index, (image, size) in enumerate(zip(images, sizes, strict=True)):
        groups.setdefault((image.grid, size), []).append(index)
    for (grid, size), indices in groups.items():
        together = max(1, memory_bytes // head.peak_bytes(grid, size))
        for start in range(0, len(indices), together):
            yield indices[start : start + together]


def _run(head: DepthHead, images: Sequence[ImageTaps], size: Grid, autocast: bool) -> Tensor:
    device = next(head.parameters()).device
    taps = [
        torch.stack([tap.to(device) for tap in level])
        for level in zip(*(image.features for image in images), strict=True)
    ]
    with _precision(device.type, autocast):
        if head.gradient_checkpointing and head.training and torch.is_grad_enabled():
            # Not reentrant: with a frozen backbone no input needs a gradient, only the head's own weights do.
            recomputed: Tensor = checkpoint(head, taps, images[0].grid, size, use_reentrant=False)
            return recomputed
        answer: Tensor = head(taps, images[0].grid, size)
        return answer


def _precision(device_type: str, autocast: bool) -> AbstractContextManager[object]:
    if autocast or not torch.amp.is_autocast_available(device_type):
        return nullcontext()
    off: AbstractContextManager[object] = torch.autocast(device_type, enabled=False)
    return off


def blank_answer(head: DepthHead, width: int, *, autocast: bool = False) -> Tensor:
    """Zero (scalar) by way of every parameter of the head: its answer to one blank token, times 0."""
    blank = ImageTaps((next(head.parameters()).new_zeros(1, width),) * TAPS, (1, 1), 0)
    return 0.0 * _run(head, [blank], (STRIDE_PX, STRIDE_PX), autocast).float().sum()
