"""What one image adds to every metric, as sums and counts, and the means over images made from it.

An answer is a finite, positive prediction; all else, an absent one (NaN) too, is a miss. Shares of hits are
over the asked points; errors over the answered ones, NaN where an image has none. Notation: p the prediction,
g the truth, both in metres, e = ln p - ln g.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthvlm_bench import conventions as conv
from depthvlm_bench.conventions import FloatArray, IntArray
from depthvlm_bench.scoring.metrics import DELTA1_RATIO, answered

RATIOS: Final = (1.03, 1.05, 1.10, 1.25, 1.25**2, 1.25**3)
RATIO_NAMES: Final = ("delta_1_03", "delta_1_05", "delta_1_10", "delta1", "delta2", "delta3")
DISTANCE_EDGES_M: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, math.inf)
FLAG_BITS: Final = (conv.FLAG_OCCLUSION_SUSPECT, conv.FLAG_TRANSPARENT_OR_MIRROR, conv.FLAG_DEPTH_EDGE)

# UniDepth's d_auc: torch.linspace(0.01, 5.0, steps=100), trapezoids, / 5.0.
AUC_FIRST, AUC_LAST, AUC_STEPS = 0.01, 5.0, 100
_AUC_RATIOS = DELTA1_RATIO ** np.linspace(AUC_FIRST, AUC_LAST, AUC_STEPS)
_AUC_WALLS = np.array([-math.inf, *_AUC_RATIOS, math.nan])  # nothing is at or above the last
# Area under one point's step function, by the first ratio above its own, in half steps of the exponent.
_AUC_HALF_STEPS = np.array([2 * AUC_STEPS - 2, *(2 * (AUC_STEPS - k) - 1 for k in range(1, AUC_STEPS)), 0])


@dataclass(frozen=True)
class ImageStatistics:
    """Sums and counts of one image; all its metrics follow from them, see `per_image_metrics`.

    Attributes:
        asked, answered: points with truth, and those of them with an answer.
        within: asked points with max(p / g, g / p) < ratio, one count for each of RATIOS.
        sum_abs_rel, sum_sq_rel_m, sum_sq_m2: of |p - g| / g, (p - g)^2 / g and (p - g)^2, answered points.
        sum_log, sum_sq_log, sum_abs_log10, sum_sq_inverse: of e, e^2, |log10 p - log10 g|, (1/p - 1/g)^2.
        median_log: median of e; NaN without answers. The one value that does not add up over parts.
        auc_half_steps: 2 / step times the area under the hits over the exponents of delta-AUC, an integer.
        bin_asked, bin_answered, bin_hits: by true distance, [lower, upper) of DISTANCE_EDGES_M; hits at 1.25.
        ray_asked, ray_hits: delta1 on ray distance.
        flag_asked, flag_hits: points that carry each of FLAG_BITS, and those of them within 1.25.
    """

    asked: int
    answered: int
    within: tuple[int, ...]
    sum_abs_rel: float
    sum_sq_rel_m: float
    sum_sq_m2: float
    sum_log: float
    sum_sq_log: float
    sum_abs_log10: float
    sum_sq_inverse: float
    median_log: float
    auc_half_steps: int
    bin_asked: tuple[int, ...]
    bin_answered: tuple[int, ...]
    bin_hits: tuple[int, ...]
    ray_asked: int
    ray_hits: int
    flag_asked: tuple[int, ...]
    flag_hits: tuple[int, ...]


_TYPE_NAMES: dict[Any, str] = {int: "int64", float: "float64", tuple[int, ...]: "list<int64>"}
STATISTICS_FIELDS: Final = {field.name: _TYPE_NAMES[field.type] for field in fields(ImageStatistics)}


def to_columns(statistics: ImageStatistics) -> dict[str, int | float | list[int]]:
    """One row of plain values, by the names and types of STATISTICS_FIELDS."""
    values = {name: getattr(statistics, name) for name in STATISTICS_FIELDS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def from_columns(row: Mapping[str, Any]) -> ImageStatistics:
    """The statistics of a row of `to_columns`; other columns are left alone."""
    lists = [name for name, kind in STATISTICS_FIELDS.items() if kind.startswith("list")]
    values: dict[str, Any] = {name: row[name] for name in STATISTICS_FIELDS}
    return ImageStatistics(**values | {name: tuple(row[name]) for name in lists})


def image_statistics(
    prediction_m: npt.ArrayLike,
    truth_m: npt.ArrayLike,
    *,
    ray_factor: npt.ArrayLike | None = None,
    flags: npt.ArrayLike | None = None,
    answers_ray: bool = False,
) -> ImageStatistics:
    """Statistics of one image's asked points, in float64; points are taken in the order of the record.

    Args:
        prediction_m: (N,) predictions; NaN where there is none.
        truth_m: (N,) z-depths, all finite and positive.
        ray_factor: (N,) ray distance over z-depth, NaN where unknown; needed only with `answers_ray`.
        flags: (N,) point flags; None counts none.
        answers_ray: predictions are ray distances: for delta1 on ray distance they are compared with
            g * ray_factor where that is known. A z-depth has the same ratio on both and hits alike.
    """
    prediction, truth = asked_points(prediction_m, truth_m)
    usable, ratio = answered(prediction), larger_ratio(prediction, truth)
    hit = ratio < DELTA1_RATIO
    place = np.searchsorted(DISTANCE_EDGES_M, truth, side="right") - 1
    ray_asked, ray_hits = len(hit), int(hit.sum())
    if answers_ray:
        ray_asked, ray_hits = _ray_counts(prediction, truth, ray_factor)
    flag = np.asarray([] if flags is None else flags, np.int64)
    flag_hit = flag if flags is None else flag[hit]
    return ImageStatistics(
        asked=len(truth),
        answered=int(usable.sum()),
        within=tuple(int(np.count_nonzero(ratio < limit)) for limit in RATIOS),
        **_error_sums(prediction[usable], truth[usable]),
        auc_half_steps=int(_AUC_HALF_STEPS[_first_ratio_above(ratio)].sum()),
        bin_asked=_by_bin(place),
        bin_answered=_by_bin(place[usable]),
        bin_hits=_by_bin(place[hit]),
        ray_asked=ray_asked,
        ray_hits=ray_hits,
        flag_asked=tuple(int(np.count_nonzero(flag & bit)) for bit in FLAG_BITS),
        flag_hits=tuple(int(np.count_nonzero(flag_hit & bit)) for bit in FLAG_BITS),
    )


def asked_points(prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Both as (N,) float64; ValueError for unequal shapes, or truth that cannot be asked."""
    prediction, truth = np.asarray(prediction_m, np.float64), np.asarray(truth_m, np.float64)
    if prediction.shape != truth.shape or truth.ndim != 1:
        raise ValueError(f"expected two arrays of shape (N,), got {prediction.shape} and {truth.shape}")
    if not answered(truth).all():
        raise ValueError("truth_m has values that are not finite and positive")
    return prediction, truth


