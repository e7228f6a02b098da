"""The fast paths agree with the normative ones, bit for bit where they say so."""

import math
from fractions import Fraction

import numpy as np
import pytest
from drawn_points import ANSWERS, DEPTHS, NO_ANSWERS, POINTS, columns
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from depthvlm_bench.scoring.bulk import DENSE_BLOCK, counts_of_images, delta1_of_sets, dense_delta1_counts
from depthvlm_bench.scoring.metrics import DELTA1_RATIO, Counts, ratio_counts
from depthvlm_bench.scoring.statistics import (
    image_statistics,
    larger_ratio,
    mean_over_images,
    per_image_metrics,
)


def float32_neighbours(truth):
    """Predictions within a few float32 steps of 1.25 and 0.8 times the truth, where rounding decides."""
    near = np.concatenate([truth * np.float32(1.25), truth / np.float32(1.25)])
    steps = [near]
    for direction in (np.float32(0), np.float32(np.inf)):
        step = near
        for _ in range(3):
            step = np.nextafter(step, direction)
            steps.append(step)
    return np.concatenate(steps), np.tile(truth, 2 * len(steps))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(POINTS, min_size=1, max_size=5), min_size=1, max_size=4))
def test_many_sets_at_once_equal_the_images_one_by_one_to_the_last_bit(sets):
    images = [points for images in sets for points in images]
    first_point = np.cumsum([0, *map(len, images)])[:-1]
    first_image = np.cumsum([0, *map(len, sets)])[:-1]
    p, g = columns([point for points in images for point in points])
    found = delta1_of_sets(p, g, first_point, first_image).tolist()
    for value, members in zip(found, sets, strict=True):
        scores = [per_image_metrics(image_statistics(*columns(points)))["delta1"] for points in members]
        assert value.hex() == mean_over_images(scores, [str(k) for k in range(len(scores))]).hex()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.tuples(ANSWERS, DEPTHS), max_size=5), min_size=1, max_size=6),
    st.sampled_from([1.05, 1.25, 2.0]),
)
def test_counts_of_many_images_equal_those_of_each(images, ratio):
    p, g = columns([point for points in images for point in points])
    found = counts_of_images(p, g, [len(points) for points in images], ratio)
    assert found == [ratio_counts(*columns(points), ratio) for points in images]


def test_dense_counts_of_float32_maps_equal_the_ratio_form_even_at_ties():
    truth = np.random.default_rng(1).uniform(0.01, 120.0, 20_000).astype(np.float32)
    prediction, truth = float32_neighbours(truth)
    assert dense_delta1_counts(prediction, truth) == ratio_counts(prediction, truth, DELTA1_RATIO)
    # The usual division-free form, in float32, rounds the products and differs here.
    rounded = (prediction < 1.25 * truth) & (truth < 1.25 * prediction)
    assert np.count_nonzero(rounded) != dense_delta1_counts(prediction, truth).hits


def test_dense_counts_of_float64_maps_differ_from_the_ratio_form_only_where_a_quotient_rounds_to_the_limit():
    truth = np.random.default_rng(2).uniform(1.5, 1.6, 20_000)
    prediction = np.nextafter(1.25 * truth, 0)
    ratio_hit = larger_ratio(prediction, truth) < DELTA1_RATIO
    pairs = list(zip(prediction, truth, strict=True))
    dense_hit = np.array([dense_delta1_counts([p], [g]).hits == 1 for p, g in pairs])
    exact = [Fraction(p) < Fraction(5, 4) * Fraction(g) for p, g in pairs]
    assert dense_hit.tolist() == exact
    differ = dense_hit != ratio_hit
    assert differ.any()
    assert set(larger_ratio(prediction[differ], truth[differ])) == {DELTA1_RATIO}


@settings(deadline=None)
@given(st.lists(st.tuples(ANSWERS, st.one_of(DEPTHS, st.sampled_from(NO_ANSWERS))), max_size=30))
def test_dense_counts_ask_only_where_there_is_truth(points):
    asked = [(p, g) for p, g in points if math.isfinite(g) and g > 0]
    assume(all(abs(r - 1.25) > 1e-9 for r in larger_ratio(*columns(asked))))
    assert dense_delta1_counts(*columns(points)) == ratio_counts(*columns(asked), DELTA1_RATIO)


def test_dense_counts_add_up_over_blocks(recwarn):
    size = 2 * DENSE_BLOCK + 7
    truth = np.linspace(1, 9, size, dtype=np.float32).reshape(1, -1)
    prediction = truth * np.linspace(0.5, 1.5, size, dtype=np.float32)
    prediction[0, -3:] = math.nan, math.inf, -1.0
    truth[0, :2] = 0.0, math.nan
    usable = truth > 0
    assert dense_delta1_counts(prediction, truth) == ratio_counts(
        prediction[usable], truth[usable], DELTA1_RATIO
    )
    assert dense_delta1_counts(np.zeros((0, 4)), np.zeros((0, 4))) == Counts(0, 0, 0)
    assert not recwarn.list


def test_dense_counts_refuse_maps_of_unequal_shape():
    with pytest.raises(ValueError, match="shapes differ"):
        dense_delta1_counts(np.ones((2, 3)), np.ones((3, 2)))


def test_dense_counts_refuse_stored_integers():
    """Their differences would wrap around."""
    with pytest.raises(ValueError, match="uint16"):
        dense_delta1_counts(np.ones((2, 3)), np.ones((2, 3), np.uint16))
