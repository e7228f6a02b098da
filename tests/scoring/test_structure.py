import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from converted import TinyImage, ramp_depth, write_tiny_set
from predictors import dense_model, map_model, true_maps

from depthvlm_bench.frames import NoOptions
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.predict.store import read_run
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.marks import SurfaceMarks
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.scoring import structure
from depthvlm_bench.scoring.clouds import cloud_distances, f_auc, f_score
from depthvlm_bench.scoring.edges import (
    boundary_scores,
    depth_boundary_errors,
    planarity_errors,
    predicted_edges,
)
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.protocol import load_protocol
from depthvlm_bench.scoring.structure import (
    EDGE_METRICS,
    GRID_METRICS,
    PLANE_METRICS,
    STRUCTURE_METRICS,
    over_planes,
    structure_metrics,
)

EXTRA = RunSettings(extra_metrics=True)
RANGE_M = (0.01, 25.0)


def rays(height, width):
    v, u = np.mgrid[:height, :width]
    camera = PinholeCamera(width, height, 500.0, 500.0, (width - 1) / 2, (height - 1) / 2)
    return camera.rays(u.ravel(), v.ravel()).reshape(height, width, 3)


def two_walls(height=24, width=32):
    """A near wall before a far one: one boundary, down the middle."""
    return np.where(np.arange(width) < width // 2, 1.0, 3.0) * np.ones((height, 1))


@pytest.fixture
def run(tmp_path):
    def run(model, records, settings=EXTRA, out="out", **known):
        protocol = load_protocol("dvbench-1")
        arguments = (model, NoOptions(), (), records, settings, protocol, tmp_path / out, Silent())
        return evaluate(*arguments, **known)

    return run


@pytest.fixture
def walls(tmp_path):
    return write_tiny_set(tmp_path / "data", [TinyImage(name, two_walls(12, 16)) for name in "ab"])


def on_grid(values):
    """Those of them that need no marks."""
    return {name: values[name] for name in GRID_METRICS}


def dense_metrics(done):
    return done.results[1].metrics


def stored(done):
    return [[row[name] for name in STRUCTURE_METRICS] for row in read_run(done.run).dense().to_pylist()]


def test_they_are_those_of_clouds_and_edges(monkeypatch):
    truth = two_walls()
    noise = np.random.default_rng(0).normal(0, 0.05, truth.shape)
    prediction, along = truth * np.exp(noise), rays(*truth.shape)
    monkeypatch.setattr(structure, "CLOUD_POINTS", 100)
    distances = cloud_distances(prediction, truth, along, limit=100)
    assert len(distances.to_truth_m) <= 100
    assert on_grid(structure_metrics(prediction, truth, along, RANGE_M)) == {
        "f_score": f_score(distances),
        "f_auc": f_auc(distances, *RANGE_M),
        "boundary_f1": boundary_scores(prediction, truth).f1,
    }


def test_truth_has_all_of_them_and_a_flat_map_has_no_boundary():
    truth = two_walls()
    assert set(on_grid(structure_metrics(truth, truth, rays(*truth.shape), RANGE_M)).values()) == {1.0}
    flat = structure_metrics(np.ones_like(truth), truth, rays(*truth.shape), RANGE_M)
    assert flat["boundary_f1"] == 0
    assert 0 < flat["f_score"] < 1


def test_a_grid_with_few_valid_pixels_has_none():
    truth = two_walls()
    for every, known in ((4, True), (5, False)):
        sparse = np.where(np.arange(truth.size).reshape(truth.shape) % every == 0, truth, np.nan)
        found = structure_metrics(truth, sparse, rays(*truth.shape), RANGE_M)
        assert math.isfinite(found["f_score"]) == known
    assert all(math.isnan(value) for value in found.values())


def test_a_range_without_radii_has_no_auc():
    truth = two_walls()
    found = structure_metrics(truth, truth, rays(*truth.shape), (1.0, 20.0))
    assert math.isnan(found["f_auc"])
    assert found["f_score"] == found["boundary_f1"] == 1


def test_a_run_has_them_on_the_grid_of_its_truth(run, walls):
    """The prediction is read at the grid's points, whatever the size and resize of map and view."""
    honest = run(map_model(true_maps(walls)), walls)
    assert honest.measured == 2
    assert on_grid(dense_metrics(honest)) == dict.fromkeys(GRID_METRICS, 1.0)
    moved = map_model(true_maps(walls), lambda depth_m: depth_m * 2, name="twice")
    found = dense_metrics(run(moved, walls))
    assert found["f_score"] == 0
    assert 0 < found["f_auc"] < 1
    assert found["boundary_f1"] == 1


@pytest.mark.parametrize("settings", [EXTRA, RunSettings(input="native", extra_metrics=True)])
def test_converted_grids_are_read_where_they_lie(run, ibims1_set, settings):
    records = RecordSet(ibims1_set.folder, "eval")
    found = dense_metrics(run(map_model(true_maps(records)), records, settings))
    assert found["f_score"] == found["f_auc"] == 1
    assert found["boundary_f1"] in (1, None)


def test_lidar_records_have_none_and_count_as_measured(run, nuscenes_set):
    records = RecordSet(nuscenes_set.folder, "eval")
    done = run(dense_model(lambda view: [[5.0]]), records)
    assert all(math.isnan(value) for row in stored(done) for value in row)
    assert done.measured == len(stored(done)) > 0
    assert [dense_metrics(done)[name] for name in STRUCTURE_METRICS] == [None] * len(STRUCTURE_METRICS)


def test_they_change_no_other_figure_and_are_only_there_when_asked_for(run, walls):
    plain = run(dense_model(lambda view: [[2.0]]), walls, RunSettings(), out="plain")
    extra = run(dense_model(lambda view: [[2.0]]), walls)
    assert plain.run.name == extra.run.name
    assert plain.measured is None
    assert not set(STRUCTURE_METRICS) & set(dense_metrics(plain))
    rest = {name: value for name, value in dense_metrics(extra).items() if name not in STRUCTURE_METRICS}
    assert rest == dense_metrics(plain)
    assert [r.scores for r in plain.results] == [r.scores for r in extra.results]


def test_a_mean_over_some_of_the_images_is_not_given(run, walls):
    run(dense_model(lambda view: [[2.0]]), walls, RunSettings(), limit=1)
    done = run(dense_model(lambda view: [[2.0]]), walls)
    assert (done.predicted, done.measured) == (1, 1)
    assert not set(STRUCTURE_METRICS) & set(dense_metrics(done))


def test_runs_of_before_are_read(run, tmp_path):
    records = write_tiny_set(tmp_path / "data", [TinyImage("a", ramp_depth())])
    model = dense_model(lambda view: [[2.0]])
    done = run(model, records)
    (part,) = done.run.glob("dense-*.parquet")
    pq.write_table(pq.read_table(part).drop_columns(list(STRUCTURE_METRICS)), part)
    again = run(model, records)
    assert (again.predicted, again.measured) == (0, 0)
    assert stored(again) == [[None] * len(STRUCTURE_METRICS)]
    assert [r.scores for r in again.results] == [r.scores for r in done.results]


def planes_of(height, width):
    """Two walls, told apart by their labels."""
    return np.where(np.arange(width) < width // 2, 1, 2).astype(np.uint8) * np.ones((height, 1), np.uint8)


def test_marked_planes_are_measured_one_by_one():
    """Maps of several kinds may overlap; each plane counts once and alike, however large."""
    truth, labels = two_walls(), planes_of(24, 32)
    prediction = truth * np.random.default_rng(1).uniform(0.98, 1.02, truth.shape)
    table = np.zeros_like(labels)
    table[:, :6], table[:1, 31] = 5, 6
    along = rays(*truth.shape)
    found = structure_metrics(prediction, truth, along, RANGE_M, SurfaceMarks(None, (labels, table)))
    alone = [
        planarity_errors(prediction, truth, along, kind) for kind in (labels == 1, labels == 2, table == 5)
    ]
    assert found["pe_planes"] == 3
    assert found["pe_flatness_cm"] == pytest.approx(sum(one.flatness_cm[0] for one in alone) / 3)
    assert found["pe_orientation_deg"] == pytest.approx(sum(one.orientation_deg[0] for one in alone) / 3)
    assert all(math.isnan(found[name]) for name in EDGE_METRICS)


def test_planes_are_averaged_over_all_images_alike():
    images = [(3, 1.0, 10.0), (0, math.nan, math.nan), (1, 5.0, 2.0), (math.nan, math.nan, math.nan)]
    rows = [dict(zip(("pe_planes", *PLANE_METRICS), image, strict=True)) for image in images]
    assert over_planes(rows) == {"pe_planes": 4, "pe_flatness_cm": 2.0, "pe_orientation_deg": 8.0}
    assert over_planes(rows[::-1]) == over_planes(rows)
    nothing = over_planes(rows[1:2])
    assert nothing["pe_planes"] == 0
    assert math.isnan(nothing["pe_flatness_cm"])
    assert all(math.isnan(value) for value in over_planes(rows[3:]).values())


def test_sparse_truth_keeps_the_errors_of_marked_planes():
    truth = two_walls()
    sparse = np.where(np.arange(truth.size).reshape(truth.shape) % 5 == 0, truth, np.nan)
    whole = np.ones(truth.shape, np.uint8)
    found = structure_metrics(truth, sparse, rays(*truth.shape), RANGE_M, SurfaceMarks(None, (whole,)))
    assert math.isnan(found["f_score"])
    assert found["pe_planes"] == 1


def test_marked_edges_are_compared_with_those_of_the_map():
    pytest.importorskip("skimage", reason="scikit-image finds predicted edges")
    truth = two_walls()
    edges = np.zeros(truth.shape, bool)
    edges[:, 13] = True
    found = structure_metrics(truth, truth, rays(*truth.shape), RANGE_M, SurfaceMarks(edges))
    errors = depth_boundary_errors(predicted_edges(truth), edges)
    assert (found["dbe_accuracy_px"], found["dbe_completeness_px"]) == (
        errors.accuracy_px,
        errors.completeness_px,
    )
    assert 1 < errors.completeness_px < 4
