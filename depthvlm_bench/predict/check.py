"""What every model's answers are held to: a fault of an adapter is told by its name, not by a score."""

from collections.abc import Sequence

import numpy as np

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.errors import CheckError
from depthvlm_bench.predict.contracts import DenseMap, ModelCard, PointAnswer, View

# Medians of whole pictures beyond these are another unit (mm, inverse depth, a map from 0 to 1), not a scene.
NEAREST_MEDIAN_M, FARTHEST_MEDIAN_M = 0.05, 500.0


class AnswerCheck:
    """Holds the answers of one model to its contract.

    Implausible metres end a run only while no picture has had plausible ones: a wrong unit shows on the first
    picture, and later a single strange picture costs its own score and no more.

    Args:
        card: of the model; its id is named.
    """

    def __init__(self, card: ModelCard) -> None:
        self._name = card.id
        self._plausible_seen = False

    def maps(self, views: Sequence[View], maps: Sequence[DenseMap]) -> None:
        """Check one map a view.

        Raises:
            CheckError: the model, the picture, and what of the contract it breaks.
        """
        if len(maps) != len(views):
            raise self._broken("all", f"{len(maps)} maps for {len(views)} pictures")
        for view, dense in zip(views, maps, strict=True):
            fault = _fault_of(dense) or self._fault_of_metres(dense)
            if fault:
                raise self._broken(view.id, fault)

    def points(self, view: View, points_px: FloatArray, answers: Sequence[PointAnswer]) -> None:
        """Check one answer a point; CheckError as above."""
        if len(answers) != len(points_px):
            raise self._broken(view.id, f"{len(answers)} answers to {len(points_px)} points")
        other = next((answer for answer in answers if not isinstance(answer, PointAnswer)), None)
        if other is not None:
            raise self._broken(view.id, f"an answer is {type(other).__name__}, not PointAnswer")

    def _fault_of_metres(self, dense: DenseMap) -> str:
        known = dense.depth_m[np.isfinite(dense.depth_m)]
        if not known.size:
            return ""  # no answer to this picture: a miss, and it says so
        median_m = float(np.median(known))
        plausible = NEAREST_MEDIAN_M <= median_m <= FARTHEST_MEDIAN_M
        self._plausible_seen |= plausible
        if plausible or self._plausible_seen:
            return ""
        return f"the median of the map is {median_m:.6g} m, implausible in metres: another unit?"

    def _broken(self, where: str, fault: str) -> CheckError:
        return CheckError(
            f"model {self._name} breaks the contract of its answers",
            where=where,
            why=fault,
            next_step="this is a fault of the model's adapter, not of the data: mend it or report it",
        )


def _fault_of(dense: object) -> str:
    """What is wrong with a map whatever it shows; empty: nothing."""
    if not isinstance(dense, DenseMap):
        return f"an answer is {type(dense).__name__}, not DenseMap"
    depth_m: object = dense.depth_m
    if not isinstance(depth_m, np.ndarray):
        return f"depth_m is {type(depth_m).__name__}, not a numpy array"
    if depth_m.ndim != 2 or not depth_m.size:
        return f"depth_m has shape {depth_m.shape}, not (h, w)"
    if depth_m.dtype != np.float32:
        return f"depth_m is {depth_m.dtype}, not float32"
    infinite = int(np.isinf(depth_m).sum())
    return f"{infinite} values are infinite; NaN marks what is undefined" if infinite else ""
