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
    from PIL.Image import Image

    from depthvlm_bench.predict.store import RunStore
    from depthvlm_bench.records.reader import RecordSet
    from depthvlm_bench.scoring.diagnostics import Diagnostics

EXAMPLES = (
    "dvbench view nuscenes --out sheet.png",
    "dvbench view corridor_01 --prediction constant-2m --out panel.png",
    "dvbench view corridor_01 --out cloud.ply",
    "dvbench view --run row-prior --set ibims1",
)
IDS_LISTED = 6
PNG, PLY = ".png", ".ply"


@click.command("view", epilog=examples(*EXAMPLES))
@click.argument("target", required=False, metavar="[RECORD_ID|SET]")
@click.option(
    "--prediction", metavar="RUN", help="Draw a run's answers, and its map if kept: model, label or folder."
)
@click.option("--run", "run_name", metavar="RUN", help="Say where a run errs, and on which samples most.")
@click.option(
    "--set",
    "set_names",
    multiple=True,
    help="Only this set.  [default: all converted; for --run: all it has]",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write FILE.png or FILE.ply.")
@click.option("--cloud", is_flag=True, help="Open the record's points in a window (needs Open3D).")
@click.option("--images", type=click.IntRange(min=1), default=12, show_default=True, help="On a set's sheet.")
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
    the terminal; a set is summed up there, and drawn as a contact sheet with --out.
    """
    from depthvlm_bench.errors import UsageError

    folder = data or workspace / "data"
    if run_name is None and target is None and len(set_names) == 1:
        target = set_names[0]
    if (target is None) == (run_name is None):
        raise UsageError("view takes a record, a set or --run", next_step="dvbench view --help")
    if out is not None and out.suffix.lower() not in (PNG, PLY):
        raise UsageError(f"--out ends in {PNG} or {PLY}", where=out)
    if run_name is not None:
        _view_run(run_name, set_names, folder, workspace / "runs", as_json=as_json)
        return
    assert target is not None
    sets = _sets(folder, set_names)
    named = [records for records in sets if records.name == target]
    if named:
        _view_set(named[0], out, images)
        return
    _view_record(target, sets, prediction, workspace / "runs", out, cloud=cloud)


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
    target: str, sets: "list[RecordSet]", prediction: str | None, runs: Path, out: Path | None, *, cloud: bool
) -> None:
    from depthvlm_bench.viz.cloud import cloud_of, look_at, write_ply
    from depthvlm_bench.viz.lookup import find_record, find_run, rows_of

    records, record = find_record(sets, target)
    if cloud or (out is not None and out.suffix.lower() == PLY):
        points = cloud_of(next(rows_of(records, [record])))
        if out is not None:
            write_ply(out, points)
            click.echo(f"wrote {out} ({len(points.points_cam)} points, camera frame, m)")
        if cloud:
            look_at(points, record)
        return
    _draw_record(records, record, find_run(runs, prediction, records) if prediction else None, out)


def _draw_record(records: "RecordSet", record: str, run: "RunStore | None", out: Path | None) -> None:
    from depthvlm_bench.viz.lookup import answers_of, map_of, rows_of
    from depthvlm_bench.viz.panels import describe, record_panel, score_line
    from depthvlm_bench.viz.shown import SHOWN_COLUMNS, shown_of
    from depthvlm_bench.viz.terminal import point_table, record_lines

    row = next(rows_of(records, [record], SHOWN_COLUMNS))
    answers = None if run is None else answers_of(run, record, len(row["points"] or ()))
    shown = shown_of(row, answers, None if run is None else map_of(run, row))
    label = "" if run is None else run.spec.label
    if out is not None:
        _write_png(record_panel(shown, label), out)
        return
    screen = console()
    for line in filter(None, (shown.id, describe(shown), score_line(shown.asked, label))):
        click.echo(line)
    for text in record_lines(shown, screen.width, colour=screen.color_system is not None):
        screen.print(text, no_wrap=True, crop=True)
    if len(shown.asked.truth_m):
        screen.print(point_table(shown))


def _write_png(picture: "Image", out: Path) -> None:
    from depthvlm_bench.records.files import whole_file

    with whole_file(out) as temporary:
        picture.save(temporary, format="PNG")
    click.echo(f"wrote {out} ({picture.width} x {picture.height})")


def _view_set(records: "RecordSet", out: Path | None, images: int) -> None:
    """A contact sheet with --out, else what the set holds and the ids to look at."""
    from depthvlm_bench.errors import UsageError
    from depthvlm_bench.viz.lookup import evenly, record_ids, rows_of
    from depthvlm_bench.viz.sheet import contact_sheet
    from depthvlm_bench.viz.shown import SHOWN_COLUMNS, shown_of

    if out is not None and out.suffix.lower() == PLY:
        raise UsageError("a cloud is of one record", next_step=f"dvbench view RECORD_ID --out {out}")
    ids = record_ids(records)
    facts = f"{records.role} split, {records.info['set_kind']}, {len(ids)} images"
    if out is None:
        click.echo(f"{records.name}: {facts}, manifest {records.manifest_hash[:12]}  {records.folder}")
        for record in evenly(ids, IDS_LISTED):
            click.echo(f"  {record}")
        click.echo(f"next: dvbench view {records.name} --out sheet.png, or dvbench view RECORD_ID")
        return
    chosen = evenly(ids, images)
    drawn = [shown_of(row) for row in rows_of(records, chosen, SHOWN_COLUMNS)]
    _write_png(contact_sheet(drawn, records.name, f"{facts}, {len(chosen)} shown"), out)


def _view_run(name: str, set_names: tuple[str, ...], data: Path, runs: Path, *, as_json: bool) -> None:
    """Diagnostics of a run on each set that it has predictions of."""
    from depthvlm_bench.errors import DataMissingError
    from depthvlm_bench.viz.lookup import diagnose_run, find_run
    from depthvlm_bench.viz.report import plain

    found: dict[str, Diagnostics] = {}
    for records in [records for records in _sets(data, set_names) if records.role == "eval"]:
        try:
            run = find_run(runs, name, records)
        except DataMissingError as error:
            if set_names:
                raise
            click.echo(f"left out: {error.what}", err=True)
            continue
        found[records.name] = diagnose_run(run, records)
        if not as_json:
            _print_diagnostics(run, records, found[records.name])
    if not found:
        raise DataMissingError(f"no run of {name!r}", where=runs, next_step="dvbench eval --model NAME")
    if as_json:
        print_json({set_name: plain(item) for set_name, item in found.items()})


def _print_diagnostics(run: "RunStore", records: "RecordSet", found: "Diagnostics") -> None:
    from depthvlm_bench.viz.report import report

    screen = console()
    screen.print(f"\n{run.spec.label} on {records.name}", style="bold", markup=False)
    screen.print(report(found))
    if found.worst:
        click.echo(f"next: dvbench view {found.worst[0].name} --prediction {run.folder.name} --out worst.png")
