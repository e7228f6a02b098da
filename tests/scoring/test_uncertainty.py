import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from depthvlm_bench.scoring import uncertainty
from depthvlm_bench.scoring.protocol import Bootstrap
from depthvlm_bench.scoring.uncertainty import (
    CHUNK,
    FEW_VALUES,
    LATTICE,
    as_units,
    benchmark_interval,
    bootstrap_interval,
    bootstrap_means,
    unit_numbers,
)

RULE = Bootstrap("image", resamples=2000, level=0.95, seed=42)


def independent_interval(values, resamples, level, seed):
    """Another generator, one resample at a time."""
    chance = np.random.RandomState(seed)
    means = [np.mean(chance.choice(values, size=len(values))) for _ in range(resamples)]
    tail = 50 * (1 - level)
    return np.percentile(means, [tail, 100 - tail])


def independent_cluster_interval(values, scenes, resamples, level, seed):
    """Whole scenes drawn one at a time, all their images thrown into one list."""
    chance = np.random.RandomState(seed)
    names = sorted(set(scenes))
    members = {name: [v for v, s in zip(values, scenes, strict=True) if s == name] for name in names}
    means = []
    for _ in range(resamples):
        drawn = []
        for _ in names:
            drawn += members[names[chance.randint(len(names))]]
        means.append(sum(drawn) / len(drawn))
    tail = 50 * (1 - level)
    return np.percentile(means, [tail, 100 - tail])


@pytest.mark.parametrize("level", [0.95, 0.8])
@pytest.mark.parametrize("points", [None, 10])
def test_it_agrees_with_an_independent_bootstrap(level, points):
    values = np.random.default_rng(5).beta(2, 1, 80)
    values = values if points is None else np.round(values * points) / points
    assert (len(set(values)) <= FEW_VALUES) is (points is not None)
    rule = replace(RULE, resamples=6000, level=level)
    expected = independent_interval(values, 6000, level, seed=1)
    width = expected[1] - expected[0]
    assert bootstrap_interval(values, rule) == pytest.approx(expected, abs=0.05 * width)


@pytest.mark.parametrize("points", [None, 4])
def test_scenes_agree_with_an_independent_bootstrap_of_scenes(points):
    chance = np.random.default_rng(9)
    scenes = [f"s{number}" for number in chance.integers(0, 70, 300)]
    level_of = {scene: chance.uniform(-0.3, 0.3) for scene in sorted(set(scenes))}
    values = np.clip([0.6 + level_of[scene] + chance.normal(0, 0.05) for scene in scenes], 0, 1)
    values = values if points is None else np.round(values * points) / points
    rule = replace(RULE, resamples=6000)
    expected = independent_cluster_interval(values, scenes, 6000, 0.95, seed=2)
    width = expected[1] - expected[0]
    assert bootstrap_interval(values, rule, scenes) == pytest.approx(expected, abs=0.05 * width)
    low, high = bootstrap_interval(values, rule)
    assert high - low < 0.7 * width  # images of one scene are alike: the interval over images is too narrow


@pytest.mark.parametrize("shortcut", ["of sums", "multinomial"])
@pytest.mark.parametrize("scores", ["of ten points", "differences of 22 points"])
def test_the_shortcuts_have_the_law_of_the_index_bootstrap(monkeypatch, shortcut, scores):
    """Mean, spread and quantiles of 40,000 resampled means by both ways."""
    chance = np.random.default_rng(1)
    values = chance.binomial(10, 0.8, 200) / 10
    if scores != "of ten points":
        values = (chance.binomial(22, 0.8, 200) / 22 - chance.binomial(22, 0.7, 200) / 22).round(12)
    units, draw = as_units(values), np.random.default_rng(2)
    if shortcut == "multinomial":
        monkeypatch.setattr(uncertainty, "LATTICE", 0)
    short = bootstrap_means(units, draw, 40_000)
    monkeypatch.setattr(uncertainty, "LATTICE", 0)
    monkeypatch.setattr(uncertainty, "FEW_VALUES", 0)
    long = bootstrap_means(units, draw, 40_000)
    error = values.std() / np.sqrt(200)
    assert short.mean() == pytest.approx(long.mean(), abs=4 * error * np.sqrt(2 / 40_000))
    assert short.std() == pytest.approx(long.std(), rel=0.02)
    quantiles = [0.005, 0.025, 0.25, 0.5, 0.75, 0.975, 0.995]
    assert np.quantile(short, quantiles) == pytest.approx(np.quantile(long, quantiles), abs=0.1 * error)


def test_the_law_of_two_images_is_exact():
    """Means of two images with scores 0 and 1 are 0, 1/2 and 1 with 1/4, 1/2 and 1/4."""
    means = bootstrap_means(as_units([0.0, 1.0]), np.random.default_rng(3), 40_000)
    share = [np.mean(means == value) for value in (0.0, 0.5, 1.0)]
    assert sum(share) == 1
    assert share == pytest.approx([0.25, 0.5, 0.25], abs=0.01)


