"""LiDAR points to a picture: nearest return a pixel, and the flag for returns seen past an edge."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
    order = np.lexsort((z, flat))  # stable: ties stay in input order
    first = np.ones(len(order), dtype=bool)
    first[1:] = np.diff(flat[order]) != 0
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
    if not len(z):
        return np.zeros(0, dtype=bool)
    limit_m = z / SUSPECT_RATIO - SUSPECT_MARGIN_M
    column, row = _cells(u, SUSPECT_WINDOW_U_PX), _cells(v, SUSPECT_WINDOW_V_PX)
    short = z.astype(np.float32)
    exact = short if np.array_equal(short, z) else z  # stored depths fit, and the grid is then half as large
    least_m = np.full((row.max() + 3, column.max() + 3), np.inf, dtype=exact.dtype)
    np.minimum.at(least_m, (row, column), exact)
    # Points of touching cells lie within the window; none of the window lies more than two cells away.
    within = _least_around(least_m)
    suspects = within[row, column] < limit_m
    unsure = np.flatnonzero(~suspects & (_least_around(within)[row, column] < limit_m))
    one, other = _pairs_two_cells_around(row * least_m.shape[1] + column, unsure, least_m.shape[1])
    hidden = (np.abs(u[one] - u[other]) <= SUSPECT_WINDOW_U_PX) & (z[other] < limit_m[one])
    hidden &= np.abs(v[one] - v[other]) <= SUSPECT_WINDOW_V_PX
    suspects[one[hidden]] = True
    return np.asarray(suspects)


def _cells(coordinate_px: FloatArray, window_px: float) -> IntArray:
    """Index of each coordinate's cell of half a window, counted from 2: two cells are free before the first.

    Stored coordinates are dyadic, so none lies so close to a border that the division could miss its side.
    """
    cell = np.floor(coordinate_px * 2 / window_px).astype(np.int64)
    return np.asarray(cell - cell.min() + 2)


def _least_around(cells: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The least value of each cell (h, w) and the eight around it."""
    across = cells.copy()
    np.minimum(across[:, 1:], cells[:, :-1], out=across[:, 1:])
    np.minimum(across[:, :-1], cells[:, 1:], out=across[:, :-1])
    around = across.copy()
    np.minimum(around[1:], across[:-1], out=around[1:])
    np.minimum(around[:-1], across[1:], out=around[:-1])
    return around


def _pairs_two_cells_around(cell: IntArray, chosen: IntArray, stride: int) -> tuple[IntArray, IntArray]:
    """All pairs of a chosen point and a point (itself too) at most two cells away in column and row.

    Args:
        cell: (N,) row * stride + column of each point's cell; two cells are free on each side.
        chosen: (M,) points.
    """
    order = np.argsort(cell, kind="stable")
    rows_away = np.arange(-2, 3) * stride
    middle = (cell[chosen][:, None] + rows_away).ravel()
    begin, end = np.searchsorted(cell[order], [middle - 2, middle + 3])
    counts = end - begin
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(np.repeat(chosen, len(rows_away)), counts), order[np.repeat(begin, counts) + rank]
