"""A conversion from beginning to end: resolve the split, plan, write what is missing, finish."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from depthvlm_bench.cards import DatasetCard, Role
from depthvlm_bench.convert.annotations import PUBLISHED
from depthvlm_bench.convert.candidates import Crew
from depthvlm_bench.convert.execution import Execution
from depthvlm_bench.convert.finish import (
    asked_points,
    finish,
    finished_hash,
    is_finished,
    mean_area_without_truth,
    success_path,
)
from depthvlm_bench.convert.listed import plan_compat, plan_published
from depthvlm_bench.convert.plan import (
    Plan,
    plan_evaluation,
    plan_path,
    plan_training,
    read_plan,
    write_plan,
)
from depthvlm_bench.convert.rebuild import Difference, differences, plan_from_manifest
from depthvlm_bench.convert.request import ConvertRequest, followed, open_source, options_of
from depthvlm_bench.convert.runlog import RunLog
from depthvlm_bench.convert.settings import (
    ChosenSplit,
    SetSettings,
    check_disjoint,
    choose_split,
    make_settings,
    refuse_shared_scenes,
    set_folder,
)
from depthvlm_bench.convert.shards import convert_shard
from depthvlm_bench.convert.work import ShardWork
from depthvlm_bench.convert.write import ShardWriter, valid_receipt
from depthvlm_bench.engines.contract import Engine, Task
from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.frames import Converter, Source, Split
from depthvlm_bench.hashing import sha256_file
from depthvlm_bench.progress import Progress
from depthvlm_bench.records.files import held_parts, only_one, sweep_temporaries
from depthvlm_bench.records.receipts import ShardReceipt, count_reasons, merge_counts, reasons_text
from depthvlm_bench.sampling.manifest import manifest_hash, read_manifest

__all__ = [
    "ConvertRequest",
    "ConvertSummary",
    "convert",
    "followed",
    "open_source",
    "options_of",
    "plan_split",
    "resolve_split",
]

HERE = Execution()
BUSY = "another process converts this set"


@dataclass(frozen=True)
class ConvertSummary:
    """What a conversion did, and what is there of the split.

    Attributes:
        shards: of the whole split; shards_there: written by this or any other run; shards_resumed: of those
            this run was to write, how many it found.
        manifest_hash: empty while the split is not finished.
    """

    set_name: str
    folder: Path
    settings: SetSettings
    images: int
    images_of_the_full_set: int | None
    shards: int
    shards_there: int
    shards_resumed: int
    plan_resumed: bool
    replaced: int
    dropped: int
    skips: dict[str, int]
    bytes: int
    manifest_hash: str = ""
    differences: tuple[Difference, ...] = ()
    area_without_truth: float | None = None
    points: int | None = None

    @property
    def finished(self) -> bool:
        """Whether all shards are there, and with them what describes the whole split."""
        return self.shards_there == self.shards

    @property
    def subset(self) -> bool:
        """Whether the set holds fewer images than the full evaluation set."""
        return self.images_of_the_full_set is not None and self.images < self.images_of_the_full_set


def resolve_split(converter: Converter, request: ConvertRequest, source: Source) -> ChosenSplit:
    """The split that the request means in this tree; it shares no scene with the other role's."""
    if request.manifest is not None and (request.role == "train" or request.limit is not None):
        raise UsageError(
            "--manifest pins a whole evaluation set", why="it goes with no --limit and no --split train"
        )
    if request.annotations is not None:
        return ChosenSplit(Split("eval", PUBLISHED), "published", f"{converter.card.name}@{PUBLISHED}")
    wanted = (request.role, request.source_split)
    chosen = choose_split(converter.card, source, *wanted, allow_overlap=request.allow_overlap)
    check_disjoint(converter.card, source, chosen)
    if request.sampling == "compat":
        _require_compat(converter)
        if chosen.set_kind != "strict" or request.role == "train" or request.manifest is not None:
            raise UsageError(
                "--sampling compat is for evaluation splits", why="no training split, overlap or manifest"
            )
        return replace(chosen, set_kind="compat", set_name=f"{converter.card.name}@compat")
    return chosen


def _require_compat(converter: Converter) -> None:
    card = converter.card
    if card.compat_dataset is not None:
        raise UsageError(
            f"--sampling compat: the paper's {card.name} list is made of {card.compat_dataset} frames",
            next_step=f"dvbench convert {card.compat_dataset} --sampling compat",
        )
    if card.depth == "points" and converter.compat is None:
        raise UsageError(
            f"--sampling compat needs a depth raster, {card.name} has LiDAR points",
            why="its converter does not make the paper's raster of them",
        )


