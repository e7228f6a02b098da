"""Ray casting of primitives: for rays at will (LiDAR, truth) and, faster, for all pixels of a camera.

Convention: the world is right-handed with z up, in metres. Cameras are OpenCV (x right, y down, z forward)
with pixel centres at integer coordinates. For a ray whose camera-frame direction is (x, y, 1) the ray
parameter t is the z-depth itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from depthvlm_bench.demo.shapes import Floats, Primitive

Window = tuple[slice, slice]

FORWARD_FROM_CAM: Floats = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""(3, 3) rotation from the OpenCV camera frame to a body frame with x forward, y left, z up."""

NEAR_M = 0.02


@dataclass(frozen=True)
class Pinhole:
    """A distortion-free camera; pixel centres at integer coordinates, all in pixels."""

    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    width: int
    height: int

    def rays(self, u_px: npt.ArrayLike, v_px: npt.ArrayLike) -> Floats:
        """Camera-frame directions (..., 3) with z = 1 through pixels u, v (broadcast together)."""
        x = (np.asarray(u_px, np.float64) - self.cx_px) / self.fx_px
        y = (np.asarray(v_px, np.float64) - self.cy_px) / self.fy_px
        x, y = np.broadcast_arrays(x, y)
        return np.stack([x, y, np.ones_like(x)], axis=-1)


class Hits(NamedTuple):
    """What rays met: `t` float64, inf where nothing; `primitive` int16, its number, -1 where nothing."""

    t: Floats
    primitive: npt.NDArray[np.int16]


def cast(primitives: Sequence[Primitive], origins: npt.ArrayLike, directions: npt.ArrayLike) -> Hits:
    """First hits of rays: origins (3,) or (..., 3) in metres, directions (..., 3) of any length.

    Returns `Hits` of shape (...); the hit point is origin + t * direction.
    """
    d = np.asarray(directions, np.float64)
    shape = d.shape[:-1]
    o = np.asarray(origins, np.float64)
    o = o[:, None] if o.ndim == 1 else np.broadcast_to(o, d.shape).reshape(-1, 3).T
    d = np.ascontiguousarray(d.reshape(-1, 3).T)
    d_norm = np.linalg.norm(d, axis=0)
    t = np.full(d.shape[1], np.inf)
    which = np.full(d.shape[1], -1, np.int16)
    for number, primitive in enumerate(primitives):
        near = _near_sphere(primitive, o, d, d_norm)
        origin = (o if o.shape[1] == 1 else o[:, near]) - primitive.center_m[:, None]
        t_new = primitive.hit(primitive.to_unit(origin), primitive.to_unit(d[:, near]))
        closer = t_new < t[near]
        t[near[closer]] = t_new[closer]
        which[near[closer]] = number
    return Hits(t.reshape(shape), which.reshape(shape))


def cast_camera(primitives: Sequence[Primitive], camera: Pinhole, world_from_cam: Floats) -> Hits:
    """First hits, (H, W), of every pixel of a camera at pose `world_from_cam` (4, 4); t is the z-depth in m.

    Gives what `cast` gives, but tries each primitive only in the window of pixels it can appear in.
    """
    t = np.full((camera.height, camera.width), np.inf)
    which = np.full(t.shape, -1, np.int16)
    windows = windows_of(np.stack([p.corners for p in primitives]), camera, world_from_cam)
    for number, (primitive, window) in enumerate(zip(primitives, windows, strict=True)):
        if primitive.shape == "plane":
            window = (slice(0, camera.height), slice(0, camera.width))
        if window is None:
            continue
        t_new = _hit_window(primitive, camera, world_from_cam, window)
        closer = t_new < t[window]
        np.copyto(t[window], t_new, where=closer)
        np.copyto(which[window], np.int16(number), where=closer)
    return Hits(t, which)


def windows_of(hulls_world: Floats, camera: Pinhole, world_from_cam: Floats) -> list[Window | None]:
    """Rows and columns that hold each convex hull of world points (n, k, 3); None where it is out of view."""
    cam = (hulls_world - world_from_cam[:3, 3]) @ world_from_cam[:3, :3]
    in_front = cam[..., 2] > NEAR_M
    spans = _spans(np.where(in_front[..., None], cam, [0.0, 0.0, 1.0]), camera)
    for number in np.flatnonzero(in_front.any(1) & ~in_front.all(1)):
        spans[number] = _spans(_beyond_near(cam[number], in_front[number])[None], camera)[0]
    seen = in_front.any(1) & (spans[:, 0] < spans[:, 1]) & (spans[:, 2] < spans[:, 3])
    rows_columns = zip(seen.tolist(), spans.tolist(), strict=True)
    return [
        (slice(top, end), slice(left, right)) if ok else None for ok, (top, end, left, right) in rows_columns
    ]


def _beyond_near(cam: Floats, in_front: npt.NDArray[np.bool_]) -> Floats:
    """Points (m, 3) that span what the hull of camera-frame points (k, 3) has beyond the near plane."""
    front, behind = cam[in_front], cam[~in_front]
    part = (front[:, None, 2] - NEAR_M) / (front[:, None, 2] - behind[None, :, 2])
    crossings = front[:, None] + part[..., None] * (behind[None] - front[:, None])
    return np.concatenate([front, crossings.reshape(-1, 3)])


def _spans(cam: Floats, camera: Pinhole) -> npt.NDArray[np.int64]:
    """First and past-the-end row and column (n, 4) of camera-frame points (n, k, 3), cut to the picture."""
    v = cam[..., 1] / cam[..., 2] * camera.fy_px + camera.cy_px
    u = cam[..., 0] / cam[..., 2] * camera.fx_px + camera.cx_px
    ends = [np.floor(v.min(1)), np.ceil(v.max(1)) + 1, np.floor(u.min(1)), np.ceil(u.max(1)) + 1]
    limits = [camera.height, camera.height, camera.width, camera.width]
    spans: npt.NDArray[np.int64] = np.clip(np.stack(ends, axis=1), 0, limits).astype(np.int64)
    return spans


def _hit_window(primitive: Primitive, camera: Pinhole, world_from_cam: Floats, window: Window) -> Floats:
    """t over a window of pixels; a pinhole's directions are separable, so each component is one outer sum."""
    unit_from_cam = primitive.to_unit(world_from_cam[:3, :3])
    origin = primitive.to_unit(world_from_cam[:3, 3] - primitive.center_m)
    x = (np.arange(camera.width, dtype=np.float64)[window[1]] - camera.cx_px) / camera.fx_px
    y = (np.arange(camera.height, dtype=np.float64)[window[0]] - camera.cy_px) / camera.fy_px
    direction = np.stack([np.add.outer(row[1] * y + row[2], row[0] * x) for row in unit_from_cam])
    return primitive.hit(origin, direction)


def _near_sphere(primitive: Primitive, o: Floats, d: Floats, d_norm: Floats) -> npt.NDArray[np.intp]:
    """Numbers of the rays (3, n) that can meet the primitive's bounding sphere."""
    if primitive.shape == "plane":
        return np.arange(d.shape[1])
    to_center = primitive.center_m[:, None] - o
    outside_sq = (to_center**2).sum(0) - float(primitive.half_m @ primitive.half_m) * (1.0 + 1e-9)
    tangent = np.where(outside_sq > 0.0, np.sqrt(np.maximum(outside_sq, 0.0)), -np.inf)
    along = to_center[:, 0] @ d if o.shape[1] == 1 else (to_center * d).sum(0)
    return np.flatnonzero(along >= tangent * d_norm)
