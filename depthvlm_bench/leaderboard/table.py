"""A leaderboard as data: rows of models, columns of pinned sets, ranks, ties and marks; no formatting."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import fsum

import numpy as np

from depthvlm_bench.cards import is_benchmark
from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.results.schema import Mode, Result
from depthvlm_bench.scoring.paired import (
    ImageScores,
    check_same_images,
    flipped_means,
    flips_for,
    holm_pairs,
    pairwise_p,
    tie_groups,
)
from depthvlm_bench.scoring.protocol import Bootstrap, load_protocol
from depthvlm_bench.scoring.uncertainty import as_units, benchmark_interval

METRIC = "delta1"
PerImage = Callable[[Result], ImageScores | None]
Grid = Mapping[str, Sequence[Result | None]]


@dataclass(frozen=True)
class Selection:
    """Which results stand in one table; none of these ever mix. No protocol_hash: the newest result's."""

    protocol: str
    mode: Mode = "sparse"
    input: str = "canonical"
    track: str = "known"
    where: str | None = None
    protocol_hash: str | None = None

    def takes(self, result: Result) -> bool:
        """Whether a result belongs into the table."""
        if self.protocol_hash not in (None, result.protocol_hash):
            return False
        same = (result.protocol, result.mode, result.input, result.track, result.where)
        return not result.for_tests and same == (self.protocol, self.mode, self.input, self.track, self.where)


@dataclass(frozen=True)
class Column:
    """One set under one manifest.

    Attributes:
        title: the set's name; with the manifest's first digits where the table holds several of that set.
        ranked: whether its scores are ranked: those of strict sets, in their newest version.
        superseded: whether the table also holds a newer version of the set.
        subset: whether it holds fewer images than the full set.
        images, full_images: how many it holds, and the full set.
    """

    set_name: str
    manifest_hash: str
    title: str
    ranked: bool
    superseded: bool
    set_kind: str
    subset: bool
    images: int
    full_images: int | None


@dataclass(frozen=True)
class Cell:
    """One score.

    Attributes:
        place: 1 for the best, 2 for the second, equal scores alike; 0 where it is not ranked.
        tied: whether it is the best of its column or not told apart from it; None where it was not tested.
    """

    result: Result
    place: int
    tied: bool | None = None

    @property
    def value(self) -> float:
        """The score."""
        return self.result.scores[METRIC].value

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        score = self.result.scores[METRIC]
        return score.low, score.high


@dataclass(frozen=True)
class LeaderboardRow:
    """One model.

    Attributes:
        rank, mean: None where a ranked column lacks a complete score.
        interval: of the mean, from a bootstrap in each set; None where the means were not tested.
        group: tie group by the mean, 1 for that of the best (`paired.tie_groups`); None where not tested.
    """

    label: str
    rank: int | None
    mean: float | None
    cells: tuple[Cell | None, ...]
    interval: tuple[float, float] | None = None
    group: int | None = None

    @property
    def tied(self) -> bool:
        """Whether it is not the best, and yet not told apart from it."""
        return self.group == 1 and self.rank != 1


@dataclass(frozen=True)
class Leaderboard:
    """A finished table.

    Attributes:
        left_out: how many results of the same mode stand in another table.
        untested: titles of columns of several scores that lack per-image rows, so that no tie is known.
    """

    selection: Selection
    columns: tuple[Column, ...]
    rows: tuple[LeaderboardRow, ...]
    left_out: int
    untested: tuple[str, ...] = ()

    @property
    def ranked_columns(self) -> tuple[int, ...]:
        """Indices of the columns that count."""
        return tuple(index for index, column in enumerate(self.columns) if column.ranked)


def build(
    results: Iterable[Result],
    selection: Selection,
    per_image: PerImage | None = None,
    rule: Bootstrap | None = None,
) -> Leaderboard:
    """Arrange the results that belong together.

    Ranked columns come first. A model is ranked by its mean over all ranked columns, and only if it has a
    complete score in each; the others follow, by name. Ties are found by paired sign-flip tests, Holm over
    all pairs of a column; the mean is a column too.

    Args:
        results: any results; those of the same mode that are otherwise outside are counted as left out.
        selection: protocol, mode, input and track of the table.
        per_image: a result's per-image scores, None where they are not there; without it no tie is marked.
        rule: bootstrap of the mean's interval; the protocol's own where it is not given.

    Raises:
        CheckError: complete results under one manifest are not of the same images.
    """
    everything = list(results)
    if selection.protocol_hash is None and (same := [r for r in everything if selection.takes(r)]):
        newest = max(same, key=lambda result: result.predicted_at)
        selection = replace(selection, protocol_hash=newest.protocol_hash)
    # Of several runs under one label (an earlier fit, an earlier version of the model) the newest stands.
    chosen = sorted(filter(selection.takes, everything), key=lambda result: result.predicted_at)
    columns = _columns(chosen)
    scores = {(r.label, r.set_name, r.manifest_hash): r for r in chosen}
    labels = sorted({result.label for result in chosen})
    grid = {label: [scores.get((label, c.set_name, c.manifest_hash)) for c in columns] for label in labels}
    ranked = [index for index, column in enumerate(columns) if column.ranked]
    means = {label: _mean([grid[label][index] for index in ranked]) for label in labels}
    complete = sorted((mean for mean in means.values() if mean is not None), reverse=True)
    places = [_places([grid[label][i] for label in labels]) for i in range(len(columns))]
    tests = _Tests()
    if per_image:
        tests = _test(grid, columns, per_image, rule or load_protocol(selection.protocol).bootstrap)
    rows = [
        LeaderboardRow(
            label=label,
            rank=complete.index(mean) + 1 if (mean := means[label]) is not None else None,
            mean=mean,
            cells=tuple(
                _cell(result, places[i], tests.tied.get((label, i))) for i, result in enumerate(grid[label])
            ),
            interval=tests.intervals.get(label),
            group=tests.groups.get(label),
        )
        for label in labels
    ]
    rows.sort(key=lambda row: (row.rank is None, row.rank or 0, row.label))
    left_out = sum(result.mode == selection.mode and not result.for_tests for result in everything) - len(
        chosen
    )
    return Leaderboard(selection, tuple(columns), tuple(rows), left_out, tuple(tests.untested))


