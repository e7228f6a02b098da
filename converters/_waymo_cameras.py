"""Waymo's cameras and pictures: axes, lens and half-pixel convention made ours; the car's pose at each."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.converters._lidar import check_time_gap
from depthvlm_bench.converters._parquet import Row, numbers
from depthvlm_bench.converters._waymo_tables import Segment, frame_pose, transform
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import Picture
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.lens import Lens
from depthvlm_bench.geometry.rigid import invert_transform

INTRINSICS = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
FIELDS = (*(f"intrinsic.{name}" for name in INTRINSICS), "extrinsic.transform", "width", "height")
SHOT = ("image", "pose.transform", "pose_timestamp")
# A frame's time stamp is when the top laser's spin begins; pictures are taken while it goes round.
SPIN_US = 100_000
# Waymo's camera looks along x, with y to the left and z up.
CV_FROM_WAYMO = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
# Coordinate 0 is the left edge of the first pixel, whose centre is ours.
EDGE_PX = 0.5


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A camera: the pinhole that its picture is undone to, its lens, and cam_from_vehicle (4, 4)."""

    camera: PinholeCamera
    lens: Lens
    cam_from_vehicle: FloatArray


def camera_model(segment: Segment, number: int, *, as_paper: bool) -> CameraModel:
    """A camera of a segment, its intrinsics kept; or as the paper's script undistorts it.

    The paper's puts the principal point in the picture's middle, and takes edge coordinates for centres.

    Raises:
        FrameError: `missing_intrinsics`, or `bad_intrinsics` for what is no camera.
    """
    row, where = segment.need("camera_calibration", (number,), FIELDS), segment.path("camera_calibration")
    vehicle_from_waymo = transform(row, "extrinsic.transform", where)
    values = [numbers(row, field) for field in FIELDS if not field.startswith("extrinsic")]
    known = [value.item() for value in values if value is not None]
    if vehicle_from_waymo is None or len(known) < len(values):
        raise FrameError("missing_intrinsics", f"{where}: camera {number} lacks some")
    fx_px, fy_px, cx_px, cy_px, *brown, width, height = known
    try:
        size = int(width), int(height)
        lens = Lens("brown_conrady", tuple(brown))
        camera = PinholeCamera(*size, fx_px, fy_px, cx_px - EDGE_PX, cy_px - EDGE_PX)
        if as_paper:
            camera = PinholeCamera(*size, fx_px, fy_px, size[0] / 2, size[1] / 2)
            shift = ((cx_px - camera.cx_px) / fx_px, (cy_px - camera.cy_px) / fy_px)
            lens = Lens("shifted_brown_conrady", (*brown, *shift))
    except ValueError as error:
        raise FrameError("bad_intrinsics", f"{where}: camera {number}: {error}") from error
    return CameraModel(camera, lens, CV_FROM_WAYMO @ invert_transform(vehicle_from_waymo))


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture, the car's pose (4, 4) that its depth is seen from, and what the record keeps."""

    picture: Picture
    global_from_vehicle: FloatArray
    extra: dict[str, Any]


def read_shot(segment: Segment, time_us: int, number: int, *, at_frame_pose: bool) -> Shot:
    """One camera's picture of a frame.

    Args:
        segment: its tables.
        time_us, number: frame time stamp and camera.
        at_frame_pose: take the frame's pose, as the paper does; else only where the picture has none.

    Raises:
        FrameError: `missing_image`, or `time_gap` where it was not taken within the frame's spin.
    """
    key, where = (time_us, number), segment.path("camera_image")
    row, line = segment.need("camera_image", key, SHOT), segment.numbered("camera_image")[key]
    if not row["image"].is_valid:
        raise FrameError("missing_image", f"{where}: row {line} has no picture")
    of_frame, of_picture = frame_pose(segment, time_us), transform(row, "pose.transform", where)
    pose = of_frame if of_picture is None or at_frame_pose else of_picture
    shift_m = float(np.linalg.norm((pose - of_frame)[:3, 3]))
    extra: dict[str, Any] = {"frame_time_us": time_us, "image_time_us": _image_time_us(row, time_us)}
    extra |= {"pose_of": "frame" if pose is of_frame else "picture", "ego_shift_m": shift_m}
    return Shot(Picture(row["image"].as_py(), f"{where}#{line}"), pose, extra)


def _image_time_us(row: Row, frame_us: int) -> int | None:
    taken_s = numbers(row, "pose_timestamp")
    if taken_s is None:
        return None
    image_us = round(taken_s.item() * 1e6)
    check_time_gap(image_us - frame_us - min(max(image_us - frame_us, 0), SPIN_US))
    return image_us
