"""Edges and planes that a data set marks on its depth grid, as they are kept in a record's `extra`."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from depthvlm_bench.conventions import BoolArray
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import PICTURE_ERRORS, UInt8Array, picture_fault
from depthvlm_bench.records.files import reading

KEY: Final = "surface_marks"


@dataclass(frozen=True, eq=False)
class SurfaceMarks:
    """What is marked on the depth grid (h, w) of one image.

    Attributes:
        edges: (h, w) bool, occlusion edges and the like; None where the data set gave none for the image.
        planes: label maps (h, w) uint8, 0 for no plane, every other value a plane of its own. Maps of
            several kinds of surface may overlap.
    """

    edges: BoolArray | None = None
    planes: Sequence[UInt8Array] = ()


def marks_extra(marks: SurfaceMarks) -> dict[str, Any]:
    """Entries for a frame's `extra`: base64 of PNGs, 1-bit edges and 8-bit planes; none without marks."""
    edges = {} if marks.edges is None else {"edges": _encode(np.asarray(marks.edges, np.bool_))}
    planes = {"planes": [_encode(labels) for labels in marks.planes]} if marks.planes else {}
    return {KEY: edges | planes} if edges or planes else {}


def marks_of(extra: str | None, record: str) -> SurfaceMarks:
    """The marks of a record, from its column `extra`; CheckError where they are damaged."""
    with reading(record):
        known = (json.loads(extra) if extra else {}).get(KEY, {})
        edges = _decode(known["edges"]) != 0 if "edges" in known else None
        return SurfaceMarks(edges, tuple(_decode(text) for text in known.get("planes", ())))


def decode_mask(encoded: bytes, path: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A mask file's values (h, w), whatever their type; FrameError where it is broken or of another size."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            values = np.asarray(image)
    except PICTURE_ERRORS as error:
        raise FrameError("unreadable", f"{path}: {picture_fault(error)}") from error
    if values.shape != shape:
        raise FrameError("size_mismatch", f"{path} is {values.shape[::-1]}, depth {shape[::-1]}")
    return values


def _encode(values: npt.NDArray[Any]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _decode(text: str) -> UInt8Array:
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as image:
            return np.asarray(image).astype(np.uint8)
    except PICTURE_ERRORS as error:
        raise ValueError(f"surface marks are no picture: {error}") from error
