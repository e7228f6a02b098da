"""dvbench compare: two models on the same images, set by set and over the benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from depthvlm_bench.cli.common import (
    camera_option,
    console,
    examples,
    input_option,
    json_option,
    print_json,
    protocol_option,
    where_option,
    workspace_option,
)

if TYPE_CHECKING:
    from depthvlm_bench.leaderboard.table import Leaderboard, Selection
    from depthvlm_bench.results.schema import Result
    from depthvlm_bench.scoring.paired import Difference, ImageScores
    from depthvlm_bench.scoring.protocol import Bootstrap

EXAMPLES = (
    "dvbench compare constant-2m 'row-prior (fit: nuscenes)'",
    "dvbench compare a.json b.json --json",
)
Verdict = Literal["first", "second", "tie", "too few"]
MEAN = "mean"


@dataclass(frozen=True)
class Side:
    """One of the two: its results, by set, and where the per-image rows of each are."""

    label: str
    results: "dict[str, Result]"
    rows: dict[str, Path | None]


@dataclass(frozen=True)
class Comparison:
    """One line of the table.

    Attributes:
        set_name: a set, or "mean" for the mean over the sets on which both are ranked.
        first, second: delta1 of each.
        units: what was resampled and flipped: as many images, or scenes.
        p: of the paired test; p_holm: the same after Holm over the sets; the mean's is its p.
        verdict: which is better; tie: p_holm >= 5 %; too few: no p < 5 % is possible with so few units.
        complete, ranked: whether both results are; a partial one is never ranked.
    """

    set_name: str
    images: int
    units: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    verdict: Verdict
    complete: bool
    ranked: bool


@click.command("compare", epilog=examples(*EXAMPLES))
@click.argument("first")
@click.argument("second")
@click.option("--set", "set_names", multiple=True, help="Only these sets.")
@click.option("--mode", type=click.Choice(["sparse", "dense"]), default="sparse", show_default=True)
@protocol_option
@input_option
@camera_option
@where_option
@click.option(
    "--results", type=click.Path(path_type=Path), help="Folder of results.  [default: WORKSPACE/results]"
)
@workspace_option
@json_option
def command(
    first: str,
    second: str,
    set_names: tuple[str, ...],
    mode: str,
    protocol_name: str,
    input_mode: str | None,
    camera: str,
    where: str | None,
    results: Path | None,
    workspace: Path,
    as_json: bool,
) -> None:
    """Compare FIRST with SECOND: models as the leaderboard names them, or result files.

    Result files say themselves under which mode, protocol, input and camera they were made.
    """
    from dataclasses import asdict

    from depthvlm_bench.leaderboard.table import Selection
    from depthvlm_bench.records.where import normal_where
    from depthvlm_bench.scoring.protocol import load_protocol

    protocol, shown = (
        load_protocol(protocol_name),
        input_mode or ("canonical" if camera == "known" else "native"),
    )
    selection = Selection(protocol.name, mode, shown, camera, normal_where(where), protocol.hash)  # type: ignore[arg-type]
    sides = find_sides((first, second), selection, results or workspace / "results")
    names = common_sets(*sides, set_names)
    shared = sides[0].results[names[0]]
    lines = compare(*sides, names, image_bootstrap(shared.protocol))
    if as_json:
        said = {"first": sides[0].label, "second": sides[1].label}
        said |= {name: getattr(shared, name) for name in ("protocol", "mode", "input", "track", "where")}
        print_json(said | {"comparisons": [asdict(line) for line in lines]})
        return
    print_comparison(*sides, shared, lines)


def image_bootstrap(protocol: str) -> "Bootstrap":
    """The rule by which a protocol's images, or scenes, are drawn.

    Raises:
        UsageError: the protocol averages over points.
    """
    from depthvlm_bench.errors import UsageError
    from depthvlm_bench.scoring.protocol import load_protocol

    rules = load_protocol(protocol)
    if rules.aggregation[0] == "point":
        why = "the paired test is of images, and its difference would not be that of the scores"
        raise UsageError(f"{protocol} averages over points", why=why, next_step="--protocol dvbench-1")
    return rules.bootstrap


def find_sides(texts: tuple[str, str], selection: "Selection", folder: Path) -> tuple[Side, Side]:
    """Both sides; if one is a result file, the other's results are those of the same table."""
    from depthvlm_bench.cli.leaderboard import tell
    from depthvlm_bench.errors import DataMissingError
    from depthvlm_bench.leaderboard.table import Selection, build
    from depthvlm_bench.results.schema import read_result, read_results

    files = {text: read_result(Path(text)) for text in texts if Path(text).is_file()}
    for told in files.values():
        keys = (told.protocol, told.mode, told.input, told.track, told.where, told.protocol_hash)
        selection = Selection(*keys)
    board = None if len(files) == len(set(texts)) else build(read_results(folder, tell), selection)

    def side(text: str) -> Side:
        if text in files:
            return _of_file(Path(text), files[text])
        if text.endswith(".json"):
            raise DataMissingError("no such result file", where=text, next_step="dvbench eval --model NAME")
        assert board is not None
        return _of_name(text, board, folder)

    return side(texts[0]), side(texts[1])


