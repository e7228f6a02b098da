"""Frames to records and back: one row of the schema, encoded and decoded in one place."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from depthvlm_bench.cards import DatasetCard
from depthvlm_bench.conventions import IntArray
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import (
    PICTURE_ERRORS,
    Depth,
    DepthGrid,
    DepthPoints,
    Frame,
    picture_fault,
    undistorted,
)
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import PixelAffine, ViewGrid, cropped_grid, focal_grid
from depthvlm_bench.geometry.lens import Lens
from depthvlm_bench.records.backends import Backend, PillowBackend
from depthvlm_bench.records.pictures import (
    decode_depth_raster,
    encode_depth_png,
    encode_depth_tiff,
    encode_jpeg,
    encode_png,
    pixels_sha256,
    render,
)
from depthvlm_bench.records.prompts import load_prompt
from depthvlm_bench.records.schema import COLUMNS
from depthvlm_bench.sampling.compat import ListedPoints, canonical_xy, in_range, nearest_resize, truth_at
from depthvlm_bench.sampling.coverage import area_without_truth
from depthvlm_bench.sampling.draw import Candidates

# Key of a record's extra: share of the canonical picture in which no depth can be asked.
AREA_WITHOUT_TRUTH = "area_without_truth"

Row = dict[str, Any]


@dataclass(frozen=True)
class RecordSpec:
    """What all records of one set have in common.

    Attributes:
        set_kind: strict, compat, published or overlap.
        keep_source_image: whether evaluation records carry the source bytes beside the canonical picture.
        converter: name/version of the reader.
        options_hash: hash of everything that decides the set's content.
        backend: what makes training pictures.
    """

    card: DatasetCard
    set_kind: str
    keep_source_image: bool
    converter: str
    options_hash: str
    prompt_id: str
    backend: Backend = field(default_factory=PillowBackend)


def canonical_grid(frame: Frame, card: DatasetCard) -> ViewGrid:
    """How the frame's canonical picture is made."""
    camera = frame.camera
    if frame.canonical_size is not None:
        return cropped_grid((camera.width, camera.height), frame.canonical_size, card.max_canonical_edge)
    return focal_grid(camera.width, camera.height, camera.fx_px, max_edge=card.max_canonical_edge)


def encode_record(
    frame: Frame,
    spec: RecordSpec,
    points: Sequence[Row] | None,
    points_balanced: Sequence[Row] | None,
    listed: ListedPoints | None = None,
) -> Row:
    """One row of the schema; columns that do not apply are None.

    Raises:
        FrameError: the picture cannot be decoded, or no depth is valid.
    """
    grid = canonical_grid(frame, spec.card)
    row: Row = dict.fromkeys(name for name, _ in COLUMNS)
    row |= _identity(frame, spec) | _picture(frame, grid, spec) | _depth(frame, spec.card)
    if frame.ref.split.role == "eval":
        row |= {"extra": json.dumps(_measured(frame, grid, spec.card), sort_keys=True)}
    prompt = load_prompt(spec.prompt_id)
    row |= {"prompt_id": prompt.id, "messages": prompt.messages(), "answer": prompt.answer}
    row |= {"points": points, "points_balanced": points_balanced}
    return row | listed_columns(frame, listed, grid, spec.card) if listed is not None else row


def _identity(frame: Frame, spec: RecordSpec) -> Row:
    ref = frame.ref
    known = {name: value for name, value in asdict(ref.tags).items() if value is not None}
    return {
        "id": ref.id,
        "dataset": ref.dataset,
        "split": ref.split.role,
        "source_split": ref.split.source,
        "scene": ref.scene or "-",
        "camera": ref.camera or "-",
        "frame": ref.frame,
        "source_path": frame.picture.path,
        "tags": asdict(spec.card.tags) | known,
        "set_kind": spec.set_kind,
        "converter": spec.converter,
        "options_hash": spec.options_hash,
        "extra": json.dumps(frame.extra, sort_keys=True),
    }


