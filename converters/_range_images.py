"""Range images of a spinning laser: their pixels as points, and where those lie in the cameras' pictures."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from depthvlm_bench.conventions import BoolArray, FloatArray, IntArray
from depthvlm_bench.frames import Float32Array
from depthvlm_bench.geometry.rigid import transform_points

# Channels of a camera projection: (camera, x, y) in the first camera that sees the point, then in a second.
SLOTS = (0, 3)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Points of one frame, and their places in pictures.

    Attributes:
        points_global: (N, 3) m, global frame.
        projections: (N, 6) camera number, x, y of two cameras; 0 for none.
        lasers: the lasers that measured them.
    """

    points_global: FloatArray
    projections: Float32Array
    lasers: tuple[int, ...]

    def in_camera(self, number: int) -> tuple[IntArray, FloatArray, FloatArray]:
        """Rows of the points that a camera sees, and x, y as the range image has them, (M,) each."""
        first, second = (self.projections[:, slot] == number for slot in SLOTS)
        seen = np.flatnonzero(first | second)
        x, y = np.where(first[seen, None], self.projections[seen, 1:3], self.projections[seen, 4:6]).T
        return seen, x.astype(np.float64), y.astype(np.float64)

    @property
    def whole_pixels(self) -> bool:
        """Whether all positions are whole: they then name pixels, and say no more of where in them."""
        used = [self.projections[self.projections[:, slot] > 0, slot + 1 : slot + 3] for slot in SLOTS]
        return bool(np.equal(np.mod(np.concatenate(used), 1), 0).all())


def beam_inclinations(listed: FloatArray | None, low: float, high: float, rows: int) -> FloatArray:
    """Inclination (rows,) of each range image row, rad, the highest first.

    Args:
        listed: one a row, ascending; None: `rows` equal steps between low and high, each in its middle.
        low, high: the span of the beams.
        rows: of the range image.
    """
    if listed is None:
        return low + (rows - np.arange(rows) - 0.5) / rows * (high - low)
    return listed[::-1]


def pixel_points(
    range_m: Float32Array, picked: BoolArray, vehicle_from_laser: FloatArray, inclination: FloatArray
) -> FloatArray:
    """Points (N, 3) of the picked pixels (h, w), row-major, in the frame of the vehicle at each pixel's time.

    Columns run from azimuth pi to -pi in the vehicle's directions: the laser's own yaw is taken off first.
    """
    row, column = np.nonzero(picked)
    width = range_m.shape[1]
    yaw = np.arctan2(vehicle_from_laser[1, 0], vehicle_from_laser[0, 0])
    azimuth = (2 * (width - column - 0.5) / width - 1) * np.pi - yaw
    level = np.cos(inclination)[row]
    directions = np.stack(
        [np.cos(azimuth) * level, np.sin(azimuth) * level, np.sin(inclination)[row]], axis=-1
    )
    return transform_points(vehicle_from_laser, directions * range_m[picked][:, None].astype(np.float64))


def moved_by_pixel_pose(points_vehicle: FloatArray, pose: Float32Array) -> FloatArray:
    """Points (N, 3) in the global frame, from the vehicle's pose at each pixel's own time.

    Args:
        points_vehicle: (N, 3).
        pose: (N, 6) roll, pitch, yaw, x, y, z of global_from_vehicle: R = Rz(yaw) Ry(pitch) Rx(roll).
    """
    pose_64 = pose.astype(np.float64)
    turned = Rotation.from_euler("ZYX", pose_64[:, 2::-1]).apply(points_vehicle)
    return np.asarray(turned + pose_64[:, 3:])
