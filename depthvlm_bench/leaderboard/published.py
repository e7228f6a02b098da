"""Published numbers as data: the paper's three tables, and the metric-depth values of other papers.

They stand beside ours in the reproduction table and nowhere else. All are metric: no scale, no shift is fitted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal

from depthvlm_bench.config import load_toml
from depthvlm_bench.results.schema import Mode

Metric = Literal[
    *("delta1", "delta2", "delta3", "delta_half"),
    *("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog"),
]
Read = Literal[
    "text", "commented-out text", "two sources", "figure", "figure, means checked", "transcription"
]
MEAN = "mean"
MODELS_FILE = "models.toml"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class PublishedValue:
    """One number as printed, with all that is known of how it was made.

    Attributes:
        source: table1, table2, table2-full, or the name of a file in `manifests/published/`.
        label, checkpoint: the model as the source names it; checkpoint null: the source does not say which.
        paper: the model's own paper; for the points of DepthLM's table, and for the paper's tables, the table's.
        dataset: a dataset's name here; "mean" for a row's printed mean.
        decimals: digits after the point as printed; half a unit of the last is its rounding.
        protocol: the protocol it belongs to, whether or not that is here; null: unknown.
        set_kind: the kind of set it was measured on; null: any evaluation set of the dataset.
        split, images, cap_m, crop, valid_m, camera: as far as stated; `crop` is the one usual for such tables.
        setting: in-domain, zero-shot, fine-tuned; "as claimed" where only the reporting paper says so.
        pooled: whether pixels were pooled over the set; false: a mean over images, or not stated.
        by_authors: whether the model's own authors report it.
        read: how it was read: its confidence.
        copied_from: id of the value that it repeats.
        confirmed_by: who found the same value elsewhere.
        transcript: name of the third party's transcription.
    """

    source: str
    label: str
    dataset: str
    metric: Metric
    value: float
    decimals: int
    mode: Mode
    paper: str
    place: str
    read: Read
    by_authors: bool
    checkpoint: str | None = None
    protocol: str | None = None
    set_kind: str | None = None
    split: str | None = None
    images: int | None = None
    setting: str | None = None
    camera: str | None = None
    cap_m: float | None = None
    crop: str | None = None
    valid_m: tuple[float, float] | None = None
    pooled: bool = False
    family: str | None = None
    copied_from: str | None = None
    confirmed_by: str | None = None
    transcript: str | None = None
    note: str | None = None

    @property
    def id(self) -> str:
        """`unidepth-readme/iDisc/nyuv2/delta1`; with the setting and the checkpoint where they are needed."""
        parts = (self.source, self.label, self.dataset, self.metric, self.setting, self.checkpoint)
        return "/".join(part for part in parts if part)

    @property
    def model(self) -> str:
        """Label and checkpoint."""
        return f"{self.label} ({self.checkpoint})" if self.checkpoint else self.label

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit."""
        return 0.5 * 10**-self.decimals


@dataclass(frozen=True)
class TableRow:
    """One row of a table of the paper: a value a dataset, and the mean as printed."""

    label: str
    family: str
    values: tuple[float, ...]
    mean: float
    note: str | None = None


@dataclass(frozen=True)
class PaperTable:
    """One `manifests/paper/NAME.toml`."""

    name: str
    title: str
    paper: str
    repository: str
    path: str
    read: Read
    mode: Mode
    metric: Metric
    decimals: int
    protocol: str
    set_kind: str
    datasets: tuple[str, ...]
    rows: tuple[TableRow, ...]

    def values(self) -> tuple[PublishedValue, ...]:
        """Every cell, row by row, each row's printed mean last."""
        return tuple(value for row in self.rows for value in self._of(row))

    def _of(self, row: TableRow) -> Iterable[PublishedValue]:
        cells = zip((*self.datasets, MEAN), (*row.values, row.mean), strict=True)
        for dataset, value in cells:
            yield PublishedValue(
                source=self.name,
                label=row.label,
                dataset=dataset,
                metric=self.metric,
                value=value,
                decimals=self.decimals,
                mode=self.mode,
                paper=self.paper,
                place=self.path,
                read=self.read,
                by_authors=row.family == "depth_vlm" and row.label.startswith("DepthVLM"),
                protocol=self.protocol,
                set_kind=self.set_kind,
                family=row.family,
                note=row.note,
            )


