"""delta1 alone and fast: of many sets of points at once, and of dense maps."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import BoolArray, FloatArray
from depthvlm_bench.scoring.metrics import DELTA1_RATIO, Counts, answered

DENSE_BLOCK = 1 << 18  # pixels compared at a time, so that the temporaries stay in the cache


def delta1_of_sets(
    prediction_m: FloatArray, truth_m: FloatArray, first_point: npt.ArrayLike, first_image: npt.ArrayLike
) -> FloatArray:
    """delta1 of many sets at once: hits over asked per image, then the mean over each set's images.

    Bit for bit what `image_statistics` and `mean_over_images` give: the same ratio form, false wherever p is
    no answer. For leaderboards and simulations over ten-point images.

    Args:
        prediction_m, truth_m: (N,) points of all images in a row; NaN is a miss, truth finite and positive.
        first_point: (I,) index of each image's first point, increasing from 0; no image is empty.
        first_image: (S,) index of each set's first image, likewise.

    Returns:
        (S,) float64.
    """
    hit = is_hit(prediction_m, truth_m)
    starts = np.asarray(first_point, np.int64)
    hits = np.add.reduceat(hit, starts, dtype=np.int64)
    shares = (hits / np.diff(starts, append=len(hit))).data
    ends = [*np.asarray(first_image).tolist(), len(shares)]
    return np.array([math.fsum(shares[a:b]) / (b - a) for a, b in itertools.pairwise(ends)])


def is_hit(prediction_m: FloatArray, truth_m: FloatArray, ratio: float = DELTA1_RATIO) -> BoolArray:
    """Which of (N,) points are within the ratio: `metrics.within_ratio`, for finite positive truth."""
    with np.errstate(all="ignore"):
        hit = (prediction_m / truth_m < ratio) & (truth_m / prediction_m < ratio)
    return np.asarray(hit & (prediction_m > 0))


def counts_of_images(
    prediction_m: FloatArray, truth_m: FloatArray, points: Sequence[int], ratio: float = DELTA1_RATIO
) -> list[Counts]:
    """`metrics.ratio_counts` of many images at once.

    Args:
        prediction_m, truth_m: (N,) points of all images in a row; NaN is a miss, truth finite and positive.
        points: how many of them each image has; 0 is allowed.
    """
    image = np.repeat(np.arange(len(points)), points)
    hit, usable = (
        np.bincount(image[chosen], minlength=len(points)).tolist()
        for chosen in (is_hit(prediction_m, truth_m, ratio), answered(prediction_m))
    )
    return [Counts(*counts) for counts in zip(points, usable, hit, strict=True)]


def dense_delta1_counts(prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike) -> Counts:
    """Counts of delta1 on a dense map without dividing: a hit if |p - g| < min(p, g) / 4.

    That is max(p / g, g / p) < 1.25 in exact arithmetic, in whatever float type the maps share: a quarter is
    exact, and so is p - g wherever the two are within a factor of 2 (Sterbenz). For float32 maps it always
    equals the normative ratio form in float64; for float64 maps save where a quotient just below 1.25 rounds
    to 1.25, which the ratio form calls a miss.

    Args:
        prediction_m: any shape, floating, metres; anything but finite and positive is a miss.
        truth_m: same shape, floating; only finite positive truth is asked (0 and NaN mark none).
    """
    prediction, truth = np.ravel(prediction_m), np.ravel(truth_m)
    if np.shape(prediction_m) != np.shape(truth_m):
        raise ValueError(f"shapes differ: {np.shape(prediction_m)} and {np.shape(truth_m)}")
    if prediction.dtype.kind != "f" or truth.dtype.kind != "f":
        raise ValueError(f"expected depth in metres, got {prediction.dtype} and {truth.dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        starts = range(0, truth.size, DENSE_BLOCK)
        blocks = [_block_counts(prediction[k : k + DENSE_BLOCK], truth[k : k + DENSE_BLOCK]) for k in starts]
    return sum(blocks, start=Counts(0, 0, 0))


def _block_counts(prediction: npt.NDArray[Any], truth: npt.NDArray[Any]) -> Counts:
    difference = prediction - truth
    np.abs(difference, out=difference)
    lower = np.minimum(prediction, truth)
    asked = answered = int(np.count_nonzero(_positive_finite(truth)))
    if not (prediction.min() > 0 and prediction.max() < np.inf):
        answered = int(np.count_nonzero((lower > 0) & (difference < np.inf)))
    lower *= 0.25
    return Counts(asked, answered, int(np.count_nonzero(difference < lower)))


def _positive_finite(values: npt.NDArray[Any]) -> BoolArray:
    """Finite and positive; the second comparison is saved where the largest value shows none is needed."""
    positive = np.asarray(values > 0)
    if not values.max() < np.inf:
        positive &= values < np.inf
    return positive
