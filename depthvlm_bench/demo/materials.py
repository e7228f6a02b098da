"""Procedural surface colours as functions of surface coordinates in metres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Singles = npt.NDArray[np.float32]
Colour = tuple[int, int, int]
Pattern = Callable[[Singles, Singles], Singles]

_TILE = 256
_STEPS = 32


@dataclass(frozen=True)
class Material:
    """A palette of sRGB colours and a pattern that picks from it.

    `pattern(u, v)` takes surface coordinates in units of `scale_m` and returns positions 0 to
    len(palette) - 1 along the palette (between two entries the colours mix). `grain` is the strength
    of fine noise; an `emits` surface is shown as it is, without light and shadow.
    """

    palette: tuple[Colour, ...]
    pattern: Pattern
    scale_m: float = 1.0
    grain: float = 0.12
    emits: bool = False

    def colour(self, u_m: Singles, v_m: Singles) -> Singles:
        """RGB (n, 3) in 0 .. 255 at surface coordinates u, v (n,) in metres."""
        position = self.pattern(u_m / np.float32(self.scale_m), v_m / np.float32(self.scale_m))
        rgb = self._ramp()[(position * _STEPS + 0.5).astype(np.intp)]
        if self.grain:
            rgb = rgb * (1.0 + np.float32(self.grain) * smooth_noise(u_m * 60.0, v_m * 60.0))[:, None]
        return rgb

    def _ramp(self) -> Singles:
        colours = np.asarray(self.palette, np.float64)
        steps = np.linspace(0, len(colours) - 1, _STEPS * (len(colours) - 1) + 1)
        channels = [np.interp(steps, np.arange(len(colours)), colours[:, c]) for c in range(3)]
        return np.stack(channels, axis=1).astype(np.float32)


@cache
def _white_tile() -> Singles:
    return np.random.default_rng(20240501).random((_TILE, _TILE), dtype=np.float32)


@cache
def _smooth_tile() -> Singles:
    """Periodic 1/f noise of zero mean within [-1, 1]: looks like wear, dirt and grain at every scale."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_TILE), np.fft.fftfreq(_TILE)))
    spectrum = np.fft.fft2(_white_tile()) / np.maximum(frequency, 1.0 / _TILE) ** 0.9
    spectrum[0, 0] = 0.0
    noise = np.fft.ifft2(spectrum).real
    tile: Singles = np.clip(noise / (2.5 * noise.std()), -1.0, 1.0).astype(np.float32)
    return tile


def _lookup(tile: Singles, i: Singles, j: Singles) -> Singles:
    found: Singles = tile[
        np.floor(i).astype(np.int64) & (_TILE - 1), np.floor(j).astype(np.int64) & (_TILE - 1)
    ]
    return found


def smooth_noise(u: Singles, v: Singles) -> Singles:
    """Noise in [-1, 1], (n,), at lattice coordinates u, v (n,)."""
    return _lookup(_smooth_tile(), u, v)


def cell_noise(i: Singles, j: Singles) -> Singles:
    """One constant in [0, 1) a cell: (n,) at cell numbers i, j (n,)."""
    return _lookup(_white_tile(), i, j)


def _fraction(x: Singles) -> Singles:
    return x - np.floor(x)


def _unit(x: Singles) -> Singles:
    return np.minimum(np.maximum(x, np.float32(0.0)), np.float32(1.0))


def plain(u: Singles, v: Singles) -> Singles:
    """The first colour everywhere."""
    return np.zeros_like(u)


def checker(u: Singles, v: Singles) -> Singles:
    """Squares of side 1 in two colours."""
    return ((np.floor(u) + np.floor(v)) % 2).astype(np.float32)


def stripes(u: Singles, v: Singles) -> Singles:
    """Vertical stripes of width 0.5 in two colours."""
    return (_fraction(u) < 0.5).astype(np.float32)


def tiles(u: Singles, v: Singles) -> Singles:
    """Square tiles of slightly different tone of the first colour between joints of the second."""
    joint = (_fraction(u) < 0.04) | (_fraction(v) < 0.04)
    return np.where(joint, np.float32(1.0), 0.22 * cell_noise(u, v))


def bricks(u: Singles, v: Singles) -> Singles:
    """Running bond, bricks 1 x 0.33: two brick colours by chance, joints in the third."""
    row = np.floor(v * 3.0)
    u = u + 0.5 * (row % 2)
    joint = (_fraction(u) < 0.05) | (_fraction(v * 3.0) < 0.14)
    return np.where(joint, np.float32(2.0), cell_noise(u, row))


def planks(u: Singles, v: Singles) -> Singles:
    """Boards 8 x 1 along u, from the first to the second colour by chance, with dark seams in the third."""
    row = np.floor(v)
    u = u / 8.0 + 13.7 * cell_noise(row, row)
    seam = (_fraction(v) < 0.04) | (_fraction(u) < 0.006)
    grain = 0.25 * smooth_noise(u * 48.0, v * 24.0)
    return np.where(seam, np.float32(2.0), _unit(cell_noise(np.floor(u), row) + grain))


def windows(u: Singles, v: Singles) -> Singles:
    """A facade: wall (first colour) with one framed (second) window (third to fourth) in each 1 x 1 cell."""
    x, y = np.abs(_fraction(u) - 0.5), np.abs(_fraction(v) - 0.52)
    lit = 2.0 + (cell_noise(u, v) > 0.7).astype(np.float32)
    framed = np.where((x < 0.24) & (y < 0.30) & (x > 0.015), lit, np.float32(1.0))
    return np.where((x < 0.28) & (y < 0.34), framed, np.float32(0.0))


def spines(u: Singles, v: Singles) -> Singles:
    """Book spines: one palette colour (of six) for each narrow column."""
    return np.asarray(np.floor(cell_noise(u, np.floor(v / 7.0)) * 5.999), np.float32)


def blotches(u: Singles, v: Singles) -> Singles:
    """Soft irregular patches between the two colours."""
    return _unit(0.5 + 0.9 * smooth_noise(u * 24.0, v * 24.0))


def gradient(u: Singles, v: Singles) -> Singles:
    """From the first colour at v = 0 to the second at v = 1 and beyond."""
    return _unit(v)
