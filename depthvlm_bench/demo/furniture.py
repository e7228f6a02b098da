"""Surfaces and furniture of the indoor demo rooms; pieces stand on the floor z = 0, metres."""

from __future__ import annotations

import math

from depthvlm_bench.demo import materials as mat
from depthvlm_bench.demo.materials import Material
from depthvlm_bench.demo.shapes import Primitive
from depthvlm_bench.demo.solids import box, paint, placed, post

Parts = list[Primitive]

WOOD = Material(((176, 128, 82), (146, 100, 60), (92, 62, 38)), mat.planks, 0.12, 0.2)
PINE = Material(((222, 186, 138), (206, 166, 116), (150, 116, 78)), mat.planks, 0.3, 0.15)
TILES = Material(((214, 210, 200), (150, 146, 138)), mat.tiles, 0.45, 0.1)
CHECKER = Material(((222, 218, 208), (112, 120, 124)), mat.checker, 0.4, 0.12)
CARPET = Material(((92, 104, 128), (116, 128, 150)), mat.blotches, 0.8, 0.3)
BRICK = Material(((168, 92, 70), (142, 74, 58), (196, 186, 172)), mat.bricks, 0.26, 0.2)
BOOKS = Material(
    ((150, 48, 44), (36, 78, 120), (222, 200, 150), (58, 106, 74), (44, 44, 52), (196, 120, 50)),
    mat.spines,
    0.045,
)
RUG = Material(((170, 60, 52), (226, 208, 176)), mat.stripes, 0.5, 0.35)
DAYLIGHT = Material(((226, 236, 240), (150, 196, 236)), mat.gradient, 1.4, 0.0, emits=True)
CEILING = Material(((216, 215, 210),), mat.plain, grain=0.02, emits=True)
LAMP = Material(((255, 252, 240),), mat.plain, grain=0.0, emits=True)
GLASS = Material(((176, 206, 208), (206, 226, 226)), mat.gradient, 2.0, 0.03)
DUSK = Material(((40, 62, 90), (226, 150, 90), (250, 220, 160)), mat.blotches, 0.6)
STEEL, BLACK, WHITE = paint((172, 176, 180)), paint((40, 42, 46)), paint((232, 230, 224), 0.06)
SCREEN = Material(((32, 60, 96), (92, 150, 190)), mat.gradient, 0.35, 0.0, emits=True)


def table(size_m: tuple[float, float, float], top: Material, legs: Material) -> Parts:
    """A table about the origin: extents (length, width, height)."""
    length, width, height = size_m
    parts = [box((0.0, 0.0, height - 0.02), (length, width, 0.04), top)]
    for x in (-length / 2 + 0.06, length / 2 - 0.06):
        for y in (-width / 2 + 0.06, width / 2 - 0.06):
            parts.append(post(x, y, 0.0, height - 0.04, 0.025, legs))
    return parts


def chair(seat: Material, legs: Material) -> Parts:
    """A chair about the origin that faces +x."""
    parts = [
        box((0.0, 0.0, 0.46), (0.44, 0.46, 0.05), seat),
        box((-0.21, 0.0, 0.74), (0.04, 0.44, 0.42), seat),
    ]
    for x in (-0.18, 0.18):
        for y in (-0.19, 0.19):
            parts.append(post(x, y, 0.0, 0.44, 0.016, legs))
    return parts


def window(x: float, wall_y: float, size: float) -> Parts:
    """A window of a width at x in a side wall at y = `wall_y`, bright with daylight."""
    side = math.copysign(1.0, wall_y)
    return [
        box((x, wall_y - side * 0.005, 1.5), (size, 0.05, 1.3), DAYLIGHT),
        box((x, wall_y - side * 0.05, 0.82), (size + 0.15, 0.14, 0.05), WHITE),
        box((x, wall_y - side * 0.03, 1.5), (0.05, 0.07, 1.3), WHITE),
    ]


def shelf(x: float, y: float, yaw_deg: float, rows: int) -> Parts:
    """A bookshelf with `rows` rows whose back is towards its local +y."""
    parts = [box((0.0, 0.14, rows * 0.18 + 0.02), (1.0, 0.03, rows * 0.36 + 0.04), PINE)]
    parts += [box((s * 0.5, 0.0, rows * 0.18 + 0.02), (0.03, 0.3, rows * 0.36 + 0.04), PINE) for s in (-1, 1)]
    for row in range(rows + 1):
        parts.append(box((0.0, -0.005, row * 0.36 + 0.015), (0.97, 0.29, 0.025), PINE))
    for row in range(rows):
        parts.append(box((0.06 * (row % 3 - 1), 0.02, row * 0.36 + 0.15), (0.8, 0.2, 0.24), BOOKS))
    return placed(parts, x, y, yaw_deg)


def desk(x: float, y: float, yaw_deg: float) -> Parts:
    """A desk with screen, keyboard, books, mug and chair; one sits at its local -y side."""
    parts = table((1.5, 0.8, 0.74), PINE, BLACK)
    parts += [
        box((0.0, 0.2, 1.03), (0.6, 0.03, 0.36), BLACK),
        box((0.0, 0.183, 1.03), (0.56, 0.01, 0.32), SCREEN),
    ]
    parts += [
        box((0.0, 0.2, 0.8), (0.06, 0.06, 0.12), BLACK),
        box((0.0, -0.12, 0.75), (0.44, 0.15, 0.02), STEEL),
    ]
    parts += [
        box((0.55, 0.1, 0.79), (0.22, 0.3, 0.08), BOOKS),
        post(-0.6, 0.1, 0.74, 0.84, 0.04, paint((200, 60, 50))),
    ]
    return placed(parts, x, y, yaw_deg) + placed(
        placed(chair(paint((52, 66, 92)), BLACK), 0.0, -0.6, 90.0), x, y, yaw_deg
    )


def pane(x: float, y: float, yaw_deg: float) -> Parts:
    """A free-standing pane of glass in a dark frame, across its local y."""
    glass = box((0.0, 0.0, 1.05), (1.1, 0.02, 2.0), GLASS)
    frame = [box((s * 0.57, 0.0, 1.06), (0.05, 0.06, 2.12), BLACK) for s in (-1, 1)]
    frame.append(box((0.0, 0.0, 2.09), (1.1, 0.06, 0.06), BLACK))
    return placed([glass, *frame], x, y, yaw_deg)
