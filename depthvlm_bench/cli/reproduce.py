"""dvbench reproduce: published numbers beside ours."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthvlm_bench.cli.common import (
    console,
    examples,
    json_option,
    out_option,
    print_json,
    workspace_option,
)

if TYPE_CHECKING:
    from depthvlm_bench.leaderboard.published import PublishedValue
    from depthvlm_bench.leaderboard.reproduction import Here, Line, Missing, Reproduction

COPY, CONTRADICTED, SUBSET = "†", "‡", "*"
OF_FEWER = f"{SUBSET} ours is of fewer images than the published value"
STYLES = {"within": "green", "consistent": "cyan", "differs": "bold red", "not comparable": "yellow"}
VERDICTS = {
    "within": "within: the published value is inside our 95 % interval, or as near as its rounding",
    "consistent": "consistent: as within, but ours is of fewer images",
    "differs": "differs: the published value is outside our 95 % interval, and farther off than its rounding",
    "not comparable": "not comparable: made otherwise, as the line says",
}


@click.command("reproduce", epilog=examples("dvbench reproduce table1", "dvbench reproduce depth-pro --json"))
@click.argument("name", metavar="table1|table2|table2-full|MODEL")
@click.option(
    "--results", type=click.Path(path_type=Path), help="Folder of results.  [default: WORKSPACE/results]"
)
@out_option("the files", "WORKSPACE/reproduction")
@workspace_option
@json_option
def command(name: str, results: Path | None, out: Path | None, workspace: Path, as_json: bool) -> None:
    """Put published numbers beside ours: a table of the paper, or all that is published of a MODEL.

    MODEL is a name of `dvbench models`, or what a paper calls it. Prints the lines that have a result, then
    what the others need, and writes all of it as markdown and CSV.
    """
    from depthvlm_bench.cli.leaderboard import tell
    from depthvlm_bench.errors import DataMissingError
    from depthvlm_bench.leaderboard.reproduction import choose, reproduce
    from depthvlm_bench.results.schema import read_results

    target = choose(name)
    if results is not None and not results.is_dir():
        raise DataMissingError("no folder of results", where=results, next_step="dvbench eval makes one")
    table = reproduce(target, read_results(results or workspace / "results", tell), here())
    files = write_files(table, out or workspace / "reproduction")
    if as_json:
        print_json(as_mapping(table))
        return
    print_reproduction(table)
    for path in files:
        click.echo(f"wrote {path}")


def here() -> "Here":
    """The models, datasets and protocols of this installation."""
    from depthvlm_bench import registry
    from depthvlm_bench.leaderboard.reproduction import Here
    from depthvlm_bench.scoring.protocol import load_protocol, protocol_names

    return Here(
        models=frozenset(registry.names(registry.MODELS)),
        datasets=frozenset(registry.names(registry.CONVERTERS)),
        protocols={name: load_protocol(name).hash for name in protocol_names()},
    )


def print_reproduction(table: "Reproduction") -> None:
    """Print what is compared, the lines that have a result, what the others need, and the notes."""
    from rich.markup import escape

    click.echo(table.target.title)
    if table.run:
        head, *body = run_rows(table)
        styled = [[escape(cell) for cell in row] for row in body]
        for row, line in zip(styled, table.run, strict=True):
            style = STYLES[line.verdict]
            row[-1] = f"[{style}]{row[-1]}[/{style}]"
        _print_table(head, styled, right=range(len(head) - 5, len(head) - 1))
    else:
        click.echo("none of it has a result here")
    if table.missing:
        click.echo(f"\nwithout a result ({sum(len(group.values) for group in table.missing)} values):")
        head, *body = missing_rows(table)
        _print_table(head, [[escape(cell) for cell in row] for row in body], right=())
    for note in notes(table):
        click.echo(note)


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(head):
        table.add_column(name, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def run_rows(table: "Reproduction") -> list[list[str]]:
    """Head and one row a line that has a result; source and metric only where they vary."""
    several = len({value.source for value in table.target.values}) > 1
    head = ["published as", "ours is", *(["source"] if several else []), "set", "metric"]
    head += ["published", "ours", "difference", "95 % interval", "images", "verdict"]
    rows = [_run_row(line, several=several) for line in table.run]
    if all(line.published.metric == "delta1" for line in table.run):
        drop = head.index("metric")
        return [row[:drop] + row[drop + 1 :] for row in (head, *rows)]
    return [head, *rows]


def _run_row(line: "Line", *, several: bool) -> list[str]:
    value, ours = line.published, line.ours
    assert ours is not None
    interval = "-" if ours.low is None or ours.high is None else f"[{ours.low:.3f}, {ours.high:.3f}]"
    return [
        *(value.model, ours.label, *([value.source] if several else []), value.dataset, value.metric),
        _number(line.published, line),
        f"{ours.value:.{value.decimals}f}",
        "-" if line.difference is None else f"{line.difference:+.{value.decimals}f}",
        *(interval, _images(ours.images, ours.full_images), _verdict(line)),
    ]


def _verdict(line: "Line") -> str:
    """The verdict; that it is of a subset where it is, and why nothing is comparable."""
    if line.reason:
        return f"{line.verdict}: {line.reason}"
    return line.verdict + (" (subset)" if line.ours and line.ours.subset else "")


def _images(images: int, full: int | None) -> str:
    if images == full:
        return f"{images:,}"
    return f"{images:,}{SUBSET} of {full:,}" if full else f"{images:,}"


def _number(value: "PublishedValue", line: "Line | None" = None) -> str:
    """A published value as printed, with its marks."""
    marks = (COPY if value.copied_from else "") + (CONTRADICTED if line and line.conflicts else "")
    return f"{value.value:.{value.decimals}f}{marks}"


def missing_rows(table: "Reproduction") -> list[list[str]]:
    """Head and one row a group of values without a result."""
    several = len({value.source for value in table.target.values}) > 1
    contradicted = {line.published.id: line for line in table.lines}
    head = ["published as", *(["source"] if several else []), "published", "needs"]
    rows = []
    for group in table.missing:
        needs = f"{group.verdict}: {group.text}" if group.verdict == "not comparable" else group.text
        said = _values(group, contradicted)
        rows.append([group.model, *([group.source] if several else []), said, needs])
    return [head, *rows]


def _values(group: "Missing", lines: "dict[str, Line]") -> str:
    """`waymo 0.004, ddad 0.002`; with the metric where it is not delta1."""
    said = []
    for value in group.values:
        metric = "" if value.metric == "delta1" else f"{value.metric} "
        said.append(f"{value.dataset} {metric}{_number(value, lines[value.id])}")
    return ", ".join(said)


def notes(table: "Reproduction") -> list[str]:
    """What the verdicts and the marks of this table mean, and what is odd in the published values."""
    said = [text for verdict, text in VERDICTS.items() if any(line.verdict == verdict for line in table.run)]
    said += [OF_FEWER] if any(line.ours and line.ours.subset for line in table.run) else []
    copies = sorted({_copy(line.published) for line in table.lines if line.published.copied_from})
    odd = dict.fromkeys(_odd(line.published) for line in table.lines if line.published.note)
    ranges = dict.fromkeys(_range(line.published) for line in table.run if line.published.valid_m)
    return [*said, *copies, *dict.fromkeys(_contradictions(table.lines)), *ranges, *odd]


def _odd(value: "PublishedValue") -> str:
    """What is to be known of a value, or of a whole row of one of the paper's tables."""
    where = "" if value.set_kind else f" {value.dataset}"
    return f"{value.source}, {value.model}{where}: {value.note}"


