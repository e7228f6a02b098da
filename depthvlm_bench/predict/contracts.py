"""What a model is to the harness: its card, what it is shown, and what it answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.frames import NoOptions
from depthvlm_bench.geometry.camera import PinholeCamera

Exposure = Literal["yes", "no", "unknown"]
Outcome = Literal[
    "ok",
    "unit_converted",
    "range_mid",
    "refused",
    "unparsed",
    "truncated",
    "nonpositive",
    "nonfinite",
    "api_error",
]


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model before it is loaded.

    Attributes:
        id: the name users type.
        family: the module's family, for grouping.
        kind: dense (a map a picture) or point (an answer a pixel).
        summary: one line for listings.
        extra: the pip extra that brings its dependencies; null: none needed.
        isolation: whether it runs in this process or in a worker with an environment of its own.
        repos: hub repository -> pinned revision.
        licence: of the weights.
        camera: whether K is required, optional, ignored or unsupported.
        preferred_focal_px: the focal length it was trained at, for `--input preferred`.
        max_batch: pictures it takes at once.
        trained_on: dataset -> whether its training saw that dataset.
        trained_on_source: where that is stated.
        asks: z-depth, or how far a point is; such an answer may be meant along the ray, and is compared with
            z, and with ray distance beside (delta1_ray).
        fitted: whether it is fitted on converted training splits before it predicts.
        for_tests: shown in no leaderboard.
    """

    id: str
    family: str
    kind: Literal["dense", "point"]
    summary: str
    licence: str
    camera: Literal["required", "optional", "ignored", "unsupported"]
    extra: str | None = None
    isolation: Literal["inproc", "worker"] = "inproc"
    repos: Mapping[str, str] = field(default_factory=dict)
    preferred_focal_px: float | None = None
    max_batch: int = 1
    trained_on: Mapping[str, Exposure] = field(default_factory=dict)
    trained_on_source: str = ""
    asks: Literal["z", "distance"] = "z"
    fitted: bool = False
    for_tests: bool = False
    version: int = 1


@dataclass(frozen=True)
class View:
    """What a model is shown: a picture and its camera, never ground truth.

    Attributes:
        id: the record's id.
        picture: RGB.
        camera: intrinsics of `picture`; None on the camera-unknown track.
    """

    id: str
    picture: Image.Image
    camera: PinholeCamera | None


@dataclass(frozen=True, eq=False)
class DenseMap:
    """A dense prediction.

    Attributes:
        depth_m: (h, w) float32 z-depth, NaN where undefined, on a grid of the model's own size.
        crop: (left, top, width, height) of the view that the map covers, px; None: all of it.
        resize: the adapter's rule for bringing the map to that size, half-pixel centres.
        text: what the model wrote beside it.
        fov_deg: horizontal field of view of the whole view, as the model estimates it, whether its depth
            follows from that or from a given camera; None: it estimates none.
    """

    depth_m: npt.NDArray[np.float32]
    crop: tuple[int, int, int, int] | None = None
    resize: Literal["bilinear", "nearest"] = "bilinear"
    text: str | None = None
    fov_deg: float | None = None


@dataclass(frozen=True)
class PointAnswer:
    """The answer to one asked pixel; value_m is z-depth, None where nothing usable was said."""

    value_m: float | None
    outcome: Outcome = "ok"
    raw_text: str | None = None
    usage: Mapping[str, Any] | None = None


class DensePredictor(Protocol):
    """A model that answers with a depth map a picture."""

    def load(self, options: Any) -> None:  # noqa: ANN401 - the model's options_type
        """Load weights; called once."""
        ...

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        """One map a view, in order."""
        ...


class PointPredictor(Protocol):
    """A model that answers one pixel at a time."""

    def load(self, options: Any) -> None:  # noqa: ANN401 - the model's options_type
        """Load weights or open the service; called once."""
        ...

    def ask(self, view: View, points_px: FloatArray) -> list[PointAnswer]:
        """One answer a point; points_px is (N, 2), (u, v) in the view's own pixels."""
        ...


Predictor = DensePredictor | PointPredictor


@dataclass(frozen=True)
class Identity:
    """What identifies a model as it was asked for, beyond its name.

    Attributes:
        options: what its label says: options that are not the model's defaults.
        loaded: checkpoint, hash of its weights, precision and all else that can change an answer.
        machine: what it runs on; no part of the identity.
    """

    options: dict[str, Any]
    loaded: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """One registered model.

    Attributes:
        build: makes the predictor, without loading anything.
        options_type: frozen dataclass of its options; those of a fitted model have `fit_on`, the folders of
            the training sets.
        compat_options: option values with which it runs as the paper's code does, for protocols that
            reproduce that code.
        identify: options -> what identifies them, for models with weights; None: the options themselves.
        recognises: whether a folder is a checkpoint that `-o checkpoint=FOLDER` of this model loads.
    """

    card: ModelCard
    build: Callable[[], Predictor]
    options_type: type = NoOptions
    compat_options: Mapping[str, Any] = field(default_factory=dict)
    identify: Callable[[Any], Identity] | None = None
    recognises: Callable[[Path], bool] | None = None
