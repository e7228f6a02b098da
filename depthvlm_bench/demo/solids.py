"""Short constructors for primitives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from depthvlm_bench.demo.materials import Colour, Material, plain
from depthvlm_bench.demo.shapes import Floats, Primitive, Shape, rotation_zyx


def paint(colour: Colour, grain: float = 0.12) -> Material:
    """A plain material of one colour."""
    return Material((colour,), plain, grain=grain)


def solid(
    shape: Shape,
    center_m: Sequence[float],
    size_m: Sequence[float],
    material: Material,
    turn: Floats | None = None,
) -> Primitive:
    """A primitive with full extents `size_m` (3,) about `center_m` (3,), turned by `turn` (3, 3) if given."""
    rotation = np.eye(3) if turn is None else turn
    return Primitive(
        shape, np.asarray(center_m, np.float64), np.asarray(size_m, np.float64) / 2, rotation, material
    )


def box(
    center_m: Sequence[float], size_m: Sequence[float], material: Material, yaw_deg: float = 0.0
) -> Primitive:
    """A box with full extents `size_m` (3,), turned by `yaw_deg` about the vertical."""
    return solid("box", center_m, size_m, material, rotation_zyx(yaw_deg))


def post(
    x_m: float, y_m: float, bottom_m: float, top_m: float, radius_m: float, material: Material
) -> Primitive:
    """An upright cylinder between two heights."""
    size = (2 * radius_m, 2 * radius_m, top_m - bottom_m)
    return solid("cylinder", (x_m, y_m, (bottom_m + top_m) / 2), size, material)


def ball(center_m: Sequence[float], size_m: Sequence[float], material: Material) -> Primitive:
    """An ellipsoid with full extents `size_m` (3,)."""
    return solid("ellipsoid", center_m, size_m, material)


def plane(point_m: Sequence[float], material: Material, turn: Floats | None = None) -> Primitive:
    """An unbounded plane through a point; its normal is the z axis of `turn` (default: up)."""
    return solid("plane", point_m, (2.0, 2.0, 2.0), material, turn)


def placed(parts: Sequence[Primitive], x_m: float, y_m: float, yaw_deg: float) -> list[Primitive]:
    """Parts built about the origin, turned by `yaw_deg` about the vertical and moved to (x, y)."""
    turn, shift = rotation_zyx(yaw_deg), np.array([x_m, y_m, 0.0])
    return [
        Primitive(p.shape, turn @ p.center_m + shift, p.half_m, turn @ p.world_from_local, p.material)
        for p in parts
    ]


def tree(height_m: float, crown_m: float, bark: Material, leaves: Material) -> list[Primitive]:
    """A tree about the origin: a trunk and three leaf balls."""
    middle = height_m - crown_m / 2
    return [
        post(0.0, 0.0, 0.0, middle, 0.045 * crown_m, bark),
        ball((0.0, 0.0, middle), (crown_m, crown_m, 0.9 * crown_m), leaves),
        ball((0.3 * crown_m, 0.15 * crown_m, middle - 0.25 * crown_m), (0.6 * crown_m,) * 3, leaves),
        ball((-0.25 * crown_m, -0.2 * crown_m, middle - 0.2 * crown_m), (0.65 * crown_m,) * 3, leaves),
    ]
