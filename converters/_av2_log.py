"""One Argoverse 2 log: which files it has, and its tables, each read once for the frames that follow."""

from bisect import bisect_left
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.converters._av2_tables import POSE, PoseTable, Row, pose_matrix, read_sensors
from depthvlm_bench.converters._cameras import pinhole_from_matrix
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._roots import refuse, require
from depthvlm_bench.errors import FrameError
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.rigid import invert_transform

INTRINSICS = ("fx_px", "fy_px", "cx_px", "cy_px", "width_px", "height_px")
# Of the lens whose distortion the release has undone already: kept, never applied.
FORMER_LENS = ("k1", "k2", "k3")
FOREIGN = {
    "*/*/vehicle_calibration_info.json": "Argoverse 1 logs",
    "*/*/scenario_*.parquet": "Argoverse 2 motion forecasting scenarios",
}


def require_logs(root: Path, dataset: str) -> None:
    """DataMissingError for another release, or where no SPLIT/LOG/sensors is below the root."""
    refuse(root, dataset, FOREIGN)
    if not any(root.glob("*/*/sensors")):
        elsewhere = (root.absolute().glob(f"{levels}sensors") for levels in ("*/*/*/", "*/", ""))
        example = next(chain.from_iterable(elsewhere), Path("test"))
        require(root.absolute() / Path(*example.parts[-3:]), dataset)


class Av2Log:
    """A log folder; what cannot be read is the FrameError of the frames that need it."""

    def __init__(self, tree: RawTree, folder: str) -> None:
        self.tree, self.folder = tree, folder

    @cached_property
    def sweeps_ns(self) -> list[int]:
        """Time stamps of the sweeps, in order."""
        return self._stamps_ns("sensors/lidar/*.feather")

    def pictures_ns(self, camera: str) -> list[int]:
        """Time stamps of a camera's pictures, in order."""
        return self._stamps_ns(f"sensors/cameras/{camera}/*.jpg")

    def _stamps_ns(self, pattern: str) -> list[int]:
        """File names that are no numbers are decoys."""
        files = (self.tree.root / self.folder).glob(pattern)
        return sorted(int(path.stem) for path in files if path.stem.isdecimal())

    def nearest_sweep_ns(self, time_ns: int) -> int | None:
        """The sweep nearest in time, the earlier of two; None where there is no sweep."""
        after = bisect_left(self.sweeps_ns, time_ns)
        around = self.sweeps_ns[max(0, after - 1) : after + 1]
        return min(around, key=lambda sweep_ns: abs(sweep_ns - time_ns), default=None)

    def camera(self, name: str) -> PinholeCamera:
        """The camera of the undistorted pictures."""
        row, where = self._row(self._intrinsics, name)
        fx, fy, cx, cy, width, height = (row[column] for column in INTRINSICS)
        return pinhole_from_matrix([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], (int(width), int(height)), where)

    def former_lens(self, name: str) -> list[float]:
        """k1, k2, k3 of the lens that the release has undone."""
        row, _ = self._row(self._intrinsics, name)
        return [row[column] for column in FORMER_LENS]

    def cam_from_lidar(self, camera: str, image_ns: int, sweep_ns: int) -> tuple[FloatArray, float]:
        """Car at the sweep's time -> city -> car at the picture's time -> camera; and the car's way, m."""
        row, where = self._row(self._extrinsics, camera)
        ego_from_cam = pose_matrix(np.array([row[column] for column in POSE]), where)
        at_image, at_sweep = self._poses.at(image_ns), self._poses.at(sweep_ns)
        way_m = float(np.linalg.norm((at_image - at_sweep)[:3, 3]))
        return invert_transform(ego_from_cam) @ invert_transform(at_image) @ at_sweep, way_m

    @cached_property
    def _intrinsics(self) -> tuple[str, dict[str, Row]]:
        path = f"{self.folder}/calibration/intrinsics.feather"
        return path, read_sensors(self.tree, path, (*INTRINSICS, *FORMER_LENS))

    @cached_property
    def _extrinsics(self) -> tuple[str, dict[str, Row]]:
        path = f"{self.folder}/calibration/egovehicle_SE3_sensor.feather"
        return path, read_sensors(self.tree, path, POSE)

    @cached_property
    def _poses(self) -> PoseTable:
        return PoseTable(self.tree, f"{self.folder}/city_SE3_egovehicle.feather")

    @staticmethod
    def _row(table: tuple[str, dict[str, Row]], sensor: str) -> tuple[Row, str]:
        path, rows = table
        if sensor not in rows:
            raise FrameError("missing_intrinsics", f"{path} has no {sensor}")
        return rows[sensor], f"{path}: {sensor}"
