"""The reproduction table as data, unformatted: published | ours | difference | interval | verdict.

Verdicts
    within          ours is of all the published images, and the published value lies inside our interval, or
                    is as near as its own rounding
    consistent      the same, but ours is of fewer images: nothing more can be said than that they agree
    differs         neither inside the interval nor that near, of all images or of fewer
    not comparable  ours was made otherwise (another protocol, set kind, selection or camera), or nobody knows
                    how the published value was made
    not run         there is nothing of ours; `needs` says what it takes

Without an interval (metrics other than delta1) only the rounding decides. A set counts as the published one
by its kind and its number of images: the lists themselves are not here to be compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, hypot
from typing import Literal

from depthvlm_bench.errors import unknown_name
from depthvlm_bench.leaderboard.published import (
    MEAN,
    Conflict,
    KnownModel,
    PublishedValue,
    all_values,
    conflicts,
    find,
    load_models,
    load_tables,
)
from depthvlm_bench.results.schema import Result

Verdict = Literal["within", "consistent", "differs", "not comparable", "not run"]
SLACK = 1e-9
UNKNOWN = "unknown"
PUBLISHED = "published"


@dataclass(frozen=True)
class Here:
    """What this installation has: names of models and datasets, and protocols with their hashes."""

    models: frozenset[str]
    datasets: frozenset[str]
    protocols: Mapping[str, str]


@dataclass(frozen=True)
class Target:
    """What is to be reproduced.

    Attributes:
        title: what is compared, in one line.
        models: which of our models count; a published row may be any that `KnownModel.is_of` says.
    """

    name: str
    title: str
    values: tuple[PublishedValue, ...]
    models: tuple[KnownModel, ...]


@dataclass(frozen=True)
class Ours:
    """Our value; low and high are null where there is no interval, full_images where it is unknown."""

    label: str
    value: float
    low: float | None
    high: float | None
    images: int
    full_images: int | None
    set_name: str
    protocol: str
    run: str | None

    @property
    def subset(self) -> bool:
        """Whether it is of fewer images than the published value."""
        return self.full_images is None or self.images < self.full_images


@dataclass(frozen=True)
class Needs:
    """What a value that was not run takes; null: nothing of the kind."""

    what: tuple[str, ...]
    weights: str | None = None
    gpu_hours: str | None = None
    cost: str | None = None

    @property
    def text(self) -> str:
        """All of it in one line."""
        known = (("weights", self.weights), ("GPU hours", self.gpu_hours), ("API cost", self.cost))
        return "; ".join((*self.what, *(f"{name} {text}" for name, text in known if text)))


@dataclass(frozen=True)
class Line:
    """One published value and ours.

    Attributes:
        reason: why it is not comparable.
        difference: ours less published; null where they are not comparable.
        conflicts: other sources that contradict the published value.
    """

    published: PublishedValue
    verdict: Verdict
    ours: Ours | None = None
    difference: float | None = None
    reason: str | None = None
    needs: Needs | None = None
    conflicts: tuple[Conflict, ...] = ()


@dataclass(frozen=True)
class Missing:
    """Values of one row of one source that have nothing of ours, for one reason."""

    model: str
    source: str
    verdict: Verdict
    text: str
    values: tuple[PublishedValue, ...]


@dataclass(frozen=True)
class Reproduction:
    """A finished table: lines in the order of the published values."""

    target: Target
    lines: tuple[Line, ...]

    @property
    def run(self) -> tuple[Line, ...]:
        """Lines that have something of ours."""
        return tuple(line for line in self.lines if line.ours is not None)

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The other lines, grouped by model, source and reason."""
        groups: dict[tuple[str, str, Verdict, str], list[PublishedValue]] = {}
        for line in self.lines:
            if line.ours is None:
                text = line.reason or (line.needs.text if line.needs else "")
                key = (line.published.model, line.published.source, line.verdict, text)
                groups.setdefault(key, []).append(line.published)
        return tuple(Missing(*key, tuple(values)) for key, values in groups.items())


