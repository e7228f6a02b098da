"""Reading a dense prediction at points: the adapter's one resize to the view, then one value a read-out."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from depthvlm_bench.conventions import BoolArray, FloatArray, IntArray, pixel_index
from depthvlm_bench.errors import CheckError
from depthvlm_bench.geometry.camera import inside
from depthvlm_bench.predict.contracts import DenseMap

ViewMap = npt.NDArray[np.float32]


def to_view(dense: DenseMap, width: int, height: int) -> ViewMap:
    """The prediction at the view's size, (height, width) float32; NaN outside the map's crop.

    Raises:
        CheckError: the map is not 2-D, or its crop does not lie in the view.
    """
    left, top, crop_width, crop_height = _place(dense, width, height)
    covered = _resize(np.asarray(dense.depth_m, dtype=np.float32), crop_width, crop_height, dense.resize)
    if dense.crop is None:
        return covered
    whole = np.full((height, width), np.nan, dtype=np.float32)
    whole[top : top + crop_height, left : left + crop_width] = covered
    return whole


def _place(dense: DenseMap, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the view that a map covers."""
    if dense.depth_m.ndim != 2 or not dense.depth_m.size:
        raise CheckError("a dense prediction must be a map (h, w)", why=f"got shape {dense.depth_m.shape}")
    left, top, crop_width, crop_height = dense.crop or (0, 0, width, height)
    fits = left >= 0 and top >= 0 and left + crop_width <= width and top + crop_height <= height
    if not fits or crop_width < 1 or crop_height < 1:
        raise CheckError(
            "a prediction's crop is no part of the view", why=f"{dense.crop} in {width}x{height}"
        )
    return left, top, crop_width, crop_height


class SeenMap:
    """A prediction as the view sees it, read at some pixels: the values of `to_view`, made when asked for.

    A picture has over a million pixels; a score reads ten of them, or those of a coarse depth grid.

    Args:
        dense: the prediction.
        width, height: the view's size, px.

    Raises:
        CheckError: as `to_view`.
    """

    def __init__(self, dense: DenseMap, width: int, height: int) -> None:
        self._left, self._top, *self._covered = _place(dense, width, height)
        self._rule, self._size = dense.resize, (width, height)
        self._values = np.asarray(dense.depth_m, dtype=np.float32)

    def nearest(self, u_px: FloatArray, v_px: FloatArray) -> FloatArray:
        """Values (N,) of the pixels floor(u + 0.5), floor(v + 0.5); NaN outside the view."""
        return self._at(pixel_index(u_px), pixel_index(v_px))

    def bilinear(self, u_px: FloatArray, v_px: FloatArray) -> FloatArray:
        """Values (N,) interpolated between pixel centres, edges repeated; NaN outside or beside a NaN."""
        u, v = (np.clip(x, 0, side - 1) for x, side in zip((u_px, v_px), self._size, strict=True))
        left, top = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
        total = np.zeros(len(u))
        for row, of_row in ((top, 1 - (v - top)), (top + 1, v - top)):
            for column, of_column in ((left, 1 - (u - left)), (left + 1, u - left)):
                weight = of_row * of_column
                used = weight > 0
                total[used] += weight[used] * self._at(column[used], row[used])
        return np.where(inside(u_px, v_px, *self._size), total, np.nan)

    def _at(self, column: IntArray, row: IntArray) -> FloatArray:
        """Values (N,) of the view's pixels; NaN where the map does not cover them."""
        column, row = column - self._left, row - self._top
        width, height = self._covered
        seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        values = np.full(len(column), np.nan)
        values[seen] = self._resized(column[seen], row[seen])
        return values

    def _resized(self, column: IntArray, row: IntArray) -> ViewMap:
        """Values at pixels (N,) of the covered part, by the adapter's rule."""
        held, (width, height) = self._values, self._covered
        if held.shape == (height, width):
            return held[row, column]
        v, u = (row + 0.5) * held.shape[0] / height - 0.5, (column + 0.5) * held.shape[1] / width - 0.5
        if self._rule == "nearest":
            return held[_nearest_index(v, held.shape[0]), _nearest_index(u, held.shape[1])]
        return _interpolate(held, [v, u], self._holes).astype(np.float32)

    @cached_property
    def _holes(self) -> BoolArray:
        return np.isnan(self._values)


def _resize(values: ViewMap, width: int, height: int, rule: str) -> ViewMap:
    if values.shape == (height, width):
        return values
    rows = (np.arange(height) + 0.5) * values.shape[0] / height - 0.5
    columns = (np.arange(width) + 0.5) * values.shape[1] / width - 0.5
    if rule == "nearest":
        row_index, column_index = (
            _nearest_index(x, n) for x, n in zip((rows, columns), values.shape, strict=True)
        )
        return np.asarray(values[row_index[:, None], column_index], dtype=np.float32)
    return _interpolate(values, np.meshgrid(rows, columns, indexing="ij")).astype(np.float32)


def _nearest_index(coordinate_px: FloatArray, length: int) -> IntArray:
    return np.minimum(pixel_index(coordinate_px), length - 1)


def _interpolate(
    values: ViewMap, coordinates: Sequence[FloatArray], holes: BoolArray | None = None
) -> FloatArray:
    """Linear interpolation at (row, column) coordinates, edges repeated; NaN only where a NaN has weight."""
    holes = np.isnan(values) if holes is None else holes
    if not holes.any():
        return np.asarray(_linear(values, coordinates))
    result = _linear(np.where(holes, np.float32(0), values), coordinates)
    result[_linear(holes.astype(np.float64), coordinates) > 0] = np.nan
    return result


def _linear(values: npt.NDArray[np.floating[Any]], coordinates: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(
        ndimage.map_coordinates(values, coordinates, order=1, mode="nearest", output=np.float64)
    )


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
