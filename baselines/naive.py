"""Two honest naive rows, fitted on training splits: the best constant, and the median depth by row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import FloatArray, pixel_index
from depthvlm_bench.errors import DataMissingError
from depthvlm_bench.frames import scorable
from depthvlm_bench.geometry.camera import inside
from depthvlm_bench.predict.contracts import DenseMap, Model, ModelCard, View
from depthvlm_bench.records.codec import record_grid
from depthvlm_bench.records.reader import RecordSet, depth_of
from depthvlm_bench.scoring.metrics import DELTA1_RATIO

PICTURE_ROWS = 64
LOG_STEP = 0.002
LOG_MIN, LOG_MAX = np.log(0.001), np.log(1000.0)
LOG_BINS = int(np.ceil((LOG_MAX - LOG_MIN) / LOG_STEP))
FIT_COLUMNS = (
    *(
        "id",
        "source_width",
        "source_height",
        "full_width",
        "full_height",
        "crop_left",
        "crop_top",
        "width",
        "height",
    ),
    *("depth", "depth_scale", "depth_affine", "depth_points", "depth_uv_step", "valid_min", "valid_max"),
)


@dataclass(frozen=True)
class FitOptions:
    """fit_on: folders of the training sets."""

    fit_on: tuple[Path, ...] = ()


def depth_histogram(sets: Sequence[RecordSet]) -> FloatArray:
    """Distribution of log depth by picture row, (PICTURE_ROWS, LOG_BINS).

    Every image of a set weighs alike, and so does every set.

    Raises:
        DataMissingError: no set, or no valid depth in any.
    """
    total = np.zeros((PICTURE_ROWS, LOG_BINS))
    for records in sets:
        of_set, images = np.zeros_like(total), 0
        for histogram in _image_histograms(records):
            of_set += histogram
            images += 1
        total += of_set / max(1, images)
    if not total.any():
        raise DataMissingError("nothing to fit on", why="no training set with valid depth was given")
    return total


def _image_histograms(records: RecordSet) -> Iterator[FloatArray]:
    for row in records.rows(FIT_COLUMNS):
        depth, grid = depth_of(row), record_grid(row)
        u, v = grid.view_from_source.apply(*depth.source_pixels())
        valid = scorable(depth, row["valid_min"], row["valid_max"]) & inside(u, v, grid.width, grid.height)
        if valid.any():
            picture_row = pixel_index(v[valid]) * PICTURE_ROWS // grid.height
            log_bin = ((np.log(depth.depth_m[valid]) - LOG_MIN) / LOG_STEP).astype(np.int64)
            flat = picture_row * LOG_BINS + np.clip(log_bin, 0, LOG_BINS - 1)
            counts = np.bincount(flat, minlength=PICTURE_ROWS * LOG_BINS).reshape(PICTURE_ROWS, LOG_BINS)
            yield counts / valid.sum()


def bin_depth_m(index: float) -> float:
    """Depth at the centre of a bin of log depth (fractions allowed), m."""
    return float(np.exp(LOG_MIN + (index + 0.5) * LOG_STEP))


def best_constant_m(histogram: FloatArray) -> float:
    """The constant with the highest delta1 on the histogram; the middle one where several tie."""
    cumulative = np.concatenate([[0.0], np.cumsum(histogram.sum(axis=0))])
    half = int(np.log(DELTA1_RATIO) / LOG_STEP)
    centre = np.arange(LOG_BINS)
    share = cumulative[np.minimum(centre + half + 1, LOG_BINS)] - cumulative[np.maximum(centre - half, 0)]
    best = np.flatnonzero(share >= share.max() * (1 - 1e-12))
    return bin_depth_m(float(best[len(best) // 2]))


def row_medians_m(histogram: FloatArray) -> FloatArray:
    """Median depth of each picture row, (PICTURE_ROWS,); rows without any depth take the nearest one's."""
    cumulative = np.cumsum(histogram, axis=1)
    filled = np.flatnonzero(cumulative[:, -1] > 0)
    medians = [bin_depth_m(float(np.searchsorted(cumulative[i], cumulative[i, -1] / 2))) for i in filled]
    nearest = np.abs(np.arange(PICTURE_ROWS)[:, None] - filled[None, :]).argmin(axis=1)
    return np.asarray(np.asarray(medians, dtype=np.float64)[nearest])


class FittedColumnPredictor:
    """Answers a depth for each picture row, fitted on training sets and interpolated between row centres.

    Args:
        fit: histogram -> depths of picture rows, any number of them, m.
    """

    def __init__(self, fit: Callable[[FloatArray], FloatArray]) -> None:
        self.fit = fit

    def load(self, options: FitOptions) -> None:
        """Fit."""
        histogram = depth_histogram([RecordSet(folder, "train") for folder in options.fit_on])
        self.rows_m = self.fit(histogram)

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        """The rows' depths, seen as a map of each view's own size."""
        return [DenseMap(self._map(*view.picture.size)) for view in views]

    def _map(self, width: int, height: int) -> npt.NDArray[np.float32]:
        rows = (np.arange(height) + 0.5) * len(self.rows_m) / height - 0.5
        column = np.interp(rows, np.arange(len(self.rows_m)), self.rows_m).astype(np.float32)
        return np.broadcast_to(column[:, None], (height, width))


def _card(name: str, summary: str) -> ModelCard:
    return ModelCard(
        name, "naive", "dense", summary, licence="Apache-2.0", camera="ignored", max_batch=32, fitted=True
    )


BEST_CONSTANT = Model(
    _card("best-constant", "the constant that fits training best"),
    lambda: FittedColumnPredictor(lambda histogram: np.array([best_constant_m(histogram)])),
    FitOptions,
)
ROW_PRIOR = Model(
    _card("row-prior", "median training depth by picture row"),
    lambda: FittedColumnPredictor(row_medians_m),
    FitOptions,
)
