"""The runner: shows a model a set's records, reads its answers at the points, keeps them as they come."""

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np

from depthvlm_bench.conventions import BoolArray, FloatArray
from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.frames import Depth, DepthGrid, scorable
from depthvlm_bench.geometry.camera import estimated_camera, inside
from depthvlm_bench.predict.contracts import (
    DenseMap,
    DensePredictor,
    Model,
    ModelCard,
    Outcome,
    PointAnswer,
    PointPredictor,
    Predictor,
    View,
)
from depthvlm_bench.predict.keep import declare_maps, keep_map
from depthvlm_bench.predict.memory import Portions
from depthvlm_bench.predict.readout import SeenMap, read_nearest, to_view
from depthvlm_bench.predict.store import RunStore
from depthvlm_bench.progress import Progress
from depthvlm_bench.records.codec import compat_depth_m, record_grid, source_camera
from depthvlm_bench.records.marks import marks_of
from depthvlm_bench.records.reader import (
    VIEW_COLUMNS,
    InputMode,
    RecordSet,
    SourceView,
    depth_of,
    view_of,
)
from depthvlm_bench.scoring.aligned import aligned_metrics
from depthvlm_bench.scoring.metrics import DELTA1_RATIO, compat_counts
from depthvlm_bench.scoring.statistics import image_statistics, to_columns
from depthvlm_bench.scoring.structure import structure_metrics, unmeasured

# Point lists, and the record's column that holds them; `listed` are canonical pixels of a published list.
LIST_COLUMNS = {"points": "points", "points_balanced": "points_balanced", "listed": "compat_xy"}
POINT_LISTS = tuple(LIST_COLUMNS)
PART_IMAGES = 64
PART_SECONDS = 60.0
DEPTH_COLUMNS = (
    *("depth", "depth_scale", "depth_affine", "depth_points", "depth_uv_step"),
    *("valid_min", "valid_max", "extra"),
)

Row = Mapping[str, Any]
_Answered = tuple[list[dict[str, Any]], list[dict[str, Any]]]
Keep = Callable[[str, DenseMap], None]


@dataclass(frozen=True)
class RunSettings:
    """How a model is asked.

    Attributes:
        input: which picture it is shown.
        camera_known: whether it is given K.
        lists: which point lists it answers.
        batch: pictures at once; None: the card's.
        keep_maps: store each dense map beside the run.
        extra_metrics: compute STRUCTURE_METRICS of dense maps on depth grids.
    """

    input: InputMode = "canonical"
    camera_known: bool = True
    lists: tuple[str, ...] = ("points",)
    batch: int | None = None
    keep_maps: bool = False
    extra_metrics: bool = False


def check_settings(card: ModelCard, settings: RunSettings) -> None:
    """Refuse combinations that would not mean what they say (UsageError)."""
    if not settings.camera_known and settings.input != "native":
        raise UsageError(
            "camera track `unknown` goes with --input native",
            why="a picture brought to a given focal length tells that focal length",
        )
    if card.kind != "dense" and (settings.keep_maps or settings.extra_metrics):
        flag = "--keep-maps" if settings.keep_maps else "--extra-metrics"
        raise UsageError(f"{flag} needs a dense model", why=f"{card.id} answers points and gives no map")
    if settings.input == "preferred" and card.preferred_focal_px is None:
        raise UsageError(f"{card.id} declares no preferred focal length", next_step="use --input canonical")


def predict(
    model: Model,
    options: object,
    records: RecordSet,
    wanted: set[str],
    settings: RunSettings,
    store: RunStore,
    progress: Progress,
) -> int:
    """Predict the wanted records that the store does not hold yet; the model is loaded only if there are any.

    Returns:
        how many records were predicted now.
    """
    missing = missing_lists(records, wanted, settings.lists, store)
    if not missing:
        return 0
    predictor = model.build()
    predictor.load(options)
    batch_size = settings.batch or model.card.max_batch
    portions = Portions(batch_size, progress.note)
    keep = _keeper(store) if settings.keep_maps else None

    def answer(rows: Sequence[Row]) -> _Answered:
        return _answer(predictor, model.card, rows, missing, settings, keep)

    with progress.stage(f"{store.spec.label} on {records.name}", len(missing), "image") as advance:
        part, predicted = _Part(store), 0
        try:
            for rows in _batches(records, missing, batch_size):
                for number, answered in portions.each(rows, answer, lambda row: str(row["id"])):
                    part.add(*answered)
                    predicted += number
                    advance(number)
        finally:
            part.flush()
    if predicted != len(missing):
        raise CheckError(
            f"{len(missing) - predicted} records of the set's list are not in its shards",
            where=records.folder,
            next_step="dvbench verify names what is damaged",
        )
    return predicted


