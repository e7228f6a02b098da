"""A leaderboard on screen and as markdown, LaTeX (booktabs) and CSV."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from depthvlm_bench.leaderboard.table import METRIC, Cell, Column, Leaderboard, LeaderboardRow
from depthvlm_bench.scoring.protocol import load_protocol

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table

TRAINED, PARTIAL, SUBSET, UNRANKED, TIED, TOLD = "†", "°", "*", "‡", "≈", "§"
# Why a column of such a set counts for nothing.
UNRANKED_KINDS = {
    "overlap": "made from a training split",
    "published": "the paper's published list",
    "compat": "the paper's own selection",
}
UNBOUNDED = 10_000
MODEL_WIDTH = 12
Emphasis = Callable[[str, int], str]


def headers(board: Leaderboard) -> list[str]:
    """Column titles with their marks."""
    return ["#", "model", *(_title(column) for column in board.columns), "mean"]


def _title(column: Column) -> str:
    return column.title + (SUBSET if column.subset else "") + ("" if column.ranked else UNRANKED)


def body(board: Leaderboard, *, intervals: bool, emphasis: Emphasis) -> list[list[str]]:
    """Rows of text; `emphasis(text, place)` marks the best and the second of a column."""
    lines = []
    for row in board.rows:
        mean = _mean(row, intervals=intervals, emphasis=emphasis)
        cells = [_cell(cell, intervals=intervals, emphasis=emphasis) for cell in row.cells]
        label = row.label + (TOLD if _told(row) else "")
        lines.append(["-" if row.rank is None else str(row.rank), label, *cells, mean])
    return lines


def _told(row: LeaderboardRow) -> bool:
    """Whether the choice of the model's weights told it which sets are indoors and which outdoors."""
    results = [cell.result for cell in row.cells if cell is not None]
    runs = [result.provenance.get("run", {}) for result in results]
    return any(run.get("loaded", {}).get("domain_policy") == "dataset" for run in runs)


def _mean(row: LeaderboardRow, *, intervals: bool, emphasis: Emphasis) -> str:
    if row.mean is None:
        return "-"
    text = emphasis(f"{row.mean:.3f}", row.rank or 0) + (TIED if row.tied else "")
    return _with_interval(text, row.interval if intervals else None)


def _cell(cell: Cell | None, *, intervals: bool, emphasis: Emphasis) -> str:
    if cell is None:
        return "-"
    text = emphasis(f"{cell.value:.3f}", cell.place)
    text += TIED if _tied(cell) else ""
    text += TRAINED if cell.result.exposure == "yes" else ""
    text += "" if cell.result.complete else PARTIAL
    return _with_interval(text, cell.interval if intervals else None)


def _tied(cell: Cell) -> bool:
    return bool(cell.tied) and cell.place != 1


def _with_interval(text: str, interval: tuple[float, float] | None) -> str:
    return f"{text} [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else text


def notes(board: Leaderboard, *, intervals: bool = True) -> list[str]:
    """What the table shows, and what the marks in it mean."""
    chosen = board.selection
    shown = f"δ1 under {chosen.protocol}, {chosen.mode}, input {chosen.input}, camera {chosen.track}"
    said = [shown + (f"; 95 % bootstrap intervals over {drawn_units(chosen.protocol)}" if intervals else "")]
    said += [f"where {chosen.where}"] if chosen.where else []
    if not all(column.ranked for column in board.columns):
        ranked = [column.title for column in board.columns if column.ranked]
        said.append(
            f"mean over {', '.join(ranked)}" if ranked else "no column is ranked, so there is no mean"
        )
    if board.left_out:
        said.append(
            f"{board.left_out} results of another protocol, input, camera track or selection are not shown"
        )
    return [*said, *_column_notes(board), *_tie_notes(board), *_cell_notes(board)]


def drawn_units(protocol: str) -> str:
    """What the intervals and tests of a protocol draw, in words."""
    scenes = load_protocol(protocol).bootstrap.unit == "scene"
    return "images, or scenes where they repeat" if scenes else "images"


def _column_notes(board: Leaderboard) -> Iterator[str]:
    for column in board.columns:
        if column.subset:
            yield f"{SUBSET} {column.title}: {column.images} of the full set's {column.full_images} images"
        if column.set_kind != "strict":
            why = UNRANKED_KINDS.get(column.set_kind, column.set_kind)
            yield f"{UNRANKED} {column.title}: {why}, unranked"
        elif column.superseded:
            yield f"{UNRANKED} {column.title}: an older version of the set, unranked"
        elif not column.ranked:
            yield f"{UNRANKED} {column.title}: no part of the benchmark, unranked"


def _tie_notes(board: Leaderboard) -> Iterator[str]:
    """What ≈ says, the groups of the mean of which one has several rows, and what was not tested."""
    cells = [cell for row in board.rows for cell in row.cells if cell is not None]
    if any(row.tied for row in board.rows) or any(_tied(cell) for cell in cells):
        yield (
            f"{TIED} not told apart from the best of its column: paired sign-flip test, p >= 0.05 "
            "after Holm over all pairs of the column"
        )
    groups: dict[int, list[str]] = {}
    for row in board.rows:
        if row.group is not None:
            groups.setdefault(row.group, []).append(row.label)
    if any(len(labels) > 1 for labels in groups.values()):
        said = (f"({number}) {', '.join(groups[number])}" for number in sorted(groups))
        yield f"tie groups of the mean: {'; '.join(said)}"
    if board.untested:
        yield f"not tested for ties, per-image rows are missing: {', '.join(board.untested)}"


