"""Measuring: what is asked, how it is brought to a full map, and that it needs no torch."""

import numpy as np
import pytest
from PIL import Image
from predictors import Recorder, dense_model, point_model

from depthvlm_bench.depthvlm.cost.measure import brought_to, measure, spread_points
from depthvlm_bench.errors import UsageError
from depthvlm_bench.frames import NoOptions
from depthvlm_bench.predict.contracts import View

VIEW = View("one", Image.new("RGB", (16, 9)), None)


def dense(recorder, **known):
    return dense_model(lambda view: np.ones((9, 16)), recorder, **known)


def point(recorder):
    return point_model(lambda view, xy: 1.0, recorder)


def test_a_dense_model_is_warmed_up_timed_and_counted():
    recorder = Recorder()
    done = measure(dense(recorder), NoOptions(), VIEW, runs=3)
    assert recorder.loads == 1
    assert len(recorder.views) == 1 + 3 + 1
    assert len(done.runs_s) == 3
    assert sorted(done.runs_s)[1] == done.seconds
    assert (done.asked, done.questions, done.scaled) == (1, 1, False)
    assert done.peak_bytes > 2**20


def test_a_point_model_is_asked_some_pixels_and_twice_as_many():
    recorder = Recorder()
    done = measure(point(recorder), NoOptions(), VIEW, runs=1, questions=5)
    assert [len(points) for points in recorder.points_px] == [5, 5, 10, 5, 10]
    assert (done.asked, done.questions, done.scaled) == (10, 16 * 9, True)


def test_a_small_picture_is_asked_in_full():
    recorder = Recorder()
    done = measure(point(recorder), NoOptions(), VIEW, runs=1, questions=100)
    assert [len(points) for points in recorder.points_px] == [144, 144, 144]
    assert not done.scaled


@pytest.mark.parametrize("number", [1, 7, 144])
def test_asked_pixels_are_spread_and_no_two_are_the_same(number):
    points = spread_points((16, 9), number)
    assert len({tuple(xy) for xy in points.tolist()}) == number
    assert (points >= 0).all()
    assert (points < (16, 9)).all()
    if number == 144:
        assert points[:, 1].max() == 8


def test_what_is_done_once_is_told_from_what_is_done_for_every_question():
    assert brought_to(1000, [(4, 100 + 4 * 7), (8, 100 + 8 * 7)]) == 100 + 1000 * 7


def test_what_does_not_grow_with_the_questions_stays():
    assert brought_to(1000, [(4, 30.0), (8, 30.0)]) == 30.0


def test_noise_that_lets_the_line_fall_leaves_the_proportion():
    assert brought_to(1000, [(4, 5.0), (8, 4.0)]) == 500.0


def test_one_value_is_brought_in_proportion():
    assert brought_to(1, [(1, 3.5)]) == 3.5
    assert brought_to(10, [(5, 3.5)]) == 7.0


@pytest.mark.parametrize(
    ("known", "why"), [({"fitted": True}, "fitted"), ({"isolation": "worker"}, "process")]
)
def test_what_cannot_be_measured_here_is_refused(known, why):
    with pytest.raises(UsageError, match=why):
        measure(dense(Recorder(), **known), NoOptions(), VIEW)
