"""Depth rasters as the paper's extraction scripts made them from LiDAR, faults included: compat sets only."""

from typing import Literal

import numpy as np

from depthvlm_bench.conventions import UINT16_MAX, FloatArray, IntArray
from depthvlm_bench.frames import DepthGrid
from depthvlm_bench.geometry.grids import PixelAffine

PAPER_DEPTH_SCALE = 256.0
PixelRule = Literal["floor", "truncate", "round_and_clip"]


def paper_raster(
    u_px: FloatArray,
    v_px: FloatArray,
    depth_m: FloatArray,
    size: tuple[int, int],
    *,
    pixel: PixelRule,
    nearest_wins: bool,
) -> DepthGrid:
    """A raster at picture size with one value a pixel, truncated to 1/256 m and saturated at 255.996 m.

    Args:
        u_px, v_px, depth_m: (N,) of points in front of the camera, in file order.
        size: (width, height) of the picture.
        pixel: how a coordinate becomes an index. `truncate` goes towards zero, so that (-1, 0) falls into the
            first column; `round_and_clip` rounds half to even and moves what is outside onto the border.
        nearest_wins: else the last point of a pixel in file order.
    """
    width, height = size
    column, row = _index(u_px, width, pixel), _index(v_px, height, pixel)
    seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    flat, metres = (row * width + column)[seen], depth_m[seen]
    order = np.argsort(-metres, kind="stable") if nearest_wins else np.arange(len(metres))
    values = np.zeros(height * width, dtype=np.uint16)
    # Of several values for one index, assignment keeps the last.
    values[flat[order]] = np.minimum(np.trunc(metres[order] * PAPER_DEPTH_SCALE), UINT16_MAX)
    return DepthGrid(values.reshape(height, width), PAPER_DEPTH_SCALE, PixelAffine.identity())


def _index(coordinate_px: FloatArray, size: int, rule: PixelRule) -> IntArray:
    if rule == "floor":
        return np.floor(coordinate_px).astype(np.int64)
    if rule == "truncate":
        return np.trunc(coordinate_px).astype(np.int64)
    return np.clip(np.round(coordinate_px), 0, size - 1).astype(np.int64)
