"""The paper's annotation format: a JSONL list over rgb/ and depth/ that its own data set class reads."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from depthvlm_bench.conventions import UINT16_MAX, pixel_index
from depthvlm_bench.errors import UsageError
from depthvlm_bench.frames import DepthGrid, DepthPoints, UInt16Array
from depthvlm_bench.progress import Progress
from depthvlm_bench.records.files import whole_file
from depthvlm_bench.records.pictures import encode_depth_png
from depthvlm_bench.records.reader import RecordSet, depth_of

LIST_NAME = "{name}.jsonl"
PICTURE_SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png"}
CANONICAL_FX = 1000.0


@dataclass(frozen=True)
class Exported:
    """What was written."""

    annotations: Path
    images: int
    points: int


def export_annotations(records: RecordSet, out: Path, progress: Progress) -> Exported:
    """Write a set as `<dataset>.jsonl`, rgb/ and depth/.

    A published or compat set gives back its listed points. A strict set gives its own, as picture pixels,
    which that class then reads correctly. LiDAR depth becomes a 16-bit
    raster at source size (1/256 m, one point a pixel).

    Raises:
        UsageError: the set was stored without source pixels.
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
    return Exported(path, len(lines), points)


def _lines(records: RecordSet, out: Path) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(records.rows()):
        if row["source_image"] is None:
            raise UsageError(
                "the paper's format needs source pixels and the set has none",
                where=row["id"],
                next_step="convert it again without --no-source-image",
            )
        stem = row["id"].split("/", 2)[2].replace("/", "_")
        suffix = PICTURE_SUFFIXES.get(row["source_image"][:2], Path(row["source_path"]).suffix)
        depth = depth_of(row)
        raster = depth.values if isinstance(depth, DepthGrid) else _raster(depth, row)
        _write(out / "rgb" / f"{stem}{suffix}", row["source_image"])
        _write(out / "depth" / f"{stem}.png", encode_depth_png(raster))
        yield _line(row, f"{stem}{suffix}", f"{stem}.png", raster, number)


def _line(
    row: Mapping[str, Any], image: str, depth_path: str, raster: UInt16Array, number: int
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
        "original_depth_size": [raster.shape[1], raster.shape[0]],
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
