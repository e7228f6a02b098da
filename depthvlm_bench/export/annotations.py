"""The paper's annotation format: a JSONL list over rgb/ and depth/ that its own data set class reads."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import UINT16_MAX, pixel_index
from depthvlm_bench.convert.annotations import RAW_FLOAT, RAW_FLOAT_SIZE
from depthvlm_bench.errors import UsageError
from depthvlm_bench.frames import DepthGrid, DepthPoints, UInt16Array
from depthvlm_bench.progress import Progress
from depthvlm_bench.records.codec import decode_source_picture
from depthvlm_bench.records.files import whole_file
from depthvlm_bench.records.pictures import encode_depth_png, encode_png
from depthvlm_bench.records.reader import RecordSet, depth_of

LIST_NAME = "{name}.jsonl"
PICTURE_SUFFIXES = {b"P6": ".ppm", b"\xff\xd8": ".jpg", b"\x89P": ".png"}
CANONICAL_FX = 1000.0

# Words that the paper's code looks for in a list's path, in this order: the first one decides the range.
RANGE_WORDS = (
    "argoverse",
    "waymo",
    "nuscenes",
    "ddad",
    "scannetpp",
    "taskonomy",
    "hm3d",
    "matterport",
    "sunrgbd",
    "ibims",
    "nyuv2",
    "eth3d",
)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        misread_as: word of another dataset whose depth range the paper's code takes for a list at this path;
            None: it finds the right one.
    """

    annotations: Path
    images: int
    points: int
    misread_as: str | None = None


def export_annotations(records: RecordSet, out: Path, progress: Progress) -> Exported:
    """Write a set as `<dataset>.jsonl`, rgb/ and depth/.

    A published or compat set gives back its listed points. A strict set gives its own, as picture pixels,
    which that class then reads correctly. LiDAR depth becomes a 16-bit raster at source size (1/256 m, one
    point a pixel). Masks are in the stored depth already: where that class reads truth under a mask, it finds
    none and falls back to the listed depth.

    Raises:
        UsageError: the set was stored without source pixels, or has float depth of another size than ETH3D's.
    """
    lines, points = [], 0
    with progress.stage(f"exporting {records.name}", int(records.info["images"]), "image") as advance:
        for line in _lines(records, out):
            points += len(line["depth"])
            lines.append(line)
            advance(1)
    lines.sort(key=lambda line: line.pop("_row"))
    path = out / LIST_NAME.format(name=records.name.split("@")[0])
    with whole_file(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return Exported(path, len(lines), points, range_word_of_another(path, path.stem))


def range_word_of_another(path: Path, dataset: str) -> str | None:
    """The first word in a path that names another dataset to the paper's code, if that is what it finds."""
    of_path, of_dataset = (
        next((word for word in RANGE_WORDS if word in text.lower()), None)
        for text in (str(path.absolute()), dataset)
    )
    return of_path if of_path != of_dataset else None


def _lines(records: RecordSet, out: Path) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(records.rows()):
        if row["source_image"] is None:
            raise UsageError(
                "the paper's format needs source pixels and the set has none",
                where=row["id"],
                next_step="convert it again without --no-source-image",
            )
        stem = row["id"].split("/", 2)[2].replace("/", "_")
        encoded, depth = _picture(row), depth_of(row)
        suffix = PICTURE_SUFFIXES.get(encoded[:2], Path(row["source_path"]).suffix)
        raster: npt.NDArray[Any] = depth.values if isinstance(depth, DepthGrid) else _raster(depth, row)
        raw = raster.dtype == np.float32
        depth_path = f"{stem}.raw" if raw else f"{stem}.png"
        _write(out / "rgb" / f"{stem}{suffix}", encoded)
        _write(out / "depth" / depth_path, _raw_floats(row, raster) if raw else encode_depth_png(raster))
        form = {"depth_format": RAW_FLOAT} if raw else {}
        yield _line(row, f"{stem}{suffix}", depth_path, raster.shape, number) | form


def _picture(row: Mapping[str, Any]) -> bytes:
    """The source frame's file; made anew where a lens was undone, for a list knows no lenses."""
    encoded: bytes = row["source_image"]
    return encoded if row["lens"] is None else encode_png(decode_source_picture(row))


def _raw_floats(row: Mapping[str, Any], raster: npt.NDArray[Any]) -> bytes:
    """Float depth as that class reads it: float32 without a header, of one size only."""
    if raster.shape[::-1] != RAW_FLOAT_SIZE:
        raise UsageError(
            "the paper's format holds float depth of 6048x4032 only",
            where=row["id"],
            why=f"this one is {raster.shape[1]}x{raster.shape[0]}",
        )
    return (raster / np.float32(row["depth_scale"])).astype("<f4").tobytes()


def _line(
    row: Mapping[str, Any], image: str, depth_path: str, depth_shape: tuple[int, ...], number: int
) -> dict[str, Any]:
    listed = row["xy_listed"] is not None
    points = row["points"] or []
    corner = [(pixel_index(p["u_src"]), pixel_index(p["v_src"])) for p in points]
    xy = [list(map(int, point)) for point in (row["xy_listed"] if listed else corner)]
    depths = row["listed_depth_m"] if listed else [round(point["depth_m"], 4) for point in points]
    camera = {} if row["camera"] == "-" else {"camera": row["camera"]}
    return {
        "scene_id": row["scene"],
        **camera,
        "image": image,
        "depth_path": depth_path,
        "depth_scale": row["depth_scale"],
        "original_rgb_size": [row["source_width"], row["source_height"]],
        "original_depth_size": [depth_shape[1], depth_shape[0]],
        "original_fx": round(row["source_fx"], 2),
        "canonical_fx": CANONICAL_FX,
        "canonical_size": [row["full_width"], row["full_height"]],
        "prompt": row["messages"][-1]["content"][-1]["text"],
        "solution": row["answer"],
        "pixel_coords": xy,
        "depth": depths,
        "depth_type": "z_depth",
        "_row": row["listed_row"] if listed else number,
    }


def _raster(depth: DepthPoints, row: Mapping[str, Any]) -> UInt16Array:
    raster = np.zeros((row["source_height"], row["source_width"]), dtype=np.uint16)
    u, v = depth.source_pixels()
    raster[pixel_index(v), pixel_index(u)] = np.minimum(depth.z_raw, UINT16_MAX)
    return raster


def _write(path: Path, data: bytes) -> None:
    with whole_file(path) as temporary:
        temporary.write_bytes(data)
