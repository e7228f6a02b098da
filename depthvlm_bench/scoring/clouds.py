"""Point clouds: how far the surface that a depth map stands for lies from the true one.

Points are depth * ray, with rays of z = 1, in metres in the camera frame. Both clouds are made of the pixels
that have truth, so a prediction where there is none is neither rewarded nor punished.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from depthvlm_bench.conventions import FloatArray, IntArray
from depthvlm_bench.scoring.metrics import answered

DEFAULT_RADIUS_M = 0.05
MAX_POINTS = 50_000
AUC_RADII = 100
AUC_FAR_SHARE = 20.0


@dataclass(frozen=True, eq=False)
class CloudDistances:
    """Distances between two clouds, metres.

    Attributes:
        to_truth_m: (N,) from the predicted point of each asked pixel to the nearest true one; inf where the
            pixel has no answer.
        to_prediction_m: (N,) from each true point to the nearest predicted one; inf without any.
    """

    to_truth_m: FloatArray
    to_prediction_m: FloatArray


def points_from_depth(depth_m: npt.ArrayLike, rays: npt.ArrayLike) -> FloatArray:
    """Points (..., 3) of z-depths (...) along rays (..., 3) with z = 1."""
    return np.asarray(depth_m, np.float64)[..., None] * np.asarray(rays, np.float64)


def sampled_pixels(truth_m: FloatArray, limit: int = MAX_POINTS) -> IntArray:
    """Which pixels of a map (H, W) make the clouds: every k-th, row-major, of those with truth.

    k is the least stride that leaves at most `limit` and has no common factor with W, so that the sample does
    not fall into columns. Nothing is drawn: the same map gives the same pixels.

    Returns:
        (N,) flat indices, ascending.
    """
    valid = np.flatnonzero(answered(truth_m).ravel())
    stride = max(1, -(-len(valid) // limit))
    while stride > 1 and math.gcd(stride, truth_m.shape[1]) > 1:
        stride += 1
    return valid[::stride]


def cloud_distances(
    prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike, rays: npt.ArrayLike, *, limit: int = MAX_POINTS
) -> CloudDistances:
    """Nearest-neighbour distances between the clouds of two depth maps, over `sampled_pixels`.

    Args:
        prediction_m, truth_m: (H, W) z-depth; anything but finite and positive is no answer, or no truth.
        rays: (H, W, 3) camera rays with z = 1.
    """
    truth, prediction = np.asarray(truth_m, np.float64), np.asarray(prediction_m, np.float64)
    pixels = sampled_pixels(truth, limit)
    along = np.asarray(rays, np.float64).reshape(-1, 3)[pixels]
    p, g = prediction.ravel()[pixels], truth.ravel()[pixels]
    usable = answered(p)
    with np.errstate(over="ignore"):
        predicted, true = points_from_depth(p[usable], along[usable]), points_from_depth(g, along)
    to_truth = np.full(len(pixels), np.inf)
    to_truth[usable] = _nearest(predicted, true)
    return CloudDistances(to_truth, _nearest(true, predicted))


def _nearest(points: FloatArray, others: FloatArray) -> FloatArray:
    """Distance of each point to the nearest of `others`; inf where there is none, or a point overflowed."""
    distance = np.full(len(points), np.inf)
    here, there = (np.isfinite(cloud).all(axis=1) for cloud in (points, others))
    if here.any() and there.any():
        distance[here] = cKDTree(others[there]).query(points[here])[0]
    return distance


def f_score(distances: CloudDistances, radius_m: float = DEFAULT_RADIUS_M) -> float:
    """F = 2 P R / (P + R) at radius t; 0 where both are 0, NaN without truth.

    P: share of predicted points nearer than t to a true one, R: share of true points nearer than t to a
    predicted one. A pixel without an answer counts in P's denominator: abstaining raises neither.

    Source: Depth Anything 3's benchmark (t = 0.05 m by default), there on fused scenes, here on one picture;
    that the comparison is strict (< t) is UniDepth's, DA3's was not checked.
    """
    if not len(distances.to_truth_m):
        return math.nan
    precision = float((distances.to_truth_m < radius_m).mean())
    recall = float((distances.to_prediction_m < radius_m).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def f_auc(distances: CloudDistances, min_depth_m: float, max_depth_m: float) -> float:
    """Mean of `f_score` over 100 radii, log-spaced from min_depth to max_depth / 20 inclusive.

    Source: UniDepth's F_A, with two differences. Its nearest-neighbour distances are squared but compared
    with the radii themselves, so its radius is sqrt(t) in truth; here it is t. It integrates by trapezoids
    over the index and divides by 100, so that a perfect cloud has 0.99; here it is the mean, 1.

    Raises:
        ValueError: the radii are not 0 < min_depth < max_depth / 20.
    """
    far_m = max_depth_m / AUC_FAR_SHARE
    if not 0 < min_depth_m < far_m < math.inf:
        raise ValueError(f"no radii between {min_depth_m} m and {max_depth_m} / {AUC_FAR_SHARE:g} m")
    radii = np.geomspace(min_depth_m, far_m, AUC_RADII)
    return math.fsum(f_score(distances, float(radius)) for radius in radii) / AUC_RADII
