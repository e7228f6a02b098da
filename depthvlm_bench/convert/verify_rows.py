"""Is one record right in itself: its picture, camera and points against the depth and pixels beside them?"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from depthvlm_bench.conventions import FLAG_OCCLUSION_SUSPECT, FloatArray, IntArray, pixel_index
from depthvlm_bench.convert.plan_rows import PlannedFrame
from depthvlm_bench.convert.settings import SetSettings
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import Depth, DepthPoints, undistorted
from depthvlm_bench.geometry.camera import inside
from depthvlm_bench.records.codec import decode_depth, decode_picture, record_grid, source_camera, source_lens
from depthvlm_bench.records.pictures import pixels_sha256, render

# Coordinates and ray factors are float64 results of the same formulas: this only forgives a maths library.
COORDINATE_TOLERANCE_PX = 1e-9
RAY_FACTOR_TOLERANCE = 1e-12

POINT_LISTS = ("points", "points_balanced")
SIZES_AND_INTRINSICS = ("width", "height", "fx", "fy", "cx", "cy")
NEVER_NULL = (
    *("id", "dataset", "split", "source_split", "scene", "camera", "frame", "source_path", "tags"),
    *SIZES_AND_INTRINSICS,
    *("full_width", "full_height", "crop_left", "crop_top"),
    *(f"source_{name}" for name in SIZES_AND_INTRINSICS),
    *("camera_assumed", "source_sha256", "depth_scale", "depth_kind", "valid_min", "valid_max"),
    *("prompt_id", "messages", "answer", "set_kind", "converter", "options_hash", "extra"),
)
NEVER_NULL_IN_EVALUATION = ("image", "canonical_sha256", "points")

Row = Mapping[str, Any]
Fault = tuple[str, str]  # what, why


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it has to be.

    Attributes:
        what: the fault.
        where: file or record id.
        why: what was found, and what was expected.
    """

    what: str
    where: str
    why: str

    def one_line(self) -> str:
        """The finding as a user reads it."""
        return f"{self.what} [{self.where}] — {self.why}"


def row_findings(row: Row, planned: PlannedFrame, settings: SetSettings) -> Iterator[Finding]:
    """All that is wrong with a record, as far as the record, its plan row and the set's settings can tell."""
    evaluation = settings.role == "eval"
    missing = [n for n in NEVER_NULL + NEVER_NULL_IN_EVALUATION * evaluation if row[n] is None]
    if missing:
        yield Finding("the record lacks values", str(row["id"]), f"null: {', '.join(missing)}")
        return
    checks: list[Callable[[], Iterator[Fault]]] = [
        lambda: _identity(row, planned, settings),
        lambda: _stored_picture(row),
        lambda: _source_picture(row),
        lambda: _camera(row),
        lambda: _depth_and_points(row, planned, settings),
    ]
    for check in checks:
        try:
            for what, why in check():
                yield Finding(what, row["id"], why)
        except FrameError as error:
            yield Finding("stored bytes cannot be decoded", row["id"], error.detail)
        except (ValueError, ArithmeticError) as error:
            yield Finding("values that no record can have", row["id"], str(error))


def _identity(row: Row, planned: PlannedFrame, settings: SetSettings) -> Iterator[Fault]:
    ref = planned.ref
    expected = {
        "dataset": ref.dataset,
        "split": settings.role,
        "source_split": settings.source_split,
        "scene": ref.scene or "-",
        "camera": ref.camera or "-",
        "frame": ref.frame,
        "prompt_id": settings.prompt_id,
        "set_kind": settings.set_kind,
        "converter": settings.converter,
        "options_hash": settings.hash,
    }
    for name, value in expected.items():
        if row[name] != value:
            yield f"{name} is not the plan's", f"{row[name]!r} instead of {value!r}"


def _stored_picture(row: Row) -> Iterator[Fault]:
    """The canonical picture: its size, and in evaluation sets its pixels."""
    if row["image"] is None:
        if row["source_image"] is None:
            yield "the record has no picture", "image and source_image are both null"
        return
    picture = decode_picture(row["image"]["bytes"] or b"", "image")
    if picture.size != (row["width"], row["height"]):
        yield (
            "canonical picture has another size than its record",
            f"{picture.size} instead of {(row['width'], row['height'])}",
        )
    if row["canonical_sha256"] not in (None, found := pixels_sha256(picture)):
        yield "canonical picture is not the one that was hashed", f"canonical_sha256 of its pixels is {found}"


def _source_picture(row: Row) -> Iterator[Fault]:
    """The source bytes where they are stored: their hash, and the canonical picture made from them anew."""
    encoded = row["source_image"]
    if encoded is None:
        return
    found = hashlib.sha256(encoded).hexdigest()
    if found != row["source_sha256"]:
        yield "source_image is not the file that was hashed", f"source_sha256 of its bytes is {found}"
    source = decode_picture(encoded, "source_image")
    if source.size != (row["source_width"], row["source_height"]):
        declared = (row["source_width"], row["source_height"])
        yield "source picture has another size than its record", f"{source.size} instead of {declared}"
    elif row["canonical_sha256"] is not None:
        undone = undistorted(source, source_camera(row), source_lens(row))
        rendered = pixels_sha256(render(undone, record_grid(row)))
        if rendered != row["canonical_sha256"]:
            yield "canonical picture is not a fresh render of source_image", f"a render gives {rendered}"