@pytest.mark.parametrize("weight", [1, 4])
def test_the_law_of_four_images_is_exact(weight):
    """All 256 ways to draw four of 0.1, 0.3, 0.3 and 1; with weights, of hits out of four points each."""
    values = np.array([0.1, 0.3, 0.3, 1.0])
    ways = Counter(round(sum(drawn) / 4 / weight, 9) for drawn in itertools.product(values, repeat=4))
    units = as_units(values, None, [weight] * 4)
    means = bootstrap_means(units, np.random.default_rng(4), 100_000).round(9)
    assert set(means) <= set(ways)
    for mean, count in ways.items():
        share = count / 256
        assert np.mean(means == mean) == pytest.approx(share, abs=5 * np.sqrt(share / 100_000))


def test_scores_off_every_lattice_are_drawn_as_they_are():
    """11 values that are no shares of few points, 1 of which is a share of more points than any image has."""
    values = np.append(np.sqrt(np.arange(1, 11) / 11), 1 / (LATTICE + 1)).repeat(3)
    means = bootstrap_means(as_units(values), np.random.default_rng(4), 20_000)
    assert means.mean() == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(33 * 20_000))
    assert means.std() == pytest.approx(values.std() / np.sqrt(33), rel=0.03)


def test_the_law_of_two_scenes_of_unequal_size_is_exact():
    """Three images of score 1 and one of 0: the mean over the images drawn is 1, 3/4 or 0."""
    units = as_units([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])
    means = bootstrap_means(units, np.random.default_rng(3), 40_000)
    assert [np.mean(means == value) for value in (1.0, 0.75, 0.0)] == pytest.approx(
        [0.25, 0.5, 0.25], abs=0.01
    )


def test_units_are_scenes_and_images_of_unknown_scene():
    assert unit_numbers(["b", "-", "a", "b", "-", "a"]) == [0, 1, 2, 0, 3, 2]
    assert unit_numbers(["a", "a", "a"]) == [0, 1, 2]  # of one scene only: nothing is known of others
    units = as_units([0.5, 0.25, 1.0], ["x", "-", "x"])
    assert (units.sums.tolist(), units.sizes.tolist(), units.mean) == ([0.25, 1.5], [1, 2], 1.75 / 3)


@pytest.mark.parametrize("scenes", [["-"] * 30, [f"s{i}" for i in range(30)], ["one"] * 30])
def test_where_no_scene_repeats_images_are_drawn(scenes):
    values = np.random.default_rng(7).uniform(0, 1, 30)
    assert bootstrap_interval(values, RULE, scenes) == bootstrap_interval(values, RULE)


@pytest.mark.parametrize("values", [[], [[0.5]], 0.5])
def test_scores_of_no_image_are_refused(values):
    with pytest.raises(ValueError, match="expected"):
        as_units(values)


def test_as_many_scenes_as_scores_are_needed():
    with pytest.raises(ValueError, match="expected"):
        as_units([0.5, 0.5], ["a"])


@pytest.mark.parametrize("points", [None, 10])
@pytest.mark.parametrize("with_scenes", [False, True])
def test_the_order_of_the_images_changes_no_bit(points, with_scenes):
    chance = np.random.default_rng(11)
    values = chance.uniform(0, 1, 500)
    values = values if points is None else np.round(values * points) / points
    scenes = np.array([f"s{number}" if number else "-" for number in chance.integers(0, 40, 500)])
    expected = bootstrap_interval(values, RULE, scenes.tolist() if with_scenes else None)
    for _ in range(3):
        order = chance.permutation(500)
        known = scenes[order].tolist() if with_scenes else None
        assert bootstrap_interval(values[order], RULE, known) == expected


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
@pytest.mark.parametrize("images", [3, 50, 100])
def test_any_number_of_resamples_will_do(resamples, images):
    values = np.sqrt(np.linspace(0, 1, images)) if images != 50 else np.linspace(0, 1, images)
    means = bootstrap_means(as_units(values), np.random.default_rng(0), resamples)
    assert means.shape == (resamples,)
    low, high = bootstrap_interval(values, replace(RULE, resamples=resamples))
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize("levels", [None, 10])
def test_chunks_bound_the_memory_and_change_nothing(levels, monkeypatch):
    values = np.random.default_rng(4).uniform(0, 1, 300)
    values = values if levels is None else np.sqrt(np.round(values * levels) / levels)
    whole = bootstrap_interval(values, RULE)
    monkeypatch.setattr(uncertainty, "CHUNK_ITEMS", 1000)
    sizes = []
    chunks = uncertainty._chunks
    monkeypatch.setattr(uncertainty, "_chunks", lambda *a: (sizes.append((s, a[1])) or s for s in chunks(*a)))
    assert bootstrap_interval(values, RULE) == whole
    assert max(size * items for size, items in sizes) <= 1000


