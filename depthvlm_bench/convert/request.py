"""What a user asks of a conversion, and the reader that the request means."""

from dataclasses import dataclass, replace
from pathlib import Path

from depthvlm_bench.cards import DatasetCard, Role
from depthvlm_bench.convert.annotations import annotation_converter
from depthvlm_bench.errors import DataMissingError, UsageError
from depthvlm_bench.frames import Converter, Source


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


# A process opens its tree once, however much work it is given; another tree takes the place of the last.
_KEPT: list[tuple[Converter, ConvertRequest, Source, DatasetCard]] = []


def kept_open(converter: Converter, request: ConvertRequest) -> tuple[Source, DatasetCard]:
    """The tree of a request, for work that was sent to this process; it stays open until another is meant.

    Args:
        converter: as registered.
        request: with absolute paths.
    """
    if not _KEPT or _KEPT[0][:2] != (converter, request):
        while _KEPT:
            _KEPT.pop()[2].close()
        meant = followed(converter, request)
        source = open_source(meant, request.root, options_of(meant, request))
        _KEPT.append((converter, request, source, meant.card))
    return _KEPT[0][2:]


def _refuse_paper_options(converter: Converter, request: ConvertRequest) -> None:
    if converter.compat is None or request.sampling == "compat":
        return
    plain, paper, chosen = (vars(o) for o in (converter.options_type(), converter.compat, request.options))
    used = [n for n in paper if n not in converter.free and plain[n] != paper[n] == chosen[n]]
    if used:
        raise UsageError(
            f"-o {' -o '.join(f'{name}={chosen[name]}'.lower() for name in used)} is for compat sets",
            why="it makes frames as the paper's scripts made them, which no other set may hold",
            next_step="add --sampling compat, or leave the option out",
        )


def options_of(converter: Converter, request: ConvertRequest) -> object:
    """The reader's options: the user's, else those of the sampling.

    Raises:
        UsageError: frames as the paper's scripts made them were asked for, and not in a compat set.
    """
    if request.options is not None:
        _refuse_paper_options(converter, request)
        return request.options
    compat = converter.compat if request.sampling == "compat" else None
    return compat if compat is not None else converter.options_type()
