"""Files of a raw tree, read with their skip reasons."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import UINT16_MAX
from depthvlm_bench.errors import CheckError, FrameError, SkipReason
from depthvlm_bench.frames import DepthGrid, Picture, UInt16Array
from depthvlm_bench.geometry.grids import PixelAffine
from depthvlm_bench.records.pictures import decode_depth_png

MAX_ASPECT_DIFFERENCE = 0.005


@dataclass(frozen=True)
class RawTree:
    """A raw tree on disk; every path is relative to its root, POSIX."""

    root: Path

    def path(self, relative: str) -> Path:
        """The file of a relative path; FrameError `unreadable` for one that leaves the tree."""
        pure = PurePosixPath(relative)
        if pure.is_absolute() or ".." in pure.parts:
            raise FrameError("unreadable", f"{relative}: path leaves the raw tree")
        return self.root / pure

    def read(self, relative: str, missing: SkipReason) -> bytes:
        """The file's bytes; FrameError `missing` where it is absent, `unreadable` where the disk refuses."""
        try:
            return self.path(relative).read_bytes()
        except FileNotFoundError as error:
            raise FrameError(missing, relative) from error
        except OSError as error:
            raise FrameError("unreadable", f"{relative}: {error.strerror}") from error

    def count(self, pattern: str) -> int:
        """How many files match a pattern; hidden ones are decoys that archives leave."""
        return sum(1 for path in self.root.glob(pattern) if not path.name.startswith("."))

    def names(self, relative: str) -> list[str]:
        """Names of a list file, one a line, sorted, without blanks and # comments; none where no file is."""
        path = self.path(relative)
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n") if path.is_file() else []
        except UnicodeDecodeError as error:
            raise CheckError("a list of names is not UTF-8 text", where=path, why=str(error)) from error
        return sorted({line for line in map(str.strip, lines) if line and not line.startswith("#")})

    def picture(self, relative: str) -> Picture:
        """A source picture."""
        return Picture(self.read(relative, "missing_image"), relative)

    def depth_png(self, relative: str) -> tuple[bytes, UInt16Array]:
        """A 16-bit depth PNG: its bytes and its values (h, w)."""
        encoded = self.read(relative, "missing_depth")
        return encoded, decode_depth_png(encoded, relative)


def png_grid(
    encoded: bytes | None,
    values: UInt16Array,
    invalid: npt.NDArray[np.bool_],
    depth_scale: float,
    picture_size: tuple[int, int],
) -> DepthGrid:
    """A depth grid with its invalid pixels set to 0; the source PNG is kept where that changes nothing.

    Args:
        encoded, values: the source PNG and what it decodes to, (h, w); None where values come from elsewhere.
        invalid: (h, w), official masks and codes.
        depth_scale: units a metre.
        picture_size: (width, height) of the source picture, which the grid covers edge to edge.
    """
    cleaned = np.where(invalid, np.uint16(0), values)
    source_from_depth = PixelAffine.resize((values.shape[1], values.shape[0]), picture_size)
    kept = encoded if np.array_equal(cleaned, values) else None
    return DepthGrid(cleaned, depth_scale, source_from_depth, kept)


def metres_grid(
    depth_m: npt.NDArray[np.floating], depth_scale: float, picture_size: tuple[int, int], valid_max_m: float
) -> DepthGrid:
    """A depth grid of float metres (h, w), over the whole picture; what is no distance is 0.

    Args:
        depth_m: 0, negative or not finite where there is none.
        depth_scale: units a metre to store it in.
        picture_size: (width, height) of the source picture.
        valid_max_m: what is farther is never asked, and may be lost.

    Raises:
        ValueError: depth that may be asked does not fit into 16 bits.
    """
    most_m = float(depth_m[depth_m <= valid_max_m].max(initial=0.0))
    if most_m * depth_scale >= UINT16_MAX + 0.5:
        held = f"depth_scale {depth_scale} holds up to {UINT16_MAX / depth_scale:.1f} m"
        raise ValueError(f"{most_m:.1f} m is too far: {held}; lower it")
    source_from_depth = PixelAffine.resize((depth_m.shape[1], depth_m.shape[0]), picture_size)
    return DepthGrid.from_metres(depth_m, depth_scale, source_from_depth)


def check_aspect(shape: tuple[int, ...], picture: Picture, path: str) -> None:
    """FrameError `size_mismatch` where a depth grid (h, w) cannot cover the picture edge to edge."""
    (height, width), (picture_width, picture_height) = shape, picture.size
    if abs(width * picture_height / (height * picture_width) - 1) > MAX_ASPECT_DIFFERENCE:
        raise FrameError("size_mismatch", f"{path} is {width}x{height}, picture {picture.size}")
