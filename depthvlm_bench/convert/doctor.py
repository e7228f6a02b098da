"""Checks before the work: is a raw tree what its dataset's card says, before hours are spent on it?"""

import heapq
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from depthvlm_bench.cards import DatasetCard, Role
from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.convert.candidates import frame_boundary
from depthvlm_bench.convert.run import open_source
from depthvlm_bench.convert.settings import check_disjoint, choose_split
from depthvlm_bench.errors import CheckError, DataMissingError
from depthvlm_bench.frames import Converter, DepthGrid, FrameRef, Skip, Source, Split, scorable
from depthvlm_bench.hashing import hash64
from depthvlm_bench.progress import Progress
from depthvlm_bench.records.codec import RecordSpec, encode_record
from depthvlm_bench.records.prompts import DENSE_PROMPT
from depthvlm_bench.records.receipts import count_reasons, reasons_text
from depthvlm_bench.sampling.draw import SEED
from depthvlm_bench.scoring.metrics import DELTA1_RATIO

Status = Literal["ok", "warn", "fail"]
PERCENTILES = (5.0, 50.0, 95.0)
CONSTANT_M = 2.0
# A larger share under official masks is rather an inverted mask.
MOST_MASKED = 0.6
# How many frames are tried for one that can be read: trees that lack most of their scenes are common.
PATIENCE = 25
# Standard errors of the sample beyond which a figure no longer looks like chance.
SUSPICIOUS_ERRORS = 3.0


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what was looked at.
        status: ok; warn: it can be converted, but look at this first; fail: mend it first.
        found: what is there.
        advice: what to do; empty where nothing has to be done.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a raw tree after a first look."""

    dataset: str
    root: Path
    checks: tuple[Check, ...]
    roles: tuple[Role, ...] = ("eval",)

    @property
    def status(self) -> Status:
        """The worst of all checks."""
        return max((c.status for c in self.checks), key=("ok", "warn", "fail").index, default="ok")


@dataclass(frozen=True)
class _SampledFrame:
    """Figures of one frame that was read to the end."""

    size: tuple[int, int]
    fx_px: float
    valid: int
    total: int | None
    percentiles_m: FloatArray
    constant_share: float
    masked_share: float
    record_bytes: float
    seconds: float


@dataclass
class _Census:
    """One split, counted; and a few of its frames, read."""

    split: Split
    frames: int = 0
    index_skips: list[Skip] = field(default_factory=list)
    sampled: list[_SampledFrame] = field(default_factory=list)
    sample_skips: list[Skip] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.split.source


def examine(
    converter: Converter, root: Path, options: object, sample: int, progress: Progress, *, workspace: Path
) -> Diagnosis:
    """Look at a raw tree: its layout, its splits, their frames, and some of these decoded.

    Args:
        converter: how the dataset is read.
        root: the raw tree.
        options: the converter's own options; None: its defaults.
        sample: frames to decode in each split, spread over it by hash.
        progress: told of stages.
        workspace: where the converted sets would go; need not exist.

    Raises:
        DataMissingError: there is no such tree.
    """
    card, source = converter.card, open_source(converter, root, options)
    try:
        checks = [*_check_layout(source), *_check_splits(card, source)]
        counted: list[_Census] = []
        for split in _present_splits(card, source):
            try:
                counted.append(_count(source, card, split, sample, progress))
            except CheckError as error:
                found = f"{error.what} [{error.where}]: {error.why}"
                checks.append(Check(f"index of {split.source}", "fail", found, error.next_step))
                continue
            checks += [*_check_frames(card, counted[-1]), *_check_sample(card, counted[-1])]
        checks += _check_cost(card, counted, workspace)
    finally:
        source.close()
    return Diagnosis(card.name, root, tuple(checks), card.roles)


def _present_splits(card: DatasetCard, source: Source) -> list[Split]:
    roles = {name: role for role, names in card.splits.items() for name in names}
    return [Split(roles[name], name) for name in source.source_splits() if name in roles]


def _check_layout(source: Source) -> Iterator[Check]:
    for item in source.layout():
        absent = item.found == 0
        status: Status = "fail" if absent and item.required else "ok"
        advice = "the tree is incomplete or its root is another folder" if status == "fail" else item.note
        found = "absent, not required" if absent and not item.required else f"{item.found} found"
        yield Check(f"tree: {item.pattern}", status, found, advice)


def _check_splits(card: DatasetCard, source: Source) -> Iterator[Check]:
    present = ", ".join(source.source_splits()) or "none"
    # A tree for evaluation alone is what most people have.
    absent: dict[Role, Status] = {"eval": "warn", "train": "ok"}
    none_at_all = not _present_splits(card, source)
    for role in card.roles:
        try:
            chosen = choose_split(card, source, role, None, allow_overlap=False)
            check_disjoint(card, source, chosen)
        except DataMissingError as error:
            status: Status = "fail" if none_at_all else absent[role]
            yield Check(f"split for {role}", status, f"none; present: {present}", error.next_step)
        except CheckError as error:
            yield Check(f"split for {role}", "fail", f"{error.what}: {error.why}", error.next_step)
        else:
            yield Check(f"split for {role}", "ok", f"{chosen.split.source} (present: {present})")


def _count(source: Source, card: DatasetCard, split: Split, sample: int, progress: Progress) -> _Census:
    """Stream the index of a split, and read the frames of lowest hash until the sample is full."""
    census = _Census(split)

    def refs() -> Iterator[FrameRef]:
        for item in source.index(split):
            if isinstance(item, Skip):
                census.index_skips.append(item)
            else:
                census.frames += 1
                yield item

    tried = heapq.nsmallest(
        PATIENCE * sample, refs(), key=lambda ref: (hash64(SEED, ref.dataset, ref.id), ref.id)
    )
    with progress.stage(f"reading frames of {split.source}", min(sample, len(tried)), "frame") as advance:
        while tried and len(census.sampled) < sample:
            short = sample - len(census.sampled)
            for ref in sorted(tried[:short], key=lambda ref: ref.order_key):
                with frame_boundary(ref.id, census.sample_skips):
                    census.sampled.append(_look_at(source, ref, card))
                    advance(1)
            del tried[:short]
    return census


def _look_at(source: Source, ref: FrameRef, card: DatasetCard) -> _SampledFrame:
    """Read a frame and make its record, as converting does."""
    begun = time.perf_counter()
    frame = source.read(ref)
    record = encode_record(frame, RecordSpec(card, "strict", True, card.name, "", DENSE_PROMPT), None, None)
    seconds = time.perf_counter() - begun
    metres = frame.depth.depth_m
    measured = metres[metres > 0]
    asked = metres[scorable(frame.depth, card.valid_min_m, card.valid_max_m)]
    hits = (asked > CONSTANT_M / DELTA1_RATIO) & (asked < CONSTANT_M * DELTA1_RATIO)
    return _SampledFrame(
        size=(frame.camera.width, frame.camera.height),
        fx_px=frame.camera.fx_px,
        valid=len(asked),
        total=len(metres) if isinstance(frame.depth, DepthGrid) else None,
        percentiles_m=np.percentile(measured, PERCENTILES) if len(measured) else np.full(3, np.nan),
        constant_share=float(hits.mean()) if len(asked) else float("nan"),
        masked_share=float(frame.extra.get("masked_share", 0.0)),
        record_bytes=_blob_bytes(record),
        seconds=seconds,
    )


def _blob_bytes(record: Mapping[str, Any]) -> float:
    """Bytes of a record's pictures and depth, which is nearly all of it."""
    rasters = (record[name]["bytes"] for name in ("image", "depth") if record[name] is not None)
    points = record["depth_points"]
    return sum(map(len, (*rasters, record["source_image"] or b""))) + (7 * len(points["z"]) if points else 0)


