"""The asked points of a run as one table, a row a point: what diagnostics group and count."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from depthvlm_bench.conventions import BoolArray, FloatArray, IntArray
from depthvlm_bench.scoring.metrics import DELTA1_RATIO, answered
from depthvlm_bench.scoring.protocol import Protocol
from depthvlm_bench.scoring.scorer import point_values
from depthvlm_bench.scoring.statistics import larger_ratio

BANDS = 8
DIAGNOSTIC_COLUMNS = ("id", "scene", "camera", "width", "height", "points")


@dataclass(frozen=True)
class PointTable:
    """The asked points of all images, one entry a point.

    Attributes:
        image, scene, camera: (N,) names.
        row_band, column_band: (N,) 0..BANDS-1, by the pixel's centre in the canonical picture.
        truth_m, prediction_m: (N,); predictions NaN where there is none.
    """

    image: npt.NDArray[np.str_]
    scene: npt.NDArray[np.str_]
    camera: npt.NDArray[np.str_]
    row_band: IntArray
    column_band: IntArray
    truth_m: FloatArray
    prediction_m: FloatArray

    @cached_property
    def hit(self) -> BoolArray:
        """(N,) whether the answer is within delta1's ratio, strictly."""
        return np.asarray(larger_ratio(self.prediction_m, self.truth_m) < DELTA1_RATIO)

    @cached_property
    def log_error(self) -> FloatArray:
        """(N,) ln p - ln g, NaN without an answer."""
        usable = answered(self.prediction_m)
        return np.log(np.where(usable, self.prediction_m, np.nan)) - np.log(self.truth_m)


def point_table(rows: Sequence[Mapping[str, Any]], predictions: pa.Table, protocol: Protocol) -> PointTable:
    """The asked points of the images that have predictions.

    Args:
        rows: records with DIAGNOSTIC_COLUMNS.
        predictions: rows of PREDICTION_SCHEMA; the protocol names their read-out.
    """
    by_record = point_values(predictions, protocol)
    told: list[tuple[str, str, str, int, int, float, float]] = []
    for row in rows:
        answers = by_record.get(row["id"])
        if answers is None:
            continue
        for index, point in enumerate(row["points"] or ()):
            value = answers.get(index, (None, ""))[0]
            bands = _band(point["v"], row["height"]), _band(point["u"], row["width"])
            names = row["id"], row["scene"], row["camera"]
            told.append((*names, *bands, point["depth_m"], math.nan if value is None else value))
    columns = list(zip(*told, strict=True)) if told else [()] * 7
    kinds = (np.str_, np.str_, np.str_, np.int64, np.int64, np.float64, np.float64)
    return PointTable(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))


def _band(coordinate_px: float, length_px: int) -> int:
    """Which of BANDS equal parts of a picture's side holds a coordinate (pixel centres at integers)."""
    return min(BANDS - 1, max(0, math.floor((coordinate_px + 0.5) * BANDS / length_px)))
