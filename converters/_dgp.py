"""TRI's DGP scenes: JSON written from proto3 messages, in which default values may be left out."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.converters._cameras import pinhole_from_matrix
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.errors import CheckError, FrameError, SkipReason
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.rigid import invert_transform, transform_from_quaternion

# What JSON of another shape raises where it is looked into.
ANOTHER_SHAPE = (AttributeError, TypeError, LookupError, ValueError)
INTRINSICS = ("fx", "fy", "cx", "cy")

Message = dict[str, Any]


def scene_files(path: Path, numbers: Mapping[str, str]) -> dict[str, list[str]]:
    """Scene files that a dataset's JSON lists, sorted, by split; CheckError where it is none."""
    try:
        splits = json.loads(path.read_bytes())["scene_splits"]
        return {name: sorted(splits.get(n, {}).get("filenames", [])) for name, n in numbers.items()}
    except (OSError, RecursionError, *ANOTHER_SHAPE) as error:
        why, again = f"{type(error).__name__} {error}", "unpack it from the archive again"
        raise CheckError("list of scenes cannot be read", where=path, why=why, next_step=again) from error


def read_message(tree: RawTree, path: str, missing: SkipReason) -> Message:
    """A JSON object; FrameError `missing` or `unreadable`."""
    try:
        message = json.loads(tree.read(path, missing))
    except (ValueError, RecursionError) as error:
        raise FrameError("unreadable", f"{path}: {error}") from error
    if not isinstance(message, dict):
        raise FrameError("unreadable", f"{path}: no JSON object")
    return message


def samples(tree: RawTree, path: str) -> Iterator[tuple[str, dict[str, Message]]]:
    """Samples of a scene: path of the calibration, and the image or point cloud of each sensor by its name.

    File names become relative to the tree's root; the JSON has them relative to the scene's folder.

    Raises:
        FrameError: `missing_scene` without the file, `unreadable` where it is no scene.
    """
    scene, folder = read_message(tree, path, "missing_scene"), PurePosixPath(path).parent
    try:
        data = {datum["key"]: datum for datum in scene.get("data", [])}
        for sample in scene.get("samples", []):
            found: dict[str, Message] = {}
            for datum in (data[key] for key in sample.get("datum_keys", [])):
                (message,) = datum["datum"].values()  # image, point_cloud or another, never two
                found[datum["id"]["name"]] = message | {"filename": str(folder / message["filename"])}
            yield f"{folder}/calibration/{sample['calibration_key']}.json", found
    except ANOTHER_SHAPE as error:
        why = f"{type(error).__name__} {error}"
        raise FrameError("unreadable", f"{path} is no DGP scene: {why}") from error


def pose_matrix(pose: Mapping[str, Any] | None, where: str) -> FloatArray:
    """A pose message as 4x4: a number left out is 0, a rotation left out is none; FrameError `unreadable`."""
    try:
        turn = (pose or {}).get("rotation") or {"qw": 1.0}
        shift = (pose or {}).get("translation") or {}
        quaternion = [float(turn.get(name, 0)) for name in ("qw", "qx", "qy", "qz")]
        return transform_from_quaternion(quaternion, [float(shift.get(name, 0)) for name in "xyz"])
    except ANOTHER_SHAPE as error:
        raise FrameError("unreadable", f"{where}: no pose: {error}") from error


class Calibration:
    """A calibration file: intrinsics and extrinsics of the sensors, in lists that run in parallel."""

    def __init__(self, tree: RawTree, path: str) -> None:
        self.path, self.message = path, read_message(tree, path, "missing_intrinsics")

    def _of(self, kind: str, sensor: str) -> Mapping[str, Any]:
        try:
            given = self.message[kind][self.message["names"].index(sensor)]
            return dict(given)
        except ANOTHER_SHAPE as error:
            raise FrameError("missing_intrinsics", f"{self.path} has no {kind} of {sensor}") from error

    def camera(self, sensor: str, size: tuple[int, int]) -> PinholeCamera:
        """The camera of a rectified picture; FrameError `bad_intrinsics` for skew or a lens, too."""
        given = self._of("intrinsics", sensor)
        further = {name: value for name, value in sorted(given.items()) if value and name not in INTRINSICS}
        if further:
            raise FrameError("bad_intrinsics", f"{self.path}: {sensor} is not rectified, it has {further}")
        fx, fy, cx, cy = (given.get(name, 0) for name in INTRINSICS)
        return pinhole_from_matrix([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], size, f"{self.path}: {sensor}")

    def world_from_vehicle(self, sensor: str, world_from_sensor: FloatArray) -> FloatArray:
        """Where the car is when one of its sensors is somewhere, 4x4."""
        vehicle_from_sensor = pose_matrix(self._of("extrinsics", sensor), f"{self.path}: {sensor}")
        return np.asarray(world_from_sensor @ invert_transform(vehicle_from_sensor))
