"""Scores after alignment: how good the shape of a depth map is, apart from its scale (and shift).

All functions take (N,) points of one image in metres: predictions with NaN where there is none, and truth
that is finite and positive. The alignment is fitted on the answered points, in float64, and what is no answer
stays NaN: a miss. Below MIN_POINTS answers nothing is aligned, since a fit to few noisy points flatters.
"""

import math

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.scoring.metrics import DELTA1_RATIO, answered
from depthvlm_bench.scoring.statistics import asked_points, larger_ratio

MIN_POINTS = 50
FLOOR_M = 1e-6


def scale_aligned(prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike) -> FloatArray | None:
    """p * median(g) / median(p), medians over the answered points.

    Source: UniDepth's scale-invariant ("si") evaluation.

    Returns:
        (N,) aligned prediction; None with fewer than MIN_POINTS answers.
    """
    fitted = _answered_pairs(prediction_m, truth_m)
    if fitted is None:
        return None
    p, g = fitted
    return answers_only(prediction_m) * (np.median(g) / np.median(p))


def affine_aligned_depth(prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike) -> FloatArray | None:
    """max(s p + t, 1e-6 m) with s, t = argmin sum (s p + t - g)^2 over the answered points.

    Source: Marigold (which also clips to the data set's range first; not done here). UniDepth's "ssi" leaves
    out the 5 % largest errors first and MoGe minimises a weighted L1; both differ from this. s may be
    negative, as theirs may: a map of disparities gets its best affine depth, too.

    Returns:
        (N,) aligned prediction; None with fewer than MIN_POINTS answers.
    """
    fitted = _answered_pairs(prediction_m, truth_m)
    if fitted is None:
        return None
    scale, shift = _least_squares(*fitted)
    return np.asarray(np.maximum(answers_only(prediction_m) * scale + shift, FLOOR_M))


def affine_aligned_disparity(prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike) -> FloatArray | None:
    """1 / max(s / p + t, 1 / max g) with s, t = argmin sum (s / p + t - 1 / g)^2 over the answered points.

    Source: MoGe's affine-invariant disparity; the clamp at the farthest truth (of the answered points) keeps
    disparities near 0 from becoming outliers. Marigold clamps at 1e-3 instead.

    Returns:
        (N,) aligned prediction as depth in metres; None with fewer than MIN_POINTS answers.
    """
    fitted = _answered_pairs(prediction_m, truth_m)
    if fitted is None:
        return None
    p, g = fitted
    with np.errstate(over="ignore", invalid="ignore"):
        scale, shift = _least_squares(1 / p, 1 / g)
        return np.asarray(1 / np.maximum(scale / answers_only(prediction_m) + shift, 1 / g.max()))


ALIGNED_METRICS = tuple(
    f"{metric}_{name}" for name in ("scale", "affine", "disparity") for metric in ("delta1", "abs_rel")
)


def aligned_metrics(prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike) -> dict[str, float]:
    """delta1 and AbsRel of one image after each alignment; X is scale, affine or disparity.

    delta1_X: hits over asked, so a point without an answer is a miss, and all are where fewer than MIN_POINTS
    are answered; abs_rel_X: mean |p - g| / g over the answered points, NaN there. Both are NaN for images
    that ask fewer than MIN_POINTS points: which images count is never up to the model.
    """
    aligned = {
        "scale": scale_aligned(prediction_m, truth_m),
        "affine": affine_aligned_depth(prediction_m, truth_m),
        "disparity": affine_aligned_disparity(prediction_m, truth_m),
    }
    _, truth = asked_points(prediction_m, truth_m)
    return {key: value for name, p in aligned.items() for key, value in _scores(name, p, truth).items()}


def _scores(name: str, aligned_m: FloatArray | None, truth_m: FloatArray) -> dict[str, float]:
    delta1, abs_rel = (0.0 if len(truth_m) >= MIN_POINTS else math.nan), math.nan
    if aligned_m is not None:
        usable = answered(aligned_m)
        delta1 = float((larger_ratio(aligned_m, truth_m) < DELTA1_RATIO).mean())
        errors = np.abs(aligned_m[usable] - truth_m[usable]) / truth_m[usable]
        abs_rel = float(errors.mean()) if errors.size else math.nan
    return {f"delta1_{name}": delta1, f"abs_rel_{name}": abs_rel}


def answers_only(prediction_m: npt.ArrayLike) -> FloatArray:
    """The same in float64, any shape, with NaN for whatever is not finite and positive."""
    prediction = np.asarray(prediction_m, np.float64)
    return np.where(answered(prediction), prediction, np.nan)


def _answered_pairs(
    prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike
) -> tuple[FloatArray, FloatArray] | None:
    """The answered (p, g), or None with fewer than MIN_POINTS of them."""
    prediction, truth = asked_points(prediction_m, truth_m)
    usable = answered(prediction)
    return (prediction[usable], truth[usable]) if usable.sum() >= MIN_POINTS else None


def _least_squares(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """s, t = argmin sum (s x + t - y)^2, by centred sums; s = 0 and t = mean(y) where all x are the same."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean_x, mean_y = float(x.mean()), float(y.mean())
        centred = x - mean_x
        spread = float(np.sum(centred**2))
        scale = float(np.sum(centred * (y - mean_y))) / spread if x.min() < x.max() and spread > 0 else 0.0
    return scale, mean_y - scale * mean_x
