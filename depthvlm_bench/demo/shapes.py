"""Boxes, ellipsoids, cylinders and planes that a ray meets in closed form, in float64.

Every primitive is a unit shape under an affine map, which leaves the ray parameter t unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from depthvlm_bench.demo.materials import Material

Floats = npt.NDArray[np.float64]
Shape = Literal["box", "ellipsoid", "cylinder", "plane"]

T_MIN = 1e-6


def rotation_zyx(yaw_deg: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> Floats:
    """Rotation Rz(yaw) Ry(pitch) Rx(roll), (3, 3); a positive pitch turns the x axis downwards."""
    (cz, sz), (cy, sy), (cx, sx) = (
        (math.cos(a), math.sin(a)) for a in map(math.radians, (yaw_deg, pitch_deg, roll_deg))
    )
    about_z = np.array([[cz, -sz, 0.0], [sz, cz, 0.0], [0.0, 0.0, 1.0]])
    about_y = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cx, -sx], [0.0, sx, cx]])
    return np.asarray(about_z @ about_y @ about_x, np.float64)


def rigid(rotation: Floats, translation_m: Sequence[float] | Floats) -> Floats:
    """Transform `dst_from_src`, (4, 4), of a rotation (3, 3) and a translation (3,) in metres."""
    dst_from_src = np.eye(4)
    dst_from_src[:3, :3] = rotation
    dst_from_src[:3, 3] = translation_m
    return dst_from_src


@dataclass(frozen=True, eq=False)
class Primitive:
    """A unit shape scaled by `half_m`, turned by `world_from_local` (3, 3) and moved to `center_m`.

    Unit shapes: box [-1, 1]^3; ellipsoid of radius 1; capped cylinder of radius 1 about z with |z| <= 1;
    plane z = 0 (unbounded, normal +z).
    """

    shape: Shape
    center_m: Floats
    half_m: Floats
    world_from_local: Floats
    material: Material

    def to_unit(self, vectors: Floats) -> Floats:
        """World vectors (3, ...) in the frame of the unit shape; subtract `center_m` from points first."""
        local = self.world_from_local.T @ vectors.reshape(3, -1) / self.half_m[:, None]
        return local.reshape(vectors.shape)

    @cached_property
    def corners(self) -> Floats:
        """The eight world corners (8, 3) of the bounding box, in metres."""
        signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], np.float64)
        return np.asarray((signs * self.half_m) @ self.world_from_local.T + self.center_m, np.float64)

    def distance(self, point_m: Floats) -> float:
        """A lower bound in metres of the distance from a world point (3,)."""
        if self.shape == "plane":
            return 0.0
        return max(0.0, float(np.linalg.norm(self.center_m - point_m) - np.linalg.norm(self.half_m)))

    def hit(self, origin: Floats, direction: Floats) -> Floats:
        """Smallest t > 0 at which unit-frame rays (components along axis 0) meet the shape, else inf."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return _HIT[self.shape](origin, direction)

    def normals(self, points: Floats) -> Floats:
        """Outward world unit normals (3, n) at unit-frame surface points (3, n)."""
        local = _GRADIENT[self.shape](points) / self.half_m[:, None]
        return np.asarray(self.world_from_local @ (local / np.linalg.norm(local, axis=0)), np.float64)


def _first(t_in: Floats, t_out: Floats) -> Floats:
    """The first positive end of the interval [t_in, t_out]; inf where it is empty, behind, or NaN."""
    t = np.where(t_in > T_MIN, t_in, t_out)
    t[~((t_in <= t_out) & (t_out > T_MIN))] = np.inf
    return t


def _slab(o: Floats, d: Floats) -> tuple[Floats, Floats]:
    inverse = 1.0 / d
    t_low, t_high = (-1.0 - o) * inverse, (1.0 - o) * inverse
    return np.minimum(t_low, t_high), np.maximum(t_low, t_high)


def _quadratic(a: Floats, half_b: Floats, c: Floats) -> tuple[Floats, Floats]:
    """Roots of a t^2 + 2 half_b t + c with a >= 0; NaN where there are none."""
    root = np.sqrt(half_b * half_b - a * c)
    return (-half_b - root) / a, (-half_b + root) / a


def _hit_box(o: Floats, d: Floats) -> Floats:
    t_in, t_out = _slab(o[0], d[0])
    for axis in (1, 2):
        low, high = _slab(o[axis], d[axis])
        t_in, t_out = np.maximum(t_in, low), np.minimum(t_out, high)
    return _first(t_in, t_out)


def _hit_ellipsoid(o: Floats, d: Floats) -> Floats:
    half_b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    return _first(*_quadratic(np.asarray((d * d).sum(0)), half_b, (o * o).sum(0) - 1.0))


def _hit_cylinder(o: Floats, d: Floats) -> Floats:
    # An upright ray has a = 0: the tiny floor puts its two roots at -+infinity in effect, the caps decide.
    a, half_b = np.maximum(d[0] ** 2 + d[1] ** 2, 1e-300), o[0] * d[0] + o[1] * d[1]
    side_in, side_out = _quadratic(a, half_b, o[0] ** 2 + o[1] ** 2 - 1.0)
    cap_in, cap_out = _slab(o[2], d[2])
    return _first(np.maximum(side_in, cap_in), np.minimum(side_out, cap_out))


def _hit_plane(o: Floats, d: Floats) -> Floats:
    t = -o[2] / d[2]
    return np.where(t > T_MIN, t, np.inf)


def _gradient_box(p: Floats) -> Floats:
    axis = np.abs(p).argmax(0)
    gradient = np.zeros_like(p)
    column = np.arange(p.shape[1])
    gradient[axis, column] = np.sign(p[axis, column])
    return gradient


def _gradient_cylinder(p: Floats) -> Floats:
    on_cap = np.abs(p[2]) > np.hypot(p[0], p[1])
    return np.where(on_cap, np.stack([0 * p[0], 0 * p[0], p[2]]), np.stack([p[0], p[1], 0 * p[2]]))


def _gradient_plane(p: Floats) -> Floats:
    return np.repeat([[0.0], [0.0], [1.0]], p.shape[1], axis=1)


_HIT: dict[Shape, Callable[[Floats, Floats], Floats]] = {
    "box": _hit_box,
    "ellipsoid": _hit_ellipsoid,
    "cylinder": _hit_cylinder,
    "plane": _hit_plane,
}
_GRADIENT: dict[Shape, Callable[[Floats], Floats]] = {
    "box": _gradient_box,
    "ellipsoid": lambda p: p,
    "cylinder": _gradient_cylinder,
    "plane": _gradient_plane,
}
