import numpy as np
import pytest
from converted import TinyImage, ramp_depth, write_tiny_set
from PIL import Image

from depthvlm_bench.baselines.oracle import OracleOptions
from depthvlm_bench.errors import DataMissingError, UsageError
from depthvlm_bench.predict.contracts import View
from depthvlm_bench.registry import load_model

DEPTH_M = ramp_depth()
IMAGE = TinyImage("a", DEPTH_M, asked_px=((0, 0), (4, 9)), balanced_px=((10, 2),))


@pytest.fixture
def records(tmp_path):
    return write_tiny_set(tmp_path, [IMAGE])


def ask(records, points, *, factor=1.0, record=IMAGE.id):
    oracle = load_model("oracle").build()
    oracle.load(OracleOptions(records.folder, factor))
    return oracle.ask(View(record, Image.new("RGB", (32, 24)), None), np.asarray(points, dtype=np.float64))


@pytest.mark.parametrize("points", [[(0.5, 0.5), (8.5, 18.5), (20.5, 4.5)], [(0, 0), (4, 9), (10, 2)]])
def test_it_knows_both_lists_at_canonical_and_native_size(records, points):
    truth = [DEPTH_M[0, 0], DEPTH_M[9, 4], DEPTH_M[2, 10]]
    assert [answer.value_m for answer in ask(records, points)] == pytest.approx(truth)
    assert [answer.value_m for answer in ask(records, points, factor=1.2)] == pytest.approx(
        np.array(truth) * 1.2
    )


@pytest.mark.parametrize(("points", "record"), [([(0.25, 0.5)], IMAGE.id), ([(0.5, 0.5)], "another/image")])
def test_it_guesses_nothing(records, points, record):
    (answer,) = ask(records, points, record=record)
    assert answer.value_m is None
    assert answer.outcome == "unparsed"


def test_it_has_to_be_told_where_the_answers_are(tmp_path):
    oracle = load_model("oracle").build()
    with pytest.raises(UsageError, match="set_folder"):
        oracle.load(OracleOptions())
    with pytest.raises(DataMissingError, match="no eval split"):
        oracle.load(OracleOptions(tmp_path / "nothing"))


def test_it_stands_in_no_leaderboard():
    assert load_model("oracle").card.for_tests