def _expected_frames(card: DatasetCard, split: Split) -> int | None:
    """Frames that the whole split has, or that an evaluation set needs at least."""
    needed = card.images if split.role == "eval" else None
    return card.source_split_images.get(split.source, needed)


def _check_frames(card: DatasetCard, census: _Census) -> Iterator[Check]:
    expected = _expected_frames(card, census.split)
    found = f"{census.frames} in the index" + (f", {expected} in the full set" if expected else "")
    name = f"{census.name}: frames"
    if not census.frames:
        yield Check(name, "fail", found, "nothing can be converted from this split")
    elif expected and census.frames < expected:
        yield Check(name, "warn", found, "a partial tree: what is made of it is a subset and is marked so")
    else:
        yield Check(name, "ok", found)
    if census.index_skips:
        first = census.index_skips[0]
        counts = reasons_text(count_reasons(census.index_skips))
        yield Check(f"{census.name}: left out", "warn", counts, f"the first: {first.id}: {first.detail}")


def _check_sample(card: DatasetCard, census: _Census) -> Iterator[Check]:
    if not census.sampled and not census.sample_skips:
        return
    yield _check_readable(census)
    frames, name = census.sampled, census.name
    if not frames:
        return
    sizes = ", ".join(f"{w}x{h}" for w, h in sorted({frame.size for frame in frames}))
    fx_px = [frame.fx_px for frame in frames]
    yield Check(f"{name}: pictures", "ok", f"{sizes}, fx {min(fx_px):.1f}-{max(fx_px):.1f} px")
    yield _check_valid_share(card, name, frames)
    if any(frame.masked_share for frame in frames):
        yield _check_masks(name, frames)
    if any(np.isfinite(frame.percentiles_m).all() for frame in frames):
        yield _check_depths(card, name, frames)
        if census.split.role == "eval":
            yield _check_constant(card, name, frames)


def _check_readable(census: _Census) -> Check:
    skips, read = census.sample_skips, len(census.sampled)
    found = f"{read} of {read + len(skips)} read"
    if not skips:
        return Check(f"{census.name}: sample", "ok", found)
    first = skips[0]
    return Check(
        f"{census.name}: sample",
        "warn" if read else "fail",
        f"{found}; {reasons_text(count_reasons(skips))}",
        f"the first: {first.id}: {first.detail}",
    )


