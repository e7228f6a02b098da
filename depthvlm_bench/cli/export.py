"""dvbench export: a set in another project's format."""

from pathlib import Path

import click

from depthvlm_bench.cli.common import ScreenProgress, data_option, examples, workspace_option

EXAMPLES = (
    "dvbench export ibims1 --format depthvlm-jsonl --out exported/ibims1",
    "dvbench export scannetpp@published --format depthvlm-jsonl --out exported/scannetpp",
)


@click.command("export", epilog=examples(*EXAMPLES))
@click.argument("name", metavar="SET")
@click.option("--format", "form", type=click.Choice(["depthvlm-jsonl"]), required=True)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write into."
)
@data_option
@workspace_option
def command(name: str, form: str, out: Path, data: Path | None, workspace: Path) -> None:
    """Write an evaluation SET in another format; the licence of its pictures goes with them."""
    from depthvlm_bench.cli.sets import choose_sets
    from depthvlm_bench.export.annotations import export_annotations

    (records,) = choose_sets(data or workspace / "data", (name,), "eval")
    done = export_annotations(records, out, ScreenProgress())
    click.echo(f"{name} as {form}: {done.images} images, {done.points} points")
    click.echo(f"  {done.annotations} (with rgb/ and depth/ beside it)")
    if done.misread_as is not None:
        click.echo(
            f"  warning: the paper's code takes depth ranges from words in a path, and here from "
            f"{done.misread_as!r}; move the folder before using it there"
        )