def _keeper(store: RunStore) -> Keep:
    declare_maps(store.folder, store.spec)
    return partial(keep_map, store.folder)


def missing_lists(
    records: RecordSet, wanted: Collection[str], lists: Sequence[str], store: RunStore
) -> dict[str, list[str]]:
    """Which lists of which wanted records have no prediction yet; a list that a record lacks is not asked."""
    done = store.done()
    missing: dict[str, list[str]] = {}
    for row in records.points(["id", *(LIST_COLUMNS[name] for name in lists)]).to_pylist():
        names = [name for name in lists if row[LIST_COLUMNS[name]] and row["id"] not in done.get(name, ())]
        if row["id"] in wanted and names:
            missing[row["id"]] = names
    return missing


class _Part:
    """Answers that wait to be written; a part is closed by size or by time, whichever is first."""

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.predictions: list[dict[str, Any]] = []
        self.dense: list[dict[str, Any]] = []
        self.images, self.since = 0, time.monotonic()

    def add(self, predictions: list[dict[str, Any]], dense: list[dict[str, Any]]) -> None:
        self.predictions += predictions
        self.dense += dense
        self.images += len({row["id"] for row in predictions})
        if self.images >= PART_IMAGES or time.monotonic() - self.since >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self.predictions:
            self.store.append(self.predictions, self.dense)
        self.predictions, self.dense, self.images, self.since = [], [], 0, time.monotonic()


def _batches(records: RecordSet, missing: Mapping[str, Sequence[str]], size: int) -> Iterator[list[Row]]:
    columns = (*VIEW_COLUMNS, *LIST_COLUMNS.values(), *DEPTH_COLUMNS)
    batch: list[Row] = []
    for row in records.rows(columns):
        if row["id"] in missing:
            batch.append(row)
            if len(batch) == size:
                yield batch
                batch = []
    if batch:
        yield batch


def _answer(
    predictor: Predictor,
    card: ModelCard,
    rows: Sequence[Row],
    lists: Mapping[str, Sequence[str]],
    settings: RunSettings,
    keep: Keep | None,
) -> _Answered:
    shown = [view_of(row, settings.input, card.preferred_focal_px) for row in rows]
    views = [_view(row, source_view, card, settings) for row, source_view in zip(rows, shown, strict=True)]
    predictions: list[dict[str, Any]] = []
    dense: list[dict[str, Any]] = []
    if card.kind == "point":
        for row, source_view, view in zip(rows, shown, views, strict=True):
            predictions += _ask(cast(PointPredictor, predictor), row, source_view, view, lists[row["id"]])
        return predictions, dense
    maps = cast(DensePredictor, predictor).predict(views)
    if len(maps) != len(views):
        raise CheckError(f"{card.id} returned {len(maps)} maps for {len(views)} pictures")
    for row, source_view, dense_map in zip(rows, shown, maps, strict=True):
        view_map = SeenMap(dense_map, *source_view.picture.size)
        if keep is not None:
            keep(row["id"], dense_map)
        for name in lists[row["id"]]:
            predictions += _read_map(row, source_view, view_map, dense_map, name)
        if row["depth"] is not None or row["depth_points"] is not None:
            sums = _dense_sums(row, source_view, view_map, structure=settings.extra_metrics)
            dense.append(sums | _compat_counts(row, dense_map, settings))
    return predictions, dense


def _view(row: Row, shown: SourceView, card: ModelCard, settings: RunSettings) -> View:
    if card.camera in ("ignored", "unsupported"):
        return View(row["id"], shown.picture, None)
    if settings.camera_known:
        return View(row["id"], shown.picture, shown.camera)
    guess = estimated_camera(*shown.picture.size) if card.camera == "required" else None
    return View(row["id"], shown.picture, guess)


def _view_points(row: Row, shown: SourceView, name: str) -> FloatArray:
    """Asked points (N, 2) in the view's pixels; those of a published list are canonical pixels already."""
    points = row[LIST_COLUMNS[name]] or []
    if name == "listed":
        return np.array([[point["x"], point["y"]] for point in points], dtype=np.float64).reshape(-1, 2)
    u, v = shown.view_from_source.apply([p["u_src"] for p in points], [p["v_src"] for p in points])
    return np.stack([u, v], axis=1)


