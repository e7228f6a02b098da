"""Edges and planes of dense maps: boundary F1 (MoGe), iBims-1's depth boundary and planarity errors.

Maps are (H, W) z-depth in metres; anything but finite and positive is no answer, or no truth.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from depthvlm_bench.conventions import BoolArray, FloatArray, IntArray
from depthvlm_bench.errors import DataMissingError
from depthvlm_bench.scoring.aligned import answers_only
from depthvlm_bench.scoring.clouds import points_from_depth

BOUNDARY_EXCESS = np.linspace(0.05, 0.25, 10)
EDGE_REACH_PX = 10.0
CANNY_SIGMA_PX, CANNY_THRESHOLDS = math.sqrt(2), (0.1, 0.2)
MIN_PLANE_SHARE = 0.05


@dataclass(frozen=True)
class BoundaryScores:
    """Weighted means over BOUNDARY_EXCESS, weight t; NaN where the truth has no boundary at all."""

    f1: float
    precision: float
    recall: float


def boundary_scores(
    prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike, *, radius_px: int = 1
) -> BoundaryScores:
    """How well occlusion boundaries are kept: pairs of pixels whose depth ratio exceeds 1 + t.

    A pair is a pixel and a neighbour within the radius (Euclidean), in this order; the pixel is at least the
    radius from the border; both have truth. It is a boundary where neighbour / pixel > 1 + t. At each of ten
    t from 0.05 to 0.25: precision = TP / predicted, recall = TP / true (0 for 0 / 0), F1 = 2 P R / (P + R);
    then the mean over t with weight t. Scale does not count. A pair with a missing answer is not predicted.

    Source: MoGe's boundary_f1 (radii 1, 2, 3), after Depth Pro (arXiv 2410.02073). MoGe's code swaps the
    names of precision and recall, which leaves F1 as it is, works in float32, and gives 0 where we give NaN
    (it scores only sets with sharp boundaries).
    """
    prediction, truth = (answers_only(depth) for depth in (prediction_m, truth_m))
    steps = range(-radius_px, radius_px + 1)
    offsets = [(a, b) for a in steps for b in steps if 0 < a * a + b * b <= radius_px**2]
    counts = sum(
        (_boundary_counts(prediction, truth, radius_px, *offset) for offset in offsets),
        start=np.zeros((3, len(BOUNDARY_EXCESS)), np.int64),
    )
    both, predicted, true = counts
    if not true.any():
        return BoundaryScores(math.nan, math.nan, math.nan)
    precision, recall = both / np.maximum(predicted, 1), both / np.maximum(true, 1)
    f1 = 2 * both / np.maximum(predicted + true, 1)
    return BoundaryScores(*(float(np.average(x, weights=BOUNDARY_EXCESS)) for x in (f1, precision, recall)))


def _boundary_counts(p: FloatArray, g: FloatArray, radius: int, down: int, right: int) -> IntArray:
    """Pairs (pixel, pixel + (down, right)) above each 1 + t, (3, T): in both maps, predicted, true."""
    rows, columns = g.shape[0] - radius, g.shape[1] - radius
    centre = (slice(radius, rows), slice(radius, columns))
    shifted = (slice(radius + down, rows + down), slice(radius + right, columns + right))
    with np.errstate(over="ignore"):
        ratio_p, ratio_g = p[shifted] / p[centre], g[shifted] / g[centre]
    known = ~np.isnan(ratio_g)
    ratio_p, ratio_g = np.nan_to_num(ratio_p[known], nan=0.0, posinf=np.inf), ratio_g[known]
    return np.stack([_count_above(x) for x in (np.minimum(ratio_p, ratio_g), ratio_p, ratio_g)])


def _count_above(ratio: FloatArray) -> IntArray:
    """(T,) how many ratios exceed each 1 + t."""
    limits = 1 + BOUNDARY_EXCESS
    passed = np.searchsorted(limits, ratio[ratio > limits[0]], side="left")
    return np.cumsum(np.bincount(passed, minlength=len(limits) + 1)[:0:-1])[::-1]


def predicted_edges(prediction_m: npt.ArrayLike) -> BoolArray:
    """(H, W) edges of a predicted map as iBims-1's script finds them, with scikit-image's Canny.

    The depths are brought to 0..1, (p - min p) / (max p - min p); sigma sqrt(2), thresholds 0.1 and 0.2. What
    has no answer, and its neighbourhood, has no edge; nor has a constant map.

    Raises:
        DataMissingError: scikit-image is not installed.
    """
    canny, prediction = _canny(), answers_only(prediction_m)
    known = ~np.isnan(prediction)
    if not known.any():
        return known
    low, high = prediction[known].min(), prediction[known].max()
    normal = np.where(known, prediction - low, 0.0) / ((high - low) or 1.0)
    return np.asarray(canny(normal, CANNY_SIGMA_PX, *CANNY_THRESHOLDS, mask=known), np.bool_)


@cache
def _canny() -> Callable[..., BoolArray]:
    try:
        found: Callable[..., BoolArray] = import_module("skimage.feature").canny
    except ImportError as error:
        raise DataMissingError(
            "scikit-image is not installed",
            why="the depth boundary errors of marked edges are measured with its Canny",
            next_step="pip install 'depthvlm-bench[edges]'",
        ) from error
    return found


@dataclass(frozen=True)
class EdgeErrors:
    """iBims-1's DBE, px: `accuracy` of the predicted edges, `completeness` of the true ones; NaN without."""

    accuracy_px: float
    completeness_px: float


