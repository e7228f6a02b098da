"""Predictions made elsewhere as a model: the ordinary runner, read-outs, resume and scoring are used."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.errors import CheckError
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.predict.contracts import DenseMap, Model, ModelCard, PointAnswer, View
from depthvlm_bench.predict.outside.answers import Answer
from depthvlm_bench.predict.outside.declared import Declaration
from depthvlm_bench.predict.outside.maps import read_map
from depthvlm_bench.predict.store import RunSpec

FAMILY = "outside"
# The option that says a run's predictions came from files: a hash of these.
FILES_OPTION = "predictions"


def outside_card(name: str, kind: Literal["dense", "point"], declared: str = "z") -> ModelCard:
    """The card of predictions whose model nothing is known of but what is declared of their kind."""
    asks: Literal["z", "distance"] = "distance" if declared == "distance" else "z"
    summary = "predictions made elsewhere"
    return ModelCard(name, FAMILY, kind, summary, licence="unknown", camera="optional", asks=asks)


def outside_run(spec: RunSpec) -> Model | None:
    """The model of a run whose predictions came from files, for scoring it again; None: an ordinary run."""
    if FILES_OPTION not in spec.options:
        return None
    kind: Literal["dense", "point"] = "dense" if spec.kind == "dense" else "point"
    return Model(outside_card(spec.model, kind, str(spec.options.get("kind", "z"))), _gone)


def _gone() -> "MapsPredictor":
    raise CheckError("this run's predictions came from files", next_step="dvbench score --predictions DIR")


def z_depth(
    depth_m: npt.NDArray[np.float32], declaration: Declaration, camera: PinholeCamera | None, record: str
) -> npt.NDArray[np.float32]:
    """A map (h, w) in metres as declared -> z-depth; `camera` is that of the picture that the map covers."""
    if declaration.kind != "ray":
        return depth_m
    if camera is None:
        raise CheckError("ray distance needs the camera to become z-depth", where=record)
    height, width = depth_m.shape
    u = (np.arange(width) + 0.5) * camera.width / width - 0.5
    v = (np.arange(height) + 0.5) * camera.height / height - 0.5
    return (depth_m / camera.ray_factor(*np.meshgrid(u, v))).astype(np.float32)


@dataclass(frozen=True)
class MapsPredictor:
    """Reads the map of each view.

    Attributes:
        files: record id -> map.
        on_empty: told of a map without any finite positive depth; all its points are misses.
    """

    files: Mapping[str, Path]
    declaration: Declaration
    on_empty: Callable[[Path], None]

    def load(self, options: object) -> None:
        """Nothing to load."""

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        """The stored maps as z-depth, on their own grids."""
        return [self._map(view) for view in views]

    def _map(self, view: View) -> DenseMap:
        path = self.files[view.id]
        stored = read_map(path, self.declaration)
        depth_m = stored.depth_m
        if not (np.isfinite(depth_m) & (depth_m > 0)).any():
            self.on_empty(path)
        depth_m = z_depth(depth_m, self.declaration, view.camera, view.id)
        return DenseMap(depth_m, resize=stored.resize or self.declaration.resize)


@dataclass(frozen=True)
class AnswersPredictor:
    """Looks up the answers of one point list: record id -> point index -> answer."""

    answers: Mapping[str, Mapping[int, Answer]]
    declaration: Declaration

    def load(self, options: object) -> None:
        """Nothing to load."""

    def ask(self, view: View, points_px: FloatArray) -> list[PointAnswer]:
        """One answer a point as z-depth; a point that was not answered has no value."""
        given = self.answers[view.id]
        return [self._answer(given.get(index), view, point) for index, point in enumerate(points_px)]

    def _answer(self, answer: Answer | None, view: View, point_px: FloatArray) -> PointAnswer:
        if answer is None or answer.value_m is None:
            return PointAnswer(None, "unparsed", raw_text=answer.raw_text if answer else None)
        value_m = answer.value_m
        if self.declaration.kind == "ray":
            if view.camera is None:
                raise CheckError("ray distance needs the camera to become z-depth", where=view.id)
            value_m = float(value_m / view.camera.ray_factor(*point_px))
        return PointAnswer(value_m, raw_text=answer.raw_text)
