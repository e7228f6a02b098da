"""One loading for many sets: weights are read and hashed once a command, not once a set."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.predict.contracts import (
    DenseMap,
    DensePredictor,
    Model,
    PointAnswer,
    PointPredictor,
    Predictor,
    View,
)


class LoadedOnce:
    """A predictor whose `load` does nothing when it is asked again for what it has loaded."""

    def __init__(self, build: Callable[[], Predictor]) -> None:
        self._build = build
        self._predictor: Predictor | None = None
        self._options: Any = None

    def load(self, options: Any) -> None:  # noqa: ANN401 - the model's options_type
        """Load, unless the last call asked for the same."""
        if self._predictor is None or options != self._options:
            self._predictor = None  # an earlier one goes first: there may be room for one alone
            predictor = self._build()
            predictor.load(options)
            self._predictor, self._options = predictor, options

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        """What the dense predictor says."""
        return cast(DensePredictor, self._predictor).predict(views)

    def ask(self, view: View, points_px: FloatArray) -> list[PointAnswer]:
        """What the point predictor says."""
        return cast(PointPredictor, self._predictor).ask(view, points_px)


def loaded_once(model: Model) -> Model:
    """The same model, for several sets in one process: all predictors it builds are one."""
    predictor = LoadedOnce(model.build)
    identify = None if model.identify is None else lru_cache(maxsize=1)(model.identify)
    return replace(model, build=lambda: predictor, identify=identify)