def depth_boundary_errors(
    predicted_edges: npt.ArrayLike, true_edges: npt.ArrayLike, *, reach_px: float = EDGE_REACH_PX
) -> EdgeErrors:
    """Directed Chamfer distances between edge maps, with exact Euclidean distances between pixel centres.

    accuracy: mean distance to the nearest true edge over the predicted edge pixels nearer than `reach_px` to
    one; those farther are left out. completeness: mean distance of the true edge pixels to the nearest
    predicted one. Both are `reach_px` where no predicted edge lies within reach, and NaN without true edges.

    Source: Koch et al. 2018 (ECCV workshops), "Evaluation of CNN-based single-image depth estimation
    methods", DBE_acc and DBE_comp, as in its published Python script v0.9. In that script the completeness
    is not truncated; whether the paper's own (Matlab) numbers truncate it could not be checked, and the
    script says that its Canny does not give the paper's numbers. So compare values only between maps scored
    here.

    Args:
        predicted_edges, true_edges: (H, W), non-zero on edges, from one and the same detector for all models.
    """
    predicted, true = np.asarray(predicted_edges) != 0, np.asarray(true_edges) != 0
    if predicted.shape != true.shape:
        raise ValueError(f"edge maps differ in shape: {predicted.shape} and {true.shape}")
    if not true.any():
        return EdgeErrors(math.nan, math.nan)
    to_true_px = distance_transform_edt(~true)
    near = predicted & (to_true_px < reach_px)
    if not near.any():
        return EdgeErrors(reach_px, reach_px)
    to_predicted_px = distance_transform_edt(~predicted)
    return EdgeErrors(float(to_true_px[near].mean()), float(to_predicted_px[true].mean()))


@dataclass(frozen=True, eq=False)
class PlanarityErrors:
    """iBims-1's PE, (K,) one a plane, by label; NaN where it is too small or has fewer than three answers."""

    flatness_cm: FloatArray
    orientation_deg: FloatArray


def planarity_errors(
    prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike, rays: npt.ArrayLike, planes: npt.ArrayLike
) -> PlanarityErrors:
    """How flat predicted planes are, and how they are turned.

    For each plane: its predicted depths times median(g) / median(p), so that scale does not count; their
    points are fitted by the plane of least squared distance (smallest principal component). flatness:
    standard deviation of the distances to the fitted plane, 100 cm a metre. orientation: angle between the
    normals of the planes fitted to the prediction and to the truth, 0 to 90 degrees.

    Source: Koch et al. 2018, PE_plan and PE_ori, as in its published Python script v0.9: pixels need truth
    and an answer, planes under 5 % of the picture are left out, and the score is the mean over all planes of
    all images (wall, table and floor alike). The script takes true normals from plane parameters, which come
    with the .mat files only; here they are those of the true points. It counts pixels from 1, for
    calibrations in Matlab's convention; here `rays` settle that. The paper writes V[.], read here as the
    script's standard deviation.

    Args:
        prediction_m, truth_m: (H, W).
        rays: (H, W, 3) camera rays with z = 1.
        planes: (H, W) integers, 0 for none; each other value is one plane.
    """
    p, g = answers_only(prediction_m), answers_only(truth_m)
    marked, along = np.asarray(planes), np.asarray(rays, np.float64)
    if not p.shape == g.shape == marked.shape:
        raise ValueError(f"maps and planes differ in shape: {p.shape}, {g.shape} and {marked.shape}")
    labels = np.where(np.isnan(p) | np.isnan(g), 0, marked)
    errors = []
    for label in np.unique(marked[marked != 0]):
        on = labels == label
        if on.sum() < max(3, MIN_PLANE_SHARE * labels.size):
            errors.append((math.nan, math.nan))
            continue
        scaled_m = p[on] * (np.median(g[on]) / np.median(p[on]))
        errors.append(_plane_errors(*(points_from_depth(depth, along[on]) for depth in (scaled_m, g[on]))))
    flatness, orientation = np.reshape(errors, (-1, 2)).T
    return PlanarityErrors(flatness, orientation)


def _plane_errors(points: FloatArray, true_points: FloatArray) -> tuple[float, float]:
    """Flatness in cm and orientation in degrees of one plane's points (N, 3)."""
    normal, true_normal = _fitted_normal(points), _fitted_normal(true_points)
    sine, cosine = np.linalg.norm(np.cross(true_normal, normal)), abs(np.dot(true_normal, normal))
    return float(np.std(points @ normal)) * 100, math.degrees(math.atan2(sine, cosine))


def _fitted_normal(points: FloatArray) -> FloatArray:
    """Unit normal (3,) of the plane with the least squared distances to points (N, 3)."""
    centred = points - points.mean(axis=0)
    return np.asarray(np.linalg.eigh(centred.T @ centred)[1][:, 0])
