"""Reading a dense prediction at points: the adapter's one resize to the view, then one value a read-out."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from depthvlm_bench.conventions import FloatArray, pixel_index
from depthvlm_bench.errors import CheckError
from depthvlm_bench.geometry.camera import inside
from depthvlm_bench.predict.contracts import DenseMap

ViewMap = npt.NDArray[np.float32]


def to_view(dense: DenseMap, width: int, height: int) -> ViewMap:
    """The prediction at the view's size, (height, width) float32; NaN outside the map's crop.

    Raises:
        CheckError: the map is not 2-D, or its crop does not lie in the view.
    """
    if dense.depth_m.ndim != 2 or not dense.depth_m.size:
        raise CheckError("a dense prediction must be a map (h, w)", why=f"got shape {dense.depth_m.shape}")
    left, top, crop_width, crop_height = dense.crop or (0, 0, width, height)
    fits = left >= 0 and top >= 0 and left + crop_width <= width and top + crop_height <= height
    if not fits or crop_width < 1 or crop_height < 1:
        raise CheckError(
            "a prediction's crop is no part of the view", why=f"{dense.crop} in {width}x{height}"
        )
    covered = _resize(np.asarray(dense.depth_m, dtype=np.float32), crop_width, crop_height, dense.resize)
    if dense.crop is None:
        return covered
    whole = np.full((height, width), np.nan, dtype=np.float32)
    whole[top : top + crop_height, left : left + crop_width] = covered
    return whole


def _resize(values: ViewMap, width: int, height: int, rule: str) -> ViewMap:
    if values.shape == (height, width):
        return values
    rows = (np.arange(height) + 0.5) * values.shape[0] / height - 0.5
    columns = (np.arange(width) + 0.5) * values.shape[1] / width - 0.5
    if rule == "nearest":
        row_index = np.minimum(pixel_index(rows), values.shape[0] - 1)
        column_index = np.minimum(pixel_index(columns), values.shape[1] - 1)
        return np.asarray(values[row_index[:, None], column_index], dtype=np.float32)
    return _interpolate(values, np.meshgrid(rows, columns, indexing="ij")).astype(np.float32)


def _interpolate(values: ViewMap, coordinates: Sequence[FloatArray]) -> FloatArray:
    """Linear interpolation at (row, column) coordinates, edges repeated; NaN only where a NaN has weight."""
    hole = np.isnan(values)
    filled = np.where(hole, np.float32(0), values)
    result = ndimage.map_coordinates(filled, coordinates, order=1, mode="nearest", output=np.float64)
    if hole.any():
        weight = ndimage.map_coordinates(
            hole.astype(np.float64), coordinates, order=1, mode="nearest", output=np.float64
        )
        result[weight > 0] = np.nan
    return np.asarray(result)


def read_nearest(view_map: ViewMap, u_px: FloatArray, v_px: FloatArray) -> FloatArray:
    """Values (N,) of the pixels floor(u + 0.5), floor(v + 0.5); NaN outside the view."""
    height, width = view_map.shape
    seen = inside(u_px, v_px, width, height)
    values = np.full(len(u_px), np.nan)
    values[seen] = view_map[pixel_index(v_px[seen]), pixel_index(u_px[seen])]
    return values


def read_bilinear(view_map: ViewMap, u_px: FloatArray, v_px: FloatArray) -> FloatArray:
    """Values (N,) interpolated between pixel centres, edges repeated; NaN outside or beside a NaN."""
    height, width = view_map.shape
    values = _interpolate(view_map, [v_px, u_px])
    return np.where(inside(u_px, v_px, width, height), values, np.nan)
