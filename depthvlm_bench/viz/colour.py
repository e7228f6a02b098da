"""Depth and error to colour: near is bright and warm, far is dark and cool, no value is neutral grey.

Both maps are our own: anchors joined by straight lines in Oklab. The depth map's anchors lie where their
lightness puts them, so that lightness falls evenly from near to far and a print in grey keeps the order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import FloatArray

RgbArray = npt.NDArray[np.uint8]
Tick = tuple[float, str]

INVALID_RGB = (128, 128, 128)
NEAR_TO_FAR = ("#fff3b0", "#ffc759", "#fb8a5b", "#d8538a", "#9341ac", "#5b47b0", "#30489c")
LESS_TO_MORE = ("#1f4fa8", "#6fa3dd", "#f4f2ee", "#ee8a62", "#a8142a")
STEPS = 256
SHARE_SHOWN = 0.98
NICE = (1.0, 2.0, 5.0)
LIMITS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
# Björn Ottosson, "A perceptual color space for image processing", 2020: linear sRGB -> LMS, cube root -> Lab.
_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklab(rgb: npt.ArrayLike) -> FloatArray:
    """Oklab (..., 3) of sRGB colours (..., 3) in 0..255; the first entry is lightness, 0..1."""
    share = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _LMS.T) @ _LAB.T)


def _rgb(lab: FloatArray) -> RgbArray:
    linear = np.clip((lab @ np.linalg.inv(_LAB).T) ** 3 @ np.linalg.inv(_LMS).T, 0.0, 1.0)
    share = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    rgb: RgbArray = np.rint(share * 255).astype(np.uint8)
    return rgb


@dataclass(frozen=True, eq=False)
class Ramp:
    """A colour map: STEPS colours (STEPS, 3) uint8; the first and the last are its end anchors exactly."""

    table: RgbArray = field(repr=False)

    @classmethod
    def of(cls, anchors: Sequence[str], *, by_lightness: bool) -> "Ramp":
        """Anchors '#rrggbb' placed by their lightness (which has to fall), or evenly."""
        lab = oklab([list(bytes.fromhex(anchor[1:])) for anchor in anchors])
        place = np.linspace(0.0, 1.0, len(lab))
        if by_lightness:
            place = (lab[0, 0] - lab[:, 0]) / (lab[0, 0] - lab[-1, 0])
        at = np.linspace(0.0, 1.0, STEPS)
        return cls(_rgb(np.stack([np.interp(at, place, lab[:, axis]) for axis in range(3)], axis=1)))

    def colours(self, position: npt.ArrayLike) -> RgbArray:
        """Colours (..., 3) of positions (...) in 0..1; beyond is the end's colour, NaN is INVALID_RGB."""
        share = np.asarray(position, dtype=np.float64)
        known = ~np.isnan(share)
        index = np.rint(np.clip(np.where(known, share, 0.0), 0.0, 1.0) * (STEPS - 1)).astype(np.int64)
        return np.where(known[..., None], self.table[index], np.array(INVALID_RGB, np.uint8))


DEPTH_RAMP = Ramp.of(NEAR_TO_FAR, by_lightness=True)
ERROR_RAMP = Ramp.of(LESS_TO_MORE, by_lightness=False)


class Scale(Protocol):
    """What a legend needs: colours of values, and marks between its ends."""

    @property
    def title(self) -> str:
        """What the values are, with their unit."""
        ...

    @property
    def ramp(self) -> Ramp:
        """Its colour map."""
        ...

    def colours(self, values: npt.ArrayLike) -> RgbArray:
        """Colours (..., 3) of values (...)."""
        ...

    def ticks(self) -> list[Tick]:
        """(position in 0..1, label), ascending, both ends among them."""
        ...


