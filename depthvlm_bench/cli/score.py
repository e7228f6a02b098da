"""dvbench score: score predictions made elsewhere, or those of earlier runs again."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthvlm_bench.cli.common import (
    ScreenProgress,
    data_option,
    examples,
    json_option,
    out_option,
    print_json,
    protocol_option,
    where_option,
    workspace_option,
)

if TYPE_CHECKING:
    from depthvlm_bench.predict.store import RunStore
    from depthvlm_bench.scoring.outside import OutsideScore

EXAMPLES = (
    "dvbench score --predictions my_maps --set ibims1 -o png_scale=1000",
    "dvbench score --set ibims1 --where 'indoor & real'",
)


@click.command("score", epilog=examples(*EXAMPLES))
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    help="Folder of depth maps or point answers made elsewhere.  [default: score earlier runs]",
)
@click.option("--name", help="Model name of --predictions.  [default: as declared, else the folder's]")
@click.option("--set", "set_names", multiple=True, help="Only this set.")
@click.option("--model", "names", multiple=True, help="Only earlier runs of this model.")
@click.option(
    "-o",
    "--option",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="What is declared of --predictions (over its predictions.toml): unit, scale, png_scale, kind, "
    "resize, covers, camera, model.",
)
@data_option
@protocol_option
@where_option
@out_option("runs/ and results/", "WORKSPACE")
@workspace_option
@json_option
def command(
    predictions: Path | None,
    name: str | None,
    set_names: tuple[str, ...],
    names: tuple[str, ...],
    pairs: tuple[str, ...],
    data: Path | None,
    protocol_name: str,
    where: str | None,
    out: Path | None,
    workspace: Path,
    as_json: bool,
) -> None:
    """Score depth maps or point answers made elsewhere, or stored predictions again; no model is run.

    With --predictions files are matched with records by id or frame, and checked against what is declared of
    them. See docs/predictions.md.
    """
    from depthvlm_bench.errors import UsageError
    from depthvlm_bench.records.where import normal_where

    where = normal_where(where)
    places = (data or workspace / "data", out or workspace)
    if predictions is None:
        if name is not None or pairs:
            raise UsageError(
                "--name and -o go with --predictions", next_step="dvbench score --predictions DIR"
            )
        _score_runs(set_names, names, *places, protocol_name, where, as_json=as_json)
    elif names:
        raise UsageError("--model chooses earlier runs", next_step="--name names the model of --predictions")
    else:
        _score_outside(predictions, name, pairs, set_names, *places, protocol_name, where, as_json=as_json)


def _score_outside(
    predictions: Path,
    name: str | None,
    pairs: tuple[str, ...],
    set_names: tuple[str, ...],
    data: Path,
    out: Path,
    protocol_name: str,
    where: str | None,
    *,
    as_json: bool,
) -> None:
    from depthvlm_bench.cli.sets import choose_sets, selected
    from depthvlm_bench.errors import DataMissingError, PartialError
    from depthvlm_bench.predict.outside.declared import read_declaration
    from depthvlm_bench.predict.outside.match import listing
    from depthvlm_bench.scoring.outside import open_predictions, score_predictions
    from depthvlm_bench.scoring.protocol import load_protocol

    protocol, declaration = load_protocol(protocol_name), read_declaration(predictions, pairs, name)
    sets = selected(choose_sets(data, set_names, "eval"), where)
    outside = open_predictions(predictions, declaration, sets)
    if outside.strangers:
        click.echo(f"belong to no record ({len(outside.strangers)}): {listing(outside.strangers)}", err=True)
    done = []
    for records in sets:
        scored = score_predictions(outside, records, protocol, out, ScreenProgress(), where)
        if scored is None:
            click.echo(f"no prediction for {records.name}", err=True)
            continue
        done.append(scored)
        if not as_json:
            _print_outside(scored)
    if as_json:
        print_json([_as_json(scored) for scored in done])
    if not done or (set_names and len(done) < len(sets)):
        raise DataMissingError("a chosen set has no prediction", where=predictions, why="named above")
    missing = sum(len(scored.missing) for scored in done)
    if missing:
        raise PartialError(
            f"{missing} images have no prediction", why="results without them are partial and unranked"
        )


def _print_outside(scored: "OutsideScore") -> None:
    """Scores, what is missing, what is suspected."""
    from depthvlm_bench.cli.eval import print_results
    from depthvlm_bench.predict.outside.match import listing

    click.echo(f"{scored.label} on {scored.records.name}: {scored.predicted + scored.resumed} images")
    print_results(scored.results)
    if scored.missing:
        click.echo(f"  missing ({len(scored.missing)}): {listing(scored.missing)}")
    if scored.unanswered:
        click.echo(f"  {scored.unanswered} points of these images have no answer: misses")
    for suspicion in scored.suspicions:
        click.echo(f"  suspicion: {suspicion.one_line()}")


def _as_json(scored: "OutsideScore") -> dict[str, object]:
    from dataclasses import asdict

    return {
        "set": scored.records.name,
        "run": scored.run,
        "missing": list(scored.missing),
        "unanswered": scored.unanswered,
        "suspicions": [asdict(suspicion) for suspicion in scored.suspicions],
        "results": [asdict(result) for result in scored.results],
        "files": list(scored.paths),
    }


def _score_runs(
    set_names: tuple[str, ...],
    names: tuple[str, ...],
    data: Path,
    folder: Path,
    protocol_name: str,
    where: str | None,
    *,
    as_json: bool,
) -> None:
    from dataclasses import asdict

    from depthvlm_bench.cli.eval import print_results
    from depthvlm_bench.errors import DvbenchError, PartialError, UsageError
    from depthvlm_bench.predict.outside.model import outside_run
    from depthvlm_bench.records.reader import RecordSet
    from depthvlm_bench.registry import load_model
    from depthvlm_bench.results.schema import Result
    from depthvlm_bench.scoring.evaluate import score_and_write
    from depthvlm_bench.scoring.protocol import load_protocol

    protocol = load_protocol(protocol_name)
    runs = _chosen_runs(folder / "runs", set_names, names)
    scored: list[Result] = []
    faults: list[DvbenchError] = []
    for run in runs:
        try:
            records = RecordSet(data / run.spec.set_name, run.spec.role)
            model = outside_run(run.spec) or load_model(run.spec.model)
            results, _ = score_and_write(run, model, records, protocol, folder, where)
        except DvbenchError as error:
            faults.append(error)
            if len(runs) > 1:
                click.echo(f"error: {run.spec.label} on {run.spec.set_name}: {error.one_line()}", err=True)
            continue
        scored += results
        if not as_json and results:
            click.echo(f"{run.spec.label} on {records.name}")
            print_results(results)
    if as_json:
        print_json([asdict(result) for result in scored])
    if len(faults) == len(runs):
        raise faults[0]
    if faults:
        raise PartialError(f"{len(faults)} of {len(runs)} runs could not be scored", why="named above")
    if not scored:
        raise UsageError("there was nothing to score", why=f"--where {where!r} selects no image of any set")


def _chosen_runs(folder: Path, set_names: tuple[str, ...], models: tuple[str, ...]) -> "list[RunStore]":
    """The runs of the named sets and models, all if none is named; DataMissingError where there are none."""
    from depthvlm_bench.errors import DataMissingError, unknown_name
    from depthvlm_bench.predict.store import find_runs

    next_step = "dvbench eval --model NAME"
    there = find_runs(folder)
    for kind, asked, known in (
        ("run on set", set_names, {run.spec.set_name for run in there}),
        ("run of model", models, {run.spec.model for run in there}),
    ):
        for name in asked:
            if there and name not in known:
                hint = unknown_name(kind, name, known)
                what = f"no run to score: {hint.what}"
                raise DataMissingError(what, where=folder, why=hint.why, next_step=next_step)
    runs = [run for run in there if not set_names or run.spec.set_name in set_names]
    runs = [run for run in runs if not models or run.spec.model in models]
    if not runs:
        raise DataMissingError("no run to score", where=folder, next_step=next_step)
    return runs