def _check_valid_share(card: DatasetCard, name: str, frames: list[_SampledFrame]) -> Check:
    if frames[0].total is None:
        counts = [frame.valid for frame in frames]
        found = f"{min(counts)}-{max(counts)} points a picture"
    else:
        shares = [frame.valid / (frame.total or 1) for frame in frames]
        found = f"{np.mean(shares):.2%} of the pixels ({min(shares):.2%}-{max(shares):.2%} a picture)"
    empty = sum(frame.valid == 0 for frame in frames)
    if not empty:
        return Check(f"{name}: valid depth", "ok", found)
    advice = f"{empty} of {len(frames)} pictures have none within {card.valid_min_m}-{card.valid_max_m} m"
    return Check(f"{name}: valid depth", "fail" if empty == len(frames) else "warn", found, advice)


def _check_masks(name: str, frames: list[_SampledFrame]) -> Check:
    """How much the official masks take away: nearly all of it where they were inverted on their way."""
    shares = [frame.masked_share for frame in frames]
    found = f"take {np.mean(shares):.0%} of the depth ({min(shares):.0%}-{max(shares):.0%} a picture)"
    if max(shares) <= MOST_MASKED:
        return Check(f"{name}: masks", "ok", found)
    return Check(f"{name}: masks", "warn", found, "masks of the other polarity? non-zero has to mean good")


def _check_depths(card: DatasetCard, name: str, frames: list[_SampledFrame]) -> Check:
    """Depths before the valid range is applied: another unit puts them outside it."""
    low_m, median_m, high_m = np.nanmedian([frame.percentiles_m for frame in frames], axis=0)
    found = f"p5 {low_m:.2f}, p50 {median_m:.2f}, p95 {high_m:.2f} m"
    if not card.valid_min_m <= median_m <= card.valid_max_m:
        advice = (
            f"not within {card.valid_min_m}-{card.valid_max_m} m: another unit or another dataset's files"
        )
        return Check(f"{name}: depth", "fail", found, advice)
    if low_m < card.valid_min_m or high_m > card.valid_max_m:
        advice = f"much of it is not within {card.valid_min_m}-{card.valid_max_m} m and will not be asked"
        return Check(f"{name}: depth", "warn", found, advice)
    return Check(f"{name}: depth", "ok", found)


def _check_constant(card: DatasetCard, name: str, frames: list[_SampledFrame]) -> Check:
    """How often a constant 2.0 m would be right, the paper's fingerprint of a dataset."""
    shares = np.array([f.constant_share for f in frames if np.isfinite(f.constant_share)])
    check, found = (
        f"{name}: constant 2.0 m",
        f"right at {shares.mean():.3f}" if len(shares) else "nothing to ask",
    )
    if card.paper_constant_2m is None or len(shares) < 2:
        return Check(check, "ok", found)
    paper = card.paper_constant_2m
    # Where it is hardly ever right a few pictures show no spread: at least the error of the asked points.
    asked = len(shares) * (card.points_per_image or 1)
    least = np.sqrt(np.clip(paper * (1 - paper), 0, None) / asked)
    error = max(float(shares.std(ddof=1) / np.sqrt(len(shares))), float(least))
    found += f" ± {error:.3f}, the paper's table has {paper}"
    if abs(shares.mean() - paper) <= SUSPICIOUS_ERRORS * error:
        return Check(check, "ok", found)
    return Check(check, "warn", found, "more than chance explains: look at --sample 100, and at the split")


def _check_cost(card: DatasetCard, counted: list[_Census], workspace: Path) -> Iterator[Check]:
    """Room and time for the first present split of each role, which is what `convert` takes."""
    sizes: dict[Role, float] = {}
    hours: dict[Role, float] = {}
    for role, names in card.splits.items():
        by_name = {census.name: census for census in counted if census.split.role == role and census.sampled}
        census = next((by_name[name] for name in names if name in by_name), None)
        if census is not None:
            rows = min(census.frames, card.images or census.frames) if role == "eval" else census.frames
            sizes[role] = rows * float(np.mean([frame.record_bytes for frame in census.sampled]))
            # Evaluation reads each chosen frame twice: once to plan its points, once to write it.
            passes = 2 if role == "eval" else 1
            hours[role] = passes * rows * float(np.mean([frame.seconds for frame in census.sampled])) / 3600
    if not sizes:
        return
    lengths = ", ".join(f"{role} about {_duration(length)}" for role, length in hours.items())
    yield Check("time", "ok", f"{lengths} on one core of this machine")
    folder = next(path for path in (workspace, *workspace.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    parts = ", ".join(f"{role} about {_size(size)}" for role, size in sizes.items())
    found = f"{parts}; {_size(free)} free at {folder}"
    if sum(sizes.values()) <= free:
        yield Check("disk", "ok", found)
    else:
        yield Check("disk", "fail", found, "--workspace or --out on a larger disk, or --limit")


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min" if hours > 1 / 60 else "a minute"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
