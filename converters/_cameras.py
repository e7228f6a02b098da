"""Intrinsics as raw trees write them."""

from typing import Any

from depthvlm_bench.errors import FrameError
from depthvlm_bench.geometry.camera import PinholeCamera


def pinhole_from_matrix(matrix: Any, size: tuple[int, int], where: str) -> PinholeCamera:  # noqa: ANN401 - JSON
    """The camera of a 3x3 matrix K for a picture of (width, height).

    Raises:
        FrameError: `missing_intrinsics` for an empty matrix, `bad_intrinsics` for one that is no camera.
    """
    if not matrix:
        raise FrameError("missing_intrinsics", f"{where}: no camera matrix")
    try:
        return PinholeCamera(*size, matrix[0][0], matrix[1][1], matrix[0][2], matrix[1][2])
    except (ValueError, TypeError, LookupError) as error:
        raise FrameError("bad_intrinsics", f"{where}: {error}") from error