def _range(value: "PublishedValue") -> str:
    low, high = value.valid_m or (0.0, 0.0)
    return f"{value.source}, {value.model} {value.dataset}: published of depth from {low:g} to {high:g} m"


def _copy(value: "PublishedValue") -> str:
    origin = (value.copied_from or "").split("/")[0]
    return f"{COPY} {value.source} repeats the value of {origin}: no second measurement"


def _contradictions(lines: "Sequence[Line]") -> Iterator[str]:
    for line in lines:
        for conflict in line.conflicts:
            value, other = line.published, conflict.other
            pair = sorted(f"{v.value:.{v.decimals}f} in {v.source}" for v in (value, other))
            unsure = "" if conflict.certain else "; not stated whether the protocol is the same"
            yield f"{CONTRADICTED} {value.label} {value.dataset} {value.metric}: {', '.join(pair)}{unsure}"


def write_files(table: "Reproduction", folder: Path) -> list[Path]:
    """Write NAME.md and NAME.csv."""
    stem = "".join(c if c.isalnum() or c in ".-" else "-" for c in table.target.name)
    texts: dict[str, Callable[[Reproduction], str]] = {"md": markdown, "csv": csv_text}
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}.{suffix}" for suffix in texts]
    for path, make in zip(paths, texts.values(), strict=True):
        path.write_text(make(table), encoding="utf-8")
    return paths


