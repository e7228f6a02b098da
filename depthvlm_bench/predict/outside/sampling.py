"""Drawing the records and pixels on which predictions are checked; no picture is decoded."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from depthvlm_bench.conventions import CANONICAL_FX_PX, FloatArray
from depthvlm_bench.frames import scorable
from depthvlm_bench.geometry.camera import inside
from depthvlm_bench.geometry.grids import PixelAffine, ViewGrid, native_grid
from depthvlm_bench.hashing import hash64
from depthvlm_bench.predict.outside.answers import Answers
from depthvlm_bench.predict.outside.declared import Declaration
from depthvlm_bench.predict.outside.maps import read_map
from depthvlm_bench.predict.outside.model import z_depth
from depthvlm_bench.predict.outside.readings import Sample
from depthvlm_bench.predict.runner import DEPTH_COLUMNS, LIST_COLUMNS
from depthvlm_bench.records.codec import record_grid, source_camera
from depthvlm_bench.records.reader import RecordSet, depth_of

RECORDS = 48
# Pixels of all records together, and of one.
PIXELS, MOST_PIXELS = 20_000, 2_500
GRID_COLUMNS = (
    *("id", "width", "height", "full_width", "full_height", "crop_left", "crop_top"),
    *(f"source_{name}" for name in ("width", "height", "fx", "fy", "cx", "cy")),
)
LISTED_COLUMNS = (*LIST_COLUMNS.values(), "compat_gt_m")

Row = Mapping[str, Any]


def spread_out(names: Sequence[str], number: int = RECORDS) -> list[str]:
    """At most `number` of the names, evenly over their order."""
    picked = np.unique(np.linspace(0, len(names) - 1, min(number, len(names))).round().astype(int))
    return [names[index] for index in picked]


def map_samples(
    records: RecordSet, files: Mapping[str, Path], declaration: Declaration, ids: Iterable[str]
) -> list[Sample]:
    """Samples of the maps of some records, at pixels with a scorable depth."""
    wanted, samples = set(ids), []
    pixels = min(PIXELS // max(1, len(wanted)), MOST_PIXELS)
    for row in records.rows((*GRID_COLUMNS, *DEPTH_COLUMNS)) if wanted else ():
        if row["id"] in wanted and (row["depth"] is not None or row["depth_points"] is not None):
            samples.append(_map_sample(row, files[row["id"]], declaration, pixels))
            wanted.remove(row["id"])
        if not wanted:
            break
    return samples


def _map_sample(row: Row, path: Path, declaration: Declaration, pixels: int) -> Sample:
    grid = _grid(row, declaration)
    depth = depth_of(row)
    u, v = grid.view_from_source.apply(*depth.source_pixels())
    valid = scorable(depth, row["valid_min"], row["valid_max"]) & inside(u, v, grid.width, grid.height)
    there = np.flatnonzero(valid)
    chance = np.random.default_rng(hash64("sample of predictions", row["id"]))
    picked = np.sort(chance.choice(there, min(pixels, len(there)), replace=False))
    stored = read_map(path, declaration).depth_m
    z_m = z_depth(stored, declaration, source_camera(row).seen_through(grid), row["id"])
    return _sample(row, grid, declaration, u[picked], v[picked], depth.depth_m[picked], z_m)


def answer_samples(
    records: RecordSet, answers: Answers, declaration: Declaration, ids: Iterable[str]
) -> list[Sample]:
    """Samples of point answers: the answered points of some records, all lists together."""
    wanted = set(ids)
    rows = records.points([*GRID_COLUMNS, *LISTED_COLUMNS]).to_pylist()
    return [_answer_sample(row, answers, declaration) for row in rows if row["id"] in wanted]


def _answer_sample(row: Row, answers: Answers, declaration: Declaration) -> Sample:
    pairs = []
    for name in LIST_COLUMNS:
        given = answers.by_list.get(name, {}).get(row["id"], {})
        for index, point in enumerate(_source_points(row, name)):
            answer = given.get(index)
            if answer is not None and answer.value_m is not None and point[2] > 0:
                pairs.append((*point, answer.value_m))
    u_src, v_src, truth_m, metres = np.array(pairs, dtype=np.float64).reshape(-1, 4).T
    if declaration.kind == "ray":
        metres = metres / source_camera(row).ray_factor(u_src, v_src)
    grid = _grid(row, declaration)
    u, v = grid.view_from_source.apply(u_src, v_src)
    return _sample(row, grid, declaration, u, v, truth_m, metres)


def _source_points(row: Row, name: str) -> list[tuple[float, float, float]]:
    """A list's points as (u, v) in the source picture and depth, m; those of a published list have no own."""
    points = row[LIST_COLUMNS[name]] or ()
    if name != "listed":
        return [(point["u_src"], point["v_src"], point["depth_m"]) for point in points]
    source_from_view = record_grid(row).view_from_source.inverse()
    u, v = source_from_view.apply([p["x"] for p in points], [p["y"] for p in points])
    return list(zip(u.tolist(), v.tolist(), map(float, row["compat_gt_m"] or ()), strict=False))


def _grid(row: Row, declaration: Declaration) -> ViewGrid:
    if declaration.covers == "native":
        return native_grid(row["source_width"], row["source_height"])
    return record_grid(row)


def _sample(
    row: Row,
    grid: ViewGrid,
    declaration: Declaration,
    u: FloatArray,
    v: FloatArray,
    truth_m: FloatArray,
    depth_m: np.ndarray[Any, np.dtype[np.floating]],
) -> Sample:
    other = native_grid(row["source_width"], row["source_height"])
    if declaration.covers == "native":
        other = record_grid(row)
    return Sample(
        id=row["id"],
        truth_m=truth_m,
        ray_factor=source_camera(row).seen_through(grid).ray_factor(u, v),
        x=(u + 0.5) / grid.width,
        y=(v + 0.5) / grid.height,
        view_size=(grid.width, grid.height),
        focal_ratio=row["source_fx"] / CANONICAL_FX_PX,
        depth_m=depth_m,
        other_from_view=_share_of(grid).inverse().then(_share_of(other)),
    )


def _share_of(grid: ViewGrid) -> PixelAffine:
    """Source coordinates -> places in the picture, 0 to 1."""
    to_view = grid.view_from_source
    return to_view.then(PixelAffine(1 / grid.width, 1 / grid.height, 0.5 / grid.width, 0.5 / grid.height))
