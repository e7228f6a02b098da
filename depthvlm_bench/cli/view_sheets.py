"""What `dvbench view` shows of a set and of a run: contact sheets, listings, where a run errs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthvlm_bench.cli.common import console, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from depthvlm_bench.predict.store import RunStore
    from depthvlm_bench.records.reader import RecordSet
    from depthvlm_bench.scoring.diagnostics import Diagnostics
    from depthvlm_bench.viz.shown import Shown

IDS_LISTED = 6
PNG, PLY = ".png", ".ply"
MARKED = "delta1 before each name, hits green, misses red"


def shown_records(
    records: "RecordSet", wanted: "Sequence[str]", run: "RunStore | None", *, maps: bool = False
) -> "list[Shown]":
    """Records as they are drawn, in the order asked; with a run's answers, and the maps that it kept."""
    from depthvlm_bench.viz.lookup import answers_of, map_of, rows_of
    from depthvlm_bench.viz.shown import SHOWN_COLUMNS, shown_of

    found = {}
    for row in rows_of(records, wanted, SHOWN_COLUMNS):
        answers = None if run is None else answers_of(run, row["id"], len(row["points"] or ()))
        found[row["id"]] = shown_of(row, answers, map_of(run, row) if run and maps else None)
    return [found[record] for record in wanted]


def write_png(picture: "Image", out: Path) -> None:
    """Write a picture whole or not at all, and say where and how large."""
    from depthvlm_bench.records.files import whole_file

    with whole_file(out) as temporary:
        picture.save(temporary, format="PNG")
    click.echo(f"wrote {out} ({picture.width} x {picture.height})")


def view_set(
    records: "RecordSet", prediction: str | None, runs: Path, out: Path | None, images: int, *, as_json: bool
) -> None:
    """A contact sheet with --out, else what the set holds and the ids to look at."""
    from depthvlm_bench.errors import UsageError
    from depthvlm_bench.viz.lookup import evenly, find_run, record_ids

    if out is not None and out.suffix.lower() == PLY:
        raise UsageError("a cloud is of one record", next_step=f"dvbench view RECORD_ID --out {out}")
    if out is None and prediction is not None:
        raise UsageError(
            "a prediction of a whole set is drawn as a sheet",
            next_step=f"--out sheet.png, or dvbench view --run {prediction} --set {records.name}",
        )
    ids = record_ids(records)
    facts = f"{records.role} split, {records.info['set_kind']}, {len(ids)} images"
    if as_json:
        print_json(_set_mapping(records, ids))
    elif out is None:
        click.echo(f"{records.name}: {facts}, manifest {records.manifest_hash[:12]}  {records.folder}")
        for record in evenly(ids, IDS_LISTED):
            click.echo(f"  {record}")
        click.echo(f"next: dvbench view {records.name} --out sheet.png, or dvbench view RECORD_ID")
    else:
        run = find_run(runs, prediction, records) if prediction else None
        label = f", {run.spec.label}: {MARKED}" if run else ""
        _write_sheet(records, evenly(ids, images), run, f"{facts}{label}", out)


def _set_mapping(records: "RecordSet", ids: list[str]) -> dict[str, object]:
    told = {"set": records.name, "split": records.role, "set_kind": records.info["set_kind"]}
    return told | {"manifest_hash": records.manifest_hash, "folder": records.folder, "records": ids}


def _write_sheet(
    records: "RecordSet", chosen: list[str], run: "RunStore | None", facts: str, out: Path
) -> None:
    from depthvlm_bench.viz.sheet import contact_sheet

    sheet = contact_sheet(shown_records(records, chosen, run), records.name, f"{facts}, {len(chosen)} shown")
    write_png(sheet, out)


def view_run(
    name: str,
    sets: "Sequence[RecordSet]",
    runs: Path,
    out: Path | None,
    images: int,
    *,
    named: bool,
    as_json: bool,
) -> None:
    """Diagnostics of a run on each set that it has predictions of; with `out` its worst samples on one."""
    from depthvlm_bench.errors import DataMissingError, UsageError
    from depthvlm_bench.viz.lookup import diagnose_run, find_run
    from depthvlm_bench.viz.report import plain

    if out is not None and (out.suffix.lower() == PLY or len(sets) != 1):
        raise UsageError("the worst samples of one set are a PNG", next_step="--set NAME --out worst.png")
    found: dict[str, Diagnostics] = {}
    for records in sets:
        try:
            run = find_run(runs, name, records)
        except DataMissingError as error:
            if named:
                raise
            click.echo(f"left out: {error.what}", err=True)
            continue
        found[records.name] = diagnose_run(run, records, worst=images)
        if out is not None and not found[records.name].worst:
            raise DataMissingError(
                "the run has no predictions yet",
                where=run.folder,
                next_step="the same dvbench eval resumes it",
            )
        if out is not None:
            worst = [group.name for group in found[records.name].worst]
            _write_sheet(records, worst, run, f"worst samples of {run.spec.label}: {MARKED}", out)
        elif not as_json:
            _print_diagnostics(run, records, found[records.name])
    if not found:
        raise DataMissingError(f"no run of {name!r}", where=runs, next_step="dvbench eval --model NAME")
    if as_json:
        print_json({set_name: plain(item) for set_name, item in found.items()})


def _print_diagnostics(run: "RunStore", records: "RecordSet", found: "Diagnostics") -> None:
    from depthvlm_bench.scoring.protocol import DEFAULT_PROTOCOL
    from depthvlm_bench.viz.report import report

    screen = console()
    read_as = f"{run.spec.label} on {records.name}, read as {DEFAULT_PROTOCOL} reads"
    screen.print(f"\n{read_as}", style="bold", markup=False)
    screen.print(report(found))
    if found.worst:
        click.echo(
            f"next: dvbench view {found.worst[0].name} --prediction {run.folder.name} --out worst.png, or "
            f"dvbench view --run {run.folder.name} --set {records.name} --out worst.png for all of them"
        )