def _camera(row: Row) -> Iterator[Fault]:
    camera = source_camera(row).seen_through(record_grid(row))
    expected = (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px)
    for name, value in zip(SIZES_AND_INTRINSICS[2:], expected, strict=True):
        if row[name] != value:
            yield f"{name} is not the source's seen through the resize", f"{row[name]} instead of {value}"


def _depth_and_points(row: Row, planned: PlannedFrame, settings: SetSettings) -> Iterator[Fault]:
    if (row["depth"] is None) == (row["depth_points"] is None):
        yield (
            "depth is neither one grid nor one point list",
            "exactly one of depth and depth_points must be set",
        )
        return
    fault = _point_list_fault(row) if row["depth"] is None else _grid_fault(row)
    if fault:
        yield fault
        return
    depth = decode_depth(row)
    if not isinstance(depth, DepthPoints) and depth.values.shape != (row["depth_height"], row["depth_width"]):
        declared = (row["depth_width"], row["depth_height"])
        yield "depth has another size than its record", f"{depth.values.shape[::-1]} instead of {declared}"
    for name in POINT_LISTS if settings.role == "eval" else ():
        if row[name] != getattr(planned, name):
            yield f"{name} are not the plan's", "the draw was frozen when the set was planned"
        if row[name] is None:
            if settings.sampling == "strict":
                yield f"{name} are missing", "a strict set has both lists"
            continue
        least = settings.points_per_image or 0
        allowed = (least, least + 1) if settings.points_total is not None else (least,)
        if settings.sampling == "strict" and len(row[name]) not in allowed:
            wanted = " or ".join(map(str, allowed))
            yield f"{name} are too few or too many", f"{len(row[name])} instead of {wanted}"
        for what, why in _points(row, row[name], depth):
            yield f"{name}: {what}", why


def _point_list_fault(row: Row) -> Fault | None:
    lists = row["depth_points"]
    lengths = {name: None if values is None else len(values) for name, values in lists.items()}
    if None in lengths.values() or len(set(lengths.values())) != 1 or row["depth_uv_step"] is None:
        return "depth_points are not four equal lists with a step", f"{lengths}, step {row['depth_uv_step']}"
    return None


def _grid_fault(row: Row) -> Fault | None:
    affine = row["depth_affine"]
    if affine is None or None in affine.values() or not row["depth"]["bytes"]:
        return "depth has no bytes or no place in the picture", f"depth_affine {affine}"
    return None


def _points(row: Row, points: list[dict[str, float]], depth: Depth) -> Iterator[Fault]:
    """Every rule that an asked point keeps; one fault a rule, naming how many points break it."""
    names = ("u", "v", "u_src", "v_src", "depth_m", "ray_factor", "flags")
    at = {n: np.array([point[n] for point in points], dtype=np.float64) for n in names}
    u, v = record_grid(row).view_from_source.apply(at["u_src"], at["v_src"])
    pixel = pixel_index(at["v"]) * row["width"] + pixel_index(at["u"])
    stored, known = _stored_under(depth, at["u_src"], at["v_src"])
    ray = source_camera(row).ray_factor(at["u_src"], at["v_src"])
    good = {
        "no stored depth under u_src, v_src": known,
        "depth_m is not the stored depth": ~known | (at["depth_m"] == depth.depth_m[stored]),
        "flags are not the stored ones": ~known | (at["flags"] == depth.flags[stored]),
        "an occlusion suspect was asked": ~known | ((depth.flags[stored] & FLAG_OCCLUSION_SUSPECT) == 0),
        "outside the valid range": (at["depth_m"] >= row["valid_min"]) & (at["depth_m"] <= row["valid_max"]),
        "outside the picture": inside(at["u"], at["v"], row["width"], row["height"]),
        "u, v are not u_src, v_src seen through the resize": _near(at["u"], u) & _near(at["v"], v),
        "a canonical pixel is asked twice": _first_of_its_kind(pixel),
        "ray_factor is not that of the pixel": row["camera_assumed"]
        | (np.abs(at["ray_factor"] / ray - 1) <= RAY_FACTOR_TOLERANCE),
    }
    for what, fine in good.items():
        bad = np.flatnonzero(~fine)
        if len(bad):
            yield what, f"{len(bad)} of {len(points)} points; number {bad[0]} is {points[bad[0]]}"


def _near(a: FloatArray, b: FloatArray) -> Any:  # noqa: ANN401 - bool array
    return np.abs(a - b) <= COORDINATE_TOLERANCE_PX


def _first_of_its_kind(pixel: IntArray) -> Any:  # noqa: ANN401 - bool array
    first = np.zeros(len(pixel), dtype=bool)
    first[np.unique(pixel, return_index=True)[1]] = True
    return first


def _stored_under(depth: Depth, u_src: FloatArray, v_src: FloatArray) -> tuple[IntArray, Any]:
    """Index of the stored depth at each source coordinate, and whether there is one (index 0 if not)."""
    if isinstance(depth, DepthPoints):
        u, v = depth.source_pixels()
        rows = {key: n for n, key in enumerate(zip(u.tolist(), v.tolist(), strict=True))}
        found = [rows.get(key, -1) for key in zip(u_src.tolist(), v_src.tolist(), strict=True)]
        index = np.array(found, dtype=np.int64)
        return np.maximum(index, 0), index >= 0
    height, width = depth.values.shape
    column, line = (pixel_index(c) for c in depth.source_from_depth.inverse().apply(u_src, v_src))
    u, v = depth.source_from_depth.apply(column, line)
    known = inside(column, line, width, height) & _near(u, u_src) & _near(v, v_src)
    return np.where(known, line * width + column, 0), known
