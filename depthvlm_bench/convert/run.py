"""A conversion from beginning to end: resolve the split, plan, write what is missing, finish."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from depthvlm_bench.cards import DatasetCard, Role
from depthvlm_bench.convert.annotations import PUBLISHED, annotation_converter
from depthvlm_bench.convert.finish import (
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
from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.frames import Converter, Source, Split
from depthvlm_bench.hashing import sha256_file
from depthvlm_bench.progress import Progress
from depthvlm_bench.records.files import only_one, sweep_temporaries
from depthvlm_bench.records.receipts import (
    ShardReceipt,
    count_reasons,
    merge_counts,
    read_receipt,
    reasons_text,
)
from depthvlm_bench.sampling.manifest import manifest_hash, read_manifest


@dataclass(frozen=True)
class ConvertRequest:
    """What the user asked for.

    Attributes:
        root: the raw tree.
        data: the folder that holds set folders.
        options: the converter's own options, as its options_type.
        limit: at most this many images.
        shard_rows: rows a shard; null: from the size of the first picture.
        max_skip_share: a training split with a larger share of skipped frames is not finished.
        retry_skipped: write shards anew that left frames out.
        replan: forget an earlier plan and its shards.
        manifest: rebuild exactly the set that this manifest pins.
        sampling: strict, or compat for the paper's own choice of images and pixels.
        annotations: follow this published list; `root` is then the folder of its pictures and depth.
    """

    root: Path
    data: Path
    role: Role = "eval"
    options: object = None
    source_split: str | None = None
    allow_overlap: bool = False
    limit: int | None = None
    keep_source_image: bool = True
    shard_rows: int | None = None
    max_skip_share: float = 0.01
    retry_skipped: bool = False
    replan: bool = False
    manifest: Path | None = None
    sampling: str = "strict"
    annotations: Path | None = None


@dataclass(frozen=True)
class ConvertSummary:
    """What a conversion did."""

    set_name: str
    folder: Path
    settings: SetSettings
    images: int
    images_of_the_full_set: int | None
    shards: int
    shards_resumed: int
    plan_resumed: bool
    replaced: int
    dropped: int
    skips: dict[str, int]
    bytes: int
    manifest_hash: str
    differences: tuple[Difference, ...] = ()
    area_without_truth: float | None = None

    @property
    def subset(self) -> bool:
        """Whether the set holds fewer images than the full evaluation set."""
        return self.images_of_the_full_set is not None and self.images < self.images_of_the_full_set


def open_source(converter: Converter, root: Path, options: object = None) -> Source:
    """Open a raw tree; DataMissingError where the folder does not exist."""
    if not root.is_dir():
        raise DataMissingError(
            f"no raw {converter.card.name} tree",
            where=root,
            why="it is a file, not a folder" if root.exists() else "the folder does not exist",
            next_step=f"dvbench datasets {converter.card.name} says where to get it",
        )
    return converter.open(root, options if options is not None else converter.options_type())


def followed(converter: Converter, request: ConvertRequest) -> Converter:
    """The converter itself, with the paper's range in compat sets, or one that follows a published list.

    Raises:
        UsageError: the request chooses images or pixels, which a list has chosen already.
    """
    card = converter.card
    if request.annotations is not None or request.sampling == "compat":
        card = replace(card, valid_max_m=card.compat_valid_max_m or card.valid_max_m)
    if request.annotations is None:
        return replace(converter, card=card)
    chosen = {
        "--split train": request.role == "train",
        "--source-split": request.source_split is not None,
        "--sampling compat": request.sampling != "strict",
        "--limit": request.limit is not None,
        "--manifest": request.manifest is not None,
    }
    if any(chosen.values()):
        named = ", ".join(flag for flag, is_set in chosen.items() if is_set)
        raise UsageError("--annotations follows a whole list", why=f"it goes with no {named}")
    return annotation_converter(card, request.annotations)


def options_of(converter: Converter, request: ConvertRequest) -> object:
    """The reader's options: the user's, else those of the sampling."""
    if request.options is not None:
        return request.options
    compat = converter.compat if request.sampling == "compat" else None
    return compat if compat is not None else converter.options_type()


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
    converter: Converter, request: ConvertRequest, source: Source, chosen: ChosenSplit, progress: Progress
) -> tuple[Plan, bool]:
    """Plan a split, or take up the plan of an earlier run (last item: whether so)."""
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
        _require_same(earlier, settings, request, folder)
        return earlier, True
    if manifest is not None:
        plan = plan_from_manifest(source, card, settings, manifest)
    elif settings.sampling == "published":
        plan = plan_published(source, card, settings, progress)
    elif settings.sampling == "compat":
        plan = plan_compat(source, card, settings, progress)
    elif request.role == "eval":
        plan = plan_evaluation(source, card, settings, progress)
    else:
        plan = plan_training(source, card, settings)
    refuse_shared_scenes(
        request.data, settings, {frame.ref.scene for frame in plan.frames if frame.ref.scene}
    )
    return replace(plan, shard_rows=request.shard_rows or plan.shard_rows), False


def convert(converter: Converter, request: ConvertRequest, progress: Progress) -> ConvertSummary:
    """Convert one split of one dataset, resuming what an earlier run of the same command left.

    Raises:
        DvbenchError: one of its family for each fault a user can act on; finished shards are kept.
    """
    converter = followed(converter, request)
    source = open_source(converter, request.root, options_of(converter, request))
    try:
        chosen = resolve_split(converter, request, source)
        folder = set_folder(request.data, chosen.set_name)
        with only_one(folder, "another process converts this set"):
            plan, resumed = plan_split(converter, request, source, chosen, progress)
            if not resumed:
                _clear(folder, request.role)
                write_plan(folder, plan)
            sweep_temporaries(folder)
            return _write(converter.card, folder, plan, source, request, progress, resumed)
    finally:
        source.close()


def _write(
    card: DatasetCard,
    folder: Path,
    plan: Plan,
    source: Source,
    request: ConvertRequest,
    progress: Progress,
    plan_resumed: bool,
) -> ConvertSummary:
    receipts: list[ShardReceipt] = []
    missing = 0
    with progress.stage(f"writing {folder.name} {plan.settings.role}", len(plan.frames), "image") as advance:
        for index in range(plan.shards):
            receipt = read_receipt(folder, plan.shard_file(index))
            stale = receipt is None or not receipt.holds(folder, plan.shard_key(index))
            if receipt is None or stale or (request.retry_skipped and receipt.skips):
                success_path(folder, request.role).unlink(missing_ok=True)
                receipt = convert_shard(plan, index, source, card, folder)
                missing += 1
            receipts.append(receipt)
            advance(len(plan.shard(index)))
    skips = merge_counts([count_reasons(plan.skips), *(count_reasons(r.skips) for r in receipts)])
    _check_skip_share(folder, plan, receipts, skips, request.max_skip_share)
    whole = not missing and is_finished(folder, request.role)
    digest = finished_hash(folder, request.role) if whole else finish(folder, plan, card, receipts)
    pinned = read_manifest(request.manifest) if request.manifest else None
    return ConvertSummary(
        set_name=folder.name,
        folder=folder,
        settings=plan.settings,
        images=sum(receipt.rows for receipt in receipts),
        images_of_the_full_set=card.images if request.role == "eval" else None,
        shards=plan.shards,
        shards_resumed=plan.shards - missing,
        plan_resumed=plan_resumed,
        replaced=plan.replaced,
        dropped=plan.dropped,
        skips=skips,
        bytes=sum(receipt.bytes for receipt in receipts),
        manifest_hash=digest,
        differences=differences(folder, receipts, pinned) if pinned else (),
        area_without_truth=mean_area_without_truth(folder, receipts) if request.role == "eval" else None,
    )


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