def _measured(frame: Frame, grid: ViewGrid, card: DatasetCard) -> Row:
    """The frame's extra, and how much of its picture no depth can be asked of."""
    share = area_without_truth(frame.depth, grid, card.valid_min_m, card.valid_max_m)
    return {**frame.extra, AREA_WITHOUT_TRUTH: round(share, 4)}


def _picture(frame: Frame, grid: ViewGrid, spec: RecordSpec) -> Row:
    canonical, source = frame.camera.seen_through(grid), frame.camera
    return _pixels(frame, grid, spec) | {
        "width": canonical.width,
        "height": canonical.height,
        "fx": canonical.fx_px,
        "fy": canonical.fy_px,
        "cx": canonical.cx_px,
        "cy": canonical.cy_px,
        "full_width": grid.full_width,
        "full_height": grid.full_height,
        "crop_left": grid.left,
        "crop_top": grid.top,
        "source_width": source.width,
        "source_height": source.height,
        "source_fx": source.fx_px,
        "source_fy": source.fy_px,
        "source_cx": source.cx_px,
        "source_cy": source.cy_px,
        "lens": asdict(frame.lens) | {"undone": True} if frame.lens is not None else None,
        "camera_assumed": frame.camera_assumed,
        "source_sha256": frame.picture.sha256,
    }


def _pixels(frame: Frame, grid: ViewGrid, spec: RecordSpec) -> Row:
    """Evaluation: lossless canonical picture and source bytes. Training: whichever of the two is smaller."""
    if frame.ref.split.role == "eval":
        picture = render(frame.source_picture(), grid)
        return {
            "image": {"bytes": encode_png(picture), "path": None},
            "source_image": frame.picture.encoded if spec.keep_source_image else None,
            "canonical_sha256": pixels_sha256(picture),
        }
    if grid.shrinks:
        return {"image": {"bytes": encode_jpeg(spec.backend.canonical(frame, grid)), "path": None}}
    frame.picture.decode()  # nothing is made of it, but a broken file is to be found now
    return {"source_image": frame.picture.encoded}


def _depth(frame: Frame, card: DatasetCard) -> Row:
    depth = frame.depth
    common: Row = {
        "depth_scale": depth.depth_scale,
        "depth_kind": frame.depth_kind,
        "valid_min": card.valid_min_m,
        "valid_max": card.valid_max_m,
    }
    if isinstance(depth, DepthPoints):
        lists: dict[str, npt.NDArray[Any]] = {
            "u": depth.u_raw,
            "v": depth.v_raw,
            "z": depth.z_raw,
            "flags": depth.flags,
        }
        steps = {"depth_uv_step": depth.uv_step_px, "depth_z_step": 1 / depth.depth_scale}
        return common | steps | {"depth_points": lists}
    return common | {
        "depth": {"bytes": depth.source_png or encode_raster(depth), "path": None},
        "depth_width": depth.values.shape[1],
        "depth_height": depth.values.shape[0],
        "depth_affine": asdict(depth.source_from_depth),
    }


def encode_raster(depth: DepthGrid) -> bytes:
    """The file of a depth raster: 16-bit PNG, or float32 TIFF."""
    values = depth.values
    if values.dtype == np.uint16:
        return encode_depth_png(values.astype(np.uint16, copy=False))
    return encode_depth_tiff(values.astype(np.float32, copy=False))


def point_rows(pool: Candidates, chosen: IntArray) -> list[Row]:
    """The asked points as rows of the schema's point struct."""
    columns: dict[str, npt.NDArray[Any]] = {
        "u": pool.u_px,
        "v": pool.v_px,
        "u_src": pool.u_src_px,
        "v_src": pool.v_src_px,
        "depth_m": pool.depth_m,
        "ray_factor": pool.ray_factor,
        "flags": pool.flags,
    }
    picked = {name: values[chosen].tolist() for name, values in columns.items()}
    return [dict(zip(picked, values, strict=True)) for values in zip(*picked.values(), strict=True)]


