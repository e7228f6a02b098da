"""dvbench view: one record, a set, or where a run errs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthvlm_bench.cli.common import (
    console,
    data_option,
    examples,
    json_option,
    print_json,
    workspace_option,
)

if TYPE_CHECKING:
    from depthvlm_bench.predict.store import RunStore
    from depthvlm_bench.records.reader import RecordSet
    from depthvlm_bench.viz.cloud import Cloud

EXAMPLES = (
    "dvbench view nuscenes --out sheet.png",
    "dvbench view corridor_01 --prediction constant-2m --out panel.png",
    "dvbench view corridor_01 --out cloud.ply",
    "dvbench view --run row-prior --set ibims1 --out worst.png",
)
PNG, PLY = ".png", ".ply"


@click.command("view", epilog=examples(*EXAMPLES))
@click.argument("target", required=False, metavar="[RECORD_ID|SET]")
@click.option(
    "--prediction", metavar="RUN", help="Draw a run's answers, and its map if kept: model, label or folder."
)
@click.option(
    "--run", "run_name", metavar="RUN", help="Say where a run errs; with --out draw its worst samples."
)
@click.option(
    "--set",
    "set_names",
    multiple=True,
    help="Only this set.  [default: all converted; for --run: all it has]",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write FILE.png or FILE.ply.")
@click.option("--cloud", is_flag=True, help="Open the record's points in a window (needs Open3D).")
@click.option(
    "--images", type=click.IntRange(min=1), default=12, show_default=True, help="On a sheet; worst of a run."
)
@data_option
@workspace_option
@json_option
def command(
    target: str | None,
    prediction: str | None,
    run_name: str | None,
    set_names: tuple[str, ...],
    out: Path | None,
    cloud: bool,
    images: int,
    data: Path | None,
    workspace: Path,
    as_json: bool,
) -> None:
    """Look at a record or a set, or at where a run errs (--run).

    A record is named by its id, or by a start or end of it that no other has. Without --out it is drawn in
    the terminal; a set is summed up there, and drawn as a contact sheet with --out. A PLY is of the record's
    depth, or with --prediction of the map that the run kept.
    """
    from depthvlm_bench.cli.view_sheets import view_run, view_set
    from depthvlm_bench.errors import UsageError

    folder, runs = data or workspace / "data", workspace / "runs"
    if run_name is None and target is None and len(set_names) == 1:
        target = set_names[0]
    if (target is None) == (run_name is None):
        raise UsageError("view takes a record, a set or --run", next_step="dvbench view --help")
    if out is not None and out.suffix.lower() not in (PNG, PLY):
        raise UsageError(f"--out ends in {PNG} or {PLY}", where=out)
    if as_json and (out is not None or cloud):
        raise UsageError("--json prints and does not draw", next_step="leave --out and --cloud out")
    if run_name is not None:
        if cloud or prediction is not None:
            raise UsageError("--cloud and --prediction go with a record", next_step="dvbench view RECORD_ID")
        sets = [records for records in _sets(folder, set_names) if records.role == "eval"]
        view_run(run_name, sets, runs, out, images, named=bool(set_names), as_json=as_json)
        return
    assert target is not None
    sets = _sets(folder, set_names)
    named = [records for records in sets if records.name == target]
    if named:
        if cloud:
            raise UsageError("a cloud is of one record", next_step="dvbench view RECORD_ID --cloud")
        view_set(named[0], prediction, runs, out, images, as_json=as_json)
        return
    _view_record(target, sets, prediction, runs, out, cloud=cloud, as_json=as_json)


def _sets(data: Path, names: tuple[str, ...]) -> "list[RecordSet]":
    """Evaluation splits, then training splits; all of them, or those of the sets named."""
    from depthvlm_bench.cli.sets import choose_sets
    from depthvlm_bench.records.reader import find_sets

    there = [*find_sets(data, "eval"), *find_sets(data, "train")]
    lacking = tuple(name for name in names if name not in {records.name for records in there})
    if lacking or not there:
        choose_sets(data, lacking, "eval")  # says what is missing
    return [records for records in there if not names or records.name in names]


def _view_record(
    target: str,
    sets: "list[RecordSet]",
    prediction: str | None,
    runs: Path,
    out: Path | None,
    *,
    cloud: bool,
    as_json: bool,
) -> None:
    from depthvlm_bench.viz.cloud import look_at, write_ply
    from depthvlm_bench.viz.lookup import find_record, find_run

    records, record = find_record(sets, target)
    run = find_run(runs, prediction, records) if prediction else None
    if cloud or (out is not None and out.suffix.lower() == PLY):
        points = _cloud(records, record, run)
        if out is not None:
            write_ply(out, points)
            click.echo(f"wrote {out} ({len(points.points_cam)} points, camera frame, m)")
        if cloud:
            look_at(points, record)
        return
    _draw_record(records, record, run, out, as_json=as_json)


def _cloud(records: "RecordSet", record: str, run: "RunStore | None") -> "Cloud":
    """The cloud of a record, or of the map that a run kept of it."""
    from depthvlm_bench.errors import DataMissingError
    from depthvlm_bench.viz.cloud import cloud_of, predicted_cloud
    from depthvlm_bench.viz.lookup import map_of, rows_of

    row = next(rows_of(records, [record]))
    if run is None:
        return cloud_of(row)
    predicted = map_of(run, row)
    if predicted is None:
        raise DataMissingError(
            f"the run kept no map of {record}",
            where=run.folder,
            why="a cloud of a prediction needs one",
            next_step="dvbench eval --keep-maps --out NEW; without --prediction the cloud is of the truth",
        )
    return predicted_cloud(row, predicted)


def _draw_record(
    records: "RecordSet", record: str, run: "RunStore | None", out: Path | None, *, as_json: bool
) -> None:
    from depthvlm_bench.cli.view_sheets import shown_records, write_png
    from depthvlm_bench.viz.panels import describe, record_panel, score_line
    from depthvlm_bench.viz.plain import record_mapping
    from depthvlm_bench.viz.terminal import point_table, record_lines

    (shown,) = shown_records(records, [record], run, maps=not as_json)
    label = "" if run is None else run.spec.label
    if as_json:
        print_json({"set": records.name} | record_mapping(shown, label or None))
        return
    if out is not None:
        write_png(record_panel(shown, label), out)
        return
    screen = console()
    for line in filter(None, (shown.id, describe(shown), score_line(shown.asked, label))):
        click.echo(line)
    for text in record_lines(shown, screen.width, colour=screen.color_system is not None):
        screen.print(text, no_wrap=True, crop=True)
    if len(shown.asked.truth_m):
        screen.print(point_table(shown))
