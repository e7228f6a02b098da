"""One scorer for all: predictions and a set's points to a result, under a protocol."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from depthvlm_bench.cards import is_benchmark
from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict.contracts import ModelCard
from depthvlm_bench.predict.store import RunStore
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.records.where import parse_where
from depthvlm_bench.results.provenance import collect
from depthvlm_bench.results.schema import PER_IMAGE_SCHEMA, Mode, Result, Score
from depthvlm_bench.results.schema import Counts as Totals
from depthvlm_bench.scoring.aligned import ALIGNED_METRICS
from depthvlm_bench.scoring.bulk import counts_of_images
from depthvlm_bench.scoring.metrics import DELTA1_RATIO, Counts, compat_counts, unsigned_counts
from depthvlm_bench.scoring.protocol import Protocol
from depthvlm_bench.scoring.statistics import (
    RATIOS,
    ImageStatistics,
    from_columns,
    image_statistics,
    mean_over_images,
    per_image_metrics,
    pooled_metrics,
)
from depthvlm_bench.scoring.structure import STRUCTURE_METRICS, over_planes
from depthvlm_bench.scoring.text import depthlm_values
from depthvlm_bench.scoring.uncertainty import Units, as_units, benchmark_interval

DIAGNOSTIC_READOUT = "bilinear"
TEXT = "depthlm_text"
WITHOUT_A_NUMBER = ("absent", "unparsed", "refused", "truncated", "api_error")
COMPAT_COUNTS = {"drop": compat_counts, "unsigned": unsigned_counts}
METRIC = "delta1"
POINT_COLUMNS = ("id", "scene", "camera", "tags", "points", "compat_gt_m")


@dataclass(frozen=True)
class Scored:
    """A result and its per-image rows."""

    result: Result
    per_image: pa.Table


def wanted_rows(records: RecordSet, where: str | None) -> list[dict[str, Any]]:
    """The set's records that a selection asks for, without pixels; may be empty."""
    selects = parse_where(where)
    rows: list[dict[str, Any]] = records.points(list(POINT_COLUMNS)).to_pylist()
    return [row for row in rows if selects(row["tags"])]