def _cell_notes(board: Leaderboard) -> Iterator[str]:
    results = [cell.result for row in board.rows for cell in row.cells if cell is not None]
    if any(result.exposure == "yes" for result in results):
        yield f"{TRAINED} the model was trained or fitted on this dataset's training split"
    if any(map(_told, board.rows)):
        yield f"{TOLD} weights for rooms or for streets, chosen by the dataset: no other model is told which"
    if any(not result.complete for result in results):
        yield f"{PARTIAL} partial: predictions are missing, unranked"


@dataclass(frozen=True)
class ScreenTable:
    """The table for a terminal: best bold, second underlined.

    Where it is narrow, intervals go below their scores; where even that is too wide, the sets are shown a few
    at a time, each time with the models.
    """

    board: Leaderboard
    intervals: bool = True

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[RenderableType]":
        """Draw at the width there is."""
        from rich.measure import Measurement

        def fits(table: "Table") -> bool:
            unbounded = options.update(max_width=UNBOUNDED)
            return Measurement.get(console, unbounded, table).maximum <= options.max_width

        everything = list(range(len(self.board.columns) + 1))
        beside = self._table(" ", everything)
        if fits(beside):
            yield beside
            return
        while everything:
            shown = everything[:1]
            while len(shown) < len(everything) and fits(self._table("\n", everything[: len(shown) + 1])):
                shown = everything[: len(shown) + 1]
            yield self._table("\n", shown)
            everything = everything[len(shown) :]

    def _table(self, separator: str, shown: "Sequence[int]") -> "Table":
        """The table with some of its sets (the mean is the last)."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        number, model, *titles = headers(self.board)
        table.add_column(number)
        table.add_column(model, overflow="fold", min_width=MODEL_WIDTH)
        for index in shown:
            table.add_column(Text(titles[index]), justify="right", no_wrap=True)
        marks = {1: "[bold]{}[/bold]", 2: "[underline]{}[/underline]"}

        def emphasise(text: str, place: int) -> str:
            return marks.get(place, "{}").format(text)

        for line in body(self.board, intervals=self.intervals, emphasis=emphasise):
            cells = [Text.from_markup(cell.replace(" [", f"{separator}\\[")) for cell in line[2:]]
            table.add_row(line[0], Text(line[1]), *(cells[index] for index in shown))
        return table


def rich_table(board: Leaderboard, *, intervals: bool = True) -> ScreenTable:
    """The table for a terminal."""
    return ScreenTable(board, intervals)


def markdown(board: Leaderboard, *, intervals: bool = True) -> str:
    """GitHub markdown: best **bold**, second underlined."""
    marks = {1: "**{}**", 2: "<u>{}</u>"}
    lines = body(board, intervals=intervals, emphasis=lambda text, place: marks.get(place, "{}").format(text))
    head = [_md(header) for header in headers(board)]
    rule = ["---:" if index != 1 else "---" for index in range(len(head))]
    rows = [head, rule, *([line[0], _md(line[1]), *line[2:]] for line in lines)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return table + "\n\n" + "\n".join(f"- {_md(note)}" for note in notes(board, intervals=intervals)) + "\n"


def _md(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*")


def latex(board: Leaderboard, *, intervals: bool = True) -> str:
    """A booktabs table, best bold, second underlined, with its notes below."""
    marks = {1: "\\textbf{{{}}}", 2: "\\underline{{{}}}"}
    lines = body(board, intervals=intervals, emphasis=lambda text, place: marks.get(place, "{}").format(text))
    head = " & ".join(_tex(header) for header in headers(board))
    rows = [" & ".join([*map(_tex, line[:2]), *(_tex_marks(cell) for cell in line[2:])]) for line in lines]
    said = " \\\\\n".join(_tex(note) for note in notes(board, intervals=intervals))
    columns = "rl" + "r" * (len(board.columns) + 1)
    content = " \\\\\n".join(rows)
    return (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head} \\\\\n\\midrule\n{content} \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\n"
        f"\\smallskip\n{{\\footnotesize\\noindent\n{said}\\par}}\n"
    )


TEX_SPECIALS = {
    **{sign: f"\\{sign}" for sign in "_&%#${}"},
    **{"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"},
}


def _tex(text: str) -> str:
    return _tex_marks("".join(TEX_SPECIALS.get(sign, sign) for sign in text))


def _tex_marks(text: str) -> str:
    marks = (
        (TRAINED, "$^\\dagger$"),
        (PARTIAL, "$^\\circ$"),
        (SUBSET, "$^{*}$"),
        (UNRANKED, "$^\\ddagger$"),
        (TIED, "$\\approx$"),
        (TOLD, "$^{\\S}$"),
        ("δ", "$\\delta$"),
    )
    for sign, command in marks:
        text = text.replace(sign, command)
    return text


CSV_COLUMNS = (
    *("rank", "tie_group", "model", "set", "manifest", "images", "ranked", "complete", "exposure"),
    *("delta1", "low", "high", "tied", "asked", "answered", "hits"),
    *("protocol", "mode", "input", "track", "where", "run"),
)


def csv_text(board: Leaderboard) -> str:
    """One line a score, in full precision, with everything that a reader needs to check it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in board.rows:
        for column, cell in zip(board.columns, row.cells, strict=True):
            if cell is not None:
                writer.writerow(_csv_line(row, column, cell))
    return buffer.getvalue()


def _csv_line(row: LeaderboardRow, column: Column, cell: Cell) -> Sequence[object]:
    result = cell.result
    score, counts = result.scores[METRIC], result.counts
    known = (row.rank, row.group, row.label, column.set_name, column.manifest_hash, counts.images)
    status = (result.ranked, result.complete, result.exposure)
    numbers = (score.value, score.low, score.high, cell.tied, counts.asked, counts.answered, counts.hits)
    return (
        *known,
        *status,
        *numbers,
        result.protocol,
        result.mode,
        result.input,
        result.track,
        result.where,
        result.run,
    )
