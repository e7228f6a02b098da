"""What a set is: its split, kind, name, and everything that decides its content."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from depthvlm_bench.cards import DatasetCard, Role
from depthvlm_bench.errors import CheckError, DataMissingError, UsageError, unknown_name
from depthvlm_bench.frames import Converter, Source, Split
from depthvlm_bench.hashing import canonical_json, sha256_json
from depthvlm_bench.records.backends import PILLOW, best_backend, open_backend
from depthvlm_bench.records.codec import RecordSpec
from depthvlm_bench.records.files import reading
from depthvlm_bench.records.prompts import DENSE_PROMPT, load_prompt
from depthvlm_bench.records.receipts import RECORD_VERSION
from depthvlm_bench.sampling.draw import SEED

Sampling = Literal["strict", "compat", "published"]

# Where a plan keeps its settings, in the metadata of its parquet file.
PLAN_METADATA_KEY = b"dvbench"


@dataclass(frozen=True)
class SetSettings:
    """Everything that decides a set's records and what is in them; hashed into records and receipts.

    Attributes:
        images: budget of an evaluation split, or a limit on a training split; null: all.
        points_per_image: null for training splits; points_total: see DatasetCard.
        manifest_hash: the manifest a set is rebuilt from; null: freshly sampled.
        annotations_hash: SHA-256 of the published list a set follows; null: none.
        backend: what makes training pictures; evaluation pictures are always Pillow's.
    """

    dataset: str
    converter: str
    card_hash: str
    role: Role
    source_split: str
    set_kind: str
    options: dict[str, Any]
    images: int | None
    points_per_image: int | None
    keep_source_image: bool
    manifest_hash: str | None = None
    annotations_hash: str | None = None
    points_total: int | None = None
    sampling: Sampling = "strict"
    seed: str = SEED
    prompt_id: str = DENSE_PROMPT
    prompt_hash: str = ""
    backend: str = PILLOW
    record_version: int = RECORD_VERSION

    @property
    def hash(self) -> str:
        """What records carry as options_hash."""
        return sha256_json(self)

    @property
    def split(self) -> Split:
        """The split that is converted."""
        return Split(self.role, self.source_split)

    def record_spec(self, card: DatasetCard) -> RecordSpec:
        """What all records of the set have in common; UsageError where its backend is not installed here."""
        return RecordSpec(
            card,
            self.set_kind,
            self.keep_source_image,
            self.converter,
            self.hash,
            self.prompt_id,
            open_backend(self.backend),
        )


def make_settings(
    converter: Converter,
    split: Split,
    set_kind: str,
    options: object,
    *,
    limit: int | None,
    keep_source_image: bool,
    manifest_hash: str | None = None,
    annotations_hash: str | None = None,
) -> SetSettings:
    """The settings of a set from its converter, split and the user's choices."""
    card = converter.card
    evaluation = split.role == "eval" and set_kind != "published"
    budget = card.images if evaluation else None
    sampling: Sampling = (
        "compat" if set_kind == "compat" else "published" if set_kind == "published" else "strict"
    )
    return SetSettings(
        dataset=card.name,
        converter=f"{card.name}/{converter.version}",
        card_hash=card.content_hash,
        role=split.role,
        source_split=split.source,
        set_kind=set_kind,
        options=_plain(options),
        images=min(n for n in (limit, budget) if n is not None) if (limit or budget) else None,
        points_per_image=card.points_per_image if evaluation else None,
        points_total=card.points_total if evaluation else None,
        keep_source_image=keep_source_image,
        manifest_hash=manifest_hash,
        annotations_hash=annotations_hash,
        sampling=sampling,
        prompt_hash=load_prompt(DENSE_PROMPT).hash,
        backend=best_backend() if split.role == "train" else PILLOW,
    )


def _plain(options: object) -> dict[str, Any]:
    """Options as JSON keeps them, so that those of a stored plan compare equal: tuples are lists."""
    kept: dict[str, Any] = json.loads(canonical_json(options))
    return kept


@dataclass(frozen=True)
class ChosenSplit:
    """The split that will be converted, and under which name."""

    split: Split
    set_kind: str
    set_name: str