def larger_ratio(prediction_m: FloatArray, truth_m: FloatArray) -> FloatArray:
    """max(p / g, g / p) of (N,) pairs, inf where p is no answer.

    This ratio form in float64 is the normative one for points (Eigen et al. 2014, arXiv 1406.2283).
    """
    safe = np.where(answered(prediction_m), prediction_m, 0.0)
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(np.maximum(safe / truth_m, truth_m / safe))


def _first_ratio_above(ratio: FloatArray) -> IntArray:
    """Index of the first of _AUC_RATIOS above each ratio, its length where there is none.

    The ratios are a geometric series, so a logarithm finds the place but for its rounding, which the two
    comparisons mend: exactly `searchsorted(..., side="right")`, at a third of its time on dense maps.
    """
    with np.errstate(over="ignore"):
        exponent = np.log(np.minimum(ratio, 2 * _AUC_RATIOS[-1])) / math.log(DELTA1_RATIO)
    step = (AUC_LAST - AUC_FIRST) / (AUC_STEPS - 1)
    guess = np.clip(np.floor((exponent - AUC_FIRST) / step) + 1, 0, AUC_STEPS).astype(np.int64)
    guess += ratio >= _AUC_WALLS[guess + 1]
    guess -= ratio < _AUC_WALLS[guess]
    return np.asarray(guess)


def _error_sums(p: FloatArray, g: FloatArray) -> dict[str, Any]:
    """Sums over answered points; they overflow to inf for answers no scene has."""
    e = np.log(p) - np.log(g)
    with np.errstate(over="ignore"):
        return {
            "sum_abs_rel": float(np.sum(np.abs(p - g) / g)),
            "sum_sq_rel_m": float(np.sum((p - g) ** 2 / g)),
            "sum_sq_m2": float(np.sum((p - g) ** 2)),
            "sum_log": float(np.sum(e)),
            "sum_sq_log": float(np.sum(e**2)),
            "sum_abs_log10": float(np.sum(np.abs(e)) / math.log(10)),
            "sum_sq_inverse": float(np.sum((1 / p - 1 / g) ** 2)),
            "median_log": float(np.median(e)) if len(e) else math.nan,
        }


def _by_bin(place: IntArray) -> tuple[int, ...]:
    return tuple(np.bincount(place, minlength=len(DISTANCE_EDGES_M) - 1).tolist())


def _ray_counts(p: FloatArray, g: FloatArray, ray_factor: npt.ArrayLike | None) -> tuple[int, int]:
    """(asked, hits) of ray distances p against g * ray_factor, where that is known."""
    factor = np.full(len(g), np.nan) if ray_factor is None else np.asarray(ray_factor, np.float64)
    known = answered(factor)
    return int(known.sum()), int((larger_ratio(p[known], g[known] * factor[known]) < DELTA1_RATIO).sum())


