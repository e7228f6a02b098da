"""The component tables of Waymo Open v2: parquet files joined by hand over (frame time, camera or laser)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from depthvlm_bench.conventions import FloatArray, check_transform
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._parquet import ParquetRows, Row, numbers
from depthvlm_bench.errors import FrameError, SkipReason


@dataclass(frozen=True)
class Component:
    """One kind of table: its class as columns name it, its keys, and why a frame without it is skipped."""

    name: str
    keys: tuple[str, ...]
    missing: SkipReason = "missing_depth"


TIME, CAMERA, LASER = "key.frame_timestamp_micros", "key.camera_name", "key.laser_name"
# Numbered from 1; most files hold the numbers, some their text or these names.
SENSORS = {
    CAMERA: ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "SIDE_LEFT", "SIDE_RIGHT"),
    LASER: ("TOP", "FRONT", "SIDE_LEFT", "SIDE_RIGHT", "REAR"),
}
COMPONENTS = {
    "camera_image": Component("CameraImageComponent", (TIME, CAMERA), "missing_image"),
    "camera_calibration": Component("CameraCalibrationComponent", (CAMERA,), "missing_intrinsics"),
    "lidar": Component("LiDARComponent", (TIME, LASER)),
    "lidar_calibration": Component("LiDARCalibrationComponent", (LASER,)),
    "lidar_camera_projection": Component("LiDARCameraProjectionComponent", (TIME, LASER)),
    "lidar_pose": Component("LiDARPoseComponent", (TIME, LASER)),
    "vehicle_pose": Component("VehiclePoseComponent", (TIME,)),
}


class Segment:
    """The tables of one segment, each opened when first asked for."""

    def __init__(self, tree: RawTree, split: str, name: str) -> None:
        self._tree, self.split, self.name = tree, split, name
        self._open: dict[str, tuple[ParquetRows, dict[tuple[int, ...], int]]] = {}

    def path(self, component: str) -> str:
        """Where a component's table lies in the tree."""
        return f"{self.split}/{component}/{self.name}.parquet"

    def numbered(self, component: str) -> dict[tuple[int, ...], int]:
        """Keys of a table -> row numbers: rows have no order to rely on."""
        return self._table(component)[1]

    def row(self, component: str, key: tuple[int, ...], fields: tuple[str, ...]) -> Row | None:
        """Fields of one row, by field; None where the table has no such row."""
        rows, number = self._table(component)
        if key not in number:
            return None
        columns = {field: f"[{COMPONENTS[component].name}].{field}" for field in fields}
        row = rows.row(number[key], list(columns.values()))
        return {field: row[column] for field, column in columns.items()}

    def need(self, component: str, key: tuple[int, ...], fields: tuple[str, ...]) -> Row:
        """As `row`; FrameError where the table has no such row."""
        if (row := self.row(component, key, fields)) is None:
            where = ", ".join(map(str, key))
            raise FrameError(COMPONENTS[component].missing, f"{self.path(component)} has no row {where}")
        return row

    def close(self) -> None:
        """Let go of all files."""
        for rows, _ in self._open.values():
            rows.close()
        self._open.clear()

    def _table(self, component: str) -> tuple[ParquetRows, dict[tuple[int, ...], int]]:
        if component not in self._open:
            kind, path = COMPONENTS[component], self.path(component)
            rows = ParquetRows(self._tree.path(path), path, kind.missing)
            keys = [_key(kind.keys, key, path) for key in rows.keys(kind.keys)]
            if len(set(keys)) < len(keys):
                raise FrameError("unreadable", f"{path}: two rows have one key")
            self._open[component] = rows, {key: number for number, key in enumerate(keys)}
        return self._open[component]


def _key(kinds: tuple[str, ...], values: tuple[Any, ...], path: str) -> tuple[int, ...]:
    """Key values as numbers, whether they are stored as numbers, text or names."""
    try:
        return tuple(_number(kind, value) for kind, value in zip(kinds, values, strict=True))
    except (ValueError, TypeError) as error:
        raise FrameError("unreadable", f"{path}: no key {', '.join(kinds)}: {values}") from error


def _number(kind: str, value: Any) -> int:  # noqa: ANN401 - whatever the column holds
    names = SENSORS.get(kind, ())
    number = names.index(value) + 1 if value in names else int(value)
    if names and not 1 <= number <= len(names):
        raise ValueError(value)
    return number


def transform(row: Row, field: str, where: str) -> FloatArray | None:
    """A 4x4 transform stored as 16 numbers; None for null, FrameError `unreadable` where it is not rigid."""
    values = numbers(row, field)
    if values is None:
        return None
    try:
        return check_transform(np.reshape(values, (4, 4)), field)
    except ValueError as error:
        raise FrameError("unreadable", f"{where}: {error}") from error


def frame_pose(segment: Segment, time_us: int) -> FloatArray:
    """global_from_vehicle of a frame: that of the middle of the top laser's spin."""
    field, where = "world_from_vehicle.transform", segment.path("vehicle_pose")
    if (pose := transform(segment.need("vehicle_pose", (time_us,), (field,)), field, where)) is None:
        raise FrameError("missing_depth", f"{where}: no pose at {time_us}")
    return pose
