"""A model's field of view against the camera's, stored with each answer and averaged over images."""

import numpy as np
import pytest
from converted import FX_PX, SOURCE_SIZE, TinyImage, constant_depth, write_tiny_set
from predictors import dense_model

from depthvlm_bench.frames import NoOptions
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.predict.store import read_run
from depthvlm_bench.progress import Silent
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.protocol import load_protocol

TRUE_DEG = 2 * np.degrees(np.arctan(SOURCE_SIZE[0] / 2 / FX_PX))


def scored(tmp_path, fields_deg):
    """The run and sparse result of a model that estimates these fields of view, one an image."""
    records = write_tiny_set(tmp_path / "data", [TinyImage(name, constant_depth(2.0)) for name in fields_deg])

    def answer(view):
        return DenseMap(np.full((12, 16), 2.0, np.float32), fov_deg=fields_deg[view.id[-1]])

    known = (RunSettings(input="native"), load_protocol("dvbench-1"), tmp_path / "out", Silent())
    done = evaluate(dense_model(answer), NoOptions(), [], records, *known)
    return read_run(done.run), done.results[0]


def test_the_field_of_view_of_a_camera_is_that_between_its_outer_edges():
    assert PinholeCamera(100, 80, 50.0, 60.0, 49.5, 39.5).fov_deg == pytest.approx(90.0)


def test_the_error_is_the_mean_size_and_the_bias_the_mean_error(tmp_path):
    _, result = scored(tmp_path, {"a": TRUE_DEG + 6, "b": TRUE_DEG - 2})
    assert result.metrics["fov_error_deg"] == pytest.approx(4.0)
    assert result.metrics["fov_bias_deg"] == pytest.approx(2.0)


def test_the_estimate_and_the_truth_are_stored_with_every_answer(tmp_path):
    run, _ = scored(tmp_path, {"a": 50.0})
    table = run.predictions()
    assert set(table["fov_deg"].to_pylist()) == {50.0}
    assert table["true_fov_deg"].to_numpy() == pytest.approx(TRUE_DEG)


@pytest.mark.parametrize("fields_deg", [{"a": None}, {"a": 50.0, "b": None}], ids=["of none", "of some"])
def test_there_is_no_error_without_an_estimate_of_every_image(tmp_path, fields_deg):
    _, result = scored(tmp_path, fields_deg)
    assert "fov_error_deg" not in result.metrics
