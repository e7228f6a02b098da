"""LiDAR depth in the undistorted pictures of Waymo's cameras, as it should be and as the paper makes it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.converters._paper import PAPER_DEPTH_SCALE, paper_raster
from depthvlm_bench.converters._range_images import Sweep
from depthvlm_bench.converters._waymo_cameras import EDGE_PX, CameraModel
from depthvlm_bench.frames import DepthGrid, DepthPoints
from depthvlm_bench.geometry.camera import PinholeCamera, inside
from depthvlm_bench.geometry.grids import PixelAffine
from depthvlm_bench.geometry.lens import Lens, lens_pixels, pinhole_pixels
from depthvlm_bench.geometry.lidar import project_nearest
from depthvlm_bench.geometry.rigid import invert_transform, transform_points


@dataclass(frozen=True, eq=False)
class SeenPoints:
    """What a camera sees: places (N,) in the lens's picture, as stored; points (N, 3), camera frame."""

    x_px: FloatArray
    y_px: FloatArray
    points_cam: FloatArray


def seen_points(sweep: Sweep, number: int, model: CameraModel, global_from_vehicle: FloatArray) -> SeenPoints:
    """The points that the range image places in a camera, seen from where the car's pose puts it."""
    seen, x_px, y_px = sweep.in_camera(number)
    cam_from_global = model.cam_from_vehicle @ invert_transform(global_from_vehicle)
    return SeenPoints(x_px, y_px, transform_points(cam_from_global, sweep.points_global[seen]))


def pinhole_depth(model: CameraModel, seen: SeenPoints, whole: bool, near_m: float) -> DepthPoints:
    """Measured points in the undistorted picture, nearest a pixel.

    Args:
        model: the camera, intrinsics kept.
        seen: its points.
        whole: whether places name pixels; a point then lies nowhere better known than in its middle.
        near_m: nearer points are dropped.
    """
    shift = 0.0 if whole else EDGE_PX
    u_px, v_px, known = pinhole_pixels(model.camera, model.lens, seen.x_px - shift, seen.y_px - shift)
    on_rays = model.camera.rays(u_px[known], v_px[known]) * seen.points_cam[known, 2:]
    return DepthPoints.from_projection(project_nearest(on_rays, model.camera, near_m=near_m), model.camera)


def paper_depth(model: CameraModel, seen: SeenPoints) -> DepthGrid:
    """Distances from the camera as the paper rasters them: in the lens's picture, then remapped."""
    camera, ray_m = model.camera, np.linalg.norm(seen.points_cam, axis=1)
    size = (camera.width, camera.height)
    raster = paper_raster(seen.x_px, seen.y_px, ray_m, size, pixel="truncate", nearest_wins=True)
    column, row, shown = _nearest_map(camera, model.lens)
    values = np.where(shown, raster.values[row, column], np.uint16(0))
    return DepthGrid(values, PAPER_DEPTH_SCALE, PixelAffine.identity())


@lru_cache(maxsize=5)
def _nearest_map(
    camera: PinholeCamera, lens: Lens
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
    """Column and row (h, w) of the lens's pixel that each pixel shows, and whether it shows one.

    OpenCV keeps such maps in single precision and rounds half to even.
    """
    v, u = np.mgrid[: camera.height, : camera.width]
    column, row = (np.rint(axis.astype(np.float32)) for axis in lens_pixels(camera, lens, u, v))
    shown = inside(column, row, camera.width, camera.height)
    return np.where(shown, column, 0).astype(np.int16), np.where(shown, row, 0).astype(np.int16), shown
