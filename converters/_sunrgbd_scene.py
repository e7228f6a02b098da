"""One scene folder of SUN RGB-D: its files, its intrinsics, and its depth with the bits rotated back."""

from collections.abc import Sequence

import numpy as np

from depthvlm_bench.converters._cameras import pinhole_from_matrix
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.errors import FrameError, SkipReason
from depthvlm_bench.frames import UInt16Array
from depthvlm_bench.geometry.camera import PinholeCamera


def only_file(tree: RawTree, folder: str, suffixes: Sequence[str], missing: SkipReason) -> str:
    """Relative path of the one file of a folder with such a suffix; hidden files are decoys of archives.

    Raises:
        FrameError: `missing` where there is none, `unreadable` where there are several and none is the one.
    """
    found = sorted(p.name for p in tree.path(folder).glob("*") if p.suffix.lower() in suffixes)
    names = [name for name in found if not name.startswith(".")]
    if not names:
        raise FrameError(missing, f"{folder} holds no *{' or *'.join(suffixes)}")
    if len(names) > 1:
        raise FrameError("unreadable", f"{folder} holds {len(names)} files, not one: {', '.join(names[:3])}")
    return f"{folder}/{names[0]}"


def intrinsics(tree: RawTree, path: str, size: tuple[int, int]) -> PinholeCamera:
    """The camera of an intrinsics.txt: nine numbers of K by rows, on one line or three, used as they stand.

    NYU's count pixels from 0, as its window of the full picture tells; of the other sensors no text says.
    """
    text = tree.read(path, "missing_intrinsics").decode("ascii", "replace")
    try:
        matrix = np.array([float(part) for part in text.split()]).reshape(3, 3)
    except ValueError as error:
        raise FrameError("bad_intrinsics", f"{path}: {error}") from error
    if matrix[2].tolist() != [0, 0, 1] or matrix[0, 1] or matrix[1, 0]:
        raise FrameError("bad_intrinsics", f"{path}: {matrix.tolist()} is no K of a camera without skew")
    return pinhole_from_matrix(matrix.tolist(), size, path)


def millimetres(stored: UInt16Array) -> UInt16Array:
    """Depth (h, w) in mm of stored values, whose 16 bits are rotated left by three.

    Source: read3dPoints.m of the dataset's toolbox.
    """
    return (stored >> np.uint16(3)) | (stored << np.uint16(13))
