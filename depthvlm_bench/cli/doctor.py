"""dvbench doctor: is a raw tree right, before hours are spent on it."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

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
        typed = click.get_current_context().get_parameter_source("workspace") == ParameterSource.COMMANDLINE
        print_diagnosis(diagnosis, pairs, workspace if typed else None)
    return ExitCode.CHECK_FAILED if diagnosis.status == "fail" else ExitCode.OK


def print_diagnosis(diagnosis: "Diagnosis", pairs: Sequence[str], workspace: Path | None) -> None:
    """The checks as a table, and the verdict with the command that converts, as it was asked for here."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for header in ("", "check", "found", "what to do"):
        table.add_column(header, overflow="fold")
    for check in diagnosis.checks:
        status = Text(check.status, STYLES[check.status])
        table.add_row(status, *map(Text, (check.name, check.found, check.advice)))
    console().print(table)
    convert = _convert_command(diagnosis, pairs, workspace)
    verdict = {
        "ok": f"ready: {convert}",
        "warn": f"can be converted, but see the warnings first: {convert}",
        "fail": f"not ready; dvbench datasets {diagnosis.dataset} shows the expected tree",
    }
    click.echo(verdict[diagnosis.status])


def _convert_command(diagnosis: "Diagnosis", pairs: Sequence[str], workspace: Path | None) -> str:
    """Converts the first role that the tree has a split for; ready to be pasted into a shell."""
    passed = {check.name for check in diagnosis.checks if check.status == "ok"}
    role = next((role for role in diagnosis.roles if f"split for {role}" in passed), diagnosis.roles[0])
    words = ["dvbench", "convert", diagnosis.dataset, "--root", str(diagnosis.root)]
    words += [] if role == "eval" else ["--split", role]
    words += [word for pair in pairs for word in ("-o", pair)]
    return shlex.join(words + ([] if workspace is None else ["--workspace", str(workspace)]))