def choose_split(
    card: DatasetCard, source: Source, role: Role, source_split: str | None, *, allow_overlap: bool
) -> ChosenSplit:
    """Resolve a role to a source split of this tree.

    Args:
        role: eval or train.
        source_split: the user's own choice, else the first present one of the card's.
        allow_overlap: whether an evaluation set may come from a training split (kind `overlap`).

    Raises:
        UsageError: the dataset has no such role or split, or overlap was not allowed.
        DataMissingError: no frame of it is in this tree.
    """
    if role not in card.splits:
        only = " and ".join(card.splits)
        raise UsageError(
            f"{card.name} has no {role} split",
            why=f"it is used for {only} only",
            next_step=f"add --split {card.roles[0]}",
        )
    present = list(source.source_splits())
    there = ", ".join(present) or "no known split"
    if source_split is not None:
        kind = _kind_of(card, role, source_split, allow_overlap=allow_overlap)
        if source_split not in present:
            raise DataMissingError(
                f"{card.name}: split {source_split} is not in this tree", why=f"it has {there}"
            )
        return ChosenSplit(Split(role, source_split), kind, f"{card.name}@{source_split}")
    for candidate in card.splits[role]:
        if candidate in present:
            return ChosenSplit(Split(role, candidate), "strict", card.name)
    look = next((name for name in present if role == "eval"), None)
    raise DataMissingError(
        f"{card.name}: no {role} split in this tree",
        why=f"looked for {', '.join(card.splits[role])}; it has {there}",
        next_step=f"add one of them, or for an unranked look: --source-split {look} --allow-overlap"
        if look
        else f"dvbench datasets {card.name} shows the expected tree",
    )


def _kind_of(card: DatasetCard, role: Role, source_split: str, *, allow_overlap: bool) -> str:
    known = [name for names in card.splits.values() for name in names]
    if source_split not in known:
        raise unknown_name(f"split of {card.name}", source_split, known)
    if source_split in card.splits[role]:
        return "strict"
    if role == "train":
        raise UsageError(
            f"{card.name}: {source_split} is an evaluation split",
            why="a training set from it would make every score on it worthless",
        )
    if not allow_overlap:
        raise UsageError(
            f"{card.name}: {source_split} is a training split",
            why="a score on it cannot be ranked",
            next_step="add --allow-overlap to make a set that is marked `overlap` and shown unranked",
        )
    return "overlap"


def check_disjoint(card: DatasetCard, source: Source, chosen: ChosenSplit) -> None:
    """Refuse a split that shares scenes with the split this tree would give the other role.

    Raises:
        CheckError: naming the shared scenes.
    """
    if chosen.set_kind == "overlap":
        return
    other: Role = "train" if chosen.split.role == "eval" else "eval"
    present = source.source_splits()
    opposite = next((name for name in card.splits.get(other, ()) if name in present), None)
    if opposite is None:
        return
    shared = sorted(set(source.scenes(chosen.split.source)) & set(source.scenes(opposite)))
    if shared:
        raise CheckError(
            f"{card.name}: {chosen.split.source} and {opposite} share {len(shared)} scenes",
            why=f"training and evaluation would overlap: {', '.join(shared[:5])}",
            next_step="mend the split lists of the raw tree",
        )


def refuse_shared_scenes(data: Path, settings: SetSettings, scenes: set[str]) -> None:
    """Refuse a split that shares scenes with a converted split of the other role, from whatever raw tree.

    Raises:
        CheckError: naming the set and the shared scenes.
    """
    if settings.set_kind == "overlap":
        return
    other: Role = "train" if settings.role == "eval" else "eval"
    for path in sorted(data.glob(f"*/plan-{other}.parquet")):
        if path.parent.name.split("@")[0] != settings.dataset:
            continue
        with reading(path, "--replan that split"):
            table = pq.read_table(path, columns=["scene"])
            kind = json.loads(table.schema.metadata[PLAN_METADATA_KEY])["settings"]["set_kind"]
        shared = sorted(scenes & {scene for scene in table["scene"].to_pylist() if scene})
        if shared and kind != "overlap":
            raise CheckError(
                f"{settings.source_split} shares {len(shared)} scenes with the converted {other} split",
                where=path.parent,
                why=f"training and evaluation would overlap: {', '.join(shared[:5])}",
                next_step="choose another --source-split, or another --out",
            )


def set_folder(data: Path, name: str) -> Path:
    """The folder of a set under the data folder."""
    return data / name
