"""Rigid transforms: 4x4 float64 `dst_from_src`, from the quaternions that driving sets store."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from depthvlm_bench.conventions import FloatArray, check_points, check_transform


def transform_from_quaternion(quaternion_wxyz: Sequence[float], translation_m: Sequence[float]) -> FloatArray:
    """`dst_from_src` from a (w, x, y, z) quaternion (normalised here, its sign is free) and a translation.

    Raises:
        ValueError: quaternion of zero length, or wrong lengths.
    """
    w, x, y, z = quaternion_wxyz
    if len(translation_m) != 3:
        raise ValueError(f"translation_m: expected 3 values, got {len(translation_m)}")
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
    matrix[:3, 3] = translation_m
    return matrix


def invert_transform(dst_from_src: npt.ArrayLike) -> FloatArray:
    """`src_from_dst`, from the transposed rotation (exact for rigid transforms, unlike a general inverse)."""
    matrix = check_transform(dst_from_src, "dst_from_src")
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def transform_points(dst_from_src: npt.ArrayLike, points_src: npt.ArrayLike) -> FloatArray:
    """Points (N, 3) in the destination frame."""
    matrix = check_transform(dst_from_src, "dst_from_src")
    return check_points(points_src, "points_src") @ matrix[:3, :3].T + matrix[:3, 3]
