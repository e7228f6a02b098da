"""The plan: which frames a split holds, in which shard, and (for evaluation) which pixels are asked."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from depthvlm_bench.cards import DatasetCard, Role
from depthvlm_bench.config import from_mapping
from depthvlm_bench.convert.candidates import Candidates, Crew, frame_boundary
from depthvlm_bench.convert.plan_rows import (
    GROUP_ROWS,
    PlannedFrame,
    Points,
    StoredFrames,
    plan_row,
    write_plan_rows,
)
from depthvlm_bench.convert.settings import PLAN_METADATA_KEY, SetSettings
from depthvlm_bench.convert.sorting import sorted_frames, spread_choice, taken
from depthvlm_bench.errors import CheckError, DataMissingError, FrameError, UsageError
from depthvlm_bench.frames import DepthPoints, Frame, FrameRef, Skip, Source, Split, scorable
from depthvlm_bench.hashing import canonical_json, sha256_json
from depthvlm_bench.progress import Progress
from depthvlm_bench.records.codec import canonical_grid, point_rows
from depthvlm_bench.records.files import reading, whole_file
from depthvlm_bench.records.receipts import codec_versions, count_reasons, reasons_text, shard_file
from depthvlm_bench.sampling.draw import candidates, draw, draw_balanced, draw_keys
from depthvlm_bench.sampling.pick import Pick, pick_images
from depthvlm_bench.sampling.quota import points_asked

MIN_LIDAR_CANDIDATES = 50
SHARD_BYTES = 256 * 2**20
MAX_SHARD_ROWS = 1000
# Bytes a pixel of what is stored, measured on photographs: lossless and q95 canonical, and source JPEG.
EVAL_BYTES_PER_PIXEL, TRAIN_BYTES_PER_PIXEL, SOURCE_BYTES_PER_PIXEL = 1.2, 0.25, 0.3


@dataclass(frozen=True)
class Plan:
    """A split's frames in order, cut into shards of consecutive rows.

    Attributes:
        frames: in order; those of a large training split stay on disk.
        skips: what was left out while planning.
        replaced, dropped: evaluation images that were substituted, and those that could not be.
    """

    settings: SetSettings
    frames: Sequence[PlannedFrame]
    shard_rows: int
    skips: tuple[Skip, ...] = ()
    replaced: int = 0
    dropped: int = 0

    @property
    def shards(self) -> int:
        """How many shards the plan has."""
        return -(-len(self.frames) // self.shard_rows)

    def shard(self, index: int) -> tuple[PlannedFrame, ...]:
        """The frames of one shard."""
        return tuple(self.frames[index * self.shard_rows : (index + 1) * self.shard_rows])

    def shard_file(self, index: int) -> str:
        """File name of one shard."""
        return shard_file(self.settings.role, index, self.shards)

    def shard_key(self, index: int, versions: Mapping[str, str] | None = None) -> str:
        """What its receipt must carry: hash of rows, settings and the encoders' versions (default: ours)."""
        rows = [plan_row(frame) for frame in self.shard(index)]
        made_by = dict(versions or codec_versions(self.settings.backend))
        return sha256_json({"rows": rows, "settings": asdict(self.settings), "versions": made_by})


def plan_path(folder: Path, role: Role) -> Path:
    """Where a set's plan lies."""
    return folder / f"plan-{role}.parquet"


def index_frames(source: Source, split: Split, skips: list[Skip]) -> list[FrameRef]:
    """All frames of a split in order; what the index itself leaves out is appended to `skips`."""
    refs: dict[str, FrameRef] = {}
    for item in source.index(split):
        if isinstance(item, Skip):
            skips.append(item)
        elif item.id in refs:
            raise CheckError("two frames have one name", where=item.id, why="a record's id must be its own")
        else:
            refs[item.id] = item
    return sorted(refs.values(), key=lambda ref: ref.order_key)


def require_z(frame: Frame) -> None:
    """UsageError for depth that a strict set cannot hold: options of the paper's scripts were asked for."""
    if frame.depth_kind != "z":
        raise UsageError(
            f"these options give {frame.depth_kind.replace('_', ' ')} distance, not z-depth",
            where=frame.ref.id,
            why="only --sampling compat makes frames as the paper's scripts made them",
            next_step="add --sampling compat, or leave the option out",
        )


def draw_points(frame: Frame, card: DatasetCard, count: int, seed: str) -> tuple[Points, Points]:
    """Both point lists of an evaluation frame; FrameError `no_valid_depth` where it has not enough pixels."""
    require_z(frame)
    pool = candidates(
        frame.depth, frame.camera, canonical_grid(frame, card), card.valid_min_m, card.valid_max_m
    )
    wanted = max(count, MIN_LIDAR_CANDIDATES) if isinstance(frame.depth, DepthPoints) else count
    if len(pool) < wanted:
        raise FrameError("no_valid_depth", f"{len(pool)} valid pixels, {wanted} needed")
    keys = draw_keys(frame.ref.dataset, frame.ref.id, len(pool), seed)
    chosen, balanced = draw(pool, keys, count), draw_balanced(pool, keys, count)
    if len(chosen) < count:
        raise FrameError("no_valid_depth", f"{len(chosen)} distinct canonical pixels, {count} needed")
    return point_rows(pool, chosen), point_rows(pool, balanced)


