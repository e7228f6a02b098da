"""dvbench verify: is a converted set still what its plan, receipts and manifest say."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthvlm_bench.cli.common import (
    ScreenProgress,
    data_option,
    examples,
    json_option,
    print_json,
    workspace_option,
)
from depthvlm_bench.errors import ExitCode

if TYPE_CHECKING:
    from depthvlm_bench.cards import Role
    from depthvlm_bench.convert.verify import Finding

SHOWN_FINDINGS = 20

Checked = dict[str, dict["Role", list["Finding"]]]


@click.command(
    "verify", epilog=examples("dvbench verify", "dvbench verify nuscenes /data/sets/nuscenes@mini_train")
)
@click.argument("sets", nargs=-1, metavar="[SET]...")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that check shards."
)
@data_option
@workspace_option
@json_option
def command(sets: tuple[str, ...], workers: int, data: Path | None, workspace: Path, as_json: bool) -> int:
    """Check converted sets, record by record; SET is a name or a path, all sets if left out.

    Exits with 1 if anything is wrong.
    """
    from depthvlm_bench.cli.sets import set_folders
    from depthvlm_bench.convert.verify import roles_of, verify
    from depthvlm_bench.engines.local import LocalProcesses

    engine = LocalProcesses(workers) if workers > 1 else None
    folders = set_folders(data or workspace / "data", sets)
    progress = ScreenProgress()
    checked: Checked = {}
    for folder in folders:
        checked[str(folder)] = {role: verify(folder, [role], progress, engine) for role in roles_of(folder)}
        if not as_json:
            print_set(folder, checked[str(folder)])
    if as_json:
        print_json(
            [
                {
                    "set": Path(folder).name,
                    "folder": folder,
                    "split": role,
                    "findings": list(map(asdict, findings)),
                }
                for folder, roles in checked.items()
                for role, findings in roles.items()
            ]
        )
    clean = not any(findings for roles in checked.values() for findings in roles.values())
    if not clean and not as_json:
        wheres = [f.where for roles in checked.values() for findings in roles.values() for f in findings]
        shards = any(where.endswith(".parquet") and "/data/" in where for where in wheres)
        remove = "remove the shards named above (not the plan) and " if shards else ""
        click.echo(f"next: {remove}run the same dvbench convert again")
    return ExitCode.OK if clean else ExitCode.CHECK_FAILED


def print_set(folder: Path, roles: "dict[Role, list[Finding]]") -> None:
    """A line a split, and its findings below."""
    for role, findings in roles.items():
        verdict = "ok" if not findings else f"{len(findings)} finding{'s' * (len(findings) > 1)}"
        click.echo(f"{folder.name} {role}: {verdict}")
        for finding in findings[:SHOWN_FINDINGS]:
            click.echo(f"  {finding.one_line()}")
        if len(findings) > SHOWN_FINDINGS:
            click.echo(f"  and {len(findings) - SHOWN_FINDINGS} more; --json lists all")