def _over(total: float, count: int) -> float:
    return total / count if count else math.nan


def per_image_metrics(statistics: ImageStatistics) -> dict[str, float]:
    """Metrics of one image; a mean is over its n answered points unless said otherwise.

    delta_1_03 .. delta3   asked points with max(p/g, g/p) < 1.03 .. 1.25^3, strictly, over asked (Eigen 2014)
    delta1_ray             the same at 1.25 on ray distance, over the points whose ray factor is known
    abs_rel, sq_rel        mean |p-g|/g; mean (p-g)^2/g, m (Eigen 2014)
    rmse, rmse_log         sqrt(mean (p-g)^2), m; sqrt(mean e^2), natural logarithm (Eigen 2014)
    log10                  mean |log10 p - log10 g|
    silog                  100 sqrt(mean e^2 - (mean e)^2) (Marigold, KITTI; UniDepth divides by n - 1). Its
                           rounding error is about 1e-6 where all e are equal.
    irmse                  sqrt(mean (1/p-1/g)^2), 1/m (Marigold; KITTI gives it in 1/km)
    log_bias               mean e;  median_log_error: 100 |median e| (UniDepth's medianlog, but for even n it
                           is the mean of the two middle values, torch takes the lower)
    delta_auc              trapezoids of delta(x) = share of asked with max(p/g, g/p) < 1.25^x over 100 equal
                           steps of x from 0.01 to 5, / 5 (UniDepth d_auc; 0.998 is its maximum)
    coverage               answered over asked
    """
    s, n = statistics, statistics.answered
    mean_log, mean_sq_log = _over(s.sum_log, n), _over(s.sum_sq_log, n)
    half_step = (AUC_LAST - AUC_FIRST) / (AUC_STEPS - 1) / 2
    shares = {name: _over(hits, s.asked) for name, hits in zip(RATIO_NAMES, s.within, strict=True)}
    return shares | {
        "delta1_ray": _over(s.ray_hits, s.ray_asked),
        "abs_rel": _over(s.sum_abs_rel, n),
        "sq_rel": _over(s.sum_sq_rel_m, n),
        "rmse": math.sqrt(_over(s.sum_sq_m2, n)),
        "rmse_log": math.sqrt(mean_sq_log),
        "log10": _over(s.sum_abs_log10, n),
        "silog": 100 * math.sqrt(max(mean_sq_log - mean_log**2, 0.0)) if n else math.nan,
        "irmse": math.sqrt(_over(s.sum_sq_inverse, n)),
        "log_bias": mean_log,
        "median_log_error": 100 * abs(s.median_log),
        "delta_auc": _over(s.auc_half_steps * half_step / AUC_LAST, s.asked),
        "coverage": _over(n, s.asked),
    }


def mean_over_images(per_image_values: Sequence[float], ids: Sequence[str]) -> float:
    """Mean of one metric over images, the same to the last bit in any order and after any sharding.

    Images where it is NaN (nothing answered) are left out; NaN if that leaves none. Values are taken in id
    order and summed exactly (math.fsum). ValueError for an id that comes twice.
    """
    if len(set(ids)) != len(ids):
        raise ValueError("an image id comes twice")
    ordered = (value for _, value in sorted(zip(ids, per_image_values, strict=True)))
    kept = [value for value in ordered if not math.isnan(value)]
    try:
        return _over(math.fsum(kept), len(kept))
    except OverflowError:  # only answers no scene has add up to more than a float holds
        return math.inf


def pooled_metrics(statistics: Sequence[ImageStatistics]) -> dict[str, float]:
    """Shares of hits at 1.25 over all points of all images together: integer counts, exact in any order.

    delta1_pooled and delta1_among_answered, delta1_<lower>_<upper>_m by distance, delta1_flag_<bit> by flag.
    """
    edges = [f"{edge:g}" for edge in DISTANCE_EDGES_M]
    bins = [f"delta1_{low}_{high}_m" for low, high in itertools.pairwise(edges)]
    hits, asked = (sum(s.within[3] for s in statistics), sum(s.asked for s in statistics))
    by_bin = _shares_of([s.bin_hits for s in statistics], [s.bin_asked for s in statistics], bins)
    flags = [f"delta1_flag_{bit}" for bit in FLAG_BITS]
    by_flag = _shares_of([s.flag_hits for s in statistics], [s.flag_asked for s in statistics], flags)
    among = _over(hits, sum(s.answered for s in statistics))
    return {"delta1_pooled": _over(hits, asked), "delta1_among_answered": among} | by_bin | by_flag


def _shares_of(
    hits: Sequence[tuple[int, ...]], asked: Sequence[tuple[int, ...]], names: Sequence[str]
) -> dict[str, float]:
    """Share of each column's sum, by name."""
    sums = (np.reshape(counts, (-1, len(names))).sum(axis=0).tolist() for counts in (hits, asked))
    return {name: _over(hit, ask) for name, hit, ask in zip(names, *sums, strict=True)}