@dataclass(frozen=True)
class SourceRow:
    """One model's values in a group; see `PublishedValue`. `copied_from` names a source."""

    label: str
    paper: str
    by_authors: bool
    values: dict[Metric, float]
    checkpoint: str | None = None
    family: str | None = None
    copied_from: str | None = None
    transcript: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class SourceGroup:
    """Values of one table made in one way; see `PublishedValue`."""

    place: str
    dataset: str
    mode: Mode
    setting: str
    read: Read
    rows: tuple[SourceRow, ...]
    split: str | None = None
    images: int | None = None
    protocol: str | None = None
    camera: str | None = None
    cap_m: float | None = None
    crop: str | None = None
    valid_m: tuple[float, float] | None = None
    pooled: bool = False
    confirmed_by: str | None = None


@dataclass(frozen=True)
class Source:
    """One file of `manifests/published/`: where the numbers stand, and the numbers."""

    name: str
    repository: str
    path: str
    commit: str
    kind: Literal["readme", "readme comment", "figure", "transcription"]
    decimals: dict[Metric, int]
    groups: tuple[SourceGroup, ...]
    note: str | None = None

    def values(self) -> tuple[PublishedValue, ...]:
        """Every value; what it repeats is still named by its source."""
        return tuple(value for group in self.groups for row in group.rows for value in self._of(group, row))

    def _of(self, group: SourceGroup, row: SourceRow) -> Iterable[PublishedValue]:
        for metric, number in row.values.items():
            yield PublishedValue(
                source=self.name,
                label=row.label,
                dataset=group.dataset,
                metric=metric,
                value=number,
                decimals=self.decimals[metric],
                mode=group.mode,
                paper=row.paper,
                place=group.place,
                read=group.read,
                by_authors=row.by_authors,
                checkpoint=row.checkpoint,
                protocol=group.protocol,
                split=group.split,
                images=group.images,
                setting=group.setting,
                camera=group.camera,
                cap_m=group.cap_m,
                crop=group.crop,
                valid_m=group.valid_m,
                pooled=group.pooled,
                family=row.family,
                copied_from=row.copied_from,
                confirmed_by=group.confirmed_by,
                transcript=row.transcript,
                note=row.note,
            )


@dataclass(frozen=True)
class KnownModel:
    """Which of our models a published label may be, and what running it takes; null: unknown.

    Attributes:
        name: as `dvbench models` has it, or will have it.
        labels: what sources call it; several models share a label where sources do not say which they ran.
        checkpoints: the sources' checkpoints that it is; a value of another checkpoint is not this model's.
    """

    name: str
    labels: tuple[str, ...]
    checkpoints: tuple[str, ...] = ()
    weights: str | None = None
    gpu_hours: str | None = None
    cost: str | None = None

    def is_of(self, value: PublishedValue) -> bool:
        """Whether the value may be this model's; fine-tuned weights are never those that are run here."""
        if value.label not in self.labels or (value.setting or "").startswith("fine-tuned"):
            return False
        return value.checkpoint is None or value.checkpoint in self.checkpoints


@dataclass(frozen=True)
class _Models:
    models: tuple[KnownModel, ...]


@cache
def load_tables() -> tuple[PaperTable, ...]:
    """The paper's tables, by name; UsageError for an unknown key."""
    return tuple(load_toml(PaperTable, path) for path in _toml_files("paper"))


@cache
def load_sources() -> tuple[Source, ...]:
    """The other papers' sources, by name; UsageError for an unknown key."""
    return tuple(load_toml(Source, path) for path in _toml_files("published") if path.name != MODELS_FILE)


@cache
def load_models() -> tuple[KnownModel, ...]:
    """The models that published rows may be, in the order of the paper's tables."""
    return load_toml(_Models, files("depthvlm_bench.manifests") / "published" / MODELS_FILE).models


