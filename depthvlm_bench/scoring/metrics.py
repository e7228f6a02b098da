"""Metrics as sums and counts, exact under any order of images, shards and machines."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import BoolArray

DELTA1_RATIO = 1.25


@dataclass(frozen=True)
class Counts:
    """What delta1 needs of some points.

    Attributes:
        asked: points with ground truth that were asked.
        answered: of those, with a finite positive prediction.
        hits: of those, within the ratio.
    """

    asked: int
    answered: int
    hits: int

    def __add__(self, other: "Counts") -> "Counts":
        """Counts of both, exactly."""
        return Counts(self.asked + other.asked, self.answered + other.answered, self.hits + other.hits)


def answered(prediction_m: npt.ArrayLike) -> BoolArray:
    """Which predictions are an answer: finite and positive. Everything else is a miss, never left out."""
    prediction = np.asarray(prediction_m, dtype=np.float64)
    return np.asarray((prediction > 0) & (prediction < np.inf))


def within_ratio(prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike, threshold: float) -> BoolArray:
    """Whether max(p / g, g / p) < threshold, strictly, in float64; False where p is no answer.

    Source: Eigen et al. 2014, arXiv 1406.2283, with threshold 1.25 for delta1.
    """
    prediction, truth = np.asarray(prediction_m, np.float64), np.asarray(truth_m, np.float64)
    usable = answered(prediction)
    safe = np.where(usable, prediction, 1.0)
    return usable & (np.maximum(safe / truth, truth / safe) < threshold)


def compat_counts(prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike, threshold: float) -> Counts:
    """Counts as the paper's code has them: float32; a pair with a non-positive side leaves the denominator.

    +inf is an answer (and no hit); NaN is dropped. `asked` are all points, `answered` those that are scored.
    """
    prediction, truth = np.asarray(prediction_m, np.float32), np.asarray(truth_m, np.float32)
    valid = (truth > 0) & (prediction > 0)
    kept, true = prediction[valid], truth[valid]
    with np.errstate(over="ignore"):
        hits = np.maximum(kept / true, true / kept) < threshold
    return Counts(int(truth.size), int(valid.sum()), int(hits.sum()))


def unsigned_counts(prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike, threshold: float) -> Counts:
    """Counts as DepthLM's evaluator has them: no look at the sign, so that any negative answer is a hit.

    NaN (no number found in a text) and 0 are misses. `answered` are the points with a number.
    """
    prediction, truth = np.asarray(prediction_m, np.float64), np.asarray(truth_m, np.float64)
    with np.errstate(divide="ignore", over="ignore"):
        hits = np.maximum(prediction / truth, truth / prediction) < threshold
    hits &= prediction != 0  # -0.0 would divide to minus infinity
    return Counts(int(truth.size), int(np.count_nonzero(~np.isnan(prediction))), int(hits.sum()))


def ratio_counts(prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike, threshold: float) -> Counts:
    """Counts of one image's points."""
    hits = within_ratio(prediction_m, truth_m, threshold)
    return Counts(int(hits.size), int(answered(prediction_m).sum()), int(hits.sum()))