def choose(name: str) -> Target:
    """The target of a name: a table of the paper, one of our models, or a model as a source calls it.

    Raises:
        UsageError: no such name, with the nearest one.
    """
    tables = {table.name: table for table in load_tables()}
    models = {model.name: model for model in load_models()}
    labels = {value.label.casefold(): value.label for value in all_values()}
    key = name.casefold()
    if key in tables:
        table = tables[key]
        ours = f"ours under {table.protocol} on <dataset>@{table.set_kind}, {table.mode}"
        return Target(
            key, f"{table.title} ({table.paper}): δ1 as published | {ours}", table.values(), load_models()
        )
    if key in models:
        return _of_models(key, (models[key],), find(all_values(), model=models[key]))
    if key in labels:
        same = tuple(model for model in load_models() if labels[key] in model.labels)
        values = [v for v in all_values() if v.label == labels[key] or any(m.is_of(v) for m in same)]
        return _of_models(labels[key], same, values)
    raise unknown_name("table or model", name, {*tables, *models, *labels.values()})


def _of_models(name: str, models: tuple[KnownModel, ...], values: Iterable[PublishedValue]) -> Target:
    chosen = tuple(values)
    sources = len({value.source for value in chosen})
    counted = sum(value.dataset != MEAN for value in chosen)
    said = f"{name}: {counted} values as published in {sources} source{'s' if sources != 1 else ''}"
    return Target(name, f"{said} | ours under the protocol that each belongs to", chosen, models)


def reproduce(target: Target, results: Iterable[Result], here: Here) -> Reproduction:
    """Put our results beside the published values.

    Args:
        target: what is to be reproduced.
        results: any results; those that only test the harness are never shown.
        here: what could be run.
    """
    usable = [result for result in results if not result.for_tests]
    lines: list[Line] = []
    for value in target.values:
        lines += (
            _mean_lines(value, lines, target, here)
            if value.dataset == MEAN
            else _lines(value, usable, target, here)
        )
    return Reproduction(target, tuple(lines))


def judge(published: PublishedValue, ours: Ours) -> Verdict:
    """The verdict on two comparable values, by the rules at the top of this module."""
    near = abs(ours.value - published.value) <= published.rounding + SLACK
    inside = (
        ours.low is not None
        and ours.high is not None
        and ours.low - SLACK <= published.value <= ours.high + SLACK
    )
    if not near and not inside:
        return "differs"
    return "consistent" if ours.subset else "within"


def _lines(value: PublishedValue, results: Sequence[Result], target: Target, here: Here) -> list[Line]:
    """A line for each of our labels that has a result; one line without any."""
    against = conflicts(value, all_values())
    reason = _unknowable(value)
    if reason:
        return [Line(value, "not comparable", reason=reason, conflicts=against)]
    candidates = {model.name for model in target.models if model.is_of(value)}
    by_label: dict[str, list[Result]] = {}
    if value.protocol in here.protocols:
        for result in results:
            if (result.dataset, result.mode) == (value.dataset, value.mode) and result.model in candidates:
                by_label.setdefault(result.label, []).append(result)
    if not by_label:
        return [Line(value, "not run", needs=_needs(value, target.models, here), conflicts=against)]
    return [_line(value, by_label[label], here, against) for label in sorted(by_label)]


def _line(
    value: PublishedValue, results: Sequence[Result], here: Here, against: tuple[Conflict, ...]
) -> Line:
    """The comparable result of the most images, the newest of several; else the newest, and why not."""
    fitting = [result for result in results if not mismatch(value, result, here)]
    best = max(fitting or results, key=lambda r: (r.counts.images if fitting else 0, r.predicted_at))
    ours = _ours(value, best)
    if not fitting or ours is None:
        return Line(value, "not comparable", ours, reason=mismatch(value, best, here), conflicts=against)
    return Line(value, judge(value, ours), ours, ours.value - value.value, conflicts=against)


def _unknowable(value: PublishedValue) -> str | None:
    """Why nothing that could be run would be comparable; null where something would."""
    if value.pooled:
        return "pixels pooled over the set: no protocol does that"
    return None if value.protocol else "protocol unknown"


def mismatch(value: PublishedValue, result: Result, here: Here) -> str | None:
    """Why a result of the same dataset and mode cannot stand beside a published value; null where it can."""
    full = value.images or result.images_of_the_full_set
    kinds = (value.set_kind,) if value.set_kind else ("strict", "compat", PUBLISHED)
    faults = (
        (result.protocol != value.protocol, f"ours is under {result.protocol}"),
        (
            result.protocol_hash != here.protocols.get(result.protocol),
            f"ours is under another version of {result.protocol}",
        ),
        (result.set_kind not in kinds, f"ours is on a set of the kind {result.set_kind}"),
        (result.where is not None, f"ours is of the selection {result.where}"),
        (result.track != "known", "ours is without the camera"),
        (value.set_kind == PUBLISHED and result.input != "canonical", f"ours has the input {result.input}"),
        (full is None, "how many images the published value has is unknown"),
        (full is not None and result.counts.images > full, "ours is of more images than the published value"),
        (_ours(value, result) is None, f"ours has no {value.metric}"),
    )
    return next((why for fault, why in faults if fault), None)