def listed_columns(frame: Frame, listed: ListedPoints, grid: ViewGrid, card: DatasetCard) -> Row:
    """What compat scoring needs of a listed line: its points and their truth as the paper's code has them."""
    full = (grid.full_width, grid.full_height)
    xy = canonical_xy(listed.xy, (grid.source_width, grid.source_height), full, (grid.width, grid.height))
    truth_m = truth_at(
        compat_depth_m(_unmasked(frame), grid, card.valid_min_m, card.valid_max_m), xy, listed.depth_m
    )
    return {
        "listed_row": listed.row,
        "listed_record": listed.record,
        "xy_listed": [list(map(float, point)) for point in listed.xy],
        "listed_depth_m": list(listed.depth_m),
        "compat_xy": [{"x": int(x), "y": int(y)} for x, y in xy],
        "compat_gt_m": truth_m.tolist(),
    }


def _unmasked(frame: Frame) -> DepthGrid:
    if not isinstance(frame.depth, DepthGrid):
        raise FrameError(
            "no_valid_depth", f"{frame.ref.id}: the paper's truth is a raster, this depth is points"
        )
    return frame.depth if frame.unmasked is None else replace(frame.depth, values=frame.unmasked)


def compat_depth_m(
    depth: DepthGrid, grid: ViewGrid, valid_min_m: float, valid_max_m: float
) -> npt.NDArray[np.float32]:
    """Depth (h, w) float32 on the canonical picture as the paper's code has it: range, nearest, crop."""
    metres = in_range(
        depth.values.astype(np.float32) / np.float32(depth.depth_scale), valid_min_m, valid_max_m
    )
    full = nearest_resize(metres, grid.full_width, grid.full_height)
    return full[grid.top : grid.top + grid.height, grid.left : grid.left + grid.width].astype(np.float32)


def decode_depth(row: Mapping[str, Any]) -> Depth:
    """The depth of a row as the converter handed it over."""
    if row["depth_points"] is not None:
        lists = row["depth_points"]
        raw = [np.asarray(lists[name], dtype=np.uint16) for name in ("u", "v", "z")]
        flags = np.asarray(lists["flags"], dtype=np.uint8)
        return DepthPoints(raw[0], raw[1], raw[2], flags, row["depth_uv_step"], row["depth_scale"])
    values = decode_depth_raster(row["depth"]["bytes"], row["id"])
    return DepthGrid(values, row["depth_scale"], PixelAffine(**row["depth_affine"]), row["depth"]["bytes"])


def decode_picture(encoded: bytes, where: str) -> Image.Image:
    """RGB pixels of a stored picture; FrameError `unreadable` if it is broken."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.convert("RGB")
    except PICTURE_ERRORS as error:
        raise FrameError("unreadable", f"{where}: {picture_fault(error)}") from error


def decode_source_picture(row: Mapping[str, Any]) -> Image.Image:
    """RGB pixels of the source frame, from the stored source bytes; a lens that the record names is undone.

    Raises:
        FrameError: `unreadable` where the bytes are broken, or have another size than their record.
    """
    picture, camera = decode_picture(row["source_image"], "source_image"), source_camera(row)
    if picture.size != (camera.width, camera.height):
        raise FrameError("unreadable", f"source_image is {picture.size}, not {(camera.width, camera.height)}")
    return undistorted(picture, camera, source_lens(row))


def source_lens(row: Mapping[str, Any]) -> Lens | None:
    """The lens that was undone in the source frame; None where the picture is a pinhole's."""
    lens = row["lens"]
    return Lens(lens["model"], tuple(lens["parameters"])) if lens is not None else None


def source_camera(row: Mapping[str, Any]) -> PinholeCamera:
    """Intrinsics of the source frame."""
    names = ("width", "height", "fx", "fy", "cx", "cy")
    return PinholeCamera(*(row[f"source_{name}"] for name in names))


def record_grid(row: Mapping[str, Any]) -> ViewGrid:
    """How the record's canonical picture was made."""
    source = (row["source_width"], row["source_height"])
    crop = (row["crop_left"], row["crop_top"], row["width"], row["height"])
    return ViewGrid(*source, row["full_width"], row["full_height"], *crop)
