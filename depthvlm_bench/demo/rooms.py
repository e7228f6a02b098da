"""Rooms of the indoor demo set: shell, furniture, light and a camera looking in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depthvlm_bench.demo.furniture import CEILING, GLASS, Parts
from depthvlm_bench.demo.raycast import FORWARD_FROM_CAM
from depthvlm_bench.demo.render import Scene
from depthvlm_bench.demo.room_plans import PLANS, Plan
from depthvlm_bench.demo.shapes import Floats, rigid, rotation_zyx
from depthvlm_bench.demo.solids import plane

KINDS = tuple(PLANS)


@dataclass(frozen=True)
class Room:
    """A scene, the pose `world_from_cam` (4, 4) in it, and the numbers of the primitives made of glass."""

    scene: Scene
    world_from_cam: Floats
    glass: tuple[int, ...]


def make_room(kind: str, variant: int, seed: int = 0) -> Room:
    """The room of a kind (one of `KINDS`) with its camera; colours and pose differ between variants."""
    rng = np.random.default_rng([seed, variant, KINDS.index(kind)])
    plan = PLANS[kind](rng)
    shell = _shell(plan)
    parts = (*shell, *plan.parts)
    side = -1.0 if rng.random() < 0.5 else 1.0
    position = (rng.uniform(0.25, 0.7), side * rng.uniform(0.05, 0.16) * plan.width, rng.uniform(1.35, 1.65))
    yaw = plan.aim_deg - side * rng.uniform(2.0, 7.0)
    world_from_body = rotation_zyx(yaw, rng.uniform(5.0, 10.0), rng.uniform(-1.5, 1.5))
    to_light = np.array([-0.28, 0.22, 1.0]) / np.linalg.norm([-0.28, 0.22, 1.0])
    scene = Scene(parts, to_light, sunlight=0.42, ambient=0.8, shadow_blur_px=5.0)
    glass = tuple(n for n, p in enumerate(parts) if p.material is GLASS)
    return Room(scene, rigid(np.asarray(world_from_body @ FORWARD_FROM_CAM), position), glass)


def _shell(plan: Plan) -> Parts:
    """Floor, ceiling and four walls; the z axis of each wall points into the room, its v axis up."""
    along_x, along_y = (
        np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
        np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    )
    back, right = rotation_zyx(180.0) @ along_x, rotation_zyx(180.0) @ along_y
    half = plan.width / 2
    return [
        plane((0.0, 0.0, 0.0), plan.floor),
        plane((0.0, 0.0, plan.height), CEILING, rotation_zyx(0.0, 0.0, 180.0)),
        plane((0.0, 0.0, 0.0), plan.walls, along_x),
        plane((plan.length, 0.0, 0.0), plan.walls, np.asarray(back)),
        plane((0.0, half, 0.0), plan.walls, along_y),
        plane((0.0, -half, 0.0), plan.walls, np.asarray(right)),
    ]