def plan_split(
    converter: Converter,
    request: ConvertRequest,
    source: Source,
    chosen: ChosenSplit,
    progress: Progress,
    crew: Crew | None = None,
) -> tuple[Plan, bool]:
    """Plan a split, or take up the plan of an earlier run (last item: whether so).

    Args:
        crew: reads candidates beside this process.
    """
    card = converter.card
    manifest = read_manifest(request.manifest) if request.manifest else None
    settings = make_settings(
        converter,
        chosen.split,
        chosen.set_kind,
        options_of(converter, request),
        limit=request.limit,
        keep_source_image=request.keep_source_image,
        manifest_hash=manifest_hash(manifest) if manifest else None,
        annotations_hash=sha256_file(request.annotations) if request.annotations else None,
    )
    folder = set_folder(request.data, chosen.set_name)
    earlier = None if request.replan else read_plan(folder, request.role)
    if earlier is not None:
        settings = replace(settings, backend=earlier.settings.backend)  # fixed where it was planned
        _require_same(earlier, settings, request, folder)
        return earlier, True
    if manifest is not None:
        plan = plan_from_manifest(source, card, settings, manifest, progress, crew)
    elif settings.sampling == "published":
        plan = plan_published(source, card, settings, progress, crew)
    elif settings.sampling == "compat":
        plan = plan_compat(source, card, settings, progress, crew)
    elif request.role == "eval":
        plan = plan_evaluation(source, card, settings, progress, crew)
    else:
        plan = plan_training(source, card, settings)
    refuse_shared_scenes(
        request.data, settings, {frame.ref.scene for frame in plan.frames if frame.ref.scene}
    )
    return replace(plan, shard_rows=request.shard_rows or plan.shard_rows), False


def convert(
    converter: Converter, request: ConvertRequest, progress: Progress, execution: Execution = HERE
) -> ConvertSummary:
    """Convert one split of one dataset, resuming what an earlier run of the same command left.

    Raises:
        DvbenchError: one of its family for each fault a user can act on; finished shards are kept.
        OSError: the output cannot be written.
    """
    engine = execution.make_engine()
    if execution.shards is not None and request.replan:
        raise UsageError(
            "--replan goes with no --shards",
            why="every job of an array would make the others' work anew",
            next_step="--replan once without --shards, or delete the set's folder",
        )
    registered, converter = converter, followed(converter, request)
    source = open_source(converter, request.root, options_of(converter, request))
    try:
        chosen = resolve_split(converter, request, source)
        folder = set_folder(request.data, chosen.set_name)
        run = _Run(registered, converter, request, execution, engine, source, chosen, folder, progress)
        return run.all() if execution.shards is None else run.part(*execution.shards)
    finally:
        source.close()


@dataclass(frozen=True)
class _Run:
    """One run of the command, once it is known what is converted to where.

    Attributes:
        registered, converter: as it is registered, and as the request wants it (see `followed`).
    """

    registered: Converter
    converter: Converter
    request: ConvertRequest
    execution: Execution
    engine: Engine
    source: Source
    chosen: ChosenSplit
    folder: Path
    progress: Progress

    def all(self) -> ConvertSummary:
        """Write whatever is missing, and finish."""
        with only_one(self.folder, BUSY):
            if held := held_parts(self.folder):
                raise CheckError(BUSY, where=self.folder, why=f"jobs of an array hold {', '.join(held)}")
            plan, resumed = self._plan()
            sweep_temporaries(self.folder, running_too=True)
            writer = self._writer(plan)
            try:
                written = writer.write(range(plan.shards), retry_skipped=self.request.retry_skipped)
            finally:
                sweep_temporaries(self.folder, running_too=True)
            return self._finish(plan, writer.receipts, plan.shards - written, resumed)

    def part(self, first: int, last: int) -> ConvertSummary:
        """Write some shards beside other jobs of an array; whichever finds all of them there finishes."""
        with ExitStack() as held:
            with only_one(self.folder, BUSY, wait=True):
                plan, resumed = self._plan()
                name = f"{self.request.role}-{first}-{last}"
                held.enter_context(only_one(self.folder, "another job writes these shards", part=name))
            wanted = range(first, min(last + 1, plan.shards))
            own = {Path(plan.shard_file(shard)).stem for shard in wanted}
            sweep_temporaries(self.folder, of=own, running_too=True)
            writer = self._writer(plan)
            try:
                written = writer.write(wanted, retry_skipped=self.request.retry_skipped)
            finally:
                sweep_temporaries(self.folder, of=own, running_too=True)
        with only_one(self.folder, BUSY, wait=True):
            for shard in set(range(plan.shards)) - set(wanted):
                if (receipt := valid_receipt(self.folder, plan, shard)) is not None:
                    writer.receipts[shard] = receipt
            return self._finish(plan, writer.receipts, len(wanted) - written, resumed)

    def _plan(self) -> tuple[Plan, bool]:
        """Take up the plan or make it; the folder is held."""
        crew = Crew(self.engine, self.registered, self._absolute_request())
        plan, resumed = plan_split(
            self.converter, self.request, self.source, self.chosen, self.progress, crew
        )
        if resumed:
            return plan, True
        _clear(self.folder, self.request.role)
        write_plan(self.folder, plan)
        written = read_plan(self.folder, self.request.role)
        assert written is not None
        return written, False

    def _writer(self, plan: Plan) -> ShardWriter:
        log = RunLog(self.folder, self.request.role, self.execution.shards)
        return ShardWriter(self.folder, plan, self._task(plan), self.engine, self.progress, log)

    def _task(self, plan: Plan) -> Task:
        if self.engine.leaves_the_process:
            folder = self.folder.absolute()
            return ShardWork(self.registered, self._absolute_request(), folder, plan.settings.hash)
        return partial(_write_here, plan, self.source, self.converter.card, self.folder)

    def _absolute_request(self) -> ConvertRequest:
        """The request as a process in another folder has to read it."""
        paths = {name: getattr(self.request, name) for name in ("root", "annotations", "manifest")}
        return replace(self.request, **{n: path.absolute() for n, path in paths.items() if path is not None})

    def _finish(
        self, plan: Plan, by_shard: Mapping[int, ShardReceipt], shards_resumed: int, plan_resumed: bool
    ) -> ConvertSummary:
        """Write what describes the whole split, if all shards are there; the folder is held."""
        receipts = [by_shard[shard] for shard in sorted(by_shard)]
        skips = merge_counts([count_reasons(plan.skips), *(count_reasons(r.skips) for r in receipts)])
        folder, request, card = self.folder, self.request, self.converter.card
        summary = ConvertSummary(
            set_name=folder.name,
            folder=folder,
            settings=plan.settings,
            images=sum(receipt.rows for receipt in receipts),
            images_of_the_full_set=card.images if request.role == "eval" else None,
            shards=plan.shards,
            shards_there=len(receipts),
            shards_resumed=shards_resumed,
            plan_resumed=plan_resumed,
            replaced=plan.replaced,
            dropped=plan.dropped,
            skips=skips,
            bytes=sum(receipt.bytes for receipt in receipts),
        )
        if not summary.finished:
            return summary
        _check_skip_share(folder, plan, receipts, skips, request.max_skip_share)
        # Writing a shard takes the mark of success away, so what bears it needs nothing more.
        whole = is_finished(folder, request.role)
        digest = finished_hash(folder, request.role) if whole else finish(folder, plan, card, receipts)
        pinned = read_manifest(request.manifest) if request.manifest else None
        return replace(
            summary,
            manifest_hash=digest,
            differences=differences(folder, receipts, pinned) if pinned else (),
            area_without_truth=mean_area_without_truth(folder, receipts) if request.role == "eval" else None,
            points=asked_points(folder, "eval") if request.role == "eval" else None,
        )


