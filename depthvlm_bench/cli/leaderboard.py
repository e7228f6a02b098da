"""dvbench leaderboard: tables of the results, on screen and as files."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthvlm_bench.cli.common import (
    camera_option,
    console,
    examples,
    input_option,
    json_option,
    out_option,
    protocol_option,
    workspace_option,
)

if TYPE_CHECKING:
    from depthvlm_bench.errors import CheckError
    from depthvlm_bench.leaderboard.table import Leaderboard, PerImage, Selection
    from depthvlm_bench.results.schema import Result
    from depthvlm_bench.scoring.paired import ImageScores

PER_IMAGE_SUFFIX = ".images.parquet"
SAME_MEAN = 1e-9
EXAMPLES = ("dvbench leaderboard", "dvbench leaderboard shared/results --mode dense --out tables")


@click.command("leaderboard", epilog=examples(*EXAMPLES))
@click.argument("results", required=False, type=click.Path(path_type=Path))
@protocol_option
@click.option("--mode", type=click.Choice(["sparse", "dense"]), default="sparse", show_default=True)
@input_option
@camera_option
@click.option("--where", help="Results of this selection of records.")
@click.option("--intervals/--no-intervals", default=True, show_default=True, help="Show 95 % intervals.")
@out_option("the files", "WORKSPACE/leaderboard")
@workspace_option
@json_option
def command(
    results: Path | None,
    protocol_name: str,
    mode: str,
    input_mode: str | None,
    camera: str,
    where: str | None,
    intervals: bool,
    out: Path | None,
    workspace: Path,
    as_json: bool,
) -> None:
    """Tabulate a folder of RESULTS (default: WORKSPACE/results) under one protocol.

    Prints the table and writes it as markdown, LaTeX (booktabs) and CSV.
    """
    from depthvlm_bench.leaderboard.table import Selection
    from depthvlm_bench.records.where import normal_where
    from depthvlm_bench.scoring.protocol import load_protocol

    where = normal_where(where)

    protocol, shown = (
        load_protocol(protocol_name),
        input_mode or ("canonical" if camera == "known" else "native"),
    )
    selection = Selection(protocol.name, mode, shown, camera, where, protocol.hash)  # type: ignore[arg-type]
    board = tabulate(results or workspace / "results", selection)
    files = write_tables(board, out or workspace / "leaderboard", intervals=intervals)
    if as_json:
        click.echo(board_json(board))
        return
    print_board(board, intervals=intervals)
    for path in files:
        click.echo(f"wrote {path}")


def tabulate(results: Path, selection: "Selection") -> "Leaderboard":
    """Read a folder of results and build the table; an empty one is an error that says why."""
    from depthvlm_bench.errors import DataMissingError
    from depthvlm_bench.leaderboard.table import build
    from depthvlm_bench.results.schema import read_results

    board = build(read_results(results, tell), selection, per_image_reader(results))
    if not board.rows:
        other = f"{board.left_out} results are of another protocol, mode, input, camera track or selection"
        raise DataMissingError(
            "no result for this table",
            where=results,
            why=other if board.left_out else "the folder holds no result",
            next_step="dvbench eval --model NAME",
        )
    return board


def tell(fault: "CheckError") -> None:
    """Say on stderr what a command leaves out, and why."""
    click.echo(f"left out: {fault.one_line()}", err=True)


def find_rows(results: Path) -> "Callable[[Result], Path | None]":
    """Finds the file of the per-image rows of any result below a folder."""
    from depthvlm_bench.results.schema import Result, result_path

    paths = {path.name: path for path in sorted(results.rglob(f"*{PER_IMAGE_SUFFIX}"))}

    def find(result: Result) -> Path | None:
        return paths.get(result_path(results, result).with_suffix(PER_IMAGE_SUFFIX).name)

    return find


def per_image_reader(results: Path) -> "PerImage":
    """Reads the per-image rows of any result below a folder; None, told on stderr, where it cannot."""
    from depthvlm_bench.errors import CheckError
    from depthvlm_bench.results.schema import Result

    find = find_rows(results)

    def read(result: Result) -> "ImageScores | None":
        path = find(result)
        try:
            return read_image_scores(path, result) if path else None
        except CheckError as fault:
            tell(fault)
            return None

    return read


def read_image_scores(path: Path, result: "Result") -> "ImageScores":
    """The rows of one result, checked against it.

    Raises:
        CheckError: the file is damaged, names an id twice, or has another mean than its result.
    """
    import numpy as np
    import pyarrow.parquet as pq

    from depthvlm_bench.errors import CheckError
    from depthvlm_bench.records.files import reading
    from depthvlm_bench.scoring.paired import ImageScores

    again = "dvbench score makes it anew"
    with reading(path, again):
        rows = pq.read_table(path)
        ids, scenes = rows["id"].to_pylist(), rows["scene"].to_pylist()
        # Results from before the column came have the protocol dvbench-1: a miss counts.
        stored = "score" in rows.column_names
        scores = rows["score"].to_numpy() if stored else np.divide(rows["hits"], rows["asked"])
    images = ImageScores.of(dict(zip(ids, scores, strict=True)), dict(zip(ids, scenes, strict=True)))
    told = result.scores["delta1"].value
    if len(images.ids) != len(ids) or not abs(images.mean - told) < SAME_MEAN:
        why = f"{len(images.ids)} images of mean {images.mean:.6f}, the result says {told:.6f}"
        raise CheckError("per-image rows are not those of their result", where=path, why=why, next_step=again)
    return images


def print_board(board: "Leaderboard", *, intervals: bool = True) -> None:
    """Print a table and its notes."""
    from depthvlm_bench.leaderboard.render import notes, rich_table

    console().print(rich_table(board, intervals=intervals))
    for note in notes(board):
        click.echo(note)


def write_tables(board: "Leaderboard", folder: Path, *, intervals: bool = True) -> list[Path]:
    """Write the table in every file format; names say protocol, mode and what differs from the default."""
    from depthvlm_bench.leaderboard.render import csv_text, latex, markdown

    chosen = board.selection
    parts = [chosen.protocol, chosen.mode]
    parts += [chosen.input] if chosen.input != "canonical" else []
    parts += ["camera-unknown"] if chosen.track == "unknown" else []
    parts += ["where-" + "".join(c if c.isalnum() else "_" for c in chosen.where)] if chosen.where else []
    stem = "-".join(parts)
    texts = {
        "md": markdown(board, intervals=intervals),
        "tex": latex(board, intervals=intervals),
        "csv": csv_text(board),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def board_json(board: "Leaderboard") -> str:
    """The table as JSON."""
    import json
    from dataclasses import asdict

    return json.dumps(asdict(board), indent=2, default=str)