def _of_file(path: Path, result: "Result") -> Side:
    from depthvlm_bench.cli.leaderboard import PER_IMAGE_SUFFIX

    rows = path.with_suffix(PER_IMAGE_SUFFIX)
    return Side(result.label, {result.set_name: result}, {result.set_name: rows if rows.is_file() else None})


def _of_name(name: str, board: "Leaderboard", folder: Path) -> Side:
    """The row of a label, or the one row of a model; of several versions of a set the newest counts."""
    from depthvlm_bench.cli.leaderboard import find_rows
    from depthvlm_bench.errors import DataMissingError, UsageError, unknown_name

    rows = {row.label: row for row in board.rows}
    labels = labels_by_model(board)
    of_model = labels.get(name, [])
    if not rows:
        other = f"{board.left_out} results are of another protocol, input, camera or selection"
        why = other if board.left_out else ""
        raise DataMissingError(
            "no result to compare", where=folder, why=why, next_step="dvbench eval --model NAME"
        )
    if name not in rows and len(of_model) > 1:
        raise UsageError(f"{name!r} is several rows", why=f"name one: {', '.join(map(repr, of_model))}")
    if name not in rows and not of_model:
        known = {*rows, *(model for model, its in labels.items() if len(its) == 1)}
        hint = unknown_name("model or result file", name, known)
        raise DataMissingError(hint.what, where=folder, why=hint.why)
    label = name if name in rows else of_model[0]
    pairs = zip(board.columns, rows[label].cells, strict=True)
    results = {c.set_name: cell.result for c, cell in pairs if cell is not None and not c.superseded}
    find = find_rows(folder)
    return Side(label, results, {set_name: find(result) for set_name, result in results.items()})


def labels_by_model(board: "Leaderboard") -> dict[str, list[str]]:
    """The rows of each model."""
    found: dict[str, list[str]] = {}
    for row in board.rows:
        model = next(cell.result.model for cell in row.cells if cell is not None)
        found.setdefault(model, []).append(row.label)
    return found


def common_sets(first: Side, second: Side, wanted: Sequence[str]) -> list[str]:
    """Sets to compare on: those asked for, else all that both have; others are told.

    Raises:
        DataMissingError: a set asked for, or any, is not there for both.
        CheckError: the two results of a set differ in manifest, protocol, mode, input, camera or selection.
    """
    from depthvlm_bench.errors import CheckError, DataMissingError

    names = list(dict.fromkeys(wanted)) or sorted(first.results.keys() & second.results.keys())
    for side, other in ((first, second), (second, first)):
        lacking = [name for name in names if name not in side.results]
        if lacking or not names:
            what = f"{side.label} has no result on {', '.join(lacking) or 'any set of the other'}"
            raise DataMissingError(what, next_step="dvbench eval --model NAME")
        if not wanted and (alone := sorted(side.results.keys() - other.results.keys())):
            click.echo(f"left out: only {side.label} has a result on {', '.join(alone)}", err=True)
    for name in names:
        a, b = first.results[name], second.results[name]
        for field in ("manifest_hash", "protocol", "protocol_hash", "mode", "input", "track", "where"):
            one, other_value = getattr(a, field), getattr(b, field)
            if one != other_value:
                why = f"{field}: {_short(one)} and {_short(other_value)}"
                raise CheckError(f"results on {name} cannot be compared", why=why)
    return names


def _short(value: str | None) -> str:
    return value[:12] if value is not None and len(value) == 64 else str(value)


