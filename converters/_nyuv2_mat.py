"""nyu_depth_v2_labeled.mat: MATLAB 7.3, so HDF5 with all axes in reverse; read one picture at a time."""

import re
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.errors import CheckError, FrameError
from depthvlm_bench.frames import UInt8Array

WIDTH, HEIGHT = 640, 480
WHITE = 255
# Type and axes of each array after the first one, which counts the pictures.
ARRAYS: dict[str, tuple[str, tuple[int, ...]]] = {
    "images": ("uint8", (3, WIDTH, HEIGHT)),
    "rawDepths": ("float32", (WIDTH, HEIGHT)),
    "depths": ("float32", (WIDTH, HEIGHT)),
}
SCENE = re.compile(r"\w+", re.ASCII)
AGAIN = "download nyu_depth_v2_labeled.mat (about 2.8 GB) again"
# How the file is packed is MATLAB's choice: room for a chunk of several pictures, which neighbours share.
CHUNK_CACHE_BYTES = 64 * 2**20


class LabelledFile:
    """The file, opened and checked.

    Attributes:
        scenes: name of the scene of each picture.

    Raises:
        CheckError: it is damaged, or is not the published file.
    """

    def __init__(self, path: Path, most_pictures: int) -> None:
        self.path = path
        self.file = _open(path)
        missing = sorted({*ARRAYS, "scenes"} - set(self.file))
        if missing:
            self._refuse(f"no {', '.join(missing)}", f"it holds {', '.join(sorted(self.file)) or 'nothing'}")
        count = (getattr(self.file["images"], "shape", None) or (0,))[0]
        for name, (kind, axes) in ARRAYS.items():
            found, expected = self._kind(name), f"{kind} {(count, *axes)}"
            if found != expected:
                self._refuse(f"{name} is {found}, not {expected}", "its axes are those of MATLAB in reverse")
        if not 0 < count <= most_pictures:
            self._refuse(f"it has {count} pictures", f"NYU Depth V2 has {most_pictures} (V1 has 2284)")
        self.scenes = self._names("scenes", count)

    def _kind(self, name: str) -> str:
        found = self.file[name]
        return f"{found.dtype} {found.shape}" if isinstance(found, h5py.Dataset) else "no array"

    def _refuse(self, fault: str, why: str) -> NoReturn:
        raise CheckError(
            f"not the published NYU Depth V2 file: {fault}", where=self.path, why=why, next_step=AGAIN
        )

    def _names(self, cells: str, count: int) -> tuple[str, ...]:
        """Texts of a column of cells: references to arrays of character codes."""
        try:
            names = ["".join(map(chr, self.file[cell][()].ravel())) for cell in self.file[cells][0]]
        except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
            self._refuse(f"{cells} cannot be read", f"{type(error).__name__}: {error}")
        odd = [name for name in names if not SCENE.fullmatch(name)]
        if odd or len(names) != count:
            why = f"{len(odd)} of them are no names{': ' + repr(odd[0]) if odd else ''}"
            self._refuse(f"{cells} has {len(names)} names for {count} pictures", why)
        return tuple(names)

    def picture(self, index: int) -> UInt8Array:
        """RGB (480, 640, 3) of a picture, counted from 0; FrameError `unreadable` where it is damaged."""
        return self._slice("images", index)

    def depth_m(self, name: str, index: int) -> FloatArray:
        """Depth (480, 640) in metres of `rawDepths` or `depths`; FrameError `unreadable`."""
        return self._slice(name, index).astype(np.float64)

    def _slice(self, name: str, index: int) -> npt.NDArray[Any]:
        """One picture of an array, its axes put right."""
        try:
            return np.ascontiguousarray(self.file[name][index].T)
        except OSError as error:
            raise FrameError("unreadable", f"{self.path.name}#{name}/{index}: {error}") from error

    def inner_window(self) -> str:
        """What the white border leaves of the first picture, as rows and columns from:to."""
        try:
            drawn = (self.picture(0) != WHITE).any(axis=2)
        except FrameError as error:
            return error.detail
        spans = [np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0)]
        rows, columns = (f"{span[0]}:{span[-1] + 1}" if len(span) else "none" for span in spans)
        return f"rows {rows}, columns {columns}"

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _open(path: Path) -> h5py.File:
    with path.open("rb") as stream:
        if stream.read(19).startswith(b"MATLAB 5.0 MAT-file"):
            why = "the published file is MATLAB 7.3: another program has saved this one"
            raise CheckError("a MATLAB 5 file", where=path, why=why, next_step=AGAIN)
    try:  # without locks, which network disks refuse: nothing is written
        return h5py.File(path, "r", locking=False, rdcc_nbytes=CHUNK_CACHE_BYTES)
    except OSError as error:
        raise CheckError("no HDF5 file", where=path, why=str(error), next_step=AGAIN) from error
