"""Two streets for the driving demo set: z = 0 is the ground, x runs along the road, y to the left."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from depthvlm_bench.demo import materials as mat
from depthvlm_bench.demo.materials import Colour, Material, Singles
from depthvlm_bench.demo.render import Scene
from depthvlm_bench.demo.shapes import Primitive, rotation_zyx
from depthvlm_bench.demo.solids import box, paint, placed, plane, post, solid, tree

Parts = list[Primitive]

X_FROM_M, X_TO_M = -100.0, 200.0
KERB_M, LANE_M = 6.4, 3.7
"""Half the road between the kerbs, and where the driving lane ends and the row of parked cars begins."""

PAVING = Material(((170, 166, 158), (142, 138, 132)), mat.tiles, 0.6, 0.15)
GRASS = Material(((92, 118, 62), (120, 138, 76)), mat.blotches, 0.7, 0.4)
BARK, STEEL, TYRE = paint((98, 80, 62), 0.4), paint((118, 122, 126)), paint((30, 30, 33))
CAR_GLASS = Material(((28, 34, 42), (70, 84, 96)), mat.gradient, 0.7, 0.05)
TAIL, HEAD = (Material((c,), mat.plain, grain=0.0, emits=True) for c in ((214, 36, 30), (250, 248, 228)))
CAR_COLOURS: tuple[Colour, ...] = (
    (186, 40, 38), (44, 84, 150), (226, 226, 222), (58, 62, 68), (150, 154, 158), (216, 168, 48)
)  # fmt: skip


@dataclass(frozen=True)
class _Style:
    """What makes one street differ from another."""

    facades: tuple[Material, ...]
    floors: tuple[int, int]
    setback_m: float
    verge: Material
    leaves: tuple[Colour, Colour]
    tree_every_m: float
    to_light: tuple[float, float, float]
    zenith: Colour
    horizon: Colour
    haze_m: float


def _facades(cell_m: float, *walls: Colour) -> tuple[Material, ...]:
    """Facades of a floor height, one a wall colour, all with the same windows."""
    rest: tuple[Colour, ...] = ((236, 232, 224), (58, 76, 94), (148, 172, 188))
    return tuple(Material((wall, *rest), mat.windows, cell_m, 0.14) for wall in walls)


_STYLES = {
    "scene-0061": _Style(
        facades=_facades(3.1, (182, 150, 118), (160, 92, 74), (150, 156, 164), (206, 192, 164)),
        floors=(4, 8),
        setback_m=10.6,
        verge=PAVING,
        leaves=((74, 116, 52), (104, 142, 66)),
        tree_every_m=23.0,
        to_light=(-0.45, 0.38, 0.75),
        zenith=(82, 136, 206),
        horizon=(206, 220, 232),
        haze_m=330.0,
    ),
    "scene-0103": _Style(
        facades=_facades(2.8, (214, 196, 176), (176, 112, 96), (226, 220, 208), (134, 150, 150)),
        floors=(2, 3),
        setback_m=15.0,
        verge=GRASS,
        leaves=((196, 132, 44), (170, 88, 40)),
        tree_every_m=13.0,
        to_light=(0.5, -0.5, 0.6),
        zenith=(124, 150, 190),
        horizon=(240, 222, 200),
        haze_m=220.0,
    ),
}
STREETS = tuple(_STYLES)


def _markings(u: Singles, v: Singles) -> Singles:
    """Road paint: dashed centre line, lines along the parking rows, crossings each 45 m."""
    across, along = np.abs(v), u - np.floor(u / 6.0) * 6.0
    crossing = u - np.floor(u / 45.0) * 45.0
    zebra = (crossing < 3.2) & (v - np.floor(v) < 0.5) & (across < KERB_M - 0.3)
    dashes = (across < 0.09) & (along < 3.0) & (crossing > 5.0)
    edges = (np.abs(across - LANE_M) < 0.06) & (crossing > 3.2)
    wear = 0.18 * np.clip(mat.smooth_noise(u * 9.0, v * 9.0), 0.0, 1.0)
    return np.where(zebra | dashes | edges, np.float32(1.0), wear)


ROAD = Material(((84, 86, 90), (226, 226, 220)), _markings, 1.0, 0.22)


def _wheels(xs: tuple[float, ...], half_width_m: float, radius_m: float) -> Parts:
    size, sideways = (2 * radius_m, 2 * radius_m, 0.24), rotation_zyx(0.0, 0.0, 90.0)
    hub, hub_size = STEEL, (0.9 * radius_m, 0.9 * radius_m, 0.27)
    parts: Parts = []
    for x in xs:
        for y in (-half_width_m, half_width_m):
            parts.append(solid("cylinder", (x, y, radius_m), size, TYRE, sideways))
            parts.append(solid("cylinder", (x, y, radius_m), hub_size, hub, sideways))
    return parts


def _lights(x: float, half_width_m: float, height_m: float, material: Material) -> Parts:
    return [box((x, s * (half_width_m - 0.25), height_m), (0.04, 0.36, 0.14), material) for s in (-1, 1)]


def _car(paintwork: Material) -> Parts:
    """A car about the origin that faces +x: 4.4 x 1.8 x 1.45 m."""
    parts = [
        box((0.0, 0.0, 0.58), (4.4, 1.8, 0.56), paintwork),
        box((-0.25, 0.0, 1.12), (2.5, 1.56, 0.54), CAR_GLASS),
        box((-0.3, 0.0, 1.41), (2.2, 1.5, 0.06), paintwork),
        box((-0.25, 0.0, 1.13), (0.1, 1.59, 0.55), paintwork),
        *_wheels((-1.4, 1.4), 0.82, 0.33),
    ]
    return parts + _lights(2.2, 0.9, 0.68, HEAD) + _lights(-2.2, 0.9, 0.72, TAIL)


def _truck(paintwork: Material) -> Parts:
    """A box truck about the origin that faces +x: 7 x 2.3 x 3.2 m."""
    parts = [
        box((-0.8, 0.0, 1.95), (5.2, 2.3, 2.5), paint((228, 226, 220), 0.06)),
        box((-0.8, 0.0, 1.3), (5.22, 2.32, 0.3), paintwork),
        box((2.7, 0.0, 1.3), (1.6, 2.1, 1.6), paintwork),
        box((2.9, 0.0, 1.75), (1.25, 2.13, 0.5), CAR_GLASS),
        *_wheels((-2.2, 2.4), 0.98, 0.45),
    ]
    return parts + _lights(3.5, 1.0, 0.75, HEAD) + _lights(-3.4, 1.1, 0.75, TAIL)


def _lamp(side: float) -> Parts:
    arm = box((0.0, -side * 0.9, 7.4), (0.1, 1.9, 0.09), STEEL)
    return [
        post(0.0, 0.0, 0.0, 7.45, 0.09, STEEL),
        arm,
        box((0.0, -side * 1.7, 7.33), (0.22, 0.6, 0.08), HEAD),
    ]


def _vehicles(rng: np.random.Generator) -> Parts:
    """Parked cars with gaps on both sides, some vehicles in the other lane, one far ahead in our own."""
    parts: Parts = []
    for side in (-1.0, 1.0):
        x = X_FROM_M + 50.0 + rng.uniform(0.0, 5.0)
        while x < X_TO_M - 80.0:
            make = _truck if rng.random() < 0.12 else _car
            if not 0.0 < (x + 4.5) % 45.0 < 12.5:
                parts += placed(
                    make(_paintwork(rng)), x, side * 5.1, (0.0 if side < 0 else 180.0) + rng.normal(0, 1.5)
                )
            x += rng.uniform(7.6, 13.0)
    for x, make in ((-24.0, _car), (19.0, _car), (33.0, _truck), (62.0, _car)):
        parts += placed(make(_paintwork(rng)), x + rng.uniform(-3, 3), 2.0, 180.0)
    return (
        parts
        + placed(_car(_paintwork(rng)), 90.0, -1.8, 0.0)
        + placed(_car(_paintwork(rng)), -16.0, -1.9, 0.0)
    )


def _paintwork(rng: np.random.Generator) -> Material:
    return paint(CAR_COLOURS[int(rng.integers(len(CAR_COLOURS)))], 0.04)


def _buildings(rng: np.random.Generator, style: _Style) -> Parts:
    parts: Parts = []
    for side in (-1.0, 1.0):
        x = X_FROM_M
        while x < X_TO_M:
            facade = style.facades[int(rng.integers(len(style.facades)))]
            width, depth = (facade.scale_m * n for n in (int(rng.integers(4, 8)), 4))
            height = facade.scale_m * int(rng.integers(style.floors[0], style.floors[1] + 1))
            y = side * (style.setback_m + rng.uniform(0.0, 1.5) + depth / 2)
            parts.append(box((x + width / 2, y, height / 2), (width, depth, height), facade))
            parts.append(
                box((x + width / 2, y, height + 0.2), (width + 0.5, depth + 0.5, 0.4), paint((112, 98, 92)))
            )
            x += width + rng.choice([0.6, 4.5, 7.0])
    end = box((X_TO_M + 10.0, 0.0, 12.0), (18.0, 60.0, 24.0), style.facades[0])
    return [*parts, end, box((X_FROM_M - 10.0, 0.0, 12.0), (18.0, 60.0, 24.0), style.facades[1])]


def _roadside(rng: np.random.Generator, style: _Style) -> Parts:
    """Verges, kerbs, lamps, trees and bins on both sides."""
    leaves = Material(style.leaves, mat.blotches, 0.6, 0.55)
    middle, length = (X_FROM_M + X_TO_M) / 2, X_TO_M - X_FROM_M
    parts: Parts = []
    for side in (-1.0, 1.0):
        parts.append(box((middle, side * (KERB_M + 1.4), 0.06), (length, 2.5, 0.12), PAVING))
        parts.append(
            box((middle, side * (KERB_M + 0.08), 0.07), (length, 0.16, 0.14), paint((186, 184, 178)))
        )
        parts.append(box((middle, side * (KERB_M + 302.6), 0.05), (900.0, 600.0, 0.1), style.verge))
        for x in np.arange(X_FROM_M + 50.0, X_TO_M - 80.0, 28.0):
            parts += placed(_lamp(side), x + 7.0 * side, side * (KERB_M + 0.6), 0.0)
        for x in np.arange(X_FROM_M + 55.0, X_TO_M - 80.0, style.tree_every_m):
            shape = tree(rng.uniform(4.5, 6.8), rng.uniform(2.4, 3.6), BARK, leaves)
            parts += placed(
                shape, x + rng.uniform(-3, 3), side * (KERB_M + rng.uniform(1.6, 2.3)), rng.uniform(0, 360)
            )
        parts += [post(x, side * 7.2, 0.1, 1.05, 0.26, paint((62, 92, 70))) for x in rng.uniform(-30, 90, 5)]
    return parts


@cache
def make_street(name: str, seed: int = 0) -> Scene:
    """The street of a scene name (one of `STREETS`), in street coordinates."""
    style = _STYLES[name]
    rng = np.random.default_rng([seed, STREETS.index(name), 61])
    parts = [plane((0.0, 0.0, 0.0), ROAD), *_buildings(rng, style), *_roadside(rng, style), *_vehicles(rng)]
    to_light = np.asarray(style.to_light) / np.linalg.norm(style.to_light)
    return Scene(tuple(parts), to_light, 0.62, 0.56, style.zenith, style.horizon, style.haze_m)