def compare(first: Side, second: Side, names: Sequence[str], rule: "Bootstrap") -> list[Comparison]:
    """A line a set, then the mean where both are ranked on more than one set.

    Raises:
        CheckError: the two are not of the same images of a set.
        DataMissingError: per-image rows are missing.
    """
    from depthvlm_bench.scoring.paired import benchmark_difference, check_same_images, holm

    images = {name: (_images(first, name), _images(second, name)) for name in names}
    for name, (one, other) in images.items():
        check_same_images(one, other, f"{first.label} and {second.label} on {name}")
    found = {name: benchmark_difference([one], [other], rule) for name, (one, other) in images.items()}
    adjusted = holm([difference.p for difference in found.values()])
    results = {name: (first.results[name], second.results[name]) for name in names}
    lines = [
        _line(name, [images[name]], found[name], float(p), results[name])
        for name, p in zip(names, adjusted, strict=True)
    ]
    ranked = [line.set_name for line in lines if line.ranked]
    if len(ranked) > 1:
        pairs = [images[name] for name in ranked]
        mean = benchmark_difference([one for one, _ in pairs], [other for _, other in pairs], rule)
        lines.append(_line(MEAN, pairs, mean, mean.p, [r for name in ranked for r in results[name]]))
    return lines


def _images(side: Side, name: str) -> "ImageScores":
    from depthvlm_bench.cli.leaderboard import read_image_scores
    from depthvlm_bench.errors import DataMissingError

    path = side.rows[name]
    if path is None:
        what = f"no per-image rows of {side.label} on {name}"
        raise DataMissingError(what, why="they lie beside the result", next_step="dvbench score makes them")
    return read_image_scores(path, side.results[name])


def _line(
    name: str,
    pairs: "Sequence[tuple[ImageScores, ImageScores]]",
    found: "Difference",
    p_holm: float,
    results: "Sequence[Result]",
) -> Comparison:
    from math import fsum

    from depthvlm_bench.scoring.paired import ALPHA

    verdict: Verdict = "tie" if found.can_be_significant else "too few"
    if p_holm < ALPHA:
        verdict = "first" if found.value > 0 else "second"
    one, other = (fsum(pair[side].mean for pair in pairs) / len(pairs) for side in (0, 1))
    images = sum(len(pair[0].ids) for pair in pairs)
    status = (all(result.complete for result in results), all(result.ranked for result in results))
    tail = (found.value, found.low, found.high, found.p, p_holm, verdict, *status)
    return Comparison(name, images, found.units, one, other, *tail)


def print_comparison(first: Side, second: Side, shared: "Result", lines: Sequence[Comparison]) -> None:
    """Print the table and what it means; `shared` is a result under the rules of all."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for index, header in enumerate(
        ("set", "images", "units", "first", "second", "difference", "95 % interval", "p", "verdict")
    ):
        table.add_column(header, justify="left" if index in (0, 8) else "right")
    verdicts = {"first": "first is better", "second": "second is better", "too few": "too few units"}
    for line in lines:
        table.add_row(
            *(line.set_name + _mark(line), str(line.images), str(line.units)),
            *(f"{line.first:.4f}", f"{line.second:.4f}", f"{line.difference:+.4f}"),
            *(f"{line.low:+.4f} .. {line.high:+.4f}", f"{line.p:.4f}"),
            verdicts.get(line.verdict, line.verdict),
        )
    click.echo(f"first: {first.label}\nsecond: {second.label}")
    console().print(table)
    for note in comparison_notes(shared, lines):
        click.echo(note)


def _mark(line: Comparison) -> str:
    from depthvlm_bench.leaderboard.render import PARTIAL, UNRANKED

    return PARTIAL if not line.complete else "" if line.ranked else UNRANKED


def comparison_notes(shared: "Result", lines: Sequence[Comparison]) -> list[str]:
    """What the numbers are, and what the marks mean."""
    from depthvlm_bench.leaderboard.render import PARTIAL, UNRANKED, drawn_units

    camera = f"input {shared.input}, camera {shared.track}"
    said = [f"δ1 under {shared.protocol}, {shared.mode}, {camera}"]
    said += [f"where {shared.where}"] if shared.where else []
    said.append(f"interval by paired bootstrap, p by sign flips of units: {drawn_units(shared.protocol)}")
    if len(lines) > 1:
        mean = "; that of the mean is its own" if lines[-1].set_name == MEAN else ""
        said.append(f"a set's verdict is after Holm over the sets{mean}")
    marks = {_mark(line) for line in lines}
    if PARTIAL in marks:
        said.append(f"{PARTIAL} partial: predictions are missing, unranked and not in the mean")
    if UNRANKED in marks:
        said.append(f"{UNRANKED} not ranked under {shared.protocol}, and not in the mean")
    return said
