"""Pictures of ray-cast scenes: textures, sun and sky light, shadows on the floor, haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from depthvlm_bench.demo.materials import Colour, Singles
from depthvlm_bench.demo.raycast import Hits, Pinhole, Window, cast_camera, windows_of
from depthvlm_bench.demo.shapes import Floats, Primitive

# A lens spreads a point a little; it also hides the staircase edges of one ray a pixel.
_LENS = ImageFilter.Kernel((3, 3), (1, 2, 1, 2, 10, 2, 1, 2, 1))


_CHUNK = 8192
"""Pixels shaded at a time: their temporaries stay in the cache."""


@dataclass(frozen=True)
class Scene:
    """Primitives and their light; `primitives[0]` is the floor (plane z = 0) that shadows fall on.

    `to_light` (3,) points from a surface to the light; `sunlight` and `ambient` multiply its colour; haze
    turns that into `horizon` with the length scale `haze_m` (inf: none).
    """

    primitives: tuple[Primitive, ...]
    to_light: Floats
    sunlight: float
    ambient: float
    zenith: Colour = (255, 255, 255)
    horizon: Colour = (255, 255, 255)
    haze_m: float = float("inf")
    shadow_blur_px: float = 1.2


def render(scene: Scene, camera: Pinhole, world_from_cam: Floats) -> tuple[npt.NDArray[np.uint8], Hits]:
    """The picture (H, W, 3) of a scene from pose `world_from_cam` (4, 4), with the exact hits behind it."""
    hits = cast_camera(scene.primitives, camera, world_from_cam)
    rgb = np.empty((camera.height * camera.width, 3), np.float32)
    light = 1.0 - 0.8 * _shadow(scene, camera, world_from_cam, hits).ravel()
    flat_which, flat_t = hits.primitive.ravel(), hits.t.ravel()
    order = np.argsort(flat_which, kind="stable")
    ends = np.searchsorted(flat_which[order], np.arange(-1, len(scene.primitives)), side="right")
    _paint_sky(scene, camera, world_from_cam, order[: ends[0]], rgb)
    for primitive, first, last in zip(scene.primitives, ends[:-1], ends[1:], strict=True):
        for start in range(first, last, _CHUNK):
            pixels = order[start : min(start + _CHUNK, last)]
            rgb[pixels] = _shade(
                scene, primitive, camera, world_from_cam, pixels, flat_t[pixels], light[pixels]
            )
    picture = Image.fromarray(np.clip(rgb + 0.5, 0, 255).astype(np.uint8).reshape(*hits.t.shape, 3))
    return np.asarray(picture.filter(_LENS)), hits


def _directions(camera: Pinhole, world_from_cam: Floats, pixels: npt.NDArray[np.intp]) -> Floats:
    """World directions (3, n) through flat pixel numbers (n,)."""
    v, u = np.divmod(pixels, camera.width)
    return np.asarray(world_from_cam[:3, :3] @ camera.rays(u, v).T, np.float64)


def _paint_sky(
    scene: Scene, camera: Pinhole, world_from_cam: Floats, pixels: npt.NDArray[np.intp], rgb: Singles
) -> None:
    direction = _directions(camera, world_from_cam, pixels)
    height = direction[2] / np.linalg.norm(direction, axis=0)
    part = np.clip(height / 0.45, 0.0, 1.0)[:, None] ** 0.7
    rgb[pixels] = (1.0 - part) * np.asarray(scene.horizon) + part * np.asarray(scene.zenith)


def _shade(
    scene: Scene,
    primitive: Primitive,
    camera: Pinhole,
    world_from_cam: Floats,
    pixels: npt.NDArray[np.intp],
    t: Floats,
    light: Singles,
) -> Singles:
    """Colours (n, 3) of the pixels (n,) in which one primitive is seen at z-depths t (n,)."""
    world = world_from_cam[:3, 3:] + t * _directions(camera, world_from_cam, pixels)
    unit = primitive.to_unit(world - primitive.center_m[:, None])
    normals = primitive.normals(unit)
    colour = primitive.material.colour(*_surface_coordinates(primitive, unit, normals))
    if primitive.material.emits:
        return colour
    sun = np.maximum(scene.to_light @ normals, 0.0) * scene.sunlight * light
    # Less sky reaches a wall near the floor and an overhang than a roof.
    sky = scene.ambient * (0.85 + 0.15 * normals[2])
    sky *= np.where(np.abs(normals[2]) < 0.5, 0.72 + 0.28 * np.clip(world[2] / 0.7, 0.0, 1.0), 1.0)
    colour *= (sun + sky).astype(np.float32)[:, None]
    seen = np.exp(-t / scene.haze_m).astype(np.float32)[:, None]
    return seen * colour + (1.0 - seen) * np.asarray(scene.horizon, np.float32)


def _surface_coordinates(primitive: Primitive, unit: Floats, normals: Floats) -> tuple[Singles, Singles]:
    """Coordinates u, v (n,) in metres on the surface; v is the height on upright faces."""
    metres = unit * primitive.half_m[:, None]
    if primitive.shape == "plane":
        return metres[0].astype(np.float32), metres[1].astype(np.float32)
    if primitive.shape == "cylinder":
        around = np.arctan2(metres[1], metres[0]) * primitive.half_m[0]
        return around.astype(np.float32), (metres[2] + primitive.half_m[2]).astype(np.float32)
    facing = np.abs(primitive.world_from_local.T @ normals).argmax(0)
    u = np.where(facing == 0, metres[1], metres[0])
    v = np.where(facing == 2, metres[1], metres[2] + primitive.half_m[2])
    return u.astype(np.float32), v.astype(np.float32)


def _shadow(scene: Scene, camera: Pinhole, world_from_cam: Floats, hits: Hits) -> Singles:
    """How much of the light is blocked, (H, W) in 0 .. 1; on the floor only."""
    blocked = np.zeros(hits.t.shape, np.uint8)
    casters = [p for p in scene.primitives if p.shape != "plane" and not p.material.emits]
    corners = np.stack([p.corners for p in casters])
    on_floor = corners - corners[..., 2:] / scene.to_light[2] * scene.to_light
    for caster, window in zip(casters, windows_of(on_floor, camera, world_from_cam), strict=True):
        if window is not None:
            _add_shadow(scene, caster, camera, world_from_cam, hits, window, blocked)
    soft = Image.fromarray(blocked).filter(ImageFilter.GaussianBlur(scene.shadow_blur_px))
    return np.where(hits.primitive == 0, np.asarray(soft, np.float32) / 255.0, np.float32(0.0))


def _add_shadow(
    scene: Scene,
    caster: Primitive,
    camera: Pinhole,
    world_from_cam: Floats,
    hits: Hits,
    window: Window,
    blocked: npt.NDArray[np.uint8],
) -> None:
    v, u = np.nonzero((hits.primitive[window] == 0) & (blocked[window] == 0))
    v, u = v + window[0].start, u + window[1].start
    floor = world_from_cam[:3, 3:] + hits.t[v, u] * _directions(camera, world_from_cam, v * camera.width + u)
    t = caster.hit(caster.to_unit(floor - caster.center_m[:, None]), caster.to_unit(scene.to_light)[:, None])
    blocked[v, u] = np.where(np.isfinite(t), 255, 0)
