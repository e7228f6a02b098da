"""dvbench demo: the whole job on a small scale, from raw trees to a leaderboard."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from depthvlm_bench.cli.common import ScreenProgress, examples

MODELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("constant-2m", ()),
    ("constant", ("depth_m=5",)),
    ("best-constant", ()),
    ("row-prior", ()),
)
# What is converted: dataset, split and how. The real nuScenes sample is one keyframe of a training scene.
PROCEDURAL: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ibims1", {}),
    ("nuscenes", {}),
    ("nuscenes", {"role": "train"}),
)
SAMPLES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("scannetpp", {}),
    ("ibims1", {}),
    ("nuscenes", {"source_split": "mini_train", "allow_overlap": True}),
    ("nuscenes", {"role": "train"}),
)


@click.command("demo", epilog=examples("dvbench demo", "dvbench demo --data ../shared/data"))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of real sample trees.  [default: procedural scenes]",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("dvbench-demo"), show_default=True
)
def command(data: Path | None, out: Path) -> None:
    """Convert raw trees, run the naive predictors and tabulate them, on one core in a minute or two.

    Without --data it first writes small ray-cast scenes with exact metric depth: rooms in iBims-1's raw
    format, and a street with a training and an evaluation scene in nuScenes'. A second call resumes.
    """
    workspace = out / ("procedural" if data is None else "samples")
    raw = _write_scenes(workspace / "raw") if data is None else data
    click.echo("\n1. raw trees to parquet sets")
    used = list(_convert(raw, workspace / "data", PROCEDURAL if data is None else SAMPLES))
    click.echo("\n2. predict and score")
    _evaluate(workspace)
    click.echo("\n3. leaderboards")
    files = [path for mode in ("sparse", "dense") for path in _tabulate(workspace, mode)]
    _close(workspace, raw, used, files, procedural=data is None)


def _write_scenes(raw: Path) -> Path:
    """Write the procedural trees; a marker says that they are whole."""
    from depthvlm_bench.demo.ibims1_tree import write_ibims1
    from depthvlm_bench.demo.nuscenes_tree import write_nuscenes

    marker = raw / "_SUCCESS"
    if marker.is_file():
        click.echo(f"resumed: ray-cast scenes are there already ({raw})")
        return raw
    click.echo(f"ray-casting rooms and streets with exact depth ({raw})")
    raw.mkdir(parents=True, exist_ok=True)
    write_ibims1(raw / "ibims1")
    write_nuscenes(raw / "nuscenes")
    marker.touch()
    return raw


def _convert(raw: Path, data: Path, jobs: tuple[tuple[str, dict[str, Any]], ...]) -> Iterator[str]:
    from depthvlm_bench.cli.convert import print_summary
    from depthvlm_bench.convert.run import ConvertRequest, convert
    from depthvlm_bench.errors import DataMissingError
    from depthvlm_bench.registry import load_converter

    present = [(name, how) for name, how in jobs if (raw / name).is_dir()]
    if not present:
        wanted = ", ".join(sorted({name for name, _ in jobs}))
        raise DataMissingError(
            "no sample tree",
            where=raw,
            why=f"expected folders {wanted}",
            next_step="dvbench demo needs no data",
        )
    for name, how in present:
        if how.get("allow_overlap"):
            click.echo(
                f"{name}: its scene is a training scene; "
                f"converted with --source-split {how['source_split']} --allow-overlap"
            )
        print_summary(
            convert(load_converter(name), ConvertRequest(raw / name, data, **how), ScreenProgress())
        )
        yield name


def _evaluate(workspace: Path) -> None:
    from depthvlm_bench.cli.eval import print_evaluation
    from depthvlm_bench.cli.sets import choose_sets
    from depthvlm_bench.config import parse_options
    from depthvlm_bench.predict.runner import RunSettings
    from depthvlm_bench.registry import load_model
    from depthvlm_bench.scoring.evaluate import evaluate
    from depthvlm_bench.scoring.protocol import DEFAULT_PROTOCOL, load_protocol

    protocol = load_protocol(DEFAULT_PROTOCOL)
    train = choose_sets(workspace / "data", (), "train")
    for name, pairs in MODELS:
        model = load_model(name)
        options: Any = parse_options(model.options_type, pairs, name)
        for records in choose_sets(workspace / "data", (), "eval"):
            arguments = (model, options, train, records, RunSettings(), protocol, workspace, ScreenProgress())
            print_evaluation(evaluate(*arguments))


def _tabulate(workspace: Path, mode: str) -> list[Path]:
    from depthvlm_bench.cli.leaderboard import print_board, tabulate, write_tables
    from depthvlm_bench.leaderboard.table import Selection
    from depthvlm_bench.scoring.protocol import DEFAULT_PROTOCOL

    board = tabulate(workspace / "results", Selection(DEFAULT_PROTOCOL, mode))  # type: ignore[arg-type]
    print_board(board)
    click.echo("")
    return write_tables(board, workspace / "leaderboard")


def _close(workspace: Path, raw: Path, used: list[str], files: list[Path], *, procedural: bool) -> None:
    click.echo("written")
    for label, path in (
        ("raw trees", raw),
        ("sets", workspace / "data"),
        ("predictions", workspace / "runs"),
        ("results", workspace / "results"),
    ):
        if procedural or label != "raw trees":
            click.echo(f"  {label:<12}{path}")
    for path in files:
        click.echo(f"  {'table':<12}{path}")
    dvbench, python = _as_typed("dvbench", Path(sys.argv[0])), _as_typed("python", Path(sys.executable))
    load = f"import datasets; print(datasets.load_dataset('{workspace}/data/{used[0]}'))"
    shown = shlex.quote(str(workspace))
    click.echo("next")
    click.echo(f"  {dvbench} verify --workspace {shown}")
    click.echo(f'  {python} -c "{load}"')
    click.echo(f"  {dvbench} datasets    (which raw data you could convert), then")
    click.echo(f"  {dvbench} convert nuscenes --root /data/nuscenes")
    click.echo(f"  {dvbench} eval --model constant-2m && {dvbench} leaderboard")


def _as_typed(name: str, running: Path) -> str:
    """The program as the user can type it: by name where that finds this very one, else by path."""
    found = shutil.which(name)
    if (
        found is not None
        and Path(found).resolve() == running.resolve()
        and Path(found).parent == running.parent
    ):
        return name
    here = Path.cwd()
    return shlex.quote(str(running.relative_to(here) if running.is_relative_to(here) else running))
