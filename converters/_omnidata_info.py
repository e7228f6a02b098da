"""What Omnidata writes of a view's camera, and what follows: intrinsics, z-depth of ray distances."""

import json
import math
from dataclasses import dataclass

import numpy as np

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.errors import FrameError
from depthvlm_bench.geometry.camera import PinholeCamera

FIELDS = ("field_of_view_rads", "resolution")
# Share of the picture's sides around its centre, and the factor by which depth there may miss the distance of
# the point that the camera was turned to: wide enough for edges, too narrow for another unit or another view.
CENTRE_SHARE, FIXATION_FACTOR = 1 / 8, 2.0


@dataclass(frozen=True)
class PointInfo:
    """A view's camera.

    Attributes:
        camera: square picture, centre at (n - 1) / 2, one focal length.
        fixated_m: distance of the point that the camera was turned to, in the picture's centre; None where
            the file does not say.
    """

    camera: PinholeCamera
    fixated_m: float | None


def point_info(encoded: bytes, where: str) -> PointInfo:
    """A point_info or fixatedpose file.

    Raises:
        FrameError: `unreadable` for what is no JSON object, `missing_intrinsics` where it lacks a field,
            `bad_intrinsics` where a value is none.
    """
    try:
        info = json.loads(encoded)
    except (ValueError, RecursionError) as error:
        raise FrameError("unreadable", f"{where}: {error}") from error
    if not isinstance(info, dict):
        raise FrameError("unreadable", f"{where}: a JSON object is expected")
    absent = [name for name in FIELDS if info.get(name) is None]
    if absent:
        raise FrameError("missing_intrinsics", f"{where}: no {', '.join(absent)}")
    fov_rad, size = info["field_of_view_rads"], info["resolution"]
    if not (_is_number(fov_rad) and 0 < fov_rad < math.pi and _is_number(size) and size == int(size) > 0):
        raise FrameError("bad_intrinsics", f"{where}: field of view {fov_rad} rad at {size} px")
    focal_px, centre_px = size / (2 * math.tan(fov_rad / 2)), (size - 1) / 2
    distance_m = info.get("camera_distance", 0)
    return PointInfo(
        PinholeCamera(int(size), int(size), focal_px, focal_px, centre_px, centre_px),
        float(distance_m) if _is_number(distance_m) and distance_m > 0 else None,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def require_fixated(info: PointInfo, depth_m: FloatArray, where: str) -> None:
    """FrameError `bad_intrinsics` where depth (h, w) contradicts the distance of the point in the centre.

    All of Omnidata's cameras were turned to a point of the mesh, so the depth in the centre is known. It is
    not there if the unit is not that of the release, or if the JSON file is another view's.
    """
    size = info.camera.width
    start, stop = int(size * (1 - CENTRE_SHARE) / 2), math.ceil(size * (1 + CENTRE_SHARE) / 2)
    centre_m = depth_m[start:stop, start:stop]
    measured_m = centre_m[centre_m > 0]
    if info.fixated_m is None or not len(measured_m):
        return
    low_m, high_m = float(measured_m.min()), float(measured_m.max())
    if not low_m / FIXATION_FACTOR <= info.fixated_m <= high_m * FIXATION_FACTOR:
        raise FrameError(
            "bad_intrinsics",
            f"{where}: the point in the centre is {info.fixated_m:.2f} m away, depth there is "
            f"{low_m:.2f}-{high_m:.2f} m: another unit, or another view's file",
        )


def z_from_ray(ray_m: FloatArray, camera: PinholeCamera) -> FloatArray:
    """z-depth (h, w) of distances along the ray, in the same unit."""
    v, u = np.mgrid[: camera.height, : camera.width]
    return np.asarray(ray_m / camera.ray_factor(u, v))
