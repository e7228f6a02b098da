"""LiDAR points to a picture: nearest return a pixel, and the flag for returns seen past an edge."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from depthvlm_bench.conventions import BoolArray, FloatArray, IntArray, check_points, pixel_index
from depthvlm_bench.geometry.camera import PinholeCamera

# The window in which a nearer return makes a farther one suspect (px), and how much nearer it has to be.
SUSPECT_WINDOW_U_PX = 6.0
SUSPECT_WINDOW_V_PX = 10.0
SUSPECT_RATIO = 1.1
SUSPECT_MARGIN_M = 0.5


@dataclass(frozen=True)
class Projection:
    """Points that fall into a picture, row-major by pixel, at most one a pixel.

    Attributes:
        u_px, v_px: (M,) float64 sub-pixel coordinates, pixel centres at integers.
        depth_m: (M,) float64 z-depth.
        index: (M,) int64 rows of the input points.
        in_front, in_picture: how many input points passed `near_m`, and of those how many fell inside.
    """

    u_px: FloatArray
    v_px: FloatArray
    depth_m: FloatArray
    index: IntArray
    in_front: int
    in_picture: int


def project_nearest(
    points_cam: npt.ArrayLike, camera: PinholeCamera, *, near_m: float, pixel_centre: float = 0.0
) -> Projection:
    """Project points (N, 3) of the camera frame; the nearest point of each pixel wins.

    Args:
        points_cam: (N, 3) points, m, camera frame.
        camera: intrinsics and size of the picture.
        near_m: points with z <= near_m are dropped before the division.
        pixel_centre: where the calibration puts the centre of the first pixel: 0.0 (OpenCV, the project's
            convention) or 0.5 (edge convention; coordinates are shifted into ours).

    Returns:
        The winners, row-major by pixel. Ties in depth go to the earlier input row.
    """
    points = check_points(points_cam, "points_cam")
    front = np.flatnonzero(points[:, 2] > near_m)
    u, v = camera.project(points[front])
    u, v, z = u - pixel_centre, v - pixel_centre, points[front, 2]
    seen = camera.contains(u, v)
    u, v, z, index = u[seen], v[seen], z[seen], front[seen]
    flat = pixel_index(v) * camera.width + pixel_index(u)
    order = np.lexsort((index, z, flat))
    first = np.ones(len(order), dtype=bool)
    first[1:] = flat[order][1:] != flat[order][:-1]
    winners = order[first]
    return Projection(u[winners], v[winners], z[winners], index[winners], len(front), len(order))


def occlusion_suspects(u_px: npt.ArrayLike, v_px: npt.ArrayLike, depth_m: npt.ArrayLike) -> BoolArray:
    """Points that a LiDAR sees past an object's edge although the camera, mounted elsewhere, may not.

    A point is suspect when the least depth among the points within +-6 px in u and +-10 px in v (borders
    included) is below depth / 1.1 - 0.5 m. The wide window trades recall for purity: it also flags thin poles
    and grazing ground, so suspects are kept in the record but never asked.

    Args:
        u_px, v_px, depth_m: (N,) each.

    Returns:
        (N,) bool.
    """
    u, v, z = (np.asarray(a, dtype=np.float64) for a in (u_px, v_px, depth_m))
    nearest_m = z.copy()
    # u and v are weighted so that the window is a square; stored coordinates are dyadic, so this stays exact.
    window = np.stack([u * SUSPECT_WINDOW_V_PX, v * SUSPECT_WINDOW_U_PX], axis=1)
    radius = SUSPECT_WINDOW_U_PX * SUSPECT_WINDOW_V_PX
    pairs = (
        cKDTree(window).query_pairs(radius, p=np.inf, output_type="ndarray")
        if len(z)
        else np.empty((0, 2), int)
    )
    np.minimum.at(nearest_m, pairs[:, 0], z[pairs[:, 1]])
    np.minimum.at(nearest_m, pairs[:, 1], z[pairs[:, 0]])
    return np.asarray(nearest_m < z / SUSPECT_RATIO - SUSPECT_MARGIN_M)
