"""The depth loss (scale-invariant logarithmic, SILog) and the training δ1, all in float32.

Convention: depth in metres; a label of 0 (or a value that is not finite) means that nothing is known there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from depthvlm_bench.depthvlm.head import resize
from depthvlm_bench.scoring.metrics import DELTA1_RATIO

LAMBDA = 0.5
EPSILON = 1e-8


@dataclass(frozen=True, eq=False)
class DepthLoss:
    """The depth loss of a batch.

    Attributes:
        loss: mean over the images that have a valid pixel, scalar float32; None: no image has one.
        images: how many images that were.
        hits: label pixels within δ1, scalar int64.
        valid: label pixels with a depth, scalar int64; one without a positive prediction is a miss.
    """

    loss: Tensor | None
    images: int
    hits: Tensor
    valid: Tensor


def silog(pred_m: Tensor, target_m: Tensor, *, lam: float = LAMBDA) -> Tensor | None:
    """SILog of one image: sqrt(mean(d²) - lam mean(d)² + 1e-8), d = ln(pred) - ln(target).

    Pixels without a target depth, and those where the prediction is 0 or negative, are left out and get no
    gradient. A prediction that is not a number is kept, so that the loss shows it.

    Args:
        pred_m: (H, W) metres.
        target_m: the same shape; 0: unknown.
        lam: how much of a common scale error is forgiven.

    Returns:
        scalar float32, or None where no pixel is left.
    """
    pred_m, target_m = pred_m.float(), target_m.to(pred_m.device, torch.float32)
    valid = known(target_m) & ~(pred_m <= 0)
    difference = torch.log(pred_m[valid]) - torch.log(target_m[valid])
    if difference.numel() == 0:
        return None
    return torch.sqrt((difference**2).mean() - lam * difference.mean() ** 2 + EPSILON)


def known(target_m: Tensor) -> Tensor:
    """Where a label has a depth, bool of its shape."""
    return (target_m > 0) & torch.isfinite(target_m)


def delta1_counts(pred_m: Tensor, target_m: Tensor) -> tuple[Tensor, Tensor]:
    """Label pixels whose prediction is within a factor of 1.25, and label pixels in all (scalars int64)."""
    pred_m, target_m = pred_m.detach().float(), target_m.to(pred_m.device, torch.float32)
    valid = known(target_m)
    close = (pred_m < DELTA1_RATIO * target_m) & (target_m < DELTA1_RATIO * pred_m)
    return (close & valid).sum(), valid.sum()


def depth_loss(preds_m: Sequence[Tensor], labels_m: Sequence[Tensor | None]) -> DepthLoss:
    """Loss of a batch of images, each map brought to its label's size.

    Args:
        preds_m: a map (h, w) an image, metres.
        labels_m: a map (H, W) or (1, H, W) an image, metres, 0: unknown; None: an image without depth.

    Raises:
        ValueError: other than one label an image.
    """
    losses: list[Tensor] = []
    counts = [torch.zeros(2, dtype=torch.int64, device=preds_m[0].device if preds_m else None)]
    for pred_m, label_m in zip(preds_m, labels_m, strict=True):
        if label_m is None:
            continue
        target_m = label_m.reshape(label_m.shape[-2:])
        at_label = resize(pred_m.float()[None, None], (target_m.shape[0], target_m.shape[1]))[0, 0]
        loss = silog(at_label, target_m)
        losses += [] if loss is None else [loss]
        counts.append(torch.stack(delta1_counts(at_label, target_m)))
    mean = torch.stack(losses).mean() if losses else None
    hits, valid = torch.stack(counts).sum(dim=0)
    return DepthLoss(mean, len(losses), hits, valid)
