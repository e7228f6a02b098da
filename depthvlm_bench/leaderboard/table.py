"""A leaderboard as data: rows of models, columns of pinned sets, ranks and marks; no formatting."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from depthvlm_bench.results.schema import Mode, Result

METRIC = "delta1"


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
        ranked: whether its scores are ranked: overlap sets are not, nor an older version of a set.
        superseded: whether the table also holds a newer version of the set.
        subset: whether it holds fewer images than the full set.
        images, full_images: how many it holds, and the full set.
    """

    set_name: str
    manifest_hash: str
    title: str
    ranked: bool
    superseded: bool
    overlap: bool
    subset: bool
    images: int
    full_images: int | None


@dataclass(frozen=True)
class Cell:
    """One score. `place` is 1 for the best, 2 for the second, ties alike; 0 where it is not ranked."""

    result: Result
    place: int

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
    """One model. `rank` and `mean` are None where a ranked column lacks a complete score."""

    label: str
    rank: int | None
    mean: float | None
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Leaderboard:
    """A finished table."""

    selection: Selection
    columns: tuple[Column, ...]
    rows: tuple[LeaderboardRow, ...]
    left_out: int

    @property
    def ranked_columns(self) -> tuple[int, ...]:
        """Indices of the columns that count."""
        return tuple(index for index, column in enumerate(self.columns) if column.ranked)


def build(results: Iterable[Result], selection: Selection) -> Leaderboard:
    """Arrange the results that belong together.

    Ranked columns come first. A model is ranked by its mean over all ranked columns, and only if it has a
    complete score in each; the others follow, by name.

    Args:
        results: any results; those of the same mode that are otherwise outside are counted as left out.
        selection: protocol, mode, input and track of the table.
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
    rows = [
        LeaderboardRow(
            label=label,
            rank=complete.index(mean) + 1 if (mean := means[label]) is not None else None,
            mean=mean,
            cells=tuple(_cell(result, places[i]) for i, result in enumerate(grid[label])),
        )
        for label in labels
    ]
    rows.sort(key=lambda row: (row.rank is None, row.rank or 0, row.label))
    left_out = sum(result.mode == selection.mode and not result.for_tests for result in everything) - len(
        chosen
    )
    return Leaderboard(selection, tuple(columns), tuple(rows), left_out)


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
    overlap = first.set_kind == "overlap"
    return Column(
        set_name=first.set_name,
        manifest_hash=first.manifest_hash,
        title=f"{first.set_name} [{first.manifest_hash[:6]}]" if several else first.set_name,
        ranked=not overlap and not superseded,
        superseded=superseded,
        overlap=overlap,
        subset=first.subset and not overlap,
        images=first.counts.images + first.counts.images_missing,
        full_images=first.images_of_the_full_set,
    )


def _mean(results: Sequence[Result | None]) -> float | None:
    values = [r.scores[METRIC].value for r in results if r is not None and r.ranked]
    return sum(values) / len(values) if values and len(values) == len(results) else None


def _places(results: Sequence[Result | None]) -> dict[float, int]:
    """Place of each distinct ranked value of a column."""
    values = sorted((r.scores[METRIC].value for r in results if r is not None and r.ranked), reverse=True)
    return {value: values.index(value) + 1 for value in values}


def _cell(result: Result | None, places: dict[float, int]) -> Cell | None:
    if result is None:
        return None
    return Cell(result, places.get(result.scores[METRIC].value, 0) if result.ranked else 0)
