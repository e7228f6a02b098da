"""What goes over the pipes to a worker: frames of a JSON header and raw arrays, lengths first, no pickles.

Both ends use this one file. A worker loads it by path, in an environment that has numpy and not this package:
nothing but the standard library and numpy is imported, in words that Python 3.9 knows.

A frame is: magic, version (2 bytes), 2 bytes of nothing, length of the header (4 bytes), length of all
arrays (8 bytes), the header, the arrays one after another. All numbers are little-endian. The header's
`arrays` names type and shape of each.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MAGIC, VERSION = b"DVBW", 1
_PREFIX = struct.Struct("<4sHxxIQ")
TYPES = ("uint8", "float32", "float64")
# No answer is near these; a length beyond them is not a length.
MAX_HEADER, MAX_ARRAYS = 1 << 22, 1 << 32

Array = np.ndarray[Any, np.dtype[Any]]
Read = Callable[[int], bytes]


class WireError(Exception):
    """Bytes that are no frame of this version."""


@dataclass(frozen=True)
class Picture:
    """What a model in a worker is shown.

    Attributes:
        rgb: (height, width, 3) uint8.
        camera: fx, fy, cx, cy in px, pixel centres at integers; None: unknown.
        seed: of the picture, for models that draw.
    """

    rgb: Array
    camera: tuple[float, float, float, float] | None
    seed: int

    def intrinsics(self, centre: float) -> list[list[float]]:
        """K, rows first, where the first pixel's centre is at (centre, centre); the camera must be known."""
        assert self.camera is not None
        fx, fy, cx, cy = self.camera
        return [[fx, 0.0, cx + centre], [0.0, fy, cy + centre], [0.0, 0.0, 1.0]]


@dataclass(frozen=True)
class Answer:
    """What a model in a worker says of one picture.

    Attributes:
        depth_m: (h, w) z-depth of the whole picture, m, on a grid of any size with half-pixel centres.
        fx_px: focal length that the model estimated, px of the picture; None: it estimates none.
    """

    depth_m: Array
    fx_px: float | None = None


def pack(header: Mapping[str, Any], arrays: Sequence[Array] = ()) -> bytes:
    """One frame; TypeError for an array of a type that is not sent."""
    wrong = sorted({str(array.dtype) for array in arrays} - set(TYPES))
    if wrong:
        raise TypeError(f"arrays of type {', '.join(wrong)} are not sent, only {', '.join(TYPES)}")
    described = [{"dtype": str(array.dtype), "shape": list(array.shape)} for array in arrays]
    head = json.dumps({**header, "arrays": described}).encode()
    body = b"".join(array.tobytes() for array in arrays)
    return _PREFIX.pack(MAGIC, VERSION, len(head), len(body)) + head + body


def unpack(read: Read) -> tuple[dict[str, Any], list[Array]]:
    """Read one frame.

    Args:
        read: gives exactly as many bytes as asked.

    Raises:
        WireError: what comes is no frame.
    """
    magic, version, head_length, body_length = _PREFIX.unpack(read(_PREFIX.size))
    if magic != MAGIC:
        raise WireError(f"begins with {magic!r}, not {MAGIC!r}")
    if version != VERSION:
        raise WireError(f"is of version {version}, not {VERSION}")
    if head_length > MAX_HEADER or body_length > MAX_ARRAYS:
        raise WireError(f"claims {head_length} and {body_length} bytes")
    try:
        header = dict(json.loads(read(head_length)))
        described = [(np.dtype(_known(array["dtype"])), _shape(array["shape"])) for array in header["arrays"]]
    except (ValueError, LookupError, TypeError) as error:
        raise WireError(f"has a header that says nothing: {error}") from error
    if sum(dtype.itemsize * _count(shape) for dtype, shape in described) != body_length:
        raise WireError("has arrays of another length than its header says")
    return header, [_array(read, dtype, shape) for dtype, shape in described]


def _array(read: Read, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    return np.frombuffer(read(dtype.itemsize * _count(shape)), dtype).reshape(shape)


def _known(name: str) -> str:
    if name not in TYPES:
        raise ValueError(f"type {name!r}")
    return name


def _shape(sides: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(int(side) for side in sides)
    if any(side < 0 for side in shape):
        raise ValueError(f"shape {shape}")
    return shape


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