def _columns(results: Sequence[Result]) -> list[Column]:
    """One column a (set, manifest), ranked ones first."""
    by_key: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        by_key.setdefault((result.set_name, result.manifest_hash), []).append(result)
    # Results come oldest first, so the last manifest seen of a set is that of its newest version.
    newest = {result.set_name: result.manifest_hash for result in results}
    names = [name for name, _ in by_key]
    columns = [
        _column(members, several=names.count(name) > 1, superseded=newest[name] != manifest)
        for (name, manifest), members in by_key.items()
    ]
    return sorted(columns, key=lambda c: (not c.ranked, c.title))


def _column(members: Sequence[Result], *, several: bool, superseded: bool) -> Column:
    first = members[0]
    return Column(
        set_name=first.set_name,
        manifest_hash=first.manifest_hash,
        title=f"{first.set_name} [{first.manifest_hash[:6]}]" if several else first.set_name,
        ranked=first.set_kind == "strict" and not superseded and is_benchmark(first.dataset),
        superseded=superseded,
        set_kind=first.set_kind,
        subset=first.subset and first.set_kind == "strict",
        images=first.counts.images + first.counts.images_missing,
        full_images=first.images_of_the_full_set,
    )


def _mean(results: Sequence[Result | None]) -> float | None:
    values = [r.scores[METRIC].value for r in results if r is not None and r.ranked]
    return fsum(values) / len(values) if values and len(values) == len(results) else None


def _places(results: Sequence[Result | None]) -> dict[float, int]:
    """Place of each distinct ranked value of a column."""
    values = sorted((r.scores[METRIC].value for r in results if r is not None and r.ranked), reverse=True)
    return {value: values.index(value) + 1 for value in values}


def _cell(result: Result | None, places: dict[float, int], tied: bool | None) -> Cell | None:
    if result is None:
        return None
    place = places.get(result.scores[METRIC].value, 0) if result.ranked else 0
    return Cell(result, place, tied)


@dataclass(frozen=True)
class _Tests:
    """What the per-image rows say: ties by (label, column), intervals and groups of the means by label."""

    tied: dict[tuple[str, int], bool] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    untested: list[str] = field(default_factory=list)


def _test(grid: Grid, columns: Sequence[Column], per_image: PerImage, rule: Bootstrap) -> _Tests:
    """Test each column all of whose ranked scores have rows; the means where all ranked columns do."""
    cells = {
        (label, i): r for label, row in grid.items() for i, r in enumerate(row) if r is not None and r.ranked
    }
    found = {key: per_image(result) for key, result in cells.items()}
    samples = {key: images.drawn_by(rule) for key, images in found.items() if images is not None}
    lacking = {i for _, i in cells.keys() - samples.keys()}
    counted = [i for i, column in enumerate(columns) if column.ranked]
    ranked = [label for label in grid if counted and all((label, i) in cells for i in counted)]
    tests, flips = _Tests(), flips_for(len(grid))
    total = np.zeros((flips, len(ranked)))
    for index, column in enumerate(columns):
        labels = [label for label in grid if (label, index) in cells]
        if index in lacking:
            tests.untested.extend([column.title] if len(labels) > 1 else [])
        elif labels:
            sets = [samples[label, index] for label in labels]
            for label, each in zip(labels, sets, strict=True):
                check_same_images(sets[0], each, f"{labels[0]} and {label} on {column.title}")
            flipped = flipped_means(sets, rule.seed, flips)
            groups = _groups(flipped, [each.mean for each in sets])
            tests.tied.update(((label, index), g == 1) for label, g in zip(labels, groups, strict=True))
            if index in counted:
                total += flipped[:, [labels.index(label) for label in ranked]] / len(counted)
    if ranked and not lacking.intersection(counted):
        rows = [[samples[label, i] for i in counted] for label in ranked]
        means = [fsum(each.mean for each in row) / len(row) for row in rows]
        tests.groups.update(zip(ranked, _groups(total, means), strict=True))
        tests.intervals.update((label, _interval(row, rule)) for label, row in zip(ranked, rows, strict=True))
    return tests


def _groups(flipped: FloatArray, means: Sequence[float]) -> list[int]:
    return tie_groups(means, holm_pairs(pairwise_p(flipped, means)))


def _interval(sets: Sequence[ImageScores], rule: Bootstrap) -> tuple[float, float]:
    return benchmark_interval([as_units(each.values, each.scenes) for each in sets], rule)
