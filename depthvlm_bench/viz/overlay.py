"""Depth drawn into pictures: the grid laid over them, LiDAR points painted in."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from depthvlm_bench.conventions import FloatArray, pixel_index
from depthvlm_bench.viz.colour import INVALID_RGB, DepthScale, RatioScale, RgbArray
from depthvlm_bench.viz.shown import Shown

GRID_OPACITY = 0.6
DIMMED = 0.55
GREYED = 0.7
MOST_RADIUS_PX = 5


def paint(
    canvas: RgbArray, u_px: npt.ArrayLike, v_px: npt.ArrayLike, rgb: npt.ArrayLike, radius_px: int = 0
) -> RgbArray:
    """A canvas (h, w, 3) with points (N,) painted in as discs, later ones over earlier ones.

    With radius 0 a point colours exactly its pixel, (floor(u + 0.5), floor(v + 0.5)). Nothing is clipped into
    the picture: what of a disc lies outside is not drawn.
    """
    painted = canvas.copy()
    height, width = canvas.shape[:2]
    around = np.arange(-radius_px, radius_px + 1)
    down, right = (axis.ravel() for axis in np.meshgrid(around, around, indexing="ij"))
    disc = down**2 + right**2 <= (radius_px + 0.3) ** 2
    rows = (pixel_index(v_px)[:, None] + down[disc]).ravel()
    columns = (pixel_index(u_px)[:, None] + right[disc]).ravel()
    colours = np.repeat(np.asarray(rgb, np.uint8), int(disc.sum()), axis=0)
    kept = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    # Of several writes to one pixel numpy keeps the last.
    painted[rows[kept], columns[kept]] = colours[kept]
    return painted


def resized(picture: Image.Image, size: tuple[int, int]) -> RgbArray:
    """A picture at (width, height), smoothed, (h, w, 3)."""
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def dimmed(picture: RgbArray) -> RgbArray:
    """A picture with most of its colour and some of its light gone, so that what is drawn in stands out."""
    grey = picture.mean(axis=2, keepdims=True)
    mixed: RgbArray = np.rint(DIMMED * (GREYED * grey + (1 - GREYED) * picture)).astype(np.uint8)
    return mixed


def depth_picture(shown: Shown, scale: DepthScale, size: tuple[int, int]) -> RgbArray:
    """Depth alone on the picture's extent (h, w, 3); where there is none, neutral grey."""
    if shown.grid is not None:
        return scale.colours(shown.grid_at(size))
    return _points_on(np.full((size[1], size[0], 3), INVALID_RGB, np.uint8), shown, scale)


def overlay_picture(shown: Shown, scale: DepthScale, size: tuple[int, int]) -> RgbArray:
    """Depth laid over the picture (h, w, 3): a grid with GRID_OPACITY, points on the dimmed picture."""
    picture = resized(shown.picture, size)
    if shown.grid is None:
        return _points_on(dimmed(picture), shown, scale)
    grid = shown.grid_at(size)
    grey = picture.mean(axis=2, keepdims=True)
    mixed = GRID_OPACITY * scale.colours(grid) + (1 - GRID_OPACITY) * grey
    return np.where(np.isnan(grid)[..., None], picture, np.rint(mixed).astype(np.uint8))


def error_picture(shown: Shown, predicted_m: FloatArray) -> RgbArray:
    """Dense prediction (h, w) / truth wherever there is truth (h, w, 3); points on the dimmed picture."""
    size = (predicted_m.shape[1], predicted_m.shape[0])
    if shown.grid is not None:
        return RatioScale().colours(predicted_m / shown.grid_at(size))
    u, v, truth_m = shown.points_at(size)
    ratio = predicted_m[pixel_index(v), pixel_index(u)] / truth_m
    canvas = dimmed(resized(shown.picture, size))
    return paint(canvas, u, v, RatioScale().colours(ratio), disc_radius_px(size, len(u)))


def _points_on(canvas: RgbArray, shown: Shown, scale: DepthScale) -> RgbArray:
    """All usable points as discs, near ones over far ones."""
    size = (canvas.shape[1], canvas.shape[0])
    u, v, depth_m = shown.points_at(size)
    order = np.argsort(-depth_m, kind="stable")
    radius = disc_radius_px(size, len(u))
    return paint(canvas, u[order], v[order], scale.colours(depth_m[order]), radius)


def disc_radius_px(size: tuple[int, int], points: int) -> int:
    """A radius at which so many points cover about a fifth of a picture, at most MOST_RADIUS_PX."""
    return min(MOST_RADIUS_PX, round(math.sqrt(size[0] * size[1] / max(points, 1) / 16)))