def _read_map(
    row: Row, shown: SourceView, view_map: SeenMap, dense_map: DenseMap, name: str
) -> list[dict[str, Any]]:
    u, v = _view_points(row, shown, name).T
    nearest, bilinear = view_map.nearest(u, v), view_map.bilinear(u, v)
    # The paper's code indexes the model's own grid with canonical pixels, whatever the grid's size.
    as_is = read_nearest(np.asarray(dense_map.depth_m, np.float32), u, v) if name == "listed" else None
    in_map = inside(u, v, *shown.picture.size)
    return [
        {
            "id": row["id"],
            "list": name,
            "point_index": index,
            "nearest_m": _value(nearest[index]),
            "bilinear_m": _value(bilinear[index]),
            "compat_index_m": None if as_is is None else _value(as_is[index]),
            "in_map": bool(in_map[index]),
            "outcome": _outcome(nearest[index]),
            "raw_text": dense_map.text,
            "fov_deg": dense_map.fov_deg,
            "true_fov_deg": None if dense_map.fov_deg is None else shown.camera.fov_deg,
        }
        for index in range(len(u))
    ]


def _ask(
    predictor: PointPredictor, row: Row, shown: SourceView, view: View, lists: Sequence[str]
) -> list[dict[str, Any]]:
    rows = []
    for name in lists:
        points = _view_points(row, shown, name)
        answers = predictor.ask(view, points)
        if len(answers) != len(points):
            raise CheckError(f"{len(answers)} answers to {len(points)} points", where=row["id"])
        rows += [_answer_row(row["id"], name, index, answer) for index, answer in enumerate(answers)]
    return rows


def _answer_row(record: str, name: str, index: int, answer: PointAnswer) -> dict[str, Any]:
    """A point answer has one value, whatever the read-out."""
    value = _value(answer.value_m if answer.value_m is not None else np.nan)
    usage = json.dumps(answer.usage, sort_keys=True) if answer.usage is not None else None
    outcome = answer.outcome
    if outcome == "ok":
        outcome = "unparsed" if answer.value_m is None else _outcome(answer.value_m)
    values = {"nearest_m": value, "bilinear_m": value, "compat_index_m": value}
    said = {"outcome": outcome, "raw_text": answer.raw_text, "usage": usage}
    return {"id": record, "list": name, "point_index": index, **values, "in_map": True, **said}


def _value(value: float) -> float | None:
    """Parquet's null for NaN; infinities are kept, they say what went wrong."""
    return None if np.isnan(value) else float(value)


def _outcome(value: float) -> Outcome:
    if not np.isfinite(value):
        return "nonfinite"
    return "ok" if value > 0 else "nonpositive"


def _dense_sums(row: Row, shown: SourceView, view_map: SeenMap, *, structure: bool) -> dict[str, Any]:
    """Sums over every valid depth of the record, compared where the truth lies: the map is read there."""
    depth = depth_of(row)
    u, v = shown.view_from_source.apply(*depth.source_pixels())
    asked = scorable(depth, row["valid_min"], row["valid_max"]) & inside(u, v, *shown.picture.size)
    prediction_m, truth_m = view_map.nearest(u[asked], v[asked]), depth.depth_m[asked]
    sums = to_columns(image_statistics(prediction_m, truth_m, flags=depth.flags[asked]))
    found = {"id": row["id"]} | sums | aligned_metrics(prediction_m, truth_m)
    return found | (_structure(row, depth, asked, view_map.nearest(u, v)) if structure else {})


def _structure(row: Row, depth: Depth, asked: BoolArray, prediction_m: FloatArray) -> dict[str, float]:
    """Structure of the map on the record's grid; `asked` and `prediction_m` are (h*w,), at its points."""
    if not isinstance(depth, DepthGrid):
        return unmeasured()
    shape = depth.values.shape
    truth_m = np.where(asked, depth.depth_m, np.nan).reshape(shape)
    rays = source_camera(row).rays(*depth.source_pixels()).reshape(*shape, 3)
    range_m, marks = (row["valid_min"], row["valid_max"]), marks_of(row["extra"], row["id"])
    return structure_metrics(prediction_m.reshape(shape), truth_m, rays, range_m, marks)


def _compat_counts(row: Row, dense_map: DenseMap, settings: RunSettings) -> dict[str, Any]:
    """Dense counts of a listed record as the paper's code has them, on the canonical picture."""
    if not row["compat_xy"] or settings.input != "canonical":
        return {}
    depth = depth_of(row)
    if not isinstance(depth, DepthGrid):
        return {}
    grid = record_grid(row)
    truth_m = compat_depth_m(depth, grid, row["valid_min"], row["valid_max"])
    prediction_m = to_view(DenseMap(dense_map.depth_m), grid.width, grid.height)
    counts = compat_counts(prediction_m.ravel(), truth_m.ravel(), DELTA1_RATIO)
    asked = int((truth_m > 0).sum())
    return {
        "compat_asked": asked,
        "compat_answered": counts.answered,
        "compat_within_1_25": counts.hits,
    }
