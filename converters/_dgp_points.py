"""TRI's DGP point clouds, the times in file names, and the raster that its own code makes for a camera."""

import io
import zipfile
import zlib
from pathlib import PurePosixPath

import numpy as np

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._paper import paper_raster
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import DepthGrid
from depthvlm_bench.geometry.camera import PinholeCamera

# Time stamps in the JSON lie in the years 2463 and 2464: they count these ticks as if they were microseconds.
TICKS_PER_US = 10


def ticks(path: str) -> int | None:
    """The time that a file is named by, in 0.1 µs; None where its name is no number."""
    stem = PurePosixPath(path).stem
    return int(stem) if stem.isdecimal() else None


def ticks_of_pair(image: str, lidar: str) -> tuple[int, int]:
    """The times of a pair of files; FrameError `unreadable` where one is not named by its time."""
    image_ticks, lidar_ticks = ticks(image), ticks(lidar)
    if image_ticks is None or lidar_ticks is None:
        raise FrameError("unreadable", f"{image} or {lidar} is not named by its time")
    return image_ticks, lidar_ticks


def read_points(tree: RawTree, path: str) -> FloatArray:
    """Points (N, 3) of an npz file, sensor frame, m; pickles are never loaded."""
    encoded = tree.read(path, "missing_depth")
    try:
        with np.load(io.BytesIO(encoded), allow_pickle=False) as arrays:
            points = arrays["data"][:, :3].astype(np.float64)
    except (OSError, EOFError, ValueError, TypeError, LookupError, zipfile.BadZipFile, zlib.error) as error:
        raise FrameError("unreadable", f"{path}: {error}") from error
    if points.shape[1] != 3:
        raise FrameError("unreadable", f"{path}: {points.shape[1]} columns are no points")
    return np.asarray(points[np.isfinite(points).all(axis=1)])


def dgp_raster(points_cam: FloatArray, camera: PinholeCamera) -> DepthGrid:
    """The raster of DGP's generator, which the paper took: truncated pixels, last point wins, K in float32.

    Args:
        points_cam: (N, 3) of a sweep in file order, m, camera frame.
    """
    front = points_cam[points_cam[:, 2] > 0]
    k = np.array([camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px], dtype=np.float32).tolist()
    u, v = PinholeCamera(camera.width, camera.height, *k).project(front)
    depth_m = front[:, 2].astype(np.float32).astype(np.float64)
    size = (camera.width, camera.height)
    return paper_raster(u, v, depth_m, size, pixel="truncate", nearest_wins=False)
