"""What a picture of a record is made of: pixels, depth and asked points, all in the picture's coordinates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from PIL import Image

from depthvlm_bench.conventions import BoolArray, FloatArray, pixel_index
from depthvlm_bench.frames import Depth, DepthGrid, scorable
from depthvlm_bench.geometry.camera import inside
from depthvlm_bench.geometry.grids import PixelAffine, ViewGrid
from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.predict.readout import to_view
from depthvlm_bench.records.reader import VIEW_COLUMNS, depth_of, view_of
from depthvlm_bench.scoring.aligned import answers_only
from depthvlm_bench.scoring.metrics import DELTA1_RATIO, answered, within_ratio

SHOWN_COLUMNS = (
    *VIEW_COLUMNS,
    *("points", "valid_min", "valid_max"),
    *("depth", "depth_scale", "depth_affine", "depth_points", "depth_uv_step"),
)
# A grid with a smaller share of usable depths is drawn as points: its single pixels could not be seen.
SPARSE_SHARE = 0.05


@dataclass(frozen=True)
class Asked:
    """The asked points of a record.

    Attributes:
        u_px, v_px: (N,) coordinates in the shown picture.
        truth_m: (N,) depths.
        prediction_m: (N,) answers, NaN where there is none; None: no prediction is shown.
    """

    u_px: FloatArray
    v_px: FloatArray
    truth_m: FloatArray
    prediction_m: FloatArray | None = None

    @property
    def hits(self) -> BoolArray | None:
        """(N,) whether each answer is within a factor of 1.25; None without a prediction."""
        if self.prediction_m is None:
            return None
        return within_ratio(self.prediction_m, self.truth_m, DELTA1_RATIO)

    @property
    def ratio(self) -> FloatArray:
        """(N,) prediction / truth, NaN where there is no answer."""
        if self.prediction_m is None:
            return np.full(len(self.truth_m), np.nan)
        usable = answered(self.prediction_m)
        return np.where(usable, self.prediction_m, np.nan) / self.truth_m


@dataclass(frozen=True, eq=False)
class ShownMap:
    """A dense prediction as it is drawn.

    Attributes:
        depth_m: (h, w) z-depth on the picture that the model was shown, NaN where there is no answer.
        view_from_source: source coordinates -> coordinates in that picture.
    """

    depth_m: FloatArray
    view_from_source: PixelAffine

    @classmethod
    def of(cls, dense: DenseMap, grid: ViewGrid) -> Self:
        """A map as a model gave it of the picture on `grid`."""
        return cls(answers_only(to_view(dense, grid.width, grid.height)), grid.view_from_source)


@dataclass(frozen=True)
class Shown:
    """A record as it is drawn.

    Attributes:
        picture: the canonical picture, RGB.
        depth: as stored.
        usable: (N,) which of its depths are scored: in the valid range and no occlusion suspect.
        picture_from_source: source coordinates -> coordinates in `picture`.
        predicted: the dense prediction, if there is one to draw.
    """

    id: str
    fx_px: float
    picture: Image.Image
    depth: Depth
    usable: BoolArray
    picture_from_source: PixelAffine
    asked: Asked
    predicted: ShownMap | None = None

    @property
    def depth_m(self) -> FloatArray:
        """(M,) usable depths."""
        return self.depth.depth_m[self.usable]

    @property
    def grid(self) -> DepthGrid | None:
        """The depth, if it is a grid with enough usable depths to be drawn as one."""
        dense = isinstance(self.depth, DepthGrid) and self.usable.mean() >= SPARSE_SHARE
        return self.depth if isinstance(self.depth, DepthGrid) and dense else None

    def at(self, u_px: FloatArray, v_px: FloatArray, size: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        """Coordinates in the picture -> coordinates in the picture resized to (width, height)."""
        return PixelAffine.resize(self.picture.size, size).apply(u_px, v_px)

    def points_at(self, size: tuple[int, int]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(u, v, depth_m) of the usable depths that lie in the picture resized to (width, height)."""
        u_src, v_src = (axis[self.usable] for axis in self.depth.source_pixels())
        u, v = self.at(*self.picture_from_source.apply(u_src, v_src), size)
        seen = inside(u, v, *size)
        return u[seen], v[seen], self.depth_m[seen]

    def grid_at(self, size: tuple[int, int]) -> FloatArray:
        """Depth (height, width) on the resized picture: the grid's nearest sample, NaN where it has none.

        For points: the nearest point of each pixel, NaN elsewhere.
        """
        grid = self.grid
        if grid is None:
            return self._scattered(size)
        metres = np.where(self.usable, self.depth.depth_m, np.nan).reshape(grid.values.shape)
        return self._sampled(metres, grid.source_from_depth.inverse(), size)

    def prediction_at(self, size: tuple[int, int]) -> FloatArray | None:
        """Dense prediction (height, width) on the resized picture, its nearest sample; None without."""
        if self.predicted is None:
            return None
        return self._sampled(self.predicted.depth_m, self.predicted.view_from_source, size)

    def _sampled(self, values: FloatArray, from_source: PixelAffine, size: tuple[int, int]) -> FloatArray:
        """A raster's nearest sample at each pixel of the resized picture, NaN beyond the raster."""
        to_source = PixelAffine.resize(size, self.picture.size).then(self.picture_from_source.inverse())
        u, v = to_source.then(from_source).apply(np.arange(size[0]), np.arange(size[1]))
        height, width = values.shape
        row, column = pixel_index(v), pixel_index(u)
        sampled = values[np.clip(row, 0, height - 1)[:, None], np.clip(column, 0, width - 1)]
        covered = ((row >= 0) & (row < height))[:, None] & ((column >= 0) & (column < width))
        return np.where(covered, sampled, np.nan)

    def _scattered(self, size: tuple[int, int]) -> FloatArray:
        u, v, depth_m = self.points_at(size)
        nearest = np.full(size[::-1], np.inf)
        np.minimum.at(nearest, (pixel_index(v), pixel_index(u)), depth_m)
        return np.where(np.isfinite(nearest), nearest, np.nan)


def shown_of(
    row: Mapping[str, Any], prediction_m: Sequence[float] | None = None, predicted: ShownMap | None = None
) -> Shown:
    """A record as it is drawn, in its canonical picture.

    Args:
        row: a record with at least SHOWN_COLUMNS.
        prediction_m: an answer to each of its `points`, NaN where there is none.

    Raises:
        CheckError: the stored picture or depth is damaged.
    """
    view, depth = view_of(row), depth_of(row)
    points = row["points"] or []
    u, v = view.view_from_source.apply([p["u_src"] for p in points], [p["v_src"] for p in points])
    truth_m = np.array([point["depth_m"] for point in points], dtype=np.float64)
    answers = None if prediction_m is None else np.asarray(prediction_m, dtype=np.float64)
    return Shown(
        id=row["id"],
        fx_px=view.camera.fx_px,
        picture=view.picture,
        depth=depth,
        usable=scorable(depth, row["valid_min"], row["valid_max"]),
        picture_from_source=view.view_from_source,
        asked=Asked(u, v, truth_m, answers),
        predicted=predicted,
    )
