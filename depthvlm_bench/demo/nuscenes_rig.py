"""The demo car: where its sensors sit, when they fire, and how it drives.

Times are integer microseconds since the first LiDAR stamp of a scene; street coordinates are those of
`streets`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from depthvlm_bench.demo.raycast import FORWARD_FROM_CAM, Pinhole
from depthvlm_bench.demo.shapes import Floats, rigid, rotation_zyx

LIDAR = "LIDAR_TOP"
SAMPLE_US = 500_000
SPEED_MPS = 9.0
BEAMS = 32

_MOUNTS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "CAM_FRONT": ((1.70, 0.01, 1.51), (0.3, 0.4, -0.2)),
    "CAM_FRONT_RIGHT": ((1.55, -0.49, 1.50), (-55.4, 0.2, 0.3)),
    "CAM_BACK_RIGHT": ((1.02, -0.48, 1.56), (-110.2, 0.6, -0.4)),
    "CAM_BACK": ((0.03, 0.0, 1.57), (180.1, 0.5, 0.2)),
    "CAM_BACK_LEFT": ((1.04, 0.48, 1.57), (109.7, 0.3, 0.4)),
    "CAM_FRONT_LEFT": ((1.53, 0.49, 1.51), (55.3, 0.1, -0.3)),
    LIDAR: ((0.94, 0.0, 1.84), (-90.0, 0.3, -0.5)),
}
"""Position in the ego frame in metres; yaw, pitch and roll in degrees of the body frame x forward, z up."""

_BEFORE_LIDAR_US = {
    "CAM_FRONT": 34_600,
    "CAM_FRONT_RIGHT": 26_900,
    "CAM_BACK_RIGHT": 19_300,
    "CAM_BACK": 10_800,
    "CAM_BACK_LEFT": 1_500,
    "CAM_FRONT_LEFT": 42_700,
    LIDAR: 0,
}

_FOCAL_AT_1600_PX = {
    "CAM_FRONT": 1266.0,
    "CAM_FRONT_RIGHT": 1260.5,
    "CAM_BACK_RIGHT": 1259.0,
    "CAM_BACK": 809.0,
    "CAM_BACK_LEFT": 1256.5,
    "CAM_FRONT_LEFT": 1272.5,
}

CHANNELS = tuple(_MOUNTS)
CAMERAS = tuple(_FOCAL_AT_1600_PX)


def camera_of(channel: str, width: int, height: int) -> Pinhole:
    """Intrinsics of a camera for pictures of `width` x `height` px; the principal point is off the centre."""
    focal = _FOCAL_AT_1600_PX[channel] * width / 1600
    shift = (CAMERAS.index(channel) - 2.0) * 0.004
    return Pinhole(focal, focal, (0.505 + shift) * width, (0.535 - shift) * height, width, height)


def ego_from_sensor(channel: str) -> Floats:
    """Mounting of a sensor, (4, 4); cameras are OpenCV frames, the LiDAR has x right, y forward, z up."""
    position_m, (yaw, pitch, roll) = _MOUNTS[channel]
    ego_from_body = rotation_zyx(yaw, pitch, roll)
    return rigid(ego_from_body if channel == LIDAR else ego_from_body @ FORWARD_FROM_CAM, position_m)


def shot_us(sample_index: int, channel: str) -> int:
    """When a sensor fires for a sample: the LiDAR each 0.5 s, cameras 0 to 45 ms before it."""
    return sample_index * SAMPLE_US - _BEFORE_LIDAR_US[channel]


def street_from_ego(time_us: int) -> Floats:
    """Pose of the car, (4, 4), at a time: along the right lane in gentle curves, nodding a little."""
    t = time_us * 1e-6
    wave, reach_m = 0.8, 0.9
    x, y = SPEED_MPS * t, -1.8 + reach_m * math.sin(wave * t + 0.4)
    yaw = math.degrees(math.atan2(reach_m * wave * math.cos(wave * t + 0.4), SPEED_MPS))
    return rigid(rotation_zyx(yaw, 0.3 * math.sin(3.0 * t), 0.2 * math.cos(2.0 * t)), (x, y, 0.0))


def lidar_rays(azimuths: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Unit directions (BEAMS * azimuths, 3) in the LiDAR frame and the ring of each, 0 the lowest."""
    elevation = np.radians(np.linspace(-30.0, 10.0, BEAMS))
    azimuth = np.arange(azimuths) * (2 * np.pi / azimuths)
    around, up = (a.ravel() for a in np.meshgrid(azimuth, elevation, indexing="ij"))
    unit = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], axis=1)
    return unit, np.tile(np.arange(BEAMS), azimuths)


def quaternion_wxyz(rotation: Floats) -> list[float]:
    """The unit quaternion w, x, y, z of a rotation (3, 3), w >= 0.

    It is the eigenvector of largest eigenvalue of Bar-Itzhack's symmetric matrix (J. Guidance, 2000),
    which has no special cases near half turns.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    symmetric = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    quaternion = np.linalg.eigh(symmetric)[1][:, -1]
    return [float(value) for value in quaternion * (1.0 if quaternion[0] >= 0 else -1.0)]