def _ours(value: PublishedValue, result: Result) -> Ours | None:
    """Our value of the published metric; None where the result has none."""
    score = result.scores.get(value.metric)
    number = score.value if score else result.metrics.get(value.metric)
    if number is None:
        return None
    return Ours(
        label=result.label,
        value=number,
        low=score.low if score else None,
        high=score.high if score else None,
        images=result.counts.images,
        full_images=value.images or result.images_of_the_full_set,
        set_name=result.set_name,
        protocol=result.protocol,
        run=result.run,
    )


def _mean_lines(value: PublishedValue, lines: Sequence[Line], target: Target, here: Here) -> list[Line]:
    """The mean of a row, for each of our labels that has every cell of it."""
    row = [
        line for line in lines if (line.published.source, line.published.label) == (value.source, value.label)
    ]
    datasets = {line.published.dataset for line in row}
    done: dict[str, dict[str, Ours]] = {}
    for line in row:
        if line.ours is not None and line.difference is not None:
            done.setdefault(line.ours.label, {})[line.published.dataset] = line.ours
    whole = [
        _mean(label, list(cells.values()))
        for label, cells in sorted(done.items())
        if len(cells) == len(datasets)
    ]
    if not whole:
        return [Line(value, "not run", needs=_needs(value, target.models, here))]
    return [Line(value, judge(value, ours), ours, ours.value - value.value) for ours in whole]


def _mean(label: str, cells: Sequence[Ours]) -> Ours:
    """Mean over sets. The sets are independent: deviations add in squares, SE = sqrt(sum SE_k^2) / K."""
    count = len(cells)
    value = fsum(cell.value for cell in cells) / count
    below = hypot(*(cell.value - cell.low for cell in cells if cell.low is not None)) / count
    above = hypot(*(cell.high - cell.value for cell in cells if cell.high is not None)) / count
    images, full = sum(cell.images for cell in cells), sum(cell.full_images or 0 for cell in cells)
    return Ours(label, value, value - below, value + above, images, full, MEAN, cells[0].protocol, None)


def _needs(value: PublishedValue, models: Sequence[KnownModel], here: Here) -> Needs:
    """What a value takes that was not run."""
    candidates = [model for model in models if model.is_of(value)]
    names = " or ".join(model.name for model in candidates)
    ready = [model for model in candidates if model.name in here.models]
    lacks = []
    if not candidates:
        lacks.append("no model here is this one")
    elif not ready:
        lacks.append(f"model {names} is not here yet")
    if value.protocol not in here.protocols:
        lacks.append(f"protocol not here yet: {value.protocol}")
    if value.set_kind not in (None, PUBLISHED):
        lacks.append(f"sets of the kind {value.set_kind} are not here yet")
    elif ready and value.dataset not in (MEAN, *here.datasets):
        lacks.append("these sets have no converter here yet")
    if not lacks:
        lacks.append("every set of the row" if value.dataset == MEAN else _commands(value, ready[0]))
    return Needs(tuple(lacks), *_costs(candidates))


def _commands(value: PublishedValue, model: KnownModel) -> str:
    source = "--annotations FILE --root DIR" if value.set_kind == PUBLISHED else "--root DIR"
    evaluation = f"dvbench eval --model {model.name} --protocol {value.protocol}"
    return f"dvbench convert DATASET {source}, then {evaluation}"


def _costs(candidates: Sequence[KnownModel]) -> tuple[str | None, str | None, str | None]:
    """Weights, GPU hours and API cost of the models a value may be; a model without weights costs nothing."""
    if candidates and all(model.weights == "none" for model in candidates):
        return None, None, None
    if any(model.cost for model in candidates):
        return None, None, " or ".join(model.cost for model in candidates if model.cost)
    weights = dict.fromkeys(model.weights or UNKNOWN for model in candidates)
    hours = dict.fromkeys(model.gpu_hours or UNKNOWN for model in candidates)
    return " or ".join(weights) or UNKNOWN, " or ".join(hours) or UNKNOWN, None
