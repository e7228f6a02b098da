"""Published numbers as data: the paper's three tables, and the metric-depth values of other papers.

They stand beside ours in the reproduction table and nowhere else. All are metric: nothing is fitted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Literal

from depthvlm_bench.config import load_toml
from depthvlm_bench.errors import UsageError
from depthvlm_bench.results.schema import Mode

Read = Literal[
    "text", "commented-out text", "two sources", "figure", "figure, means checked", "transcription"
]
MEAN = "mean"
MODELS_FILE = "models.toml"


@dataclass(frozen=True)
class Metrics:
    """Values by metric, named as ours are; delta_half is delta at 1.25^0.5. Null: the source has none."""

    delta1: float | None = None
    delta2: float | None = None
    delta3: float | None = None
    delta_half: float | None = None
    abs_rel: float | None = None
    sq_rel: float | None = None
    rmse: float | None = None
    rmse_log: float | None = None
    log10: float | None = None
    silog: float | None = None


@dataclass(frozen=True)
class Decimals:
    """Digits after the point as printed, by metric."""

    delta1: int = 3
    delta2: int = 3
    delta3: int = 3
    delta_half: int = 3
    abs_rel: int = 3
    sq_rel: int = 3
    rmse: int = 3
    rmse_log: int = 3
    log10: int = 3
    silog: int = 3


@dataclass(frozen=True)
class PublishedValue:
    """One number as printed, with all that is known of how it was made.

    Attributes:
        source: table1, table2, table2-full, or the name of a file in `manifests/published/`.
        label, checkpoint: the model as the source names it; checkpoint null: the source does not say which.
        paper: the model's own paper; of the values on listed points, the paper that reports them.
        dataset: a dataset's name here; "mean" for a row's printed mean.
        decimals: digits after the point as printed; half a unit of the last is its rounding.
        protocol: the protocol it belongs to, whether or not that is here; null: unknown.
        set_kind: the kind of set it was measured on, depthlm-points: DepthLM's own lists; null: any of the
            dataset's evaluation sets.
        split, images, cap_m, valid_m, camera: as far as stated; crop: the usual one of such tables.
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
    metric: str
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
        """`unidepth-readme/iDisc/nyuv2/delta1`, and the checkpoint where it is stated."""
        parts = (self.source, self.label, self.dataset, self.metric, self.checkpoint)
        return "/".join(part for part in parts if part)

    @property
    def model(self) -> str:
        """Label and checkpoint."""
        return f"{self.label} ({self.checkpoint})" if self.checkpoint else self.label

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit."""
        return 0.5 * 10.0**-self.decimals


@dataclass(frozen=True)
class TableRow:
    """One row of a table of the paper: a value a dataset, and the mean as printed."""

    label: str
    family: str
    values: tuple[float, ...]
    mean: float
    by_authors: bool = False
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
    metric: str
    decimals: int
    protocol: str
    set_kind: str
    datasets: tuple[str, ...]
    rows: tuple[TableRow, ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.values) != len(self.datasets):
                found = f"{row.label} has {len(row.values)} value(s) for {len(self.datasets)} datasets"
                raise UsageError(found, where=self.name)

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
                by_authors=row.by_authors,
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
    values: Metrics
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
    set_kind: str | None = None
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
    groups: tuple[SourceGroup, ...]
    decimals: Decimals = Decimals()
    note: str | None = None

    def values(self) -> tuple[PublishedValue, ...]:
        """Every value; what it repeats is still named by its source."""
        return tuple(value for group in self.groups for row in group.rows for value in self._of(group, row))

    def _of(self, group: SourceGroup, row: SourceRow) -> Iterable[PublishedValue]:
        for metric, number in asdict(row.values).items():
            if number is None:
                continue
            digits = getattr(self.decimals, metric)
            told = _but(group, "rows") | _but(row, "values")
            yield PublishedValue(source=self.name, metric=metric, value=number, decimals=digits, **told)


def _but(told: SourceGroup | SourceRow, left_out: str) -> dict[str, Any]:
    """Fields by name: those of a group and a row are those of their values."""
    return {field.name: getattr(told, field.name) for field in fields(told) if field.name != left_out}


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
    return sorted(
        (path for path in there if path.name.endswith(".toml")),
        key=lambda path: path.name.removesuffix(".toml"),
    )


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
    (found,) = find(
        values, source=copy.copied_from, label=copy.label, dataset=copy.dataset, metric=copy.metric
    )
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


def conflicts(value: PublishedValue, values: Sequence[PublishedValue]) -> tuple[Conflict, ...]:
    """The contradicting value of each other source; a copy contradicts nobody.

    Two sources contradict each other where the nearest of their comparable values differ by more than the
    coarser rounding: where one side does not name its checkpoint, any of the other's may be it.
    """
    others: dict[str, list[PublishedValue]] = {}
    for other in values:
        if _same_thing(value, other) is not None:
            others.setdefault(other.source, []).append(other)
    nearest = [_nearest(value, candidates) for candidates in others.values()]
    return tuple(
        Conflict(other, _same_thing(value, other) is True)
        for other in nearest
        if abs(other.value - value.value) > max(other.rounding, value.rounding) * (1 + 1e-6)
        and _nearest(
            other, [v for v in values if v.source == value.source and _same_thing(other, v) is not None]
        )
        == value
    )


def _nearest(value: PublishedValue, candidates: Sequence[PublishedValue]) -> PublishedValue:
    return min(candidates, key=lambda other: (abs(other.value - value.value), other.id))


def _same_thing(a: PublishedValue, b: PublishedValue) -> bool | None:
    """Whether two sources' values are of one model, set and protocol; None: no. False: as far as is said."""
    one = (a.label, a.dataset, a.metric, a.mode) == (b.label, b.dataset, b.metric, b.mode)
    if not one or a.source == b.source or a.dataset == MEAN or a.copied_from or b.copied_from:
        return None
    if a.set_kind != b.set_kind or _tuning(a) != _tuning(b) or _differ(a.checkpoint, b.checkpoint):
        return None
    if a.protocol and a.protocol == b.protocol:
        return a.checkpoint == b.checkpoint
    if _differ(a.split, b.split) or _differ(a.cap_m, b.cap_m):
        return None
    return a.split is not None and (a.split, a.checkpoint, a.pooled) == (b.split, b.checkpoint, b.pooled)


def _differ(x: object, y: object) -> bool:
    return x is not None and y is not None and x != y


def _tuning(value: PublishedValue) -> str:
    """The setting, whoever claims it."""
    return (value.setting or "").split(" (")[0]
