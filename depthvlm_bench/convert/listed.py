"""Plans that follow the paper's lists: its published annotations, and its selection made again (compat)."""

from functools import partial

import numpy as np

from depthvlm_bench.cards import DatasetCard
from depthvlm_bench.convert.annotations import listed_points
from depthvlm_bench.convert.candidates import Candidates, Crew
from depthvlm_bench.convert.plan import Plan, cut, index_frames
from depthvlm_bench.convert.plan_rows import PlannedFrame, Points
from depthvlm_bench.convert.settings import SetSettings
from depthvlm_bench.errors import DataMissingError, FrameError
from depthvlm_bench.frames import DepthGrid, Frame, Skip, Source, scorable
from depthvlm_bench.geometry.camera import inside
from depthvlm_bench.progress import Progress
from depthvlm_bench.records.codec import canonical_grid, listed_columns
from depthvlm_bench.records.receipts import count_reasons, reasons_text
from depthvlm_bench.sampling.compat import (
    Float32Array,
    ListedPoints,
    draw_listed,
    in_range,
    pick_balanced,
    pick_uniform,
    points_per_row,
)
from depthvlm_bench.sampling.pick import Pick


def plan_published(
    source: Source, card: DatasetCard, settings: SetSettings, progress: Progress, crew: Crew | None = None
) -> Plan:
    """Every line of an annotation file that can be read; the others are counted."""
    skips: list[Skip] = []
    refs = index_frames(source, settings.split, skips)
    candidates = Candidates(source, card, settings, as_listed, crew)
    with progress.stage("reading the list", len(refs), "image") as advance:
        candidates.read_ahead(refs, advance)
        read = [candidates.outcome(ref, skips, advance) for ref in refs]
    frames = [frame for frame in read if frame is not None]
    if not frames:
        raise DataMissingError(
            f"{card.name}: no image of the list can be used",
            why=f"{reasons_text(count_reasons(skips))}; the first: {skips[0].id}: {skips[0].detail}"
            if skips
            else "it has no line",
            next_step="--root must be the folder that the list's pictures and depth lie in",
        )
    return cut(settings, frames, source, card, skips, Pick(dropped=len(refs) - len(frames)))


def as_listed(frame: Frame, card: DatasetCard, _settings: SetSettings) -> PlannedFrame:
    """A frame with the points that the list has for it."""
    return _planned(frame, listed_points(frame.ref), card)


def plan_compat(
    source: Source, card: DatasetCard, settings: SetSettings, progress: Progress, crew: Crew | None = None
) -> Plan:
    """The paper's selection of images and pixels, of frames read under the converter's compat options."""
    skips: list[Skip] = []
    refs = index_frames(source, settings.split, skips)
    budget, per_image = settings.images or len(refs), card.points_per_image or 0
    with progress.stage("choosing images as the paper does", min(budget, len(refs)), "image") as advance:
        candidates = Candidates(source, card, settings, has_depth, crew)
        grouped = card.grouping != "none"
        choose = (
            partial(pick_balanced, [r.group for r in refs], budget)
            if grouped
            else partial(pick_uniform, len(refs), budget)
        )
        candidates.read_ahead([refs[row] for row in choose(lambda _row: True)], advance)
        rows = choose(lambda row: candidates.outcome(refs[row], skips, advance) is not None)
    total = None if grouped else card.points_total or budget * per_image
    counts = points_per_row(len(rows), per_image, total) if rows else []
    frames: list[PlannedFrame] = []
    for row, (index, count) in enumerate(zip(rows, counts, strict=True)):
        frame = source.read(refs[index])
        listed = draw_listed(_masked_depth_m(frame, card), row, count)
        if listed.xy:
            frames.append(_planned(frame, listed, card))
        else:  # the paper's script leaves such a row out and keeps the numbers of the others
            skips.append(Skip(refs[index].id, "no_valid_depth", "its masks leave no depth in range"))
    frames.sort(key=lambda planned: planned.ref.order_key)
    return cut(settings, frames, source, card, skips, Pick(dropped=min(budget, len(refs)) - len(frames)))


def has_depth(frame: Frame, card: DatasetCard, _settings: SetSettings) -> bool:
    """True where one pixel of a frame's depth is in range (masks are not looked at), else FrameError."""
    if not (_depth_m(frame, card) > 0).any():
        raise FrameError("no_valid_depth", "no depth in range")
    return True


def _depth_m(frame: Frame, card: DatasetCard) -> Float32Array:
    depth = frame.depth
    assert isinstance(depth, DepthGrid)
    values = depth.values if frame.unmasked is None else frame.unmasked
    return in_range(
        values.astype(np.float32) / np.float32(depth.depth_scale), card.valid_min_m, card.valid_max_m
    )


def _masked_depth_m(frame: Frame, card: DatasetCard) -> Float32Array:
    assert isinstance(frame.depth, DepthGrid)
    return np.where(frame.depth.values > 0, _depth_m(frame, card), np.float32(0)).astype(np.float32)


def _planned(frame: Frame, listed: ListedPoints, card: DatasetCard) -> PlannedFrame:
    """The list's points, and the same pixels where they truly lie, for protocols that ask correctly."""
    listed_columns(
        frame, listed, canonical_grid(frame, card), card
    )  # a list that cannot be scored fails here
    return PlannedFrame(frame.ref, _true_points(frame, listed, card), None, listed)


def _true_points(frame: Frame, listed: ListedPoints, card: DatasetCard) -> Points:
    depth = frame.depth
    assert isinstance(depth, DepthGrid)
    height, width = depth.values.shape
    x, y = np.reshape(np.asarray(listed.xy, dtype=np.int64), (-1, 2)).T
    known = inside(x, y, width, height)
    flat = (y * width + x)[known]
    asked = flat[scorable(depth, card.valid_min_m, card.valid_max_m)[flat]]
    u_src, v_src = (axis[asked] for axis in depth.source_pixels())
    u, v = canonical_grid(frame, card).view_from_source.apply(u_src, v_src)
    rows = zip(
        u.tolist(), v.tolist(), u_src.tolist(), v_src.tolist(), depth.depth_m[asked].tolist(), strict=True
    )
    names = ("u", "v", "u_src", "v_src", "depth_m")
    rest = {"ray_factor": None, "flags": 0}
    if not frame.camera_assumed:
        factors = frame.camera.ray_factor(u_src, v_src).tolist()
        return [
            dict(zip(names, row, strict=True)) | rest | {"ray_factor": f}
            for row, f in zip(rows, factors, strict=True)
        ]
    return [dict(zip(names, row, strict=True)) | rest for row in rows]