def markdown(table: "Reproduction") -> str:
    """GitHub markdown: the lines that have a result, the others by what they need, the notes."""
    parts = [_md(table.target.title)]
    parts += [_md_table(run_rows(table)) if table.run else "None of it has a result here."]
    parts += [_md_table(missing_rows(table))] if table.missing else []
    parts += ["\n".join(f"- {_md(note)}" for note in notes(table))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _md_table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ([_md(cell) for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))


def _md(text: str) -> str:
    for sign in "\\|*<":
        text = text.replace(sign, f"\\{sign}")
    return text


CSV_COLUMNS = (
    *("published_as", "checkpoint", "source", "place", "paper", "by_authors", "read_as", "dataset"),
    *("metric", "mode", "setting", "split", "camera", "crop", "cap_m", "valid_m", "protocol"),
    *("published", "model", "set", "ours", "low", "high", "difference", "images", "full_images"),
    *("verdict", "reason", "needs", "copied_from", "contradicted_by", "note", "run"),
)


def csv_text(table: "Reproduction") -> str:
    """One line a published value and model of ours, in full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(_csv_line(line) for line in table.lines)
    return buffer.getvalue()


def _csv_line(line: "Line") -> Sequence[object]:
    value, ours = line.published, line.ours
    numbers: Sequence[object] = (None,) * 8
    if ours is not None:
        interval = (ours.low, ours.high, line.difference, ours.images, ours.full_images)
        numbers = (ours.label, ours.set_name, ours.value, *interval)
    needs = line.needs.text if line.needs else None
    others = " ".join(conflict.other.source for conflict in line.conflicts) or None
    rest = (line.verdict, line.reason, needs, value.copied_from, others, value.note)
    return (*_csv_known(value), value.value, *numbers, *rest, ours.run if ours else None)


def _csv_known(value: "PublishedValue") -> Sequence[object]:
    """What is known of how a published value was made."""
    named = (value.label, value.checkpoint, value.source, value.place, value.paper, value.by_authors)
    what = (value.read, value.dataset, value.metric, value.mode, value.setting, value.split)
    valid_m = value.valid_m and "-".join(f"{limit:g}" for limit in value.valid_m)
    return (*named, *what, value.camera, value.crop, value.cap_m, valid_m, value.protocol)


def as_mapping(table: "Reproduction") -> dict[str, object]:
    """The table for JSON; a published value carries its id, a contradicting one is its id alone."""
    from dataclasses import asdict

    def line_mapping(line: "Line") -> dict[str, object]:
        told = asdict(line)
        told["published"] = {"id": line.published.id} | asdict(line.published)
        told["conflicts"] = [{"id": c.other.id, "certain": c.certain} for c in line.conflicts]
        return told

    return {
        "name": table.target.name,
        "title": table.target.title,
        "lines": [line_mapping(line) for line in table.lines],
    }
