"""The 13 JSON tables of the nuScenes schema for the driving demo set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from depthvlm_bench.demo.nuscenes_rig import (
    CAMERAS,
    CHANNELS,
    LIDAR,
    SAMPLE_US,
    camera_of,
    ego_from_sensor,
    quaternion_wxyz,
    shot_us,
    street_from_ego,
)
from depthvlm_bench.demo.shapes import Floats, rigid, rotation_zyx
from depthvlm_bench.demo.streets import STREETS

Row = dict[str, Any]
Tables = Mapping[str, list[Row]]

_START_US = {"scene-0061": 1_714_557_600_350_000, "scene-0103": 1_714_561_200_150_000}
_LOGFILES = {"scene-0061": "demo-2024-05-01-10-00-00+0000", "scene-0103": "demo-2024-05-01-11-00-00+0000"}
# Far from the origin and turned, so that a frame mixed up cannot stay unseen.
_GLOBAL_FROM_STREET = {
    "scene-0061": rigid(rotation_zyx(108.0), (412.0, 1180.0, 0.0)),
    "scene-0103": rigid(rotation_zyx(-37.0), (640.0, 1605.0, 0.0)),
}


def token(*labels: object) -> str:
    """A stable 32-hex token of labels; it names rows, it guards nothing."""
    return hashlib.md5("/".join(map(str, labels)).encode(), usedforsecurity=False).hexdigest()


def global_from_ego(scene_name: str, time_us: int) -> Floats:
    """The car's pose, (4, 4), in the global frame of the tables."""
    return _GLOBAL_FROM_STREET[scene_name] @ street_from_ego(time_us)


def file_name(scene_name: str, time_us: int, channel: str, *, key_frame: bool = True) -> str:
    """Path of a sensor file below the root, as `sample_data.filename` holds it."""
    folder, ending = ("samples" if key_frame else "sweeps"), (".pcd.bin" if channel == LIDAR else ".jpg")
    stamp_us = _START_US[scene_name] + time_us
    return f"{folder}/{channel}/{_LOGFILES[scene_name]}__{channel}__{stamp_us}{ending}"


def write_tables(folder: Path, samples: int, width: int, height: int) -> None:
    """Write every table of the schema; as in the official test set there are no boxes, so two stay empty."""
    folder.mkdir(parents=True, exist_ok=True)
    shots = [row for name in STREETS for row in _shots(name, samples, width, height)]
    tables: Tables = {
        **_vocabulary(),
        "log": [_log(name) for name in STREETS],
        "map": [_map()],
        "scene": [_scene(name, samples) for name in STREETS],
        "sample": [_sample(name, number, samples) for name in STREETS for number in range(samples)],
        "sensor": [_sensor(channel) for channel in CHANNELS],
        "calibrated_sensor": [_calibration(n, c, width, height) for n in STREETS for c in CHANNELS],
        "sample_data": [shot for shot, _ in shots],
        "ego_pose": [pose for _, pose in shots],
        "instance": [],
        "sample_annotation": [],
    }
    for table, rows in tables.items():
        (folder / f"{table}.json").write_text(json.dumps(rows, indent=0), encoding="ascii", newline="\n")


def _vocabulary() -> Tables:
    levels = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}
    return {
        "category": [
            {"token": token("category", name), "name": name, "description": description}
            for name, description in (("vehicle.car", "A car."), ("vehicle.truck", "A truck."))
        ],
        "attribute": [{"token": token("attribute"), "name": "vehicle.parked", "description": "Parked."}],
        "visibility": [
            {"token": number, "level": level, "description": f"visible part of the object: {level[1:]} %"}
            for number, level in levels.items()
        ],
    }


def _log(name: str) -> Row:
    return {
        "token": token(name, "log"),
        "logfile": _LOGFILES[name],
        "vehicle": "demo",
        "date_captured": "2024-05-01",
        "location": "demo-street",
    }


def _map() -> Row:
    return {
        "token": token("map"),
        "category": "semantic_prior",
        "filename": "",
        "log_tokens": [token(name, "log") for name in STREETS],
    }


def _scene(name: str, samples: int) -> Row:
    return {
        "token": token(name),
        "log_token": token(name, "log"),
        "nbr_samples": samples,
        "first_sample_token": token(name, 0),
        "last_sample_token": token(name, samples - 1),
        "name": name,
        "description": "Procedural demo street, parked cars and trucks",
    }


def _sample(name: str, number: int, samples: int) -> Row:
    return {
        "token": token(name, number),
        "timestamp": _START_US[name] + shot_us(number, LIDAR),
        "prev": token(name, number - 1) if number > 0 else "",
        "next": token(name, number + 1) if number + 1 < samples else "",
        "scene_token": token(name),
    }


def _sensor(channel: str) -> Row:
    modality = "camera" if channel in CAMERAS else "lidar"
    return {"token": token("sensor", channel), "channel": channel, "modality": modality}


def _calibration(name: str, channel: str, width: int, height: int) -> Row:
    mounting, intrinsic = ego_from_sensor(channel), []
    if channel in CAMERAS:
        cam = camera_of(channel, width, height)
        intrinsic = [[cam.fx_px, 0.0, cam.cx_px], [0.0, cam.fy_px, cam.cy_px], [0.0, 0.0, 1.0]]
    return {
        "token": token(name, "calibrated", channel),
        "sensor_token": token("sensor", channel),
        "translation": mounting[:3, 3].tolist(),
        "rotation": quaternion_wxyz(mounting[:3, :3]),
        "camera_intrinsic": intrinsic,
    }


def _shots(name: str, samples: int, width: int, height: int) -> list[tuple[Row, Row]]:
    """All `sample_data` rows of a scene with their `ego_pose` rows, each channel linked in order of time."""
    pairs: list[tuple[Row, Row]] = []
    for channel in CHANNELS:
        size = (width, height) if channel in CAMERAS else (0, 0)
        shots = [_shot(name, number, channel, shot_us(number, channel), size) for number in range(samples)]
        if channel == LIDAR and name == STREETS[0]:
            shots.insert(1, _shot(name, min(1, samples - 1), channel, SAMPLE_US // 10, size, key_frame=False))
        for (before, _), (after, _) in pairwise(shots):
            before["next"], after["prev"] = after["token"], before["token"]
        pairs += shots
    return pairs


def _shot(
    name: str, number: int, channel: str, time_us: int, size: tuple[int, int], *, key_frame: bool = True
) -> tuple[Row, Row]:
    pose, stamp_us = global_from_ego(name, time_us), _START_US[name] + time_us
    ego_pose = {
        "token": token(name, "pose", channel, time_us),
        "timestamp": stamp_us,
        "rotation": quaternion_wxyz(pose[:3, :3]),
        "translation": pose[:3, 3].tolist(),
    }
    sample_data = {
        "token": token(name, "data", channel, time_us),
        "sample_token": token(name, number),
        "ego_pose_token": ego_pose["token"],
        "calibrated_sensor_token": token(name, "calibrated", channel),
        "timestamp": stamp_us,
        "fileformat": "pcd" if channel == LIDAR else "jpg",
        "is_key_frame": key_frame,
        "height": size[1],
        "width": size[0],
        "filename": file_name(name, time_us, channel, key_frame=key_frame),
        "prev": "",
        "next": "",
    }
    return sample_data, ego_pose