class TestBenchmark:
    SETS = tuple(np.random.default_rng(seed).binomial(10, 0.8, 50 + 30 * seed) / 10 for seed in range(4))

    def test_its_width_is_the_root_of_the_summed_squares(self):
        rule = replace(RULE, resamples=20_000)
        low, high = benchmark_interval([as_units(values) for values in self.SETS], rule)
        errors = [values.std() / np.sqrt(len(values)) for values in self.SETS]
        expected = 2 * 1.96 * np.sqrt(np.sum(np.square(errors))) / len(errors)
        assert high - low == pytest.approx(expected, rel=0.03)
        assert (low + high) / 2 == pytest.approx(np.mean([v.mean() for v in self.SETS]), abs=0.03 * expected)

    def test_equal_sets_are_drawn_independently(self):
        """Two copies of one set are two sets: the width shrinks by the root of two."""
        one = as_units(self.SETS[0])
        rule = replace(RULE, resamples=20_000)
        single, double = benchmark_interval([one], rule), benchmark_interval([one, one], rule)
        assert (double[1] - double[0]) * np.sqrt(2) == pytest.approx(single[1] - single[0], rel=0.05)

    def test_it_agrees_with_an_independent_loop(self):
        chance = np.random.RandomState(12)
        means = [
            np.mean([np.mean(chance.choice(values, len(values))) for values in self.SETS])
            for _ in range(4000)
        ]
        expected = np.percentile(means, [2.5, 97.5])
        got = benchmark_interval([as_units(values) for values in self.SETS], replace(RULE, resamples=4000))
        assert got == pytest.approx(expected, abs=0.06 * (expected[1] - expected[0]))

    def test_the_order_of_sets_and_images_changes_no_bit(self):
        forward = benchmark_interval([as_units(values) for values in self.SETS], RULE)
        assert benchmark_interval([as_units(v[::-1]) for v in reversed(self.SETS)], RULE) == forward

    def test_of_one_set_it_is_the_interval_of_that_set(self):
        assert benchmark_interval([as_units(self.SETS[0])], RULE) == bootstrap_interval(self.SETS[0], RULE)


def coverage(images, points, rho, repetitions, seed, resamples):
    """How often 95 % intervals hold 0.9 for beta-binomial images with intra-image correlation rho."""
    chance, held = np.random.default_rng(seed), 0
    rule = replace(RULE, resamples=resamples)
    for repetition in range(repetitions):
        rates = chance.beta(0.9 * (1 / rho - 1), 0.1 * (1 / rho - 1), images) if rho else 0.9
        low, high = bootstrap_interval(
            chance.binomial(points, rates, images) / points, replace(rule, seed=repetition)
        )
        held += low <= 0.9 <= high
    return held / repetitions


DESIGNS = [
    pytest.param(1000, 10, 0.0, (0.93, 0.97), id="1000x10 rho 0"),
    pytest.param(1000, 10, 0.3, (0.93, 0.97), id="1000x10 rho 0.3"),
    pytest.param(100, 100, 0.0, (0.91, 0.97), id="100x100 rho 0"),
    pytest.param(100, 100, 0.3, (0.91, 0.97), id="100x100 rho 0.3"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("images", "points", "rho", "wanted"), DESIGNS)
def test_intervals_hold_the_truth_as_often_as_they_say(images, points, rho, wanted, record_property):
    share = coverage(images, points, rho, repetitions=5000, seed=20, resamples=2000)
    record_property("coverage", share)
    print(f"coverage {images}x{points} rho {rho}: {share:.4f}")
    assert wanted[0] <= share <= wanted[1]


@pytest.mark.parametrize(("images", "points", "rho", "wanted"), DESIGNS)
def test_intervals_hold_the_truth_about_as_often_as_they_say(images, points, rho, wanted):
    """The slow test in small: 400 repetitions have a standard error of 1.1 %."""
    share = coverage(images, points, rho, repetitions=400, seed=21, resamples=500)
    assert wanted[0] - 0.03 <= share <= wanted[1] + 0.02


def test_over_scenes_they_hold_the_truth_where_those_over_images_do_not():
    """60 scenes of 5 images whose levels differ, 300 experiments."""
    chance, held = np.random.default_rng(30), {"scene": 0, "image": 0}
    scenes = [f"s{number}" for number in range(60) for _ in range(5)]
    for repetition in range(300):
        values = np.repeat(chance.normal(0, 1, 60), 5) + chance.normal(0, 0.5, 300)
        rule = replace(RULE, resamples=400, seed=repetition)
        for name, clusters in (("scene", scenes), ("image", None)):
            low, high = bootstrap_interval(values, rule, clusters)
            held[name] += low <= 0 <= high
    assert 0.90 <= held["scene"] / 300 <= 0.98
    assert held["image"] / 300 <= 0.75


def test_weighted_units_have_the_mean_over_points():
    """Hits of 3 images out of 4, 1 and 5 points; two of them of one scene."""
    alone = as_units([1, 1, 4], None, [4, 1, 5])
    assert alone.mean == 6 / 10
    scenes = as_units([1, 1, 4], ["a", "b", "a"], [4, 1, 5])
    assert (scenes.mean, scenes.sizes.tolist(), scenes.sums.tolist()) == (6 / 10, [1.0, 9.0], [1.0, 5.0])
    assert as_units([4, 1, 1], ["a", "b", "a"], [5, 1, 4]).sums.tolist() == scenes.sums.tolist()
