"""nuScenes sweeps: .pcd.bin files, and the raster that the paper's script makes of one for compat sets."""

from typing import Any

import numpy as np

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._paper import paper_raster
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import DepthGrid
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.rigid import transform_points

POINT_FIELDS, POINT_BYTES = 5, 20  # float32 x, y, z, intensity, ring


def read_sweep(tree: RawTree, path: str) -> FloatArray:
    """Points (N, 3) float64 of a .pcd.bin file, m, LiDAR frame."""
    encoded = tree.read(path, "missing_depth")
    if len(encoded) % POINT_BYTES:
        raise FrameError("unreadable", f"{path}: {len(encoded)} bytes are not whole points of {POINT_BYTES}")
    points = np.frombuffer(encoded, "<f4").reshape(-1, POINT_FIELDS)[:, :3].astype(np.float64)
    return points[np.isfinite(points).all(axis=1)]


def paper_depth(points_lidar: FloatArray, cam_from_lidar: Any, camera: PinholeCamera) -> DepthGrid:  # noqa: ANN401 - JSON
    """The paper's raster: z in float32 of all that lies before the camera, however near; nearest of a pixel.

    Args:
        points_lidar: (N, 3), m.
        cam_from_lidar: 16 numbers, row-major; the paper's is that of a car that stands still.
    """
    points_cam = transform_points(np.reshape(cam_from_lidar, (4, 4)), points_lidar)
    front = points_cam[points_cam[:, 2] > 0]
    z_m = front[:, 2].astype(np.float32).astype(np.float64)
    size = (camera.width, camera.height)
    return paper_raster(*camera.project(front), z_m, size, pixel="floor", nearest_wins=True)
