"""dvbench eval: predict and score converted evaluation sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthvlm_bench.cli.chosen_model import checkpoint_option, model_option
from depthvlm_bench.cli.common import (
    ScreenProgress,
    camera_option,
    data_option,
    examples,
    input_option,
    json_option,
    option_option,
    out_option,
    print_json,
    protocol_option,
    where_option,
    workspace_option,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from depthvlm_bench.predict.runner import RunSettings
    from depthvlm_bench.records.reader import RecordSet
    from depthvlm_bench.results.schema import Result
    from depthvlm_bench.scoring.evaluate import Evaluation

# A larger difference between nearest and bilinear read-out says that the prediction's grid decides the score.
READOUT_GAP = 0.002
EXAMPLES = (
    "dvbench eval --model constant-2m",
    "dvbench eval --model row-prior --set ibims1 --fit-on nuscenes",
    "dvbench eval --model runs/my-training/final -o dtype=float32",
)


@click.command("eval", epilog=examples(*EXAMPLES))
@model_option
@checkpoint_option
@click.option("--set", "set_names", multiple=True, help="A converted set.  [default: all evaluation sets]")
@data_option
@protocol_option
@input_option
@camera_option
@click.option(
    "--list",
    "lists",
    type=click.Choice(["points", "both"]),
    default="points",
    show_default=True,
    help="Point lists that a point model is asked; a dense map answers both.",
)
@click.option(
    "--fit-on", multiple=True, help="Training set to fit on.  [default: all converted training splits]"
)
@where_option
@click.option(
    "--limit", type=click.IntRange(min=1), help="At most this many images a set; the result is partial."
)
@click.option("--batch", type=click.IntRange(min=1), help="Pictures at once.  [default: the model's]")
@click.option("--keep-maps", is_flag=True, help="Store each dense map in the run's folder, under maps/.")
@click.option(
    "--extra-metrics",
    is_flag=True,
    help="F-score, F-AUC and boundary F1 of dense maps, and iBims-1's edge and plane errors; slower.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be predicted, do nothing.")
@out_option("runs/ and results/", "WORKSPACE")
@option_option
@workspace_option
@json_option
def command(
    name: str,
    checkpoint: str | None,
    set_names: tuple[str, ...],
    data: Path | None,
    protocol_name: str,
    input_mode: str | None,
    camera: str,
    lists: str,
    fit_on: tuple[str, ...],
    where: str | None,
    limit: int | None,
    batch: int | None,
    keep_maps: bool,
    extra_metrics: bool,
    dry_run: bool,
    out: Path | None,
    pairs: tuple[str, ...],
    workspace: Path,
    as_json: bool,
) -> None:
    """Predict and score evaluation sets: sparse on their points, dense where the model gives maps.

    Predictions are kept as they come; the same command resumes, and predicts nothing twice.
    """
    from depthvlm_bench.cli.chosen_model import choose_model
    from depthvlm_bench.cli.sets import choose_sets, selected
    from depthvlm_bench.errors import UsageError
    from depthvlm_bench.predict.once import loaded_once
    from depthvlm_bench.predict.runner import POINT_LISTS, RunSettings, check_settings
    from depthvlm_bench.records.where import normal_where
    from depthvlm_bench.scoring.evaluate import evaluate, with_fit
    from depthvlm_bench.scoring.protocol import load_protocol

    where = normal_where(where)

    protocol = load_protocol(protocol_name)
    model, options = choose_model(name, checkpoint, pairs, as_the_paper=protocol.readout == "compat_index")
    model = loaded_once(model)
    folder = data or workspace / "data"
    if fit_on and not model.card.fitted:
        raise UsageError(f"{name} is not fitted", why="--fit-on goes with best-constant and row-prior")
    sets = choose_sets(folder, set_names, "eval")
    train = choose_sets(folder, fit_on, "train", required=bool(fit_on)) if model.card.fitted else []
    with_fit(model, options, train)
    settings = RunSettings(
        input=input_mode or ("canonical" if camera == "known" else "native"),  # type: ignore[arg-type]
        camera_known=camera == "known",
        lists=POINT_LISTS if lists == "both" else ("points",),
        batch=batch,
        keep_maps=keep_maps,
        extra_metrics=extra_metrics,
    )
    check_settings(model.card, settings)
    sets = selected(sets, where)
    if dry_run:
        _dry_run(name, sets, settings, where, limit, as_json=as_json)
        return
    done = []
    for records in sets:
        arguments = (model, options, train, records, settings, protocol, out or workspace, ScreenProgress())
        done.append(evaluate(*arguments, limit=limit, where=where))
        if not as_json:
            print_evaluation(done[-1])
    if as_json:
        print_json([_as_json(evaluation) for evaluation in done])


def print_evaluation(evaluation: "Evaluation") -> None:
    """The few lines that say how one set went."""
    done = [f"{evaluation.predicted} images predicted"] if evaluation.predicted else []
    done += [f"{evaluation.resumed} resumed from an earlier run"] if evaluation.resumed else []
    click.echo(f"{evaluation.model} on {evaluation.records.name}: {', '.join(done)}")
    print_results(evaluation.results)
    for line in filter(None, (_maps_line(evaluation), _extra_line(evaluation))):
        click.echo(f"  {line}")


def _maps_line(evaluation: "Evaluation") -> str:
    from depthvlm_bench.predict.keep import MAPS_FOLDER

    if evaluation.maps is None:
        return ""
    images = evaluation.predicted + evaluation.resumed
    line = f"maps of {evaluation.maps} of {images} images in {evaluation.run / MAPS_FOLDER}"
    lacking = images - evaluation.maps
    return line + (f"; {lacking} predicted earlier without: --out NEW makes all" if lacking else "")


def _extra_line(evaluation: "Evaluation") -> str:
    from depthvlm_bench.scoring.structure import STRUCTURE_METRICS

    if evaluation.measured is None:
        return ""
    images = evaluation.predicted + evaluation.resumed
    if evaluation.measured < images:
        lacking = f"only {evaluation.measured} of {images} images have them"
        return f"no extra metrics: {lacking}, the rest predicted earlier without; --out NEW makes all"
    found = {name: result.metrics.get(name) for result in evaluation.results for name in STRUCTURE_METRICS}
    told = [f"{name} {value:.3f}" for name, value in found.items() if value is not None]
    return "extra  " + ("  ".join(told) or f"none: {evaluation.records.name} has no dense depth grid")


def print_results(results: "Iterable[Result]") -> None:
    """One line a score."""
    for result in results:
        score, counts = result.scores["delta1"], result.counts
        gap = abs(score.value - result.diagnostics.get("delta1_bilinear", score.value))
        read_out = f"  read-out matters: bilinear differs by {gap:.3f}" if gap > READOUT_GAP else ""
        partial = "" if result.complete else f"  partial: {counts.images_missing} images missing, unranked"
        fov_error = result.metrics.get("fov_error_deg")
        lens = "" if fov_error is None else f"  field of view {fov_error:.1f}° off"
        unranked = "  unranked (overlap)" if result.set_kind == "overlap" else ""
        click.echo(
            f"  {result.mode:<7}δ1 {score.value:.3f} [{score.low:.3f}, {score.high:.3f}]  "
            f"{counts.answered}/{counts.asked} answered, {counts.images} images"
            f"{lens}{partial}{unranked}{read_out}"
        )


def _dry_run(
    name: str,
    sets: "list[RecordSet]",
    settings: "RunSettings",
    where: str | None,
    limit: int | None,
    *,
    as_json: bool,
) -> None:
    from depthvlm_bench.scoring.scorer import wanted_rows

    images = {records.name: len(wanted_rows(records, where)[:limit]) for records in sets}
    if as_json:
        print_json({"model": name, "images": images})
        return
    known = "known" if settings.camera_known else "unknown"
    for set_name, number in images.items():
        click.echo(
            f"would ask {name} for {number} images of {set_name} (input {settings.input}, camera {known})"
        )


def _as_json(evaluation: "Evaluation") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "set": evaluation.records.name,
        "predicted": evaluation.predicted,
        "resumed": evaluation.resumed,
        "run": evaluation.run,
        "maps": evaluation.maps,
        "measured": evaluation.measured,
        "results": [asdict(result) for result in evaluation.results],
        "files": list(evaluation.paths),
    }