def asked_pixels(frame: Frame, card: DatasetCard, settings: SetSettings) -> tuple[Points, Points]:
    """Both point lists of an evaluation frame, as many points as its card asks; see `draw_points`."""
    return draw_points(frame, card, points_asked(card, frame.ref.scene, frame.ref.frame), settings.seed)


def plan_evaluation(
    source: Source, card: DatasetCard, settings: SetSettings, progress: Progress, crew: Crew | None = None
) -> Plan:
    """Choose images, read each candidate to the end, replace what fails, and freeze the points."""
    skips: list[Skip] = []
    refs = index_frames(source, settings.split, skips)
    budget = settings.images or len(refs)
    absent = {skip.group for skip in skips if skip.group}
    choose = partial(pick_images, refs, budget, seed=settings.seed, absent_groups=absent)
    candidates = Candidates(source, card, settings, asked_pixels, crew)
    with progress.stage("choosing images", min(budget, len(refs)), "image") as advance:
        candidates.read_ahead(choose(lambda _ref: True).refs, advance)
        pick = choose(lambda ref: candidates.outcome(ref, skips, advance) is not None)
    frames = [PlannedFrame(ref, *candidates.known[ref.id].outcome) for ref in pick.refs]
    return cut(settings, frames, source, card, skips, pick)


def plan_training(source: Source, card: DatasetCard, settings: SetSettings) -> Plan:
    """All frames of the split, or a balanced choice of `images`; shards skip what cannot be read."""
    skips: list[Skip] = []
    frames = sorted_frames(source, settings, skips)
    if settings.images is not None and settings.images < len(frames):
        frames = tuple(taken(frames, spread_choice(frames, settings.images, settings)))
    return cut(settings, frames, source, card, skips, Pick())


def cut(
    settings: SetSettings,
    frames: Sequence[PlannedFrame],
    source: Source,
    card: DatasetCard,
    skips: list[Skip],
    pick: Pick,
) -> Plan:
    """Cut frames into shards of the default size; DataMissingError where there is none to cut."""
    if not len(frames):
        raise DataMissingError(
            f"{card.name}: no usable frame in split {settings.source_split}",
            why=f"left out: {reasons_text(count_reasons(skips))}"
            + (f"; the first: {skips[0].id}: {skips[0].detail}" if skips else "; its index is empty"),
            next_step=f"dvbench doctor {card.name} --root ... shows what the tree lacks",
        )
    rows = default_shard_rows((frame.ref for frame in frames), source, card, settings.role)
    kept = frames if isinstance(frames, StoredFrames) else tuple(frames)
    return Plan(settings, kept, rows, tuple(skips), pick.replaced, pick.dropped)


def default_shard_rows(refs: Iterable[FrameRef], source: Source, card: DatasetCard, role: Role) -> int:
    """Rows that make a shard of about 256 MB, from the first frame that can be read; 1 to 1,000."""
    for ref in refs:
        ignored: list[Skip] = []
        with frame_boundary(ref.id, ignored):
            frame = source.read(ref)
            return max(1, min(MAX_SHARD_ROWS, int(SHARD_BYTES / record_bytes(frame, card, role))))
    return MAX_SHARD_ROWS


def record_bytes(frame: Frame, card: DatasetCard, role: Role) -> float:
    """Bytes that a frame's record takes, by the size of its pictures."""
    grid = canonical_grid(frame, card)
    canonical, native = grid.width * grid.height, frame.camera.width * frame.camera.height
    if role == "eval":
        return EVAL_BYTES_PER_PIXEL * canonical + SOURCE_BYTES_PER_PIXEL * native
    return TRAIN_BYTES_PER_PIXEL * canonical if grid.shrinks else SOURCE_BYTES_PER_PIXEL * native


def require_valid_depth(frame: Frame, card: DatasetCard) -> None:
    """FrameError `no_valid_depth` for a frame that would supervise nothing."""
    if not scorable(frame.depth, card.valid_min_m, card.valid_max_m).any():
        raise FrameError("no_valid_depth", f"no depth within {card.valid_min_m}-{card.valid_max_m} m")


def write_plan(folder: Path, plan: Plan) -> None:
    """Write plan-<role>.parquet; its metadata hold the settings, so a resumed run knows what it resumes."""
    header = {
        "settings": asdict(plan.settings),
        "shard_rows": plan.shard_rows,
        "skips": [asdict(skip) for skip in plan.skips],
        "replaced": plan.replaced,
        "dropped": plan.dropped,
    }
    metadata = {PLAN_METADATA_KEY: canonical_json(header).encode()}
    with whole_file(plan_path(folder, plan.settings.role)) as temporary:
        write_plan_rows(temporary, plan.frames, plan.shard_rows, metadata)


def read_plan(folder: Path, role: Role) -> Plan | None:
    """The plan of an earlier run, or None; a long one is read when its frames are."""
    path = plan_path(folder, role)
    if not path.is_file():
        return None
    with reading(path, "--replan makes it anew"):
        header = json.loads(pq.read_schema(path).metadata[PLAN_METADATA_KEY])
        settings = from_mapping(SetSettings, header["settings"], path)
        stored = StoredFrames(path, settings)
        frames = tuple(stored) if len(stored) <= GROUP_ROWS else stored
        skips = tuple(Skip(**skip) for skip in header["skips"])
        return Plan(settings, frames, header["shard_rows"], skips, header["replaced"], header["dropped"])
