"""What stands where in the six kinds of rooms of the indoor demo set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from depthvlm_bench.demo.furniture import (
    BLACK,
    BOOKS,
    BRICK,
    CARPET,
    CHECKER,
    DUSK,
    GLASS,
    LAMP,
    PINE,
    RUG,
    SCREEN,
    STEEL,
    TILES,
    WHITE,
    WOOD,
    Parts,
    chair,
    desk,
    pane,
    shelf,
    table,
    window,
)  # fmt: skip
from depthvlm_bench.demo.materials import Colour, Material
from depthvlm_bench.demo.shapes import rotation_zyx
from depthvlm_bench.demo.solids import ball, box, paint, placed, post, solid


@dataclass(frozen=True)
class Plan:
    """Inner size in metres (x from 0 to length, y within +-width / 2), surfaces, and what stands inside."""

    length: float
    width: float
    height: float
    floor: Material
    walls: Material
    parts: Parts
    aim_deg: float = 0.0


def _shade_of(rng: np.random.Generator, colour: Colour) -> Material:
    red, green, blue = (int(np.clip(c + rng.integers(-18, 19), 0, 255)) for c in colour)
    return paint((red, green, blue), 0.05)


def _corridor(rng: np.random.Generator) -> Plan:
    length, width = rng.uniform(8.4, 9.0), 2.6
    parts: Parts = []
    for number, x in enumerate((2.6, 4.9, 7.2)):
        side = 1 if number % 2 == 0 else -1
        parts += [
            box((x, side * width / 2, 1.05), (1.0, 0.08, 2.1), WOOD),
            box((x, 0.0, 2.69), (1.2, 0.3, 0.04), LAMP),
        ]
        parts.append(ball((x + 0.4, side * (width / 2 - 0.08), 1.0), (0.07, 0.07, 0.07), STEEL))
    parts += [
        box((3.6, -width / 2 + 0.2, 0.23), (1.3, 0.36, 0.06), PINE),
        box((length, 0.0, 1.05), (0.08, 1.1, 2.1), STEEL),
    ]
    parts += [box((3.6 + s, -width / 2 + 0.2, 0.1), (0.06, 0.34, 0.2), BLACK) for s in (-0.55, 0.55)]
    parts += [
        box((5.4, width / 2 - 0.01, 1.5), (0.9, 0.04, 0.7), BOOKS),
        post(6.2, 1.02, 0.0, 0.45, 0.17, BRICK),
    ]
    parts += [ball((6.2, 1.02, 0.85), (0.6, 0.6, 0.9), paint((70, 118, 62), 0.5)), *pane(6.5, -0.62, 90.0)]
    return Plan(length, width, 2.7, CHECKER, _shade_of(rng, (206, 208, 190)), parts)


def _kitchen(rng: np.random.Generator) -> Plan:
    width, front = 4.2, _shade_of(rng, (86, 134, 136))
    parts = window(2.6, width / 2, 1.3)
    for x in np.arange(1.5, 4.6, 0.62):
        parts.append(box((x, -width / 2 + 0.3, 0.43), (0.6, 0.6, 0.86), front))
        parts.append(box((x, -width / 2 + 0.17, 1.85), (0.6, 0.34, 0.7), front))
        parts.append(box((x, -width / 2 + 0.615, 0.74), (0.24, 0.03, 0.025), STEEL))
    parts += [
        box((2.9, -width / 2 + 0.31, 0.88), (3.6, 0.64, 0.04), WOOD),
        box((4.95, -1.75, 1.0), (0.62, 0.68, 2.0), STEEL),
    ]
    parts += [post(2.1, -1.75, 0.9, 1.12, 0.12, STEEL), box((3.2, -1.8, 1.04), (0.45, 0.34, 0.28), BLACK)]
    parts += placed(table((1.5, 0.9, 0.75), PINE, WHITE), 3.4, 0.7, 8.0)
    parts += [
        ball((3.2, 0.6, 0.83), (0.12,) * 3, paint((214, 60, 40))),
        ball((3.33, 0.68, 0.82), (0.12,) * 3, paint((232, 176, 48))),
    ]
    parts += [post(3.7, 0.9, 0.75, 1.05, 0.07, GLASS), box((3.3, 0.6, 2.67), (0.4, 0.4, 0.1), LAMP)]
    parts += [
        box((3.36, -width / 2 + 0.35, 1.85), (0.5, 0.01, 0.6), GLASS),
        box((5.39, -0.6, 1.05), (0.06, 0.9, 2.1), WOOD),
    ]
    parts.append(solid("cylinder", (5.38, 0.7, 1.95), (0.36, 0.36, 0.06), WHITE, rotation_zyx(0.0, 90.0)))
    for x, y, yaw in ((2.6, 0.6, 0.0), (3.5, 1.35, -80.0), (4.3, 0.8, 190.0)):
        parts += placed(chair(paint((206, 92, 60)), BLACK), x, y, yaw)
    return Plan(5.4, width, 2.7, TILES, _shade_of(rng, (226, 216, 190)), parts, -9.0)


def _office(rng: np.random.Generator) -> Plan:
    width = 5.0
    parts = desk(2.9, 1.5, 0.0) + desk(4.4, -1.3, 180.0) + desk(5.2, 1.5, 0.0)
    parts += window(3.0, width / 2, 1.6) + window(5.2, width / 2, 1.6) + shelf(6.3, -0.3, -90.0, 6)
    parts += shelf(6.3, -1.4, -90.0, 5) + pane(5.6, 0.3, 90.0) + [post(1.9, -1.2, 0.0, 0.32, 0.14, BLACK)]
    parts += [box((3.0, 0.0, 2.78), (1.2, 0.3, 0.04), LAMP), box((5.0, 0.0, 2.78), (1.2, 0.3, 0.04), LAMP)]
    return Plan(6.5, width, 2.8, CARPET, _shade_of(rng, (222, 222, 216)), parts, 3.0)


def _livingroom(rng: np.random.Generator) -> Plan:
    width, cloth = 5.2, _shade_of(rng, (62, 96, 122))
    sofa = [box((0.0, 0.0, 0.22), (2.1, 0.9, 0.36), cloth), box((0.0, 0.38, 0.6), (2.1, 0.2, 0.6), cloth)]
    sofa += [box((s * 1.0, 0.0, 0.36), (0.2, 0.92, 0.56), cloth) for s in (-1, 1)]
    sofa += [
        box((s * 0.5, 0.2, 0.56), (0.42, 0.16, 0.38), paint((226, 168, 66), 0.3), 6.0 * s) for s in (-1, 1)
    ]
    parts = placed(sofa, 3.7, 1.75, 0.0) + placed(sofa[:4], 5.0, -0.6, -78.0)
    parts += [
        box((3.6, 0.1, 0.01), (2.4, 1.9, 0.02), RUG, 5.0),
        *placed(table((1.2, 0.7, 0.42), GLASS, BLACK), 3.5, 0.2, 5.0),
    ]
    parts += [ball((3.4, 0.25, 0.52), (0.26, 0.26, 0.2), WHITE), post(5.3, 1.7, 0.0, 1.5, 0.02, BLACK)]
    parts += [
        post(5.3, 1.7, 1.45, 1.8, 0.2, LAMP),
        *window(3.4, width / 2, 1.8),
        *shelf(3.3, -2.42, 180.0, 5),
    ]
    parts += [
        box((4.55, -2.35, 0.25), (1.3, 0.45, 0.5), PINE),
        box((4.55, -2.35, 0.9), (1.2, 0.06, 0.68), BLACK),
    ]
    parts += [box((4.55, -2.315, 0.9), (1.12, 0.01, 0.6), SCREEN)]
    parts += [
        box((5.98, 0.9, 1.05), (0.06, 0.95, 2.1), PINE),
        box((5.98, -0.8, 1.7), (0.05, 1.2, 0.8), BLACK),
    ]
    parts.append(box((5.95, -0.8, 1.7), (0.05, 1.06, 0.66), DUSK))
    return Plan(6.0, width, 2.7, WOOD, _shade_of(rng, (216, 196, 170)), parts, 2.0)


def _lab(rng: np.random.Generator) -> Plan:
    width, front = 5.6, _shade_of(rng, (198, 204, 206))
    parts: Parts = []
    for y in (-1.5, 1.5):
        parts += [box((4.3, y, 0.43), (3.6, 0.8, 0.86), front), box((4.3, y, 0.89), (3.7, 0.9, 0.05), BLACK)]
        parts += [
            box((3.0 + 0.9 * k, y, 1.1), (0.35, 0.4, 0.38), c) for k, c in enumerate((STEEL, BRICK, front))
        ]
        parts += [
            post(3.4 + 0.8 * k, y - 0.25, 0.9, 1.15, 0.05, paint(c))
            for k, c in enumerate(((60, 140, 90), (70, 90, 190)))
        ]
        parts += [
            ball((3.4 + k * 1.1, y + 0.2, 1.01), (0.2, 0.2, 0.2), paint(c))
            for k, c in enumerate(((200, 80, 60), (220, 180, 60)))
        ]
        parts += [
            box((4.3, y, 1.75), (3.6, 0.3, 0.04), STEEL),
            *(post(x, y, 0.9, 1.75, 0.02, STEEL) for x in (2.6, 6.0)),
        ]
    parts += [post(x, y, 0.0, 0.55, 0.17, BLACK) for x, y in ((2.7, 0.6), (3.7, -0.7), (5.0, 0.65))]
    parts += [box((x, 0.0, 2.98), (1.3, 0.3, 0.04), LAMP) for x in (2.5, 4.5, 6.3)]
    parts += [
        box((5.5, -1.15, 1.35), (1.0, 0.02, 0.8), GLASS),
        box((7.38, 0.0, 1.05), (0.06, 1.0, 2.1), PINE),
    ]
    return Plan(7.4, width, 3.0, TILES, _shade_of(rng, (198, 212, 218)), parts)


def _lectureroom(rng: np.random.Generator) -> Plan:
    width, seat = 6.4, _shade_of(rng, (178, 66, 56))
    parts = [
        box((8.56, 0.0, 1.6), (0.05, 3.4, 1.3), paint((38, 74, 58), 0.3)),
        box((8.5, 0.0, 0.92), (0.12, 3.5, 0.05), PINE),
    ]
    for x in (3.0, 4.6, 6.2):
        for y in (-1.7, 1.7):
            parts += placed(table((0.5, 2.2, 0.74), PINE, BLACK), x, y, 0.0)
            for dy in (-0.6, 0.5):
                parts += placed(chair(seat, BLACK), x - 0.6, y + dy, rng.uniform(-25, 25))
    parts += [
        box((7.5, -1.9, 0.55), (0.5, 0.6, 1.1), WOOD),
        *window(4.0, width / 2, 2.0),
        *window(6.6, width / 2, 2.0),
    ]
    parts += [box((x, 0.0, 3.18), (0.3, 3.0, 0.04), LAMP) for x in (3.0, 5.5)] + pane(7.6, 2.2, 90.0)
    return Plan(
        8.6, width, 3.2, PINE, BRICK if rng.random() < 0.5 else _shade_of(rng, (226, 220, 204)), parts
    )


PLANS: dict[str, Callable[[np.random.Generator], Plan]] = {
    "corridor": _corridor,
    "kitchen": _kitchen,
    "office": _office,
    "livingroom": _livingroom,
    "lab": _lab,
    "lectureroom": _lectureroom,
}
