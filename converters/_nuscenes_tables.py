"""The nuScenes table schema: JSON lists of token-linked rows, streamed, joined to keyframes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ijson
import numpy as np

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.errors import CheckError
from depthvlm_bench.geometry.rigid import invert_transform, transform_from_quaternion

Row = dict[str, Any]


@dataclass(frozen=True)
class Keyframe:
    """One sample: the rows of its sensors by channel, and the transforms of each row.

    Attributes:
        scene: scene name.
        token: sample token.
        time_us: sample time stamp.
        rows: channel -> sample_data row, with `K`, `global_from_ego` and `ego_from_sensor` joined in.
    """

    scene: str
    token: str
    time_us: int
    rows: dict[str, Row]


class Tables:
    """The tables of one version folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stream(self, name: str) -> Iterator[Row]:
        """Rows of a table, one at a time: two tables of trainval are larger than a gigabyte."""
        path = self.folder / f"{name}.json"
        try:
            with path.open("rb") as file:
                yield from ijson.items(file, "item", use_float=True)
        except (OSError, ijson.JSONError) as error:
            why = getattr(error, "strerror", None) or "not a JSON list of objects, or cut off"
            again = "unpack the dataset's metadata archive again"
            what = f"nuScenes table {name}.json cannot be read"
            raise CheckError(what, where=path, why=why, next_step=again) from error

    def scene_names(self) -> set[str]:
        """Names of all scenes."""
        with self._consistent():
            return {row["name"] for row in self.stream("scene")}

    def keyframes(self, scene_names: set[str], channels: tuple[str, ...]) -> Iterator[Keyframe]:
        """Keyframes of scenes with the sample_data of some channels; CheckError where tables disagree."""
        with self._consistent():
            yield from self._keyframes(scene_names, channels)

    @contextmanager
    def _consistent(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            missing = isinstance(error, KeyError)
            raise CheckError(
                "nuScenes tables do not fit together",
                where=self.folder,
                why=f"token or field {error} is missing" if missing else str(error),
                next_step="unpack the dataset's metadata archive again",
            ) from error

    def _keyframes(self, scene_names: set[str], channels: tuple[str, ...]) -> Iterator[Keyframe]:
        scenes = {row["token"]: row["name"] for row in self.stream("scene") if row["name"] in scene_names}
        samples = {row["token"]: row for row in self.stream("sample") if row["scene_token"] in scenes}
        sensors = {row["token"]: row["channel"] for row in self.stream("sensor")}
        rigs = {row["token"]: row for row in self.stream("calibrated_sensor")}
        found: dict[str, dict[str, Row]] = {token: {} for token in samples}
        for row in self.stream("sample_data"):
            channel = sensors[rigs[row["calibrated_sensor_token"]]["sensor_token"]]
            if row["is_key_frame"] and row["sample_token"] in samples and channel in channels:
                found[row["sample_token"]][channel] = row
        used = {row["ego_pose_token"] for rows in found.values() for row in rows.values()}
        poses = {row["token"]: row for row in self.stream("ego_pose") if row["token"] in used}
        for token, rows in found.items():
            sample = samples[token]
            joined = {
                c: _join(r, rigs[r["calibrated_sensor_token"]], poses[r["ego_pose_token"]])
                for c, r in rows.items()
            }
            yield Keyframe(scenes[sample["scene_token"]], token, sample["timestamp"], joined)


def _join(row: Row, rig: Row, pose: Row) -> Row:
    if not isinstance(row["filename"], str) or not isinstance(row["timestamp"], int):
        raise TypeError(f"sample_data {row['token']} has no file name or time stamp")
    return row | {
        "K": rig["camera_intrinsic"],
        "global_from_ego": transform_from_quaternion(pose["rotation"], pose["translation"]),
        "ego_from_sensor": transform_from_quaternion(rig["rotation"], rig["translation"]),
    }


def cam_from_lidar(camera: Row, lidar: Row, *, ego_motion: bool = True) -> FloatArray:
    """LiDAR -> ego at its time -> global -> ego at the picture's time -> camera; 4x4 float64.

    Without `ego_motion` the car stands still between the two, as in the paper's script.
    """
    cam_from_ego = invert_transform(camera["ego_from_sensor"])
    way = invert_transform(camera["global_from_ego"]) @ lidar["global_from_ego"] if ego_motion else np.eye(4)
    return np.asarray(cam_from_ego @ way @ lidar["ego_from_sensor"])


def ego_shift_m(camera: Row, lidar: Row) -> float:
    """How far the car moved between sweep and picture."""
    return float(np.linalg.norm((camera["global_from_ego"] - lidar["global_from_ego"])[:3, 3]))
