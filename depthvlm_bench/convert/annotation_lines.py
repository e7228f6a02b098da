"""The lines of a published list: JSON records of the paper's format, checked before any file is opened."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from depthvlm_bench.errors import CheckError

NEEDED = (
    "image",
    "depth_path",
    "original_rgb_size",
    "original_fx",
    "canonical_size",
    "pixel_coords",
    "depth",
)


def read_lines(annotations: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(line, record) of each line that is not empty, in order.

    Raises:
        CheckError: a line is no record of the paper's format; it names the line and what is wrong with it.
    """
    try:
        text = annotations.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CheckError("a list must be text in UTF-8", where=annotations, why=str(error)) from error
    for number, line in enumerate(text.split("\n"), 1):  # a line separator within a string ends no record
        if not line.strip():
            continue
        where = f"{annotations}:{number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise CheckError("a line is no JSON record", where=where, why=str(error)) from error
        if (fault := fault_of(record)) is not None:
            raise CheckError("a line is no annotation of the paper's format", where=where, why=fault)
        yield line, record


def fault_of(record: Any) -> str | None:  # noqa: ANN401 - whatever JSON holds
    """What makes a record unusable whatever its files hold; None: nothing."""
    known = record if isinstance(record, dict) else {}
    missing = [name for name in NEEDED if name not in known]
    if missing:
        return f"it lacks {', '.join(missing)}"
    if not all(isinstance(known[name], str) for name in ("image", "depth_path")):
        return "image and depth_path must be paths"
    if not _is_size(known["original_rgb_size"]):
        return "original_rgb_size must be [width, height]"
    for name in ("canonical_size", "original_depth_size"):
        if not (known.get(name) is None or _is_size(known[name])):
            return f"{name} must be [width, height], or null"
    scale = known.get("depth_scale")
    if not (scale is None or (_is_finite(scale) and scale > 0)):
        return "depth_scale must be units a metre"
    return _fault_of_points(known["pixel_coords"], known["depth"])


def _fault_of_points(points: object, depths_m: object) -> str | None:
    if not (isinstance(points, list) and all(map(_is_pair, points))):
        return "pixel_coords must be [column, row], in whole pixels"
    if not (isinstance(depths_m, list) and len(depths_m) == len(points) and all(map(_is_finite, depths_m))):
        return f"depth must be {len(points)} numbers, one a point"
    return None


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_finite(n) and n == int(n) for n in value)


def _is_size(value: object) -> bool:
    return isinstance(value, list) and _is_pair(value) and min(value) > 0
