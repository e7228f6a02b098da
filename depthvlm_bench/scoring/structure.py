"""How well a dense map keeps the scene's structure: F-score and F-AUC of its points, F1 of its boundaries."""

import math

import numpy as np
import numpy.typing as npt

from depthvlm_bench.scoring.clouds import AUC_FAR_SHARE, cloud_distances, f_auc, f_score
from depthvlm_bench.scoring.edges import boundary_scores
from depthvlm_bench.scoring.metrics import answered

STRUCTURE_METRICS = ("f_score", "f_auc", "boundary_f1")
# Nearest neighbours of all pixels take longer than all other scoring; so many keep a picture near 0.2 s.
CLOUD_POINTS = 20_000
MIN_VALID_SHARE = 0.25


def structure_metrics(
    prediction_m: npt.ArrayLike, truth_m: npt.ArrayLike, rays: npt.ArrayLike, range_m: tuple[float, float]
) -> dict[str, float]:
    """F-score at 0.05 m, F-AUC and boundary F1 (1 px) of one image, on the grid of its truth.

    The clouds are every k-th pixel with truth, row-major, k the least stride that leaves at most CLOUD_POINTS
    (see `sampled_pixels`). The F-score at a fixed radius falls with the density of the clouds: compare it
    between models on one set, not with figures made on all pixels. Boundaries are those of all pixels. All
    are NaN where less than MIN_VALID_SHARE of the grid has truth (LiDAR), F-AUC too where there are no radii.

    Args:
        prediction_m, truth_m: (H, W) z-depth; anything but finite and positive is no answer, or no truth.
        rays: (H, W, 3) camera rays with z = 1.
        range_m: the set's valid depths, which bound the radii of F-AUC.
    """
    if answered(np.asarray(truth_m, np.float64)).mean() < MIN_VALID_SHARE:
        return unmeasured()
    distances = cloud_distances(prediction_m, truth_m, rays, limit=CLOUD_POINTS)
    near_m, far_m = range_m
    has_radii = 0 < near_m < far_m / AUC_FAR_SHARE < math.inf
    area = f_auc(distances, near_m, far_m) if has_radii else math.nan
    values = (f_score(distances), area, boundary_scores(prediction_m, truth_m).f1)
    return dict(zip(STRUCTURE_METRICS, values, strict=True))


def unmeasured() -> dict[str, float]:
    """NaN for each, of images whose truth has no surface: computed, and nothing to say."""
    return dict.fromkeys(STRUCTURE_METRICS, math.nan)
