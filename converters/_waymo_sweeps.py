"""One frame of Waymo's lasers: the range images of those wanted, as points in the global frame."""

from collections.abc import Iterator

import numpy as np

from depthvlm_bench.conventions import BoolArray, FloatArray
from depthvlm_bench.converters._parquet import Row, array, numbers
from depthvlm_bench.converters._range_images import (
    SLOTS,
    Sweep,
    beam_inclinations,
    moved_by_pixel_pose,
    pixel_points,
)
from depthvlm_bench.converters._waymo_tables import Segment, frame_pose, transform
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import Float32Array
from depthvlm_bench.geometry.rigid import transform_points

TOP = 1  # the only laser whose spin is slow enough to have a pose a pixel
PARTS = ("values", "shape")
POSE = "range_image_return1"  # both returns have the first one's
CALIBRATION = (
    "extrinsic.transform",
    "beam_inclination.min",
    "beam_inclination.max",
    "beam_inclination.values",
)


class SweepReader:
    """Reads frames' points, those of the last one once for all its cameras.

    Args:
        lasers: 1 to 5.
        returns: 1, 2.
    """

    def __init__(self, lasers: tuple[int, ...], returns: tuple[int, ...]) -> None:
        self.lasers, self.returns = lasers, returns
        self._last: tuple[Segment, int, Sweep] | None = None

    def __call__(self, segment: Segment, time_us: int) -> Sweep:
        """What the lasers measured in a frame, of all that some camera sees.

        A laser or return that measured nothing has no row or a null in it, and adds nothing.

        Raises:
            FrameError: `missing_depth` where none of them measured, or a table that belongs to it is absent.
        """
        if self._last is None or self._last[:2] != (segment, time_us):
            of_laser = {n: list(_laser(segment, time_us, n, self.returns)) for n in self.lasers}
            found = [part for parts in of_laser.values() for part in parts]
            if not found:
                wanted = f"lasers {self.lasers}, returns {self.returns}"
                raise FrameError(
                    "missing_depth", f"{segment.path('lidar')}: nothing of {wanted} at {time_us}"
                )
            points, projections = zip(*found, strict=True)
            lasers = tuple(laser for laser, parts in of_laser.items() if parts)
            self._last = segment, time_us, Sweep(np.concatenate(points), np.concatenate(projections), lasers)
        return self._last[2]


def _laser(
    segment: Segment, time_us: int, laser: int, returns: tuple[int, ...]
) -> Iterator[tuple[FloatArray, Float32Array]]:
    """Points and projections of each return of one laser."""
    key, names = (time_us, laser), [f"range_image_return{number}" for number in returns]
    fields = tuple(f"{name}.{part}" for name in names for part in PARTS)
    ranges = segment.row("lidar", key, fields)
    if ranges is None:
        return
    placed = segment.need("lidar_camera_projection", key, fields)
    calibration = segment.need("lidar_calibration", (laser,), CALIBRATION)
    pose = _pose(segment, key) if laser == TOP else None
    for name in names:
        image = array(ranges, name, segment.path("lidar"))
        if image is None:
            continue
        projection = array(placed, name, segment.path("lidar_camera_projection"))
        if projection is None:
            raise FrameError("missing_depth", f"{segment.path('lidar_camera_projection')}: {name} of {key}")
        for other in (projection, pose):
            if image.ndim != 3 or (other is not None and other.shape != (*image.shape[:2], 6)):
                raise FrameError("unreadable", f"{segment.path('lidar')}: {name} of {key} has another shape")
        range_m = image[..., 0]
        picked = np.isfinite(range_m) & (range_m > 0) & (projection[..., SLOTS] > 0).any(axis=-1)
        points = _points(segment, range_m, picked, calibration)
        if pose is None:
            yield transform_points(frame_pose(segment, time_us), points), projection[picked]
        else:
            yield moved_by_pixel_pose(points, pose[picked]), projection[picked]


def _pose(segment: Segment, key: tuple[int, int]) -> Float32Array:
    row = segment.need("lidar_pose", key, tuple(f"{POSE}.{part}" for part in PARTS))
    pose = array(row, POSE, segment.path("lidar_pose"))
    if pose is None:
        raise FrameError("missing_depth", f"{segment.path('lidar_pose')}: no pose a pixel for {key}")
    return pose


def _points(segment: Segment, range_m: Float32Array, picked: BoolArray, row: Row) -> FloatArray:
    """Picked pixels in the vehicle frame of their own time."""
    where = segment.path("lidar_calibration")
    vehicle_from_laser = transform(row, "extrinsic.transform", where)
    low, high = (numbers(row, f"beam_inclination.{end}") for end in ("min", "max"))
    if vehicle_from_laser is None or low is None or high is None:
        raise FrameError("missing_depth", f"{where}: a laser has no calibration")
    listed = numbers(row, "beam_inclination.values")
    if listed is not None and len(listed) != len(range_m):
        raise FrameError(
            "unreadable", f"{where}: {len(listed)} inclinations, {len(range_m)} range image rows"
        )
    inclination = beam_inclinations(listed, low.item(), high.item(), len(range_m))
    return pixel_points(range_m, picked, vehicle_from_laser, inclination)
