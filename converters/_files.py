"""Files of a raw tree, read with their skip reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from depthvlm_bench.errors import CheckError, DataMissingError, FrameError, SkipReason
from depthvlm_bench.frames import DepthGrid, Picture, UInt16Array
from depthvlm_bench.geometry.grids import PixelAffine
from depthvlm_bench.records.pictures import decode_depth_png

# What tells a required file from a required folder in an error: folders are named v1.0-trainval, too.
FILE_SUFFIXES = (".json", ".txt", ".mat", ".csv", ".bin")


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
    encoded: bytes,
    values: UInt16Array,
    invalid: npt.NDArray[np.bool_],
    depth_scale: float,
    picture_size: tuple[int, int],
) -> DepthGrid:
    """A depth grid with its invalid pixels set to 0; the source PNG is kept where that changes nothing.

    Args:
        encoded, values: the source PNG and what it decodes to, (h, w).
        invalid: (h, w), official masks and codes.
        depth_scale: units a metre.
        picture_size: (width, height) of the source picture, which the grid covers edge to edge.
    """
    cleaned = np.where(invalid, np.uint16(0), values)
    source_from_depth = PixelAffine.resize((values.shape[1], values.shape[0]), picture_size)
    kept = encoded if np.array_equal(cleaned, values) else None
    return DepthGrid(cleaned, depth_scale, source_from_depth, kept)


def require(path: Path, dataset: str) -> None:
    """DataMissingError where what the tree must have is absent, naming what is there and the likely root."""
    if path.exists():
        return
    parent = next(p for p in path.parents if p.exists())
    found = sorted(child.name for child in parent.iterdir()) if parent.is_dir() else []
    shown = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    nearby = _likely_root(parent, path.relative_to(parent))
    raise DataMissingError(
        f"no {path.name}{'' if path.suffix in FILE_SUFFIXES else '/'} in this {dataset} tree",
        where=path,
        why=f"{parent} holds {shown or 'nothing'}",
        next_step=f"--root {nearby} has it"
        if nearby
        else f"dvbench datasets {dataset} shows the expected tree",
    )


def _likely_root(root: Path, relative: Path) -> Path | None:
    """A folder above or below that has what is missing: archives are often unpacked one level off."""
    if not root.is_dir():
        return None
    below = sorted(path for depth in ("*", "*/*") for path in root.glob(f"{depth}/{relative}"))
    if below:
        return below[0].parents[len(relative.parts) - 1]
    return next((path for path in root.parents[:2] if (path / relative).exists()), None)


def refuse(root: Path, dataset: str, foreign: Mapping[str, str]) -> None:
    """DataMissingError where a tree is of another release than the one that is read.

    Args:
        foreign: glob pattern below the root -> what a match means, as 'Waymo v1 tfrecords'.
    """
    for pattern, meaning in foreign.items():
        match = next((path for path in root.glob(pattern) if not path.name.startswith(".")), None)
        if match is not None:
            raise DataMissingError(
                f"this tree holds {meaning}, which {dataset} is not read from",
                where=match,
                next_step=f"dvbench datasets {dataset} says which release to get and shows its tree",
            )
