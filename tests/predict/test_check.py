from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from predictors import card

from depthvlm_bench.errors import CheckError
from depthvlm_bench.predict.check import AnswerCheck
from depthvlm_bench.predict.contracts import DenseMap, PointAnswer, View

VIEW = View("set/eval/a/-/1", Image.new("RGB", (4, 3)), None)


def full(value, dtype=np.float32):
    return np.full((3, 4), value, dtype)


@pytest.fixture
def check():
    return AnswerCheck(card(name="their-model"))


def fault(check, dense):
    with pytest.raises(CheckError) as caught:
        check.maps([VIEW], [dense])
    assert caught.value.what == "model their-model breaks the contract of its answers"
    assert caught.value.where == VIEW.id
    assert "\n" not in caught.value.one_line()
    return caught.value.why


@pytest.mark.parametrize(
    ("dense", "why"),
    [
        (full(2.0), "an answer is ndarray, not DenseMap"),
        (DenseMap([[2.0]]), "depth_m is list, not a numpy array"),
        (DenseMap(np.zeros((3, 4, 1), np.float32)), "depth_m has shape (3, 4, 1), not (h, w)"),
        (DenseMap(np.zeros((0, 4), np.float32)), "depth_m has shape (0, 4), not (h, w)"),
        (DenseMap(full(2.0, np.float64)), "depth_m is float64, not float32"),
        (DenseMap(full(np.inf)), "12 values are infinite; NaN marks what is undefined"),
        (DenseMap(full(2500.0)), "the median of the map is 2500 m, implausible in metres: another unit?"),
        (DenseMap(full(0.02)), "the median of the map is 0.02 m, implausible in metres: another unit?"),
        (DenseMap(full(-2.0)), "the median of the map is -2 m, implausible in metres: another unit?"),
    ],
)
def test_what_breaks_the_contract_is_told_by_the_model_s_name(check, dense, why):
    assert fault(check, dense) == why


@pytest.mark.parametrize("value", [0.05, 2.0, 500.0, np.nan])
def test_a_map_that_keeps_it_passes(check, value):
    check.maps([VIEW], [DenseMap(full(value))])
    check.maps([VIEW], [DenseMap(np.broadcast_to(np.float32(value), (3, 4)))])


def test_nan_has_no_part_in_the_median(check):
    depth_m = full(np.nan)
    depth_m[0, 0] = 2500
    assert "2500 m" in fault(check, DenseMap(depth_m))


def test_one_strange_picture_among_others_ends_no_run(check):
    check.maps([VIEW], [DenseMap(full(2.0))])
    check.maps([VIEW], [DenseMap(full(2500.0))])


def test_pictures_without_an_answer_say_nothing_of_the_unit(check):
    check.maps([VIEW], [DenseMap(full(np.nan))])
    assert "implausible" in fault(check, DenseMap(full(2500.0)))


def test_the_picture_to_blame_is_named(check):
    other = View("set/eval/b/-/2", VIEW.picture, None)
    with pytest.raises(CheckError, match="set/eval/b"):
        check.maps([VIEW, other], [DenseMap(full(2.0)), DenseMap(full(2.0, np.float16))])


def test_there_is_one_map_a_picture(check):
    with pytest.raises(CheckError, match="2 maps for 1 pictures"):
        check.maps([VIEW], [DenseMap(full(2.0))] * 2)


def test_there_is_one_answer_a_point(check):
    points = np.zeros((2, 2))
    check.points(VIEW, points, [PointAnswer(2.0), PointAnswer(None, "refused")])
    with pytest.raises(CheckError, match=r"their-model .* 1 answers to 2 points"):
        check.points(VIEW, points, [PointAnswer(2.0)])
    with pytest.raises(CheckError, match="an answer is SimpleNamespace, not PointAnswer"):
        check.points(VIEW, points, [PointAnswer(2.0), SimpleNamespace(value_m=2.0)])
