"""Depth labels: stored depth as a raster of the canonical picture, made when a sample is read.

Depth stays as it is stored until here: on its own grid, or as LiDAR points. A label is that depth seen from
the canonical picture: the nearest depth pixel of a grid, the nearest of the points that fall into a pixel.
Depth is never interpolated, which would invent surfaces between a near and a far one.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import FloatArray, IntArray, pixel_index
from depthvlm_bench.frames import Depth, DepthGrid, DepthPoints, Float32Array
from depthvlm_bench.geometry.camera import inside
from depthvlm_bench.geometry.grids import PixelAffine

Raster = npt.NDArray[Any]  # uint16 or float32

# Coordinates that lie on a border between two pixels by the ratio of the sizes would fall to either side by
# rounding; this much (px) is far above that error, and far below what a picture can show.
BORDER_PX = 1e-7


def depth_label(
    depth: Depth,
    view_from_source: PixelAffine,
    size: tuple[int, int],
    *,
    valid_min_m: float,
    valid_max_m: float,
    drop_flags: int = 0,
) -> Float32Array:
    """The depth of each pixel of a picture: (height, width) float32, m, 0 where unknown or out of range.

    Args:
        depth: as it is stored.
        view_from_source: source coordinates -> coordinates in the picture.
        size: (width, height) of the picture.
        valid_min_m, valid_max_m: inclusive range, applied before anything is chosen: what is out of range
            hides nothing.
        drop_flags: points with any of these flag bits are left out; 0: none are, as in the paper.
    """
    if isinstance(depth, DepthGrid):
        return _nearest_pixels(depth, view_from_source, size, valid_min_m, valid_max_m)
    return _nearest_points(depth, view_from_source, size, valid_min_m, valid_max_m, drop_flags)


def _nearest_pixels(
    depth: DepthGrid,
    view_from_source: PixelAffine,
    size: tuple[int, int],
    valid_min_m: float,
    valid_max_m: float,
) -> Float32Array:
    depth_from_view = view_from_source.inverse().then(depth.source_from_depth.inverse())
    u, v = depth_from_view.apply(np.arange(size[0]), np.arange(size[1]))
    columns, rows = pixel_index(u + BORDER_PX), pixel_index(v + BORDER_PX)
    if depth.values.size <= len(rows) * len(columns):
        return _gather(_metres(depth.values, depth.depth_scale, valid_min_m, valid_max_m), rows, columns)
    chosen = _gather(depth.values, rows, columns)
    return _metres(chosen, depth.depth_scale, valid_min_m, valid_max_m)


def _gather(values: Raster, rows: IntArray, columns: IntArray) -> Raster:
    """Values at the given rows and columns of a raster; 0 beside it."""
    height, width = values.shape
    seen_rows, seen_columns = _span(rows, height), _span(columns, width)
    inner_rows, inner_columns = rows[seen_rows], columns[seen_columns]
    # Rows are copied whole, so they come last where there will be more of them.
    if len(inner_rows) < height:
        part = values.take(inner_rows, axis=0).take(inner_columns, axis=1)
    else:
        part = values.take(inner_columns, axis=1).take(inner_rows, axis=0)
    if part.shape == (len(rows), len(columns)):
        return part
    gathered = np.zeros((len(rows), len(columns)), dtype=values.dtype)
    gathered[seen_rows, seen_columns] = part
    return gathered


def _span(index: IntArray, size: int) -> slice:
    """Where an index that grows lies within 0 .. size - 1."""
    first, end = np.searchsorted(index, [0, size])
    return slice(int(first), int(end))


def _metres(values: Raster, depth_scale: float, valid_min_m: float, valid_max_m: float) -> Float32Array:
    """Depths (h, w) in metres, 0 where out of range."""
    if values.dtype != np.uint16:
        return _in_range(values.astype(np.float64) / depth_scale, valid_min_m, valid_max_m)
    # A raster has more pixels than there are values.
    metres = _in_range(np.arange(int(values.max(initial=0)) + 1) / depth_scale, valid_min_m, valid_max_m)
    return metres.take(values)


def _in_range(metres: FloatArray, valid_min_m: float, valid_max_m: float) -> Float32Array:
    kept = (metres > 0) & (metres >= valid_min_m) & (metres <= valid_max_m)
    return np.where(kept, metres, 0.0).astype(np.float32)


def _nearest_points(
    depth: DepthPoints,
    view_from_source: PixelAffine,
    size: tuple[int, int],
    valid_min_m: float,
    valid_max_m: float,
    drop_flags: int,
) -> Float32Array:
    width, height = size
    u, v = view_from_source.apply(*depth.source_pixels())
    u, v = u + BORDER_PX, v + BORDER_PX
    metres = _in_range(depth.depth_m, valid_min_m, valid_max_m)
    kept = (metres > 0) & ((depth.flags & drop_flags) == 0) & inside(u, v, width, height)
    metres, pixel = metres[kept], pixel_index(v[kept]) * width + pixel_index(u[kept])
    far_first = np.argsort(-metres, kind="stable")
    label = np.zeros(width * height, dtype=np.float32)
    label[pixel[far_first]] = metres[far_first]  # of repeated indices the last one stays: the nearest
    return label.reshape(height, width)