def _toml_files(folder: str) -> list[Traversable]:
    there = (files("depthvlm_bench.manifests") / folder).iterdir()
    return sorted((path for path in there if path.name.endswith(".toml")), key=lambda path: path.name)


@cache
def published_values() -> tuple[PublishedValue, ...]:
    """The values of other papers, with `copied_from` resolved to the id of the value that is repeated."""
    values = [value for source in load_sources() for value in source.values()]
    return tuple(replace(v, copied_from=_original(v, values)) if v.copied_from else v for v in values)


@cache
def all_values() -> tuple[PublishedValue, ...]:
    """The cells of the paper's tables, then the values of other papers."""
    return (*(value for table in load_tables() for value in table.values()), *published_values())


def _original(copy: PublishedValue, values: Sequence[PublishedValue]) -> str:
    (found,) = find(values, source=copy.copied_from, label=copy.label, dataset=copy.dataset, metric=copy.metric)
    return found.id


def find(
    values: Iterable[PublishedValue],
    *,
    source: str | None = None,
    label: str | None = None,
    model: KnownModel | None = None,
    dataset: str | None = None,
    metric: str | None = None,
) -> tuple[PublishedValue, ...]:
    """Values by table or source, by the source's label or our model, by dataset and metric; null: any."""
    wanted = {"source": source, "label": label, "dataset": dataset, "metric": metric}
    asked = {name: text for name, text in wanted.items() if text is not None}
    return tuple(
        value
        for value in values
        if all(getattr(value, name) == text for name, text in asked.items())
        and (model is None or model.is_of(value))
    )


@dataclass(frozen=True)
class Conflict:
    """Another source's value of the same model, set and protocol that is not the same.

    Attributes:
        certain: whether both say enough to know that the protocol is one; else it may be another.
    """

    other: PublishedValue
    certain: bool


@dataclass(frozen=True)
class _Agreement:
    """How far two values are of one thing."""

    comparable: bool
    certain: bool = field(default=False)


def conflicts(value: PublishedValue, values: Iterable[PublishedValue]) -> tuple[Conflict, ...]:
    """The nearest contradicting value of each other source; a copy contradicts nobody.

    A source contradicts a value if it has comparable values (`_agreement`) and none of them is the same to
    the coarser rounding: where one side does not name its checkpoint, any of the other's may be it.
    """
    others: dict[str, list[tuple[PublishedValue, bool]]] = {}
    for other in values:
        agreement = _agreement(value, other)
        if agreement.comparable:
            others.setdefault(other.source, []).append((other, agreement.certain))
    found = []
    for candidates in others.values():
        nearest, certain = min(candidates, key=lambda item: (abs(item[0].value - value.value), item[0].id))
        if abs(nearest.value - value.value) > max(nearest.rounding, value.rounding) * (1 + 1e-6):
            found.append(Conflict(nearest, certain))
    return tuple(found)


def _agreement(a: PublishedValue, b: PublishedValue) -> _Agreement:
    """Whether two values are of one model, set and protocol; what a source leaves unsaid may be anything."""
    one = (a.label, a.dataset, a.metric, a.mode) == (b.label, b.dataset, b.metric, b.mode)
    if not one or a.source == b.source or a.dataset == MEAN or a.copied_from or b.copied_from:
        return _Agreement(False)
    if a.set_kind != b.set_kind or _tuning(a) != _tuning(b):
        return _Agreement(False)
    pairs = ((a.split, b.split), (a.checkpoint, b.checkpoint), (a.cap_m, b.cap_m), (a.pooled, b.pooled))
    if a.protocol and a.protocol == b.protocol:
        return _Agreement(not _differ(a.checkpoint, b.checkpoint), a.checkpoint == b.checkpoint)
    stated = (a.split, a.checkpoint, a.pooled) == (b.split, b.checkpoint, b.pooled) and a.split is not None
    return _Agreement(not any(_differ(x, y) for x, y in pairs[:3]), stated)


def _differ(x: object, y: object) -> bool:
    return x is not None and y is not None and x != y


def _tuning(value: PublishedValue) -> str:
    """The setting, whoever claims it."""
    return (value.setting or "").split(" (")[0]
