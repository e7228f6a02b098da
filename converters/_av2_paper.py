"""The paper's Argoverse 2 raster: distance over four columns, last point of a pixel; compat sets only."""

import numpy as np

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.converters._paper import paper_raster
from depthvlm_bench.frames import DepthGrid
from depthvlm_bench.geometry.camera import PinholeCamera


def homogeneous_raster(points_cam: FloatArray, camera: PinholeCamera) -> DepthGrid:
    """The raster that the paper's script makes of a sweep with the devkit's projection.

    The devkit hands over homogeneous points, and the script takes the norm of all four columns: the depth is
    sqrt(x² + y² + z² + 1) in float32. Only what the devkit calls visible reaches it, 0 <= u < width - 1 and
    0 <= v < height - 1, so that clipping moves nothing.

    Args:
        points_cam: (N, 3) of a sweep in file order, m, camera frame.
    """
    front = points_cam[points_cam[:, 2] > 0]
    u, v = camera.project(front)
    seen = (u >= 0) & (u < camera.width - 1) & (v >= 0) & (v < camera.height - 1)
    distance_m = np.sqrt((front[seen] ** 2).sum(axis=1) + 1.0).astype(np.float32).astype(np.float64)
    size = (camera.width, camera.height)
    return paper_raster(u[seen], v[seen], distance_m, size, pixel="round_and_clip", nearest_wins=False)
