"""The one page of conventions that every module keeps; the checks are used at each boundary.

Camera frame   OpenCV: x right, y down, z forward, metres.
Depth          z-depth in metres (the z coordinate in the camera frame). Ray distance is depth * `ray_factor`,
               with ray_factor = |ray| / z of the pixel's ray.
Transforms     `dst_from_src`: 4x4 float64, acting on column vectors.
Pixel centres  lie at integer coordinates: the first pixel covers [-0.5, 0.5). The pixel of a coordinate u is
               floor(u + 0.5). Nothing is ever clipped into the picture.
Resizing       by s = new / old maps u' = (u + 0.5) * s - 0.5, and the intrinsics alike.
Invalid depth  is 0 in stored integers and NaN in float arrays. Metres are always integer / depth_scale.
Focal norm     canonical pictures have fx = 1000 px up to the rounding of their size; depth is never scaled.
Arrays         depth maps are (height, width); pixel coordinates are (u, v) = (column, row).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

CANONICAL_FX_PX: Final = 1000.0
INVALID_RAW: Final = 0
UINT16_MAX: Final = 65535

FLAG_OCCLUSION_SUSPECT: Final = 1
FLAG_TRANSPARENT_OR_MIRROR: Final = 2
FLAG_DEPTH_EDGE: Final = 4


def pixel_index(coordinate_px: npt.ArrayLike) -> IntArray:
    """Index of the pixel that holds a coordinate: floor(u + 0.5).

    Args:
        coordinate_px: u or v, any shape, pixel centres at integers.

    Returns:
        int64 of the same shape; may lie outside the picture.
    """
    return np.floor(np.asarray(coordinate_px, dtype=np.float64) + 0.5).astype(np.int64)


def check_transform(dst_from_src: npt.ArrayLike, name: str) -> FloatArray:
    """Return the 4x4 float64 rigid transform, or raise ValueError naming what is wrong with it."""
    matrix = np.asarray(dst_from_src, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"{name}: expected shape (4, 4), got {matrix.shape}")
    if not np.isfinite(matrix).all() or not np.array_equal(matrix[3], (0.0, 0.0, 0.0, 1.0)):
        raise ValueError(f"{name}: not a finite homogeneous transform")
    rotation = matrix[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
        raise ValueError(f"{name}: its upper left 3x3 is not a rotation")
    return matrix


def check_points(points: npt.ArrayLike, name: str) -> FloatArray:
    """Return points as (N, 3) float64, or raise ValueError naming the shape found."""
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"{name}: expected shape (N, 3), got {array.shape}")
    return array
