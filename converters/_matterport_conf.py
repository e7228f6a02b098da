"""Matterport3D's camera files: lines that set the intrinsics, and lines of scans that were taken with them.

Source: data_organization.md and gaps/pkgs/RGBD/RGBDConfiguration.cpp of niessner/Matterport.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.errors import CheckError, FrameError

NAMES = re.compile(
    r"(?P<depth>(?P<view>[^_\s/]+_)d(?P<camera>[0-2])_(?P<yaw>[0-5])\.png) "
    r"(?P<color>(?P=view)i(?P=camera)_(?P=yaw)\.jpg)"
)
POSE_NUMBERS, MATRIX_NUMBERS = 16, 9
# Lines that decide nothing: the folders are those of the release.
HEADER = ("dataset", "depth_directory", "color_directory")
Matrix = list[list[float]]


@dataclass(frozen=True)
class Scan:
    """One picture of a house.

    Attributes:
        color, depth: file names in the folders of pictures and depth.
        camera: which of the three cameras took it: 0 looks up, 1 ahead, 2 down.
        matrix: K (3, 3) of that camera on that tripod.
    """

    color: str
    depth: str
    camera: str
    matrix: Matrix


def read_scans(tree: RawTree, path: str, *, check_count: bool) -> list[Scan]:
    """The scans of a house, each with the last matrix above it.

    Args:
        path: of the camera file, relative to the tree.
        check_count: whether there must be as many scans as the file announces.

    Raises:
        CheckError: naming the line that cannot be what the format says, or the two numbers of scans.
    """
    announced: int | None = None
    matrix: Matrix | None = None
    scans: list[Scan] = []
    for number, fields in _lines(tree, path):
        keyword, values = fields[0], fields[1:]
        try:
            if keyword == "n_images":
                announced = int(" ".join(values))
            elif keyword == "intrinsics_matrix":
                matrix = _matrix(values)
            elif keyword == "scan":
                scans.append(_scan(values, matrix))
            elif keyword not in HEADER:
                raise ValueError(f"{keyword!r} is no keyword of this format")
        except (ValueError, TypeError) as error:
            raise _fault(f"{path}, line {number}", str(error)) from error
    if check_count and announced != len(scans):
        raise _fault(path, f"n_images is {announced}, there are {len(scans)} scans")
    return scans


def _lines(tree: RawTree, path: str) -> Iterator[tuple[int, list[str]]]:
    """Line number from 1 and fields of all lines but blanks and comments."""
    try:
        encoded = tree.read(path, "missing_intrinsics")
    except FrameError as error:
        raise _fault(path, error.detail) from error
    for number, line in enumerate(encoded.decode("utf-8", "replace").splitlines(), 1):
        fields = line.split()
        if fields and not fields[0].startswith("#"):
            yield number, fields


def _matrix(values: Iterable[str]) -> Matrix:
    numbers = [float(value) for value in values]
    if len(numbers) != MATRIX_NUMBERS:
        raise ValueError(f"a camera matrix has {MATRIX_NUMBERS} numbers, not {len(numbers)}")
    fx, skew, _cx, shear, fy, _cy, *last = numbers
    finite = all(map(math.isfinite, numbers))
    if last != [0, 0, 1] or skew or shear or min(fx, fy) <= 0 or not finite:
        raise ValueError(f"{' '.join(map(str, numbers))} is no camera matrix without skew")
    return [numbers[:3], numbers[3:6], numbers[6:]]


def _scan(values: list[str], matrix: Matrix | None) -> Scan:
    names = NAMES.fullmatch(" ".join(values[:2]))
    if names is None:
        raise ValueError(f"{' and '.join(values[:2])} are not depth and picture of one view")
    if len([float(value) for value in values[2:]]) != POSE_NUMBERS:
        raise ValueError(f"a pose has {POSE_NUMBERS} numbers, not {len(values) - 2}")
    if matrix is None:
        raise ValueError("a scan before any intrinsics_matrix")
    return Scan(names["color"], names["depth"], names["camera"], matrix)


def _fault(where: str, why: str) -> CheckError:
    return CheckError(
        "a camera file of Matterport3D cannot be used",
        where=where,
        why=why,
        next_step="unpack undistorted_camera_parameters.zip of this house again; for scans that were taken "
        "out by hand: -o check_n_images=false",
    )