def _write_here(
    plan: Plan, source: Source, card: DatasetCard, folder: Path, shard: int, advance: Callable[[int], None]
) -> ShardReceipt:
    return convert_shard(plan, shard, source, card, folder, advance)


def _check_skip_share(
    folder: Path, plan: Plan, receipts: Sequence[ShardReceipt], skips: dict[str, int], limit: float
) -> None:
    # A building that is not on disk, or in no list, is no frame that was lost.
    whole_scenes = sum(1 for skip in plan.skips if skip.group or skip.reason == "not_in_split")
    left_out = sum(skips.values()) - whole_scenes
    kept = sum(receipt.rows for receipt in receipts)
    share = left_out / max(1, left_out + kept)
    if plan.settings.role == "train" and share > limit:
        raise CheckError(
            f"{share:.1%} of the training frames were left out, more than {limit:.1%}",
            where=folder,
            why=f"{reasons_text(skips)} ({kept} frames kept; the receipts name each)",
            next_step="mend the tree and run again with --retry-skipped (--replan if files were missing), "
            "or raise --max-skip-share",
        )


# How a user says what a setting is, where that is not the setting's own name.
FLAGS = {
    "images": "--limit",
    "annotations_hash": "--annotations",
    "keep_source_image": "keeping source images",
    "manifest_hash": "--manifest",
}


def _require_same(earlier: Plan, settings: SetSettings, request: ConvertRequest, folder: Path) -> None:
    """Refuse to resume a plan that was made for something else, naming what differs."""
    before, now = _named_settings(earlier.settings), _named_settings(settings)
    differs = [
        f"{name} {_short(before.get(name))} -> {_short(now.get(name))}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]
    if request.shard_rows not in (None, earlier.shard_rows):
        differs.append(f"--shard-rows {earlier.shard_rows} -> {request.shard_rows}")
    if differs:
        raise UsageError(
            "this folder holds a set that was made with other settings",
            where=folder,
            why="; ".join(differs),
            next_step="--replan makes it anew, --out FOLDER puts the new one elsewhere",
        )


def _named_settings(settings: SetSettings) -> dict[str, Any]:
    """Settings by the names that users know them by; each option of the reader is one."""
    named = {FLAGS.get(name, name): value for name, value in asdict(settings).items() if name != "options"}
    return named | {f"-o {name}": value for name, value in settings.options.items()}


def _short(value: Any) -> str:  # noqa: ANN401 - any setting
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "..."


def _clear(folder: Path, role: Role) -> None:
    """Remove an earlier version of the split (its plan was rejected or never finished being written)."""
    success_path(folder, role).unlink(missing_ok=True)
    for path in [*(folder / "data").glob(f"{role}-*.parquet"), *(folder / "receipts").glob(f"{role}-*.json")]:
        path.unlink()
    plan_path(folder, role).unlink(missing_ok=True)
