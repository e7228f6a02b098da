"""Marked edges and planes of iBims-1, from the raw tree to the result."""

import math

import numpy as np
import pytest
from converted import TinyImage, write_tiny_set
from predictors import dense_model, map_model, true_maps
from raw_ibims1 import HEIGHT, WIDTH, write_ibims1_marks, write_ibims1_tree

from depthvlm_bench.frames import NoOptions
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.marks import SurfaceMarks, marks_extra
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.protocol import load_protocol
from depthvlm_bench.scoring.structure import EDGE_METRICS, PLANE_METRICS


@pytest.fixture
def dense_metrics(tmp_path):
    def dense_metrics(model, records):
        arguments = (model, NoOptions(), (), records, RunSettings(extra_metrics=True))
        done = evaluate(*arguments, load_protocol("dvbench-1"), tmp_path / "out", Silent())
        assert done.measured == len(records.points(["id"]))
        return done.results[1].metrics

    return dense_metrics


def two_walls(height, width):
    return np.where(np.arange(width) < width // 2, 1.0, 3.0) * np.ones((height, 1))


def planes_of(height, width):
    """Two walls, told apart by their labels."""
    return np.where(np.arange(width) < width // 2, 1, 2).astype(np.uint8) * np.ones((height, 1), np.uint8)


def test_a_run_measures_what_its_set_marks(dense_metrics, tmp_path):
    """Two planes in one image, one in the other, which has no edges: the mean is over planes."""
    pytest.importorskip("skimage", reason="scikit-image finds predicted edges")
    truth, labels = two_walls(12, 16), planes_of(12, 16)
    edges = np.zeros(truth.shape, bool)
    edges[:, 7:9] = True
    both, one = SurfaceMarks(edges, (labels,)), SurfaceMarks(None, (np.where(labels == 1, labels, 0),))
    images = [TinyImage(name, truth, extra=marks_extra(marks)) for name, marks in (("a", both), ("b", one))]
    records = write_tiny_set(tmp_path / "data", images)
    found = dense_metrics(map_model(true_maps(records)), records)
    assert found["pe_planes"] == 3
    assert [found[name] for name in PLANE_METRICS] == pytest.approx([0, 0], abs=1e-6)
    assert 0 <= found["dbe_accuracy_px"] <= 1
    lost = dense_metrics(dense_model(lambda view: [[math.nan]], name="none"), records)
    assert [lost[name] for name in EDGE_METRICS] == [10, 10]
    assert (lost["pe_planes"], lost["pe_flatness_cm"]) == (0, None)


def test_marks_go_from_a_raw_tree_to_a_result(dense_metrics, tmp_path, convert_split):
    pytest.importorskip("skimage", reason="scikit-image finds predicted edges")
    truth = write_ibims1_tree(tmp_path / "raw")
    half = planes_of(HEIGHT, WIDTH)
    write_ibims1_marks(
        truth.core, "lab_01", half == 2, {"mask_wall": half, "mask_table": np.uint8(half == 1)}
    )
    convert_split("ibims1", truth.root, tmp_path / "data")
    records = RecordSet(tmp_path / "data" / "ibims1", "eval")
    found = dense_metrics(map_model(true_maps(records)), records)
    assert found["pe_planes"] == 3
    assert found["pe_orientation_deg"] == pytest.approx(0, abs=1e-4)
    assert found["dbe_accuracy_px"] is not None
