"""Ways to read the same map, and the sampled records on which they are compared."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import BoolArray, FloatArray
from depthvlm_bench.geometry.grids import PixelAffine

Places = tuple[FloatArray, FloatArray]
UNIT_SQUARE = PixelAffine.identity()
# A mapping that moves no place by more than this share of the picture is the one as given.
LEAST_MOVE = 0.02


@dataclass(frozen=True, eq=False)
class Sample:
    """Some pixels of one record with their truth, and what was predicted of it.

    Attributes:
        id: the record's.
        truth_m, ray_factor: (N,) true z-depth, m, and ray distance over z.
        x, y: (N,) places in the picture, 0 to 1 from its left and upper edge.
        view_size: (width, height) of the picture, px.
        focal_ratio: fx of the source picture over 1000 px.
        depth_m: the map (h, w) in z metres, or the answers (N,) at the points.
        other_from_view: places in this picture -> places in the other one (canonical or native).
    """

    id: str
    truth_m: FloatArray
    ray_factor: FloatArray
    x: FloatArray
    y: FloatArray
    view_size: tuple[int, int]
    focal_ratio: float
    depth_m: npt.NDArray[np.floating]
    other_from_view: PixelAffine = UNIT_SQUARE

    @property
    def map_size(self) -> tuple[int, int] | None:
        """(width, height) of the map; None for point answers."""
        return (self.depth_m.shape[1], self.depth_m.shape[0]) if self.depth_m.ndim == 2 else None

    def read(self, reading: "Reading") -> FloatArray:
        """What is predicted at the points under a reading, (N,); NaN where the map does not reach."""
        if self.depth_m.ndim == 1:
            values = self.depth_m if reading.places is None else np.full(len(self.truth_m), np.nan)
        else:
            x, y = (self.x, self.y) if reading.places is None else reading.places(self)
            values = _nearest(self.depth_m, x, y)
        with np.errstate(divide="ignore"):
            return np.asarray(1 / values if reading.inverse else values, dtype=np.float64)

    def beyond(self, reading: "Reading") -> BoolArray:
        """Which points lie, as given, beyond the part of the map that a reading takes; (N,) bool."""
        nowhere = np.zeros(len(self.x), dtype=np.bool_)
        if reading.places is None or self.depth_m.ndim == 1:
            return nowhere
        corners = np.array([0.0, 1.0])
        x, y = reading.places(replace(self, x=corners, y=corners))
        if not np.isfinite([x, y]).all():
            return nowhere
        return np.asarray((self.x < x[0]) | (self.x > x[1]) | (self.y < y[0]) | (self.y > y[1]))


@dataclass(frozen=True)
class Reading:
    """Another reading of a map, and what it means if the truth follows it.

    Attributes:
        read: completes 'correlation is 0.9 ...'.
        places: the places of the map at which the points are read; None: as given.
        inverse: whether the value is one over depth.
        part: whether map and picture cover different parts of the scene.
    """

    name: str
    what: str
    read: str
    declare: str
    places: Callable[[Sample], Places] | None = None
    inverse: bool = False
    part: bool = False


def _nearest(values: npt.NDArray[np.floating], x: FloatArray, y: FloatArray) -> FloatArray:
    inside: BoolArray = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
    found = np.full(len(x), np.nan)
    height, width = values.shape
    found[inside] = values[(y[inside] * height).astype(np.int64), (x[inside] * width).astype(np.int64)]
    return found


def _part(scale: float, anchor: float) -> Callable[[Sample], Places]:
    """Places scaled about the upper left corner (anchor 0) or the centre (0.5)."""

    def places(sample: Sample) -> Places:
        return (sample.x - anchor) * scale + anchor, (sample.y - anchor) * scale + anchor

    return places


def _square(*, padded: bool) -> Callable[[Sample], Places]:
    """The centred square of the picture, or the picture within a square of its longer side."""

    def places(sample: Sample) -> Places:
        width, height = sample.view_size
        side = max(width, height) if padded else min(width, height)
        x, y = (sample.x - 0.5) * width / side + 0.5, (sample.y - 0.5) * height / side + 0.5
        return _if_moved(sample, (x, y))

    return places


def _other_picture(sample: Sample) -> Places:
    return _if_moved(sample, sample.other_from_view.apply(sample.x, sample.y))


def _if_moved(sample: Sample, places: Places) -> Places:
    """The places; nowhere if they are those as given."""
    moved = max(float(np.abs(places[0] - sample.x).max()), float(np.abs(places[1] - sample.y).max()))
    nowhere = np.full(len(sample.x), np.nan)
    return places if moved > LEAST_MOVE else (nowhere, nowhere)


AS_GIVEN = Reading("as given", "", "", "")
_CUT = "save maps that cover the whole picture (no padding, no crop), of whatever size"
OTHER_READINGS = (
    Reading(
        "transposed",
        "maps are transposed",
        "transposed",
        "save depth.T: (rows, columns)",
        lambda sample: (sample.y, sample.x),
    ),
    Reading(
        "mirrored",
        "maps are flipped left to right",
        "with columns reversed",
        "save depth[:, ::-1]",
        lambda sample: (1 - sample.x, sample.y),
    ),
    Reading(
        "upside down",
        "maps are upside down",
        "with rows reversed",
        "save depth[::-1]",
        lambda sample: (sample.x, 1 - sample.y),
    ),
    Reading(
        "turned",
        "maps are turned by 180 degrees",
        "turned by 180 degrees",
        "save depth[::-1, ::-1]",
        lambda sample: (1 - sample.x, 1 - sample.y),
    ),
    Reading(
        "turned left",
        "maps are turned by 90 degrees to the left",
        "turned back to the right",
        "save numpy.rot90(depth, -1)",
        lambda sample: (sample.y, 1 - sample.x),
    ),
    Reading(
        "turned right",
        "maps are turned by 90 degrees to the right",
        "turned back to the left",
        "save numpy.rot90(depth)",
        lambda sample: (1 - sample.y, sample.x),
    ),
    Reading(
        "inverse",
        "disparity (inverse depth) is given for depth",
        "as one over the value",
        "kind = disparity with scale = focal length x baseline",
        None,
        inverse=True,
    ),
    Reading(
        "half, upper left",
        "maps hold the picture at half resolution in their upper left quarter",
        "read in the upper left quarter",
        _CUT,
        _part(0.5, 0.0),
        part=True,
    ),
    Reading(
        "double, upper left",
        "maps cover only the upper left quarter of the picture",
        "as the upper left quarter",
        _CUT,
        _part(2.0, 0.0),
        part=True,
    ),
    Reading(
        "half, centred",
        "maps hold the picture at half resolution in their centre",
        "read in the central quarter",
        _CUT,
        _part(0.5, 0.5),
        part=True,
    ),
    Reading(
        "double, centred",
        "maps cover only the centre of the picture (half of each side)",
        "as the central quarter",
        _CUT,
        _part(2.0, 0.5),
        part=True,
    ),
    Reading(
        "square crop",
        "maps cover only the centred square of the picture",
        "as the centred square",
        _CUT,
        _square(padded=False),
        part=True,
    ),
    Reading(
        "square padding",
        "maps hold the picture padded to a square",
        "read without the padding",
        _CUT,
        _square(padded=True),
        part=True,
    ),
    Reading(
        "other picture",
        "maps cover the other picture (native for canonical, or the reverse)",
        "as that of the other picture",
        "covers = native, or covers = canonical",
        _other_picture,
        part=True,
    ),
)
