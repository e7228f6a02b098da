from dataclasses import replace

import numpy as np
import pytest

from depthvlm_bench.scoring.protocol import Bootstrap
from depthvlm_bench.scoring.uncertainty import CHUNK, bootstrap_interval

RULE = Bootstrap("image", resamples=2000, level=0.95, seed=42)


def independent_interval(values, resamples, level, seed):
    """Another generator, one resample at a time."""
    chance = np.random.RandomState(seed)
    means = [np.mean(chance.choice(values, size=len(values))) for _ in range(resamples)]
    tail = 50 * (1 - level)
    return np.percentile(means, [tail, 100 - tail])


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_it_agrees_with_an_independent_bootstrap(level):
    values = np.random.default_rng(5).beta(2, 1, 60)
    rule = replace(RULE, resamples=6000, level=level)
    expected = independent_interval(values, 6000, level, seed=1)
    width = expected[1] - expected[0]
    assert bootstrap_interval(values, rule) == pytest.approx(expected, abs=0.05 * width)


def test_it_is_about_the_normal_interval_of_a_mean():
    values = np.random.default_rng(6).uniform(0, 1, 400)
    low, high = bootstrap_interval(values, RULE)
    error = values.std() / 20
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=error / 3
    )


def test_the_same_values_give_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(7).uniform(0, 1, 30)
    assert bootstrap_interval(values, RULE) == bootstrap_interval(values, RULE)
    assert bootstrap_interval(values, RULE) != bootstrap_interval(values, replace(RULE, seed=43))


def test_the_global_generator_is_left_alone():
    np.random.seed(3)
    expected = np.random.RandomState(3).rand()
    bootstrap_interval([0.0, 1.0], RULE)
    assert np.random.rand() == expected


@pytest.mark.parametrize("values", [[0.7], [0.0], [0.25] * 9])
def test_one_image_or_equal_images_leave_no_width(values):
    assert bootstrap_interval(values, RULE) == pytest.approx((values[0], values[0]), abs=1e-12)


@pytest.mark.parametrize("resamples", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_any_number_of_resamples_will_do(resamples):
    low, high = bootstrap_interval([0.0, 0.5, 1.0], replace(RULE, resamples=resamples))
    assert 0 <= low <= high <= 1


def test_it_holds_the_truth_about_as_often_as_it_says():
    """95 % intervals of 50 images, 300 experiments: far from the naive interval over pixels (28 to 66 %)."""
    chance, held = np.random.default_rng(8), 0
    rule = replace(RULE, resamples=400)
    for _ in range(300):
        images = chance.binomial(10, chance.beta(4, 2, 50)) / 10
        low, high = bootstrap_interval(images, rule)
        held += low <= 4 / 6 <= high
    assert 0.90 <= held / 300 <= 0.99
