"""dvbench score: score the predictions of earlier runs again."""

from pathlib import Path

import click

from depthvlm_bench.cli.common import (
    data_option,
    examples,
    json_option,
    out_option,
    print_json,
    protocol_option,
    where_option,
    workspace_option,
)


@click.command(
    "score", epilog=examples("dvbench score", "dvbench score --set ibims1 --where 'indoor & real'")
)
@click.option("--set", "set_names", multiple=True, help="Only runs on this set.")
@click.option("--model", "names", multiple=True, help="Only runs of this model.")
@data_option
@protocol_option
@where_option
@out_option("runs/ and results/", "WORKSPACE")
@workspace_option
@json_option
def command(
    set_names: tuple[str, ...],
    names: tuple[str, ...],
    data: Path | None,
    protocol_name: str,
    where: str | None,
    out: Path | None,
    workspace: Path,
    as_json: bool,
) -> None:
    """Score stored predictions under a protocol; nothing is predicted."""
    from dataclasses import asdict

    from depthvlm_bench.cli.eval import print_results
    from depthvlm_bench.errors import DataMissingError, DvbenchError, PartialError, UsageError, unknown_name
    from depthvlm_bench.predict.store import find_runs
    from depthvlm_bench.records.reader import RecordSet
    from depthvlm_bench.records.where import normal_where
    from depthvlm_bench.registry import load_model
    from depthvlm_bench.results.schema import Result
    from depthvlm_bench.scoring.evaluate import score_and_write
    from depthvlm_bench.scoring.protocol import load_protocol

    where = normal_where(where)

    folder, protocol = out or workspace, load_protocol(protocol_name)
    there = find_runs(folder / "runs")
    for kind, asked, known in (
        ("run on set", set_names, {run.spec.set_name for run in there}),
        ("run of model", names, {run.spec.model for run in there}),
    ):
        for name in asked:
            if there and name not in known:
                hint = unknown_name(kind, name, known)
                raise DataMissingError(
                    f"no run to score: {hint.what}",
                    where=folder / "runs",
                    why=hint.why,
                    next_step="dvbench eval --model NAME",
                )
    runs = [
        run
        for run in there
        if (not set_names or run.spec.set_name in set_names) and (not names or run.spec.model in names)
    ]
    if not runs:
        raise DataMissingError(
            "no run to score", where=folder / "runs", next_step="dvbench eval --model NAME"
        )
    scored: list[Result] = []
    faults: list[DvbenchError] = []
    for run in runs:
        try:
            records = RecordSet((data or workspace / "data") / run.spec.set_name, run.spec.role)
            results, _ = score_and_write(run, load_model(run.spec.model), records, protocol, folder, where)
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
