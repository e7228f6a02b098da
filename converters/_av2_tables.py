"""Feather tables of Argoverse 2: columns, rows by sensor, and poses at any time within a log."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import feather
from scipy.spatial.transform import Rotation, Slerp

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.errors import FrameError, SkipReason
from depthvlm_bench.geometry.rigid import transform_from_quaternion

# Poses come at about 200 Hz; neighbours this far apart are a hole in the table.
MAX_POSE_GAP_NS = 20_000_000
POSE = ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")

Row = dict[str, float]


def read_columns(
    tree: RawTree, path: str, names: tuple[str, ...], missing: SkipReason
) -> dict[str, npt.NDArray[np.generic]]:
    """Columns of a table, (N,) each, in its own type; FrameError `missing` or `unreadable`."""
    encoded = tree.read(path, missing)
    try:
        table = feather.read_table(pa.BufferReader(encoded), columns=list(names))
        return {name: table[name].to_numpy() for name in names}
    except (pa.ArrowException, ValueError, KeyError, OSError) as error:
        raise FrameError("unreadable", f"{path}: {error}") from error


def read_floats(tree: RawTree, path: str, names: tuple[str, ...], missing: SkipReason) -> FloatArray:
    """Columns of a table as (N, columns) float64."""
    columns = read_columns(tree, path, names, missing)
    return np.stack([columns[name].astype(np.float64) for name in names], axis=1)


def read_sensors(tree: RawTree, path: str, names: tuple[str, ...]) -> dict[str, Row]:
    """Rows of a calibration table by sensor name."""
    values = read_floats(tree, path, names, "missing_intrinsics")
    sensors = read_columns(tree, path, ("sensor_name",), "missing_intrinsics")["sensor_name"]
    return {
        str(s): dict(zip(names, row, strict=True)) for s, row in zip(sensors, values.tolist(), strict=True)
    }


def read_sweep(tree: RawTree, path: str) -> FloatArray:
    """Points (N, 4) of a sweep: x, y, z in the car's frame (m), and ns since the sweep's time stamp."""
    points = read_floats(tree, path, ("x", "y", "z", "offset_ns"), "missing_depth")
    return points[np.isfinite(points).all(axis=1)]


def pose_matrix(pose: FloatArray, where: str) -> FloatArray:
    """`dst_from_src` of (qw, qx, qy, qz, tx_m, ty_m, tz_m); FrameError `unreadable` if it is none."""
    try:
        return transform_from_quaternion(pose[:4].tolist(), pose[4:].tolist())
    except ValueError as error:
        raise FrameError("unreadable", f"{where}: no pose: {error}") from error


class PoseTable:
    """Poses of the car in the city by time stamp."""

    def __init__(self, tree: RawTree, path: str) -> None:
        column = read_columns(tree, path, ("timestamp_ns",), "missing_depth")["timestamp_ns"]
        times_ns = column.astype(np.int64)
        order = np.argsort(times_ns, kind="stable")
        self.path, self.times_ns = path, times_ns[order]
        self.poses = read_floats(tree, path, POSE, "missing_depth")[order]

    def at(self, time_ns: int) -> FloatArray:
        """`city_from_ego` at a time: its own row, else between two neighbours less than 20 ms apart.

        Raises:
            FrameError: `time_gap` where no pose lies close on both sides.
        """
        after = int(np.searchsorted(self.times_ns, time_ns))
        if after < len(self.times_ns) and self.times_ns[after] == time_ns:
            return pose_matrix(self.poses[after], self.path)
        if not 0 < after < len(self.times_ns):
            raise FrameError("time_gap", f"{self.path}: {time_ns} is outside its times")
        # Time stamps are too long for floats; their differences are not.
        start_ns, end_ns = self.times_ns[after - 1 : after + 1].tolist()
        if end_ns - start_ns >= MAX_POSE_GAP_NS:
            apart_ms = (end_ns - start_ns) / 1e6
            raise FrameError("time_gap", f"{self.path}: poses around {time_ns} are {apart_ms:.1f} ms apart")
        before, behind = (pose_matrix(self.poses[i], self.path) for i in (after - 1, after))
        return between(before, behind, (time_ns - start_ns) / (end_ns - start_ns))


def between(start: FloatArray, end: FloatArray, share: float) -> FloatArray:
    """The pose a share of the way from one to the next: translation linear, rotation along the arc."""
    pose = (1 - share) * start + share * end
    pose[:3, :3] = Slerp([0.0, 1.0], Rotation.from_matrix(np.stack([start[:3, :3], end[:3, :3]])))(
        share
    ).as_matrix()
    return np.asarray(pose)
