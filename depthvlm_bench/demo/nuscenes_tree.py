"""A driving demo set on disk in the layout of nuScenes v1.0-mini, and the exact truth behind it.

Two scenes, one from the official mini_train list and one from mini_val, with samples at 2 Hz. As in the real
set every sensor fires at its own time from its own ego pose, so that a reader that leaves ego motion out is
measurably wrong.

Convention: ego frame x forward, y left, z up; `calibrated_sensor` is ego_from_sensor, `ego_pose` is
global_from_ego (its height is 0); quaternions are wxyz.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from depthvlm_bench.demo.nuscenes_rig import (
    CAMERAS,
    LIDAR,
    SAMPLE_US,
    camera_of,
    ego_from_sensor,
    lidar_rays,
    shot_us,
    street_from_ego,
)
from depthvlm_bench.demo.nuscenes_tables import file_name, write_tables
from depthvlm_bench.demo.raycast import cast
from depthvlm_bench.demo.render import Scene, render
from depthvlm_bench.demo.shapes import Floats
from depthvlm_bench.demo.streets import STREETS, make_street

MAX_RANGE_M = 100.0
SWEEP_US, SWEEP_AZIMUTHS = SAMPLE_US // 10, 270


def nuscenes_truth(
    scene_name: str,
    sample_index: int,
    channel: str,
    u_px: npt.ArrayLike,
    v_px: npt.ArrayLike,
    *,
    width: int = 704,
    height: int = 396,
    seed: int = 0,
) -> Floats:
    """Exact z-depth in metres, float64 (N,), along the rays of camera pixels (N,); NaN in the sky.

    `u_px`, `v_px` may be fractional (pixel centres at integers) and belong to pictures of `width` x `height`.
    The world is cast from the camera's own pose at its own time, so neither the LiDAR nor ego motion enters.
    """
    camera = camera_of(channel, width, height)
    street_from_cam = street_from_ego(shot_us(sample_index, channel)) @ ego_from_sensor(channel)
    directions = camera.rays(u_px, v_px) @ street_from_cam[:3, :3].T
    hits = cast(make_street(scene_name, seed).primitives, street_from_cam[:3, 3], directions)
    return np.where(np.isfinite(hits.t), hits.t, np.nan)


def write_nuscenes(
    root: Path, *, samples: int = 3, width: int = 704, height: int = 396, seed: int = 0
) -> None:
    """Write v1.0-mini/*.json, samples/ and one LiDAR sweep below `root`; `samples` (1 to 12) a scene."""
    if not 1 <= samples <= 12:
        raise ValueError(f"samples must be 1 to 12, got {samples}: the demo streets end there")
    write_tables(root / "v1.0-mini", samples, width, height)
    for name in STREETS:
        scene = make_street(name, seed)
        for sample in range(samples):
            for channel in CAMERAS:
                _write_picture(root, name, scene, sample, channel, width, height)
            _write_lidar(root / file_name(name, shot_us(sample, LIDAR), LIDAR), scene, shot_us(sample, LIDAR))
    _write_sweep(root, seed)


def _write_picture(
    root: Path, name: str, scene: Scene, sample: int, channel: str, width: int, height: int
) -> None:
    time_us = shot_us(sample, channel)
    street_from_cam = street_from_ego(time_us) @ ego_from_sensor(channel)
    rgb, _ = render(scene, camera_of(channel, width, height), street_from_cam)
    path = root / file_name(name, time_us, channel)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path, quality=95)


def _write_lidar(path: Path, scene: Scene, time_us: int, azimuths: int = 1080) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lidar_points(scene, time_us, azimuths).tobytes())


def lidar_points(scene: Scene, time_us: int, azimuths: int = 1080) -> npt.NDArray[np.float32]:
    """One turn of the LiDAR, float32 (N, 5): x, y, z in its own frame in metres, intensity, ring."""
    street_from_lidar = street_from_ego(time_us) @ ego_from_sensor(LIDAR)
    directions, ring = lidar_rays(azimuths)
    primitives = [p for p in scene.primitives if p.distance(street_from_lidar[:3, 3]) < MAX_RANGE_M]
    hits = cast(primitives, street_from_lidar[:3, 3], directions @ street_from_lidar[:3, :3].T)
    kept = hits.t < MAX_RANGE_M
    range_m = hits.t[kept, None]
    brightness = np.array([np.mean(p.material.palette[0]) for p in primitives])[hits.primitive[kept]]
    intensity = np.floor(brightness * np.exp(-range_m[:, 0] / 60.0))
    return np.column_stack([directions[kept] * range_m, intensity, ring[kept]]).astype("<f4")


def _write_sweep(root: Path, seed: int) -> None:
    """One turn between two key frames of the first scene; a reader of key frames must pass it by."""
    time_us = SWEEP_US
    path = root / file_name(STREETS[0], time_us, LIDAR, key_frame=False)
    _write_lidar(path, make_street(STREETS[0], seed), time_us, SWEEP_AZIMUTHS)
