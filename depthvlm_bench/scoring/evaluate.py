"""Evaluate a model on a set: fit where it has to be, predict what is missing, score sparse and dense."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.predict.contracts import Identity, Model
from depthvlm_bench.predict.keep import kept_of
from depthvlm_bench.predict.runner import POINT_LISTS, RunSettings, check_settings, predict
from depthvlm_bench.predict.store import RunSpec, RunStore
from depthvlm_bench.progress import Progress
from depthvlm_bench.records.files import only_one
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.results.provenance import collect
from depthvlm_bench.results.schema import Mode, Result, write_result
from depthvlm_bench.scoring.protocol import Protocol
from depthvlm_bench.scoring.scorer import score_run, wanted_rows
from depthvlm_bench.scoring.structure import STRUCTURE_METRICS

MODES: tuple[Mode, ...] = ("sparse", "dense")


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` did for one set.

    Attributes:
        predicted, resumed: images predicted now, and found from earlier runs.
        maps: images with a kept map; None: none were to be kept.
        measured: images with extra metrics; None: none were asked for.
        results: the scores, sparse first.
        paths: their files.
    """

    model: str
    records: RecordSet
    run: Path
    predicted: int
    resumed: int
    results: tuple[Result, ...]
    paths: tuple[Path, ...]
    maps: int | None = None
    measured: int | None = None


def with_fit(model: Model, options: object, train: Sequence[RecordSet]) -> tuple[Any, dict[str, str]]:
    """Options of a fitted model pointed at its training sets, and what the fit is identified by.

    Raises:
        DataMissingError: there is no training set; a fit on evaluation data is never made.
    """
    if getattr(options, "fit_on", ()):
        raise UsageError("fit_on is no option of its own", next_step="--fit-on SET names the training set")
    if not model.card.fitted:
        return options, {}
    if not train:
        raise DataMissingError(
            f"{model.card.id} has to be fitted and there is no converted training split",
            why="it is never fitted on evaluation data",
            next_step="dvbench convert DATASET --root DIR --split train, or --fit-on SET",
        )
    fitted = replace(options, fit_on=tuple(records.folder for records in train))  # type: ignore[type-var]
    return fitted, {records.name: records.manifest_hash for records in train}


def run_spec(
    model: Model,
    options: Any,  # noqa: ANN401 - the model's options_type
    fit: dict[str, str],
    records: RecordSet,
    settings: RunSettings,
    known: Identity | None = None,
) -> RunSpec:
    """What identifies the run: paths in options are left out, they say where and not what."""
    known = known or identity_of(model, options)
    return RunSpec(
        model=model.card.id,
        model_version=model.card.version,
        kind=model.card.kind,
        options=known.options,
        fit=fit,
        set_name=records.name,
        role=records.role,
        manifest_hash=records.manifest_hash,
        input=settings.input,
        track="known" if settings.camera_known else "unknown",
        loaded=known.loaded,
    )


def identity_of(model: Model, options: Any) -> Identity:  # noqa: ANN401 - the model's options_type
    """What the model itself says identifies its options, else the options without paths."""
    if model.identify is not None:
        return model.identify(options)
    named = {field.name: getattr(options, field.name) for field in fields(options) if field.name != "fit_on"}
    return Identity({name: value.name if isinstance(value, Path) else value for name, value in named.items()})


def evaluate(
    model: Model,
    options: object,
    train: Sequence[RecordSet],
    records: RecordSet,
    settings: RunSettings,
    protocol: Protocol,
    out: Path,
    progress: Progress,
    *,
    limit: int | None = None,
    where: str | None = None,
) -> Evaluation:
    """Predict and score one set; `out` holds runs/ and results/.

    Args:
        train: training sets for fitted models.
        limit: predict at most this many images; the result is partial.
        where: predict and score only records of this selection; none of them is no result.
    """
    check_settings(model.card, settings)
    fitted, fit = with_fit(model, options, train)
    known = identity_of(model, fitted)
    store = RunStore(out / "runs", run_spec(model, fitted, fit, records, settings, known))
    wanted = [row["id"] for row in wanted_rows(records, where)][:limit]
    settings = replace(settings, lists=asked_lists(model, settings))
    with only_one(store.folder, "another process predicts this run"):
        of_model = {"loaded": known.loaded, "machine": known.machine} if known.loaded else {}
        store.open({"settings": asdict(settings), **of_model, **collect()})
        predicted = predict(model, fitted, records, set(wanted), settings, store, progress)
    results, paths = score_and_write(store, model, records, protocol, out, where)
    resumed = len(wanted) - predicted
    maps = kept_of(store.folder, wanted) if settings.keep_maps else None
    measured = _measured(store, set(wanted)) if settings.extra_metrics else None
    done = (store.spec.label, records, store.folder, predicted, resumed, results, paths)
    return Evaluation(*done, maps, measured)


def _measured(store: RunStore, wanted: set[str]) -> int:
    """How many of the wanted images have extra metrics, be they undefined (NaN)."""
    dense = store.dense().select(["id", *STRUCTURE_METRICS]).to_pylist()
    return sum(row["id"] in wanted and None not in row.values() for row in dense)


def asked_lists(model: Model, settings: RunSettings) -> tuple[str, ...]:
    """A dense map answers every list; a published list is asked too, in the only picture it has pixels in."""
    lists = POINT_LISTS if model.card.kind == "dense" else (*settings.lists, "listed")
    return tuple(name for name in lists if name != "listed" or settings.input == "canonical")


def score_and_write(
    store: RunStore, model: Model, records: RecordSet, protocol: Protocol, out: Path, where: str | None
) -> tuple[tuple[Result, ...], tuple[Path, ...]]:
    """Score a run in each mode that it has something for, and write the results.

    Raises:
        CheckError: the set was converted again and is no longer the one that was predicted.
    """
    if store.spec.manifest_hash != records.manifest_hash:
        raise CheckError(
            "the run was made on another version of the set",
            where=store.folder,
            why=f"manifest {store.spec.manifest_hash[:12]}, the set is now {records.manifest_hash[:12]}",
            next_step="dvbench eval predicts the new one",
        )
    scored = [score_run(store, model.card, records, protocol, mode, where) for mode in MODES]
    kept = [item for item in scored if item is not None]
    paths = tuple(write_result(out / "results", item.result, item.per_image) for item in kept)
    return tuple(item.result for item in kept), paths
