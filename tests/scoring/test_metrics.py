import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthvlm_bench.scoring.metrics import Counts, answered, ratio_counts, unsigned_counts, within_ratio

DEPTHS = st.floats(0.001, 1000.0)
ANSWERS = st.one_of(
    st.floats(-10.0, 1000.0), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-320, 1e308])
)
PAIRS = st.lists(st.tuples(ANSWERS, DEPTHS), max_size=30)


def counts_by_hand(pairs, threshold):
    asked = usable = hits = 0
    for prediction, truth in pairs:
        asked += 1
        if math.isnan(prediction) or math.isinf(prediction) or prediction <= 0:
            continue
        usable += 1
        if max(prediction / truth, truth / prediction) < threshold:
            hits += 1
    return Counts(asked, usable, hits)


def split(pairs):
    return np.array(pairs, dtype=np.float64).reshape(-1, 2).T


@settings(deadline=None)
@given(PAIRS, st.sampled_from([1.25, 1.25**2, 1.03]))
def test_counts_are_those_of_a_loop(pairs, threshold):
    with np.errstate(over="ignore"):
        assert ratio_counts(*split(pairs), threshold) == counts_by_hand(pairs, threshold)


@settings(deadline=None)
@given(PAIRS, st.integers(0, 30))
def test_counts_of_parts_add_up_to_those_of_the_whole(pairs, cut):
    with np.errstate(over="ignore"):
        parts = [ratio_counts(*split(part), 1.25) for part in (pairs[:cut], pairs[cut:])]
        assert parts[0] + parts[1] == ratio_counts(*split(pairs), 1.25)


@pytest.mark.parametrize(
    ("prediction", "truth"), [(1.25, 1.0), (1.0, 1.25), (5.0, 4.0), (4.0, 5.0), (0.5, 0.625)]
)
def test_exactly_1_25_is_a_miss_and_just_below_it_a_hit(prediction, truth):
    assert not within_ratio([prediction], [truth], 1.25)[0]
    assert within_ratio([np.nextafter(prediction, truth)], [truth], 1.25)[0]


def test_ratios_are_taken_in_float64():
    """In float32 this prediction would be 1.25 times the truth, and a miss."""
    prediction = np.nextafter(1.25, 0.0)
    assert np.float32(prediction) == np.float32(1.25)
    assert within_ratio(np.array([prediction]), np.array([1.0]), 1.25)[0]


@pytest.mark.parametrize("prediction", [0.0, -0.0, -1.0, -2.0, math.nan, math.inf, -math.inf])
def test_what_is_no_answer_is_asked_and_missed(prediction):
    """A negative answer has both ratios below the threshold: it must not count as right."""
    assert ratio_counts([prediction], [2.0], 1.25) == Counts(1, 0, 0)


def test_the_answered_are_finite_and_positive():
    assert answered([1.0, 0.0, -1.0, math.nan, math.inf, 1e-300]).tolist() == [True, *[False] * 4, True]


def test_nothing_asked_counts_nothing():
    assert ratio_counts([], [], 1.25) == Counts(0, 0, 0)


def test_no_warning_is_left_for_odd_answers(recwarn):
    within_ratio([0.0, math.nan, math.inf, -1.0], [1.0, 2.0, 3.0, 4.0], 1.25)
    assert not recwarn.list


def test_unsigned_counts_take_any_negative_number_for_a_hit():
    values = [-1.0, -1e9, 0.0, -0.0, np.nan, np.inf, -np.inf, 2.4, 2.5]
    found = unsigned_counts(values, [2.0] * len(values), 1.25)
    assert found == Counts(asked=9, answered=8, hits=4)
