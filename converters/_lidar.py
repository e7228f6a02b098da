"""What the driving sets share: one sweep serves its cameras, its time checked against the picture's."""

from collections.abc import Callable
from typing import Any

import numpy as np

from depthvlm_bench.conventions import FloatArray, check_transform
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import DepthPoints
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.lidar import project_nearest
from depthvlm_bench.geometry.rigid import transform_points

MAX_TIME_GAP_US = 55_000


class SweepCache:
    """The last sweep read: plans are ordered so that a sweep's cameras follow each other."""

    def __init__(self, read_points: Callable[[str], FloatArray]) -> None:
        self._read_points = read_points
        self._path: str | None = None
        self._points: FloatArray = np.empty((0, 3))

    def __call__(self, path: str) -> FloatArray:
        """Points (N, 3) of a sweep file, sensor frame, m."""
        if path != self._path:
            self._points, self._path = self._read_points(path), path
        return self._points


def points_in_picture(
    points_lidar: FloatArray,
    cam_from_lidar: Any,  # noqa: ANN401 - JSON
    camera: PinholeCamera,
    near_m: float,
) -> DepthPoints:
    """Sweep points as the record stores them: moved into the camera frame, nearest a pixel, quantised."""
    transform = check_transform(np.reshape(cam_from_lidar, (4, 4)), "cam_from_lidar")
    return DepthPoints.from_projection(
        project_nearest(transform_points(transform, points_lidar), camera, near_m=near_m), camera
    )


def check_time_gap(gap_us: int) -> None:
    """FrameError `time_gap` where picture and sweep lie too far apart for moving objects to agree."""
    if abs(gap_us) > MAX_TIME_GAP_US:
        raise FrameError("time_gap", f"picture and sweep are {gap_us / 1000:.1f} ms apart")
