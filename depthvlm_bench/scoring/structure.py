"""How well a dense map keeps the scene's structure: points, boundaries, marked edges and planes."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.records.marks import SurfaceMarks
from depthvlm_bench.scoring.clouds import AUC_FAR_SHARE, cloud_distances, f_auc, f_score
from depthvlm_bench.scoring.edges import (
    boundary_scores,
    depth_boundary_errors,
    planarity_errors,
    predicted_edges,
)
from depthvlm_bench.scoring.metrics import answered

GRID_METRICS = ("f_score", "f_auc", "boundary_f1")
EDGE_METRICS = ("dbe_accuracy_px", "dbe_completeness_px")
PLANE_METRICS = ("pe_flatness_cm", "pe_orientation_deg")
STRUCTURE_METRICS = (*GRID_METRICS, *EDGE_METRICS, *PLANE_METRICS, "pe_planes")
# Nearest neighbours of all pixels take longer than all other scoring; so many keep a picture near 0.2 s.
CLOUD_POINTS = 20_000
MIN_VALID_SHARE = 0.25


def structure_metrics(
    prediction_m: npt.ArrayLike,
    truth_m: npt.ArrayLike,
    rays: npt.ArrayLike,
    range_m: tuple[float, float],
    marks: SurfaceMarks | None = None,
) -> dict[str, float]:
    """STRUCTURE_METRICS of one image, on the grid of its truth.

    F-score at 0.05 m, F-AUC: the clouds are every k-th pixel with truth, row-major, k the least stride that
    leaves at most CLOUD_POINTS (see `sampled_pixels`). The F-score at a fixed radius falls with the density
    of the clouds: compare it between models on one set, not with figures made on all pixels. F-AUC is NaN
    where the range has no radii. Boundary F1: 1 px, of all pixels. All three are NaN where less than
    MIN_VALID_SHARE of the grid has truth.

    dbe_*: `depth_boundary_errors` of the marked edges. pe_*: means of `planarity_errors` over the image's
    pe_planes planes that are large enough. NaN where nothing is marked.

    Args:
        prediction_m, truth_m: (H, W) z-depth; anything but finite and positive is no answer, or no truth.
        rays: (H, W, 3) camera rays with z = 1.
        range_m: the set's valid depths, which bound the radii of F-AUC.
        marks: edges and planes that the data set marks on the grid.
    """
    values = unmeasured() | _on_marks(prediction_m, truth_m, rays, marks or SurfaceMarks())
    if answered(np.asarray(truth_m, np.float64)).mean() < MIN_VALID_SHARE:
        return values
    distances = cloud_distances(prediction_m, truth_m, rays, limit=CLOUD_POINTS)
    near_m, far_m = range_m
    has_radii = 0 < near_m < far_m / AUC_FAR_SHARE < math.inf
    area = f_auc(distances, near_m, far_m) if has_radii else math.nan
    found = (f_score(distances), area, boundary_scores(prediction_m, truth_m).f1)
    return values | dict(zip(GRID_METRICS, found, strict=True))


def unmeasured() -> dict[str, float]:
    """NaN for each, of images whose truth has no surface: computed, and nothing to say."""
    return dict.fromkeys(STRUCTURE_METRICS, math.nan)


def _on_marks(
    prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike, rays: npt.ArrayLike, marks: SurfaceMarks
) -> dict[str, float]:
    found: dict[str, float] = {}
    if marks.edges is not None:
        errors = depth_boundary_errors(predicted_edges(prediction_m), marks.edges)
        found |= zip(EDGE_METRICS, (errors.accuracy_px, errors.completeness_px), strict=True)
    if marks.planes:
        planes = [planarity_errors(prediction_m, truth_m, rays, labels) for labels in marks.planes]
        flatness = np.concatenate([errors.flatness_cm for errors in planes])
        orientation = np.concatenate([errors.orientation_deg for errors in planes])
        measured = ~np.isnan(flatness)
        found |= zip(PLANE_METRICS, (_mean(x[measured]) for x in (flatness, orientation)), strict=True)
        found["pe_planes"] = float(measured.sum())
    return found


def _mean(values: FloatArray) -> float:
    return math.fsum(values) / len(values) if len(values) else math.nan


def over_planes(images: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """PLANE_METRICS as means over all planes of all images, and pe_planes, how many these are.

    Exact in any order (math.fsum). All are NaN where no image has marked planes.

    Args:
        images: STRUCTURE_METRICS of each image.
    """
    marked = [image for image in images if not math.isnan(image["pe_planes"])]
    planes = math.fsum(image["pe_planes"] for image in marked)
    found = {"pe_planes": planes if marked else math.nan}
    for name in PLANE_METRICS:
        total = math.fsum(image[name] * image["pe_planes"] for image in marked if image["pe_planes"])
        found[name] = total / planes if planes else math.nan
    return found
