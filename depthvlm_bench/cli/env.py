"""dvbench env: environments of models whose dependencies clash with ours."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthvlm_bench.cli.common import console, examples, json_option, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from depthvlm_bench.predict.isolated.environments import EnvironmentSpec

EXAMPLES = (
    "dvbench env list",
    "dvbench env create metric3d --python python3.11",
    "dvbench env create unidepth --dry-run",
)


@click.group("env", epilog=examples(*EXAMPLES))
def command() -> None:
    """Make, list and remove the environments that some models run in.

    Their packages clash with ours or with each other's, so each family has an environment of its own, of
    pinned packages, and runs in a process beside the harness.
    """


@command.command("list", epilog=examples(EXAMPLES[0], "dvbench env list --json"))
@json_option
def list_command(as_json: bool) -> None:
    """List the environments: what for, which Python, whether and where each was made."""
    from depthvlm_bench.predict.isolated import environments

    rows = [_row(environments.load_spec(name)) for name in environments.names()]
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for header in ("environment", "for", "python", "state"):
        table.add_column(header)
    for row in rows:
        pythons = f"{row['python_min']} to {row['python_max']}"
        table.add_row(row["name"], row["summary"], pythons, row["state"])
    console().print(table)


@command.command("create", epilog=examples(*EXAMPLES[1:]))
@click.argument("name", metavar="NAME")
@click.option(
    "--python", default=sys.executable, metavar="PYTHON", help="Made from this one.  [default: ours]"
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where; recorded for the models.  [default: ~/.cache/depthvlm-bench/environments/NAME]",
)
@click.option("--dry-run", is_flag=True, help="Print the commands, do nothing.")
def create_command(name: str, python: str, folder: Path | None, dry_run: bool) -> None:
    """Make the environment NAME from its pinned packages, and record where it lies."""
    from shlex import join

    from depthvlm_bench.predict.isolated import environments

    spec = environments.load_spec(name)
    where = folder or environments.home() / name
    if dry_run:
        for line in environments.plan(spec, where, python):
            click.echo(join(line))
        return
    click.echo(f"{spec.summary}: {spec.size}" + (f"; {spec.note}" if spec.note else ""), err=True)
    made = environments.create(spec, where, python, _run)
    click.echo(f"made {made.folder} (Python {made.python_version})")


@command.command("remove", epilog=examples("dvbench env remove metric3d"))
@click.argument("name", metavar="NAME")
def remove_command(name: str) -> None:
    """Remove the environment NAME; weights stay where they are."""
    from depthvlm_bench.predict.isolated import environments

    environments.load_spec(name)  # an unknown name gets its hint
    click.echo(f"removed {environments.remove(name)}")


def _run(line: "Sequence[str]") -> int:
    """Run a command whose output is the user's to see; its exit status."""
    from shlex import join

    click.echo(f"$ {join(line)}", err=True)
    try:
        return subprocess.run(line, check=False).returncode
    except OSError as error:
        click.echo(f"{line[0]}: {error.strerror}", err=True)
        return 127


def _row(spec: "EnvironmentSpec") -> dict[str, Any]:
    from depthvlm_bench.predict.isolated.environments import recorded

    made = recorded(spec.name)
    state = "not made"
    if made is not None:
        there = made.python.exists()
        state = "gone" if not there else "made" if made.is_current else "made of older requirements"
        state += f": {made.folder}"
    return {**asdict(spec), "state": state, "folder": None if made is None else str(made.folder)}
