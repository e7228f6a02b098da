"""A leaderboard on screen and as markdown, LaTeX (booktabs) and CSV."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from depthvlm_bench.leaderboard.table import METRIC, Cell, Column, Leaderboard

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

TRAINED, PARTIAL, SUBSET, UNRANKED = "†", "°", "*", "‡"
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
        mean = "-" if row.mean is None else emphasis(f"{row.mean:.3f}", row.rank or 0)
        cells = [_cell(cell, intervals=intervals, emphasis=emphasis) for cell in row.cells]
        lines.append(["-" if row.rank is None else str(row.rank), row.label, *cells, mean])
    return lines


def _cell(cell: Cell | None, *, intervals: bool, emphasis: Emphasis) -> str:
    if cell is None:
        return "-"
    text = emphasis(f"{cell.value:.3f}", cell.place)
    text += TRAINED if cell.result.exposure == "yes" else ""
    text += "" if cell.result.complete else PARTIAL
    low, high = cell.interval
    return f"{text} [{low:.3f}, {high:.3f}]" if intervals else text


def notes(board: Leaderboard) -> list[str]:
    """What the marks in this table mean, and what it leaves out."""
    cells = [cell for row in board.rows for cell in row.cells if cell is not None]
    said = [f"δ1 under {board.selection.protocol}, {board.selection.mode}, input {board.selection.input}, "
            f"camera {board.selection.track}; 95 % bootstrap interval over images"]  # fmt: skip
    said += [f"where {board.selection.where}"] if board.selection.where else []
    for column in board.columns:
        if column.subset:
            said.append(
                f"{SUBSET} {column.title}: {column.images} of the full set's {column.full_images} images"
            )
        if not column.ranked:
            said.append(f"{UNRANKED} {column.title}: made from a training split, unranked")
    if any(cell.result.exposure == "yes" for cell in cells):
        said.append(f"{TRAINED} the model was trained or fitted on this dataset's training split")
    if any(not cell.result.complete for cell in cells):
        said.append(f"{PARTIAL} partial: predictions are missing, unranked")
    return said


def rich_table(board: Leaderboard, *, intervals: bool = True) -> "Table":
    """The table for a terminal: best bold, second underlined."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, header in enumerate(headers(board)):
        table.add_column(header, justify="left" if index < 2 else "right", no_wrap=index != 1)
    marks = {1: "[bold]{}[/bold]", 2: "[underline]{}[/underline]"}
    for line in body(
        board, intervals=intervals, emphasis=lambda text, place: marks.get(place, "{}").format(text)
    ):
        safe: list[RenderableType] = [
            line[0],
            Text(line[1]),
            *(Text.from_markup(_keep_brackets(cell)) for cell in line[2:]),
        ]
        table.add_row(*safe)
    return table


def _keep_brackets(cell: str) -> str:
    """Intervals use the brackets that rich reads as markup."""
    return cell.replace(" [", " \\[")


def markdown(board: Leaderboard, *, intervals: bool = True) -> str:
    """GitHub markdown: best **bold**, second underlined."""
    marks = {1: "**{}**", 2: "<u>{}</u>"}
    lines = body(board, intervals=intervals, emphasis=lambda text, place: marks.get(place, "{}").format(text))
    rule = ["---:" if index != 1 else "---" for index in range(len(headers(board)))]
    rows = [[cell.replace("|", "\\|").replace("*", "\\*") for cell in headers(board)], rule, *lines]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return table + "\n\n" + "\n".join(f"- {note.replace('*', chr(92) + '*')}" for note in notes(board)) + "\n"


def latex(board: Leaderboard, *, intervals: bool = True) -> str:
    """A booktabs table: best bold, second underlined."""
    marks = {1: "\\textbf{{{}}}", 2: "\\underline{{{}}}"}
    lines = body(board, intervals=intervals, emphasis=lambda text, place: marks.get(place, "{}").format(text))
    head = " & ".join(_tex(header) for header in headers(board))
    rows = [" & ".join([*map(_tex, line[:2]), *(_tex_marks(cell) for cell in line[2:])]) for line in lines]
    comments = "\n".join(f"% {note}" for note in notes(board))
    columns = "rl" + "r" * (len(board.columns) + 1)
    content = " \\\\\n".join(rows)
    return (
        f"% needs \\usepackage{{booktabs}}\n{comments}\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head} \\\\\n"
        f"\\midrule\n{content} \\\\\n\\bottomrule\n\\end{{tabular}}\n"
    )


def _tex(text: str) -> str:
    for plain, escaped in (
        ("\\", "\\textbackslash{}"),
        ("_", "\\_"),
        ("&", "\\&"),
        ("%", "\\%"),
        ("#", "\\#"),
    ):
        text = text.replace(plain, escaped)
    return _tex_marks(text)


def _tex_marks(text: str) -> str:
    marks = (
        (TRAINED, "$^\\dagger$"),
        (PARTIAL, "$^\\circ$"),
        (SUBSET, "$^{*}$"),
        (UNRANKED, "$^\\ddagger$"),
        ("δ", "$\\delta$"),
    )
    for sign, command in marks:
        text = text.replace(sign, command)
    return text


CSV_COLUMNS = (
    *("rank", "model", "set", "manifest", "images", "ranked", "complete", "exposure"),
    *("delta1", "low", "high", "asked", "answered", "hits"),
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
                writer.writerow(_csv_line(row.rank, row.label, column, cell))
    return buffer.getvalue()


def _csv_line(rank: int | None, label: str, column: Column, cell: Cell) -> Sequence[object]:
    result = cell.result
    score, counts = result.scores[METRIC], result.counts
    known = (rank, label, column.set_name, column.manifest_hash, counts.images)
    status = (result.ranked, result.complete, result.exposure)
    numbers = (score.value, score.low, score.high, counts.asked, counts.answered, counts.hits)
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
