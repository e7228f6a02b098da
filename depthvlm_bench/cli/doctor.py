"""dvbench doctor: is a raw tree right, before hours are spent on it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthvlm_bench.cli.common import (
    ScreenProgress,
    console,
    examples,
    json_option,
    option_option,
    print_json,
    root_option,
    workspace_option,
)
from depthvlm_bench.errors import ExitCode

if TYPE_CHECKING:
    from depthvlm_bench.convert.doctor import Diagnosis

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command(
    "doctor",
    epilog=examples(
        "dvbench doctor nuscenes --root /data/nuscenes",
        "dvbench doctor scannetpp --root /data/scannetpp -o every=30 --sample 100",
    ),
)
@click.argument("dataset")
@root_option
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Frames to decode in each split.",
)
@option_option
@workspace_option
@json_option
def command(
    dataset: str, root: Path, sample: int, pairs: tuple[str, ...], workspace: Path, as_json: bool
) -> int:
    """Check a raw tree of DATASET against its card: layout, splits, frames, depths, room on disk.

    Exits with 1 if a check fails; a warning is no failure.
    """
    from depthvlm_bench.config import parse_options
    from depthvlm_bench.convert.doctor import examine
    from depthvlm_bench.registry import load_converter

    converter = load_converter(dataset)
    options: object = parse_options(converter.options_type, pairs, f"-o of {dataset}")
    diagnosis = examine(converter, root, options, sample, ScreenProgress(), workspace=workspace)
    if as_json:
        print_json(asdict(diagnosis) | {"status": diagnosis.status})
    else:
        print_diagnosis(diagnosis)
    return ExitCode.CHECK_FAILED if diagnosis.status == "fail" else ExitCode.OK


def print_diagnosis(diagnosis: "Diagnosis") -> None:
    """The checks as a table, and the verdict."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for header in ("", "check", "found", "what to do"):
        table.add_column(header, overflow="fold")
    for check in diagnosis.checks:
        status = Text(check.status, STYLES[check.status])
        table.add_row(status, *map(Text, (check.name, check.found, check.advice)))
    console().print(table)
    role = "" if "eval" in diagnosis.roles else " --split train"
    convert = f"dvbench convert {diagnosis.dataset} --root {diagnosis.root}{role}"
    verdict = {
        "ok": f"ready: {convert}",
        "warn": f"can be converted, but see the warnings first: {convert}",
        "fail": f"not ready; dvbench datasets {diagnosis.dataset} shows the expected tree",
    }
    click.echo(verdict[diagnosis.status])