def score_sparse(
    rows: list[dict[str, Any]], predictions: pa.Table, protocol: Protocol, readout: str | None = None
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Per-image counts on the asked points; an image without any prediction row is left out as missing.

    Args:
        rows: records with `points`.
        predictions: rows of PREDICTION_SCHEMA.
        protocol: names the read-out and the ratio.
        readout: another read-out than the protocol's, as a diagnostic.

    Returns:
        per-image rows, and answers by outcome. A point without a prediction row counts as a miss, `absent`.
    """
    by_record = point_values(predictions, protocol, readout)
    predicted = [row for row in rows if row["id"] in by_record]
    outcomes: Counter[str] = Counter()
    truths_m, values_m = [], []
    for row in predicted:
        answers, truth_m = by_record[row["id"]], point_truth_m(row, protocol)
        given = [answers.get(index, (None, "absent")) for index in range(len(truth_m))]
        outcomes.update(outcome for _, outcome in given)
        truths_m.append(truth_m)
        values_m.append([np.nan if value is None else value for value, _ in given])
    counts = count_images(values_m, truths_m, protocol)
    scored = [_image_row(row, counted, protocol) for row, counted in zip(predicted, counts, strict=True)]
    return scored, dict(sorted(outcomes.items()))


def point_values(
    predictions: pa.Table, protocol: Protocol, readout: str | None = None
) -> dict[str, dict[int, tuple[float | None, str]]]:
    """record -> point index -> (value of the protocol's read-out or of another, outcome)."""
    wanted = predictions.filter(pc.equal(predictions["list"], protocol.points))
    which = readout or protocol.readout
    known = {name: wanted[name].to_pylist() for name in ("id", "point_index", "outcome")}
    read = (
        depthlm_values(wanted["raw_text"].to_pylist()) if which == TEXT else wanted[f"{which}_m"].to_pylist()
    )
    found: dict[str, dict[int, tuple[float | None, str]]] = {}
    for record, index, outcome, value in zip(*known.values(), read, strict=True):
        found.setdefault(record, {})[index] = (value, outcome)
    return found


def point_truth_m(row: dict[str, Any], protocol: Protocol) -> list[float]:
    """The depths that a record's points are compared with."""
    if protocol.truth == "compat_gt_m":
        return list(row["compat_gt_m"])
    return [point["depth_m"] for point in row["points"]]


def count_images(
    predictions_m: Sequence[Sequence[float]], truths_m: Sequence[Sequence[float]], protocol: Protocol
) -> list[Counts]:
    """Counts of images, a sequence of points each, by the protocol's rule for what is no answer."""
    if protocol.missing == "miss":
        asked = [len(image) for image in truths_m]
        return counts_of_images(_in_a_row(predictions_m), _in_a_row(truths_m), asked, protocol.ratio)
    rule = COMPAT_COUNTS[protocol.missing]
    return [rule(p, g, protocol.ratio) for p, g in zip(predictions_m, truths_m, strict=True)]


def _in_a_row(images: Sequence[Sequence[float]]) -> FloatArray:
    return np.array([value for image in images for value in image], dtype=np.float64)


def score_dense(rows: list[dict[str, Any]], dense: pa.Table, protocol: Protocol) -> list[dict[str, Any]]:
    """Per-image counts over the whole depth, from the sums kept while predicting."""
    if protocol.ratio != DELTA1_RATIO:
        why = f"{protocol.name} asks {protocol.ratio}"
        raise UsageError(f"dense sums were kept for a ratio of {DELTA1_RATIO}", why=why)
    counts_of = DENSE_COUNTS[protocol.dense]
    counted = {row["id"]: counts for row in dense.to_pylist() if (counts := counts_of(row)) is not None}
    return [_image_row(row, counted[row["id"]], protocol) for row in rows if row["id"] in counted]


def _grid_counts(row: dict[str, Any]) -> Counts | None:
    """Counts on the depth's own grid; None where it has no valid depth."""
    return (
        Counts(row["asked"], row["answered"], row["within"][RATIOS.index(DELTA1_RATIO)])
        if row["asked"]
        else None
    )


def _canonical_counts(row: dict[str, Any]) -> Counts | None:
    """Counts on the canonical picture, of listed sets; None elsewhere. Without truth the paper scores 0."""
    names = ("compat_asked", "compat_answered", "compat_within_1_25")
    return Counts(*(row[name] for name in names)) if row["compat_asked"] is not None else None


DENSE_COUNTS = {"grid": _grid_counts, "canonical": _canonical_counts}


def other_metrics(
    rows: list[dict[str, Any]], store: RunStore, protocol: Protocol, mode: Mode, *, answers_ray: bool = False
) -> dict[str, float | None]:
    """Every other metric of a run: means over images, and shares over all points by distance and flag.

    Protocols that take non-answers otherwise have none: their denominators would not be those of the others.
    """
    if protocol.missing != "miss":
        return {}
    if mode == "dense":
        wanted = {row["id"] for row in rows}
        found = [row for row in store.dense().to_pylist() if row["id"] in wanted and row["asked"]]
        statistics = {
            row["id"]: from_columns(row | {"median_log": _number(row["median_log"])}) for row in found
        }
        names = (*ALIGNED_METRICS, *_measured(found))
        extra = {name: [_number(row[name]) for row in found] for name in names}
        planes = over_planes(_rows_of(extra)) if "pe_planes" in extra else {}
    else:
        values = point_values(store.predictions(), protocol)
        statistics = {
            row["id"]: _point_statistics(row, values[row["id"]], answers_ray=answers_ray)
            for row in rows
            if row["id"] in values
        }
        extra, planes = {}, {}
    if not statistics:
        return {}
    ids = list(statistics)
    per_image = [per_image_metrics(item) for item in statistics.values()]
    columns = {name: [image[name] for image in per_image] for name in per_image[0] if name != METRIC} | extra
    means = {name: mean_over_images(column, ids) for name, column in columns.items()}
    figures = means | pooled_metrics(list(statistics.values())) | planes
    return {name: value if math.isfinite(value) else None for name, value in sorted(figures.items())}


def _rows_of(columns: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _measured(dense: list[dict[str, Any]]) -> list[str]:
    """Structure metrics that were computed of every image; one of some of them would be of another set."""
    return [name for name in STRUCTURE_METRICS if all(row[name] is not None for row in dense)]


def _point_statistics(
    row: dict[str, Any], given: dict[int, tuple[float | None, str]], *, answers_ray: bool
) -> ImageStatistics:
    points = row["points"]
    values = [_number(given.get(index, (None, ""))[0]) for index in range(len(points))]
    factors = [_number(point["ray_factor"]) for point in points]
    truth_m, flags = [point["depth_m"] for point in points], [point["flags"] for point in points]
    return image_statistics(values, truth_m, ray_factor=factors, flags=flags, answers_ray=answers_ray)


def lens_errors(images: list[dict[str, Any]], predictions: pa.Table) -> dict[str, float]:
    """How wrong a model's horizontal field of view is, degrees: mean of |error|, and of the error.

    Nothing where the model estimates none, or estimates one of only some of the images.
    """
    rows = zip(*(predictions[name].to_pylist() for name in ("id", "fov_deg", "true_fov_deg")), strict=True)
    apart = {record: fov - true for record, fov, true in rows if fov is not None}
    ids = [row["id"] for row in images]
    if not all(record in apart for record in ids):
        return {}
    errors = [apart[record] for record in ids]
    size = mean_over_images([abs(error) for error in errors], ids)
    return {"fov_error_deg": size, "fov_bias_deg": mean_over_images(errors, ids)}


def parse_rate(outcomes: Mapping[str, int]) -> float:
    """Share of the asked points whose answer gave a number, whether it can be a depth or not."""
    return 1 - sum(outcomes.get(name, 0) for name in WITHOUT_A_NUMBER) / sum(outcomes.values())


def delta1_by_tag(images: list[dict[str, Any]]) -> dict[str, float]:
    """delta1_<tag>_<value>: the mean over the images with a value, for tags that differ within the set."""
    means: dict[str, float] = {}
    for tag in images[0]["tags"]:
        values = {row["tags"][tag] for row in images}
        for value in sorted(values - {None}, key=str) if len(values) > 1 else ():
            chosen = [row for row in images if row["tags"][tag] == value]
            scores, ids = [row["score"] for row in chosen], [row["id"] for row in chosen]
            means[f"{METRIC}_{tag}_{str(value).lower()}"] = mean_over_images(scores, ids)
    return means


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def score_run(
    store: RunStore,
    card: ModelCard,
    records: RecordSet,
    protocol: Protocol,
    mode: Mode,
    where: str | None = None,
) -> Scored | None:
    """Score one run under a protocol; None where there is nothing of this mode to score.

    Raises:
        UsageError: the protocol does not take this set.
    """
    info = records.info
    why = protocol.refuses(info["set_kind"], dataset_of(info), info.get("options", {}))
    if why:
        raise UsageError(f"{protocol.name} does not score this set", where=records.name, why=why)
    rows = wanted_rows(records, where)
    outcomes: dict[str, int] = {}
    diagnostics: dict[str, float] = {}
    if mode == "sparse":
        predictions = store.predictions()
        images, outcomes = score_sparse(rows, predictions, protocol)
        diagnostics = _other_readout(rows, predictions, protocol)
    elif protocol.dense == "none":
        return None
    else:
        images = score_dense(rows, store.dense(), protocol)
    if not images:
        return None
    asked_how_far = card.asks == "distance"
    metrics = other_metrics(rows, store, protocol, mode, answers_ray=asked_how_far) | delta1_by_tag(images)
    if mode == "sparse":
        metrics |= lens_errors(images, store.predictions())
    if card.kind == "point":
        metrics["parse_rate"] = parse_rate(outcomes)
    scored = _Images(images, len(rows) - len(images), outcomes, diagnostics, metrics)
    return Scored(
        _result(store, card, records, protocol, mode, where, scored),
        pa.Table.from_pylist(images, PER_IMAGE_SCHEMA),
    )


@dataclass(frozen=True)
class _Images:
    """Per-image rows, and what was found on the way."""

    rows: list[dict[str, Any]]
    missing: int
    outcomes: dict[str, int]
    diagnostics: dict[str, float]
    metrics: dict[str, float | None]


def _shares(images: list[dict[str, Any]]) -> FloatArray:
    return np.array([row["score"] for row in images])


def _other_readout(rows: list[dict[str, Any]], predictions: pa.Table, protocol: Protocol) -> dict[str, float]:
    """delta1 by the diagnostic read-out; nothing where texts are read."""
    if protocol.readout == TEXT:
        return {}
    other, _ = score_sparse(rows, predictions, protocol, DIAGNOSTIC_READOUT)
    return {f"delta1_{DIAGNOSTIC_READOUT}": float(_shares(other).mean())} if other else {}


def _units(rows: list[dict[str, Any]], protocol: Protocol) -> Units:
    """What is averaged and drawn: images by their share, or by their hits where points weigh alike."""
    scenes = [row["scene"] for row in rows] if protocol.bootstrap.unit == "scene" else None
    if protocol.aggregation[0] == "point":
        hits, asked = ([row[name] for row in rows] for name in ("hits", "asked"))
        return as_units(hits, scenes, asked)
    return as_units(_shares(rows), scenes)


def _image_row(row: dict[str, Any], counts: Counts, protocol: Protocol) -> dict[str, Any]:
    """An image's counts and its score: hits over what was asked, or over what was not dropped (else 0)."""
    named = {name: row[name] for name in ("id", "scene", "camera", "tags")}
    denominator = counts.answered if protocol.missing == "drop" else counts.asked
    return named | asdict(counts) | {"score": counts.hits / denominator if denominator else 0.0}


def _result(
    store: RunStore,
    card: ModelCard,
    records: RecordSet,
    protocol: Protocol,
    mode: Mode,
    where: str | None,
    images: _Images,
) -> Result:
    spec, info, missing = store.spec, records.info, images.missing
    units = _units(images.rows, protocol)
    low, high = benchmark_interval([units], protocol.bootstrap)
    totals = {name: sum(row[name] for row in images.rows) for name in ("asked", "answered", "hits")}
    dataset = dataset_of(info)
    return Result(
        model=spec.model,
        kind=spec.kind,
        options=spec.options,
        fit=spec.fit,
        set_name=records.name,
        dataset=dataset,
        set_kind=info["set_kind"],
        source_split=info["source_split"],
        manifest_hash=records.manifest_hash,
        images_of_the_full_set=info["images_of_the_full_set"],
        protocol=protocol.name,
        protocol_hash=protocol.hash,
        mode=mode,
        input=spec.input,
        track=spec.track,
        where=where,
        ranked=not missing
        and info["set_kind"] in protocol.ranked_kinds
        and is_benchmark(dataset)
        and not card.for_tests,
        complete=not missing,
        exposure=exposure(card, spec.fit, dataset),
        for_tests=card.for_tests,
        scores={"delta1": Score(units.mean, low, high)},
        metrics=images.metrics,
        diagnostics=images.diagnostics,
        counts=Totals(images=len(images.rows), images_missing=missing, outcomes=images.outcomes, **totals),
        run=spec.hash,
        prompt_hash=spec.loaded.get("prompt_hash"),
        provenance=collect() | {"run": store.provenance},
    )


def dataset_of(info: Mapping[str, Any]) -> str:
    """The dataset of a set, from its entry in dataset.json."""
    return str(info["converter"]).split("/")[0]


def exposure(card: ModelCard, fit: dict[str, str], dataset: str) -> str:
    """Whether the model saw the dataset in training: by its card, or because it was fitted on it."""
    if card.fitted:
        return "yes" if any(name.split("@")[0] == dataset for name in fit) else "no"
    return card.trained_on.get(dataset, "no" if card.family == "naive" else "unknown")