@dataclass(frozen=True)
class DepthScale:
    """Depth from `near_m` to `far_m`, logarithmic or linear; depths beyond keep the end's colour."""

    near_m: float
    far_m: float
    log: bool = True
    title: str = "depth, m"
    ramp: Ramp = DEPTH_RAMP

    def __post_init__(self) -> None:
        """Refuse limits that are no range of depths (ValueError)."""
        if not 0 < self.near_m < self.far_m < math.inf:
            raise ValueError(f"depth limits must be 0 < near < far, got {self.near_m} and {self.far_m}")

    def position(self, depth_m: npt.ArrayLike) -> FloatArray:
        """Position (...) in 0..1, NaN where depth is not finite and positive."""
        depth = np.asarray(depth_m, dtype=np.float64)
        known = np.isfinite(depth) & (depth > 0)
        inside = np.clip(np.where(known, depth, self.near_m), self.near_m, self.far_m)
        share = (inside - self.near_m) / (self.far_m - self.near_m)
        if self.log:
            share = np.log(inside / self.near_m) / math.log(self.far_m / self.near_m)
        return np.where(known, share, np.nan)

    def colours(self, values: npt.ArrayLike) -> RgbArray:
        """Colours (..., 3) of depths (...)."""
        return self.ramp.colours(self.position(values))

    def ticks(self) -> list[Tick]:
        """1-2-5 marks (log) or even ones (linear) inside, and both ends."""
        inside = self._log_marks() if self.log else self._even_marks()
        marks = [self.near_m, *(mark for mark in inside if self.near_m < mark < self.far_m), self.far_m]
        return [(float(self.position(mark)), f"{mark:g}") for mark in marks]

    def _log_marks(self) -> list[float]:
        first, last = (math.floor(math.log10(limit)) for limit in (self.near_m, self.far_m))
        return [float(f"{nice}e{power}") for power in range(first, last + 1) for nice in NICE]

    def _even_marks(self) -> list[float]:
        rough = (self.far_m - self.near_m) / 6
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(nice * unit for nice in (*NICE, 10.0) if nice * unit >= rough)
        return [round(step * count, 9) for count in range(1, math.ceil(self.far_m / step))]


@dataclass(frozen=True)
class RatioScale:
    """Prediction over truth, from 1 / `most` (too near) over 1 to `most` (too far), logarithmic."""

    most: float = 2.0
    title: str = "prediction / truth"
    ramp: Ramp = ERROR_RAMP

    def colours(self, values: npt.ArrayLike) -> RgbArray:
        """Colours (..., 3) of ratios (...); what is not finite and positive is INVALID_RGB."""
        ratio = np.asarray(values, dtype=np.float64)
        known = np.isfinite(ratio) & (ratio > 0)
        return self.ramp.colours(np.where(known, self._position(np.where(known, ratio, 1.0)), np.nan))

    def _position(self, ratio: Any) -> Any:  # noqa: ANN401 - a float or an array of them
        return 0.5 + 0.5 * np.log(ratio) / math.log(self.most)

    def ticks(self) -> list[Tick]:
        """The ends, 1, and the limits of delta1: 0.8 and 1.25."""
        ratios = (1 / self.most, 0.8, 1.0, 1.25, self.most)
        return [(float(self._position(ratio)), f"{ratio:g}x") for ratio in ratios]


def scale_of(depth_m: npt.ArrayLike, *, log: bool = True, share: float = SHARE_SHOWN) -> DepthScale:
    """A scale that holds the middle `share` of the positive depths, its limits rounded outward to LIMITS."""
    depth = np.asarray(depth_m, dtype=np.float64).ravel()
    depth = depth[np.isfinite(depth) & (depth > 0)]
    if not len(depth):
        return DepthScale(1.0, 10.0, log)
    tail = (1 - share) / 2
    least, most = np.quantile(depth, [tail, 1 - tail])
    near, far = _round(float(least), up=False), _round(float(most), up=True)
    return DepthScale(near, far if far > near else near * 2, log)


def _round(value: float, *, up: bool) -> float:
    power = math.floor(math.log10(value))
    digits = value / 10.0**power
    if up:
        return float(f"{next(limit for limit in LIMITS if limit >= digits - 1e-9)}e{power}")
    return float(f"{max(limit for limit in LIMITS if limit <= digits + 1e-9)}e{power}")
