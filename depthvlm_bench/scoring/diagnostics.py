"""Where a run errs: by distance, place in the picture, scene and camera; bias and scale; worst samples.

Shares of hits are over asked points, errors over answered ones, NaN where there is none; all pool the points
of their group: they are no leaderboard scores, which are means over images. Sums are exact (math.fsum,
integer counts): the same to the last bit in any order of images and points. p is the prediction, g the truth.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import BoolArray, IntArray
from depthvlm_bench.scoring.pointtable import BANDS, PointTable
from depthvlm_bench.scoring.statistics import DISTANCE_EDGES_M

WORST = 10
DISTANCE_NAMES = tuple(
    f"{low:g}-{high:g} m" if math.isfinite(high) else f"over {low:g} m"
    for low, high in pairwise(DISTANCE_EDGES_M)
)


@dataclass(frozen=True)
class Group:
    """Points that have something in common.

    Attributes:
        log_bias: mean of ln p - ln g; above 0 is too far.
        median_abs_log: median of |ln p - ln g|.
    """

    name: str
    images: int
    asked: int
    answered: int
    hits: int
    log_bias: float
    median_abs_log: float

    @property
    def delta1(self) -> float:
        """Hits over asked."""
        return self.hits / self.asked if self.asked else math.nan


@dataclass(frozen=True)
class Fit:
    """How answers go with truth.

    Attributes:
        median_ratio: median of p / g: the one factor that is wrong; NaN without answers.
        slope: least-squares slope of ln p over ln g: 1 keeps proportions, 0 is a constant; NaN where the
            answered g are all equal.
        intercept: of that line.
    """

    median_ratio: float
    slope: float
    intercept: float


@dataclass(frozen=True)
class Diagnostics:
    """All of one run on one set.

    Attributes:
        missing: images without any prediction row, left out.
        by_distance: one group a bin of DISTANCE_EDGES_M that was asked.
        by_place: BANDS rows of BANDS groups: the picture's bands from the top, each from the left.
        by_row, by_column: BANDS groups each: whole bands, from the top and from the left.
        by_scene, by_camera: by name.
        worst: one group an image, lowest delta1 first, then largest median |log error|.
    """

    missing: int
    overall: Group
    fit: Fit
    by_distance: tuple[Group, ...]
    by_place: tuple[tuple[Group, ...], ...]
    by_row: tuple[Group, ...]
    by_column: tuple[Group, ...]
    by_scene: tuple[Group, ...]
    by_camera: tuple[Group, ...]
    worst: tuple[Group, ...]


def diagnose(points: PointTable, missing: int = 0, worst: int = WORST) -> Diagnostics:
    """All diagnostics of the asked points of a run; `missing` is told on."""
    place = points.row_band * BANDS + points.column_band
    cells = [_group(points, place == cell, _cell_name(cell)) for cell in range(BANDS * BANDS)]
    images = _by_name(points, points.image)
    images.sort(key=lambda group: (group.delta1, -_or_infinite(group.median_abs_log), group.name))
    return Diagnostics(
        missing=missing,
        overall=_group(points, np.ones(len(points.truth_m), bool), "all"),
        fit=fit(points),
        by_distance=_by_distance(points),
        by_place=tuple(tuple(cells[row * BANDS : (row + 1) * BANDS]) for row in range(BANDS)),
        by_row=_by_band(points, points.row_band, "row"),
        by_column=_by_band(points, points.column_band, "column"),
        by_scene=tuple(_by_name(points, points.scene)),
        by_camera=tuple(_by_name(points, points.camera)),
        worst=tuple(images[:worst]),
    )


def _cell_name(cell: int) -> str:
    return f"row {cell // BANDS + 1}, column {cell % BANDS + 1}"


def _by_band(points: PointTable, band: IntArray, side: str) -> tuple[Group, ...]:
    return tuple(_group(points, band == index, f"{side} {index + 1}") for index in range(BANDS))


def _or_infinite(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _by_distance(points: PointTable) -> tuple[Group, ...]:
    place = np.searchsorted(DISTANCE_EDGES_M, points.truth_m, side="right") - 1
    groups = [_group(points, place == index, name) for index, name in enumerate(DISTANCE_NAMES)]
    return tuple(group for group in groups if group.asked)


def _by_name(points: PointTable, names: npt.NDArray[np.str_]) -> list[Group]:
    """One group a name, in the order of the names."""
    unique, place = np.unique(names, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(unique) + 1))
    parts = [order[start:stop] for start, stop in pairwise(starts)]
    return [_group(points, part, str(name)) for name, part in zip(unique, parts, strict=True)]


def _group(points: PointTable, chosen: BoolArray | IntArray, name: str) -> Group:
    error = points.log_error[chosen]
    error = error[~np.isnan(error)]
    return Group(
        name=name,
        images=len(np.unique(points.image[chosen])),
        asked=len(points.truth_m[chosen]),
        answered=len(error),
        hits=int(np.count_nonzero(points.hit[chosen])),
        log_bias=math.fsum(error) / len(error) if len(error) else math.nan,
        median_abs_log=float(np.median(np.abs(error))) if len(error) else math.nan,
    )


def fit(points: PointTable) -> Fit:
    """Bias and scale over all answered points."""
    error = points.log_error
    usable = ~np.isnan(error)
    if not usable.any():
        return Fit(math.nan, math.nan, math.nan)
    x, y = np.log(points.truth_m[usable]), np.log(points.prediction_m[usable])
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    spread = math.fsum((x - mean_x) ** 2)
    together = math.fsum((x - mean_x) * (y - mean_y))
    slope = together / spread if spread > 0 and len(np.unique(x)) > 1 else math.nan
    return Fit(math.exp(float(np.median(error[usable]))), slope, mean_y - slope * mean_x)
