import itertools
import json
from dataclasses import replace
from functools import cache
from math import comb
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta, norm

from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.scoring import paired
from depthvlm_bench.scoring.paired import (
    ALPHA,
    Design,
    ImageScores,
    benchmark_difference,
    flipped_means,
    flips_for,
    holm,
    holm_pairs,
    paired_difference,
    pairwise_p,
    power,
    tie_groups,
)
from depthvlm_bench.scoring.protocol import Bootstrap

RULE = Bootstrap("scene", resamples=2000, level=0.95, seed=42)
GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "eval" / "confidence_simulation.json"


def images(values, scenes=None, prefix="i"):
    ids = [f"{prefix}{index:04d}" for index in range(len(values))]
    return ImageScores.of(dict(zip(ids, values, strict=True)), scenes and dict(zip(ids, scenes, strict=True)))


def beta_binomial(chance, count, points, delta1, rho):
    rates = chance.beta(delta1 * (1 / rho - 1), (1 - delta1) * (1 / rho - 1), count) if rho else delta1
    return chance.binomial(points, rates, count) / points


def exact_p(differences):
    """All 2^G sign patterns, one after the other."""
    total = abs(sum(differences))
    patterns = list(itertools.product([1, -1], repeat=len(differences)))
    reached = sum(
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= total - 1e-12
        for signs in patterns
    )
    return reached / len(patterns)


def flip_p(first, second, flips=10_000):
    return pairwise_p(flipped_means([first, second], 42, flips), [first.mean, second.mean])[0, 1]


class TestSignFlips:
    @pytest.mark.parametrize("seed", range(5))
    def test_it_agrees_with_all_sign_patterns(self, seed):
        chance = np.random.default_rng(seed)
        first, second = chance.integers(0, 11, (2, 12)) / 10
        expected = exact_p((first - second).tolist())
        error = np.sqrt(expected * (1 - expected) / 40_000)
        assert flip_p(images(first), images(second), 40_000) == pytest.approx(expected, abs=4 * error + 1e-4)

    def test_of_six_equal_differences_it_is_two_in_64(self):
        """Only all heads and all tails are as far from 0 as what was seen."""
        assert exact_p([0.1] * 6) == 2 / 64
        assert flip_p(images([0.9] * 6), images([0.8] * 6), 40_000) == pytest.approx(2 / 64, abs=0.004)

    def test_scenes_flip_as_one(self):
        """Twelve images of three scenes of equal sign: p is 2 in 8, not 2 in 4096."""
        scenes = [name for name in "abc" for _ in range(4)]
        first, second = images([0.9] * 12, scenes), images([0.7] * 12, scenes)
        assert flip_p(first, second, 40_000) == pytest.approx(2 / 8, abs=0.01)

    def test_scenes_agree_with_all_sign_patterns_of_their_sums(self):
        chance = np.random.default_rng(7)
        scenes = [f"s{number}" for number in chance.integers(0, 8, 40)]
        first, second = chance.integers(0, 11, (2, 40)) / 10
        sums = {}
        for scene, difference in zip(scenes, first - second, strict=True):
            sums[scene] = sums.get(scene, 0) + difference
        got = flip_p(images(first, scenes), images(second, scenes), 40_000)
        assert got == pytest.approx(exact_p(list(sums.values())), abs=0.01)

    def test_flipped_means_are_those_of_signs(self):
        """Each is a sum of powers of two with signs: all 512 occur, with variance sum x_i^2 / N^2."""
        values = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0])
        flipped = flipped_means([images(values)], 1, 40_000)[:, 0] * 9
        assert set(flipped.round(6)) == {float(value) for value in range(-511, 512, 2)}
        assert flipped.std() == pytest.approx(np.sqrt(np.sum(values**2)), rel=0.02)

    @pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
    def test_any_number_of_images_and_flips_will_do(self, count):
        assert flipped_means([images([0.5] * count)] * 3, 42, 13).shape == (13, 3)

    def test_a_pair_has_the_same_p_in_any_table(self):
        chance = np.random.default_rng(8)
        models = [images(chance.binomial(10, 0.8, 100) / 10) for _ in range(5)]
        p = pairwise_p(flipped_means(models, 42), [each.mean for each in models])
        assert p[1, 3] == paired_difference(models[1], models[3], RULE).p
        assert np.array_equal(p, p.T)
        assert np.all(np.diag(p) == 1)

    def test_equal_models_have_p_one(self):
        assert flip_p(images([0.1, 0.2, 0.3]), images([0.1, 0.2, 0.3])) == 1

    def test_p_is_never_zero(self):
        assert flip_p(images([1.0] * 500), images([0.0] * 500)) == 1 / 10_001

    def test_rounding_breaks_no_tie(self):
        """0.9 - 0.8 and 0.4 - 0.3 differ in the last bits; flips that only swap them are ties."""
        first, second = images([0.9, 0.3, 0.5, 0.4]), images([0.8, 0.4, 0.5, 0.3])
        assert flip_p(first, second, 40_000) == pytest.approx(exact_p([1, -1, 0, 1]), abs=1e-4)


class TestDifference:
    def test_it_agrees_with_a_naive_paired_bootstrap(self):
        chance = np.random.default_rng(3)
        first = chance.binomial(10, 0.85, 150) / 10
        second = np.clip(first - chance.binomial(2, 0.3, 150) / 10, 0, 1)
        draw = np.random.RandomState(4)
        gaps = []
        for _ in range(4000):
            drawn = draw.randint(0, 150, 150)
            gaps.append(np.mean(first[drawn]) - np.mean(second[drawn]))
        expected = np.percentile(gaps, [2.5, 97.5])
        found = paired_difference(images(first), images(second), replace(RULE, resamples=4000))
        assert (found.low, found.high) == pytest.approx(expected, abs=0.06 * (expected[1] - expected[0]))
        assert found.value == pytest.approx(first.mean() - second.mean(), abs=1e-12)
        assert found.units == 150
        assert found.p == 1 / 10_001

    def test_the_other_way_round_it_is_the_negative(self):
        chance = np.random.default_rng(5)
        first, second = (images(chance.binomial(10, 0.8, 60) / 10) for _ in range(2))
        there, back = paired_difference(first, second, RULE), paired_difference(second, first, RULE)
        assert (back.value, back.p) == (-there.value, there.p)
        assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=0.005)

    @pytest.mark.parametrize("with_scenes", [False, True])
    def test_the_order_of_the_images_changes_no_bit(self, with_scenes):
        chance = np.random.default_rng(6)
        ids = [f"i{number}" for number in range(200)]
        scenes = {name: f"s{int(chance.integers(0, 30))}" for name in ids} if with_scenes else None
        sides = [dict(zip(ids, chance.uniform(0, 1, 200), strict=True)) for _ in range(2)]
        expected = paired_difference(*(ImageScores.of(side, scenes) for side in sides), RULE)
        for _ in range(2):
            shuffled = [{name: side[name] for name in chance.permutation(ids).tolist()} for side in sides]
            assert paired_difference(*(ImageScores.of(side, scenes) for side in shuffled), RULE) == expected

    def test_a_rule_that_draws_images_draws_images(self):
        """The compat protocols' unit: scenes, though known, are neither drawn nor flipped."""
        chance = np.random.default_rng(12)
        scenes = [f"s{number}" for number in range(10) for _ in range(5)]
        values = chance.uniform(0, 1, (2, 50))
        rule = replace(RULE, unit="image")
        known = paired_difference(*(images(side, scenes) for side in values), rule)
        assert known == paired_difference(*(images(side) for side in values), rule)
        assert known.units == 50
        assert paired_difference(*(images(side, scenes) for side in values), RULE).units == 10

    @pytest.mark.parametrize(
        ("ids", "said"),
        [
            (["a", "b"], "1 only in the first, e.g. c"),
            (["a", "b", "c", "d", "e"], "2 only in the second, e.g. d"),
            (["a", "b", "d"], "1 only in the first, e.g. c; 1 only in the second, e.g. d"),
        ],
    )
    def test_different_images_are_one_clear_error(self, ids, said):
        one = ImageScores.of(dict.fromkeys("abc", 0.5))
        with pytest.raises(CheckError, match="not of the same images") as caught:
            paired_difference(one, ImageScores.of(dict.fromkeys(ids, 0.5)), RULE)
        assert said in caught.value.one_line()

    @pytest.mark.parametrize(("units", "can"), [(1, False), (5, False), (6, True), (5000, True)])
    def test_five_units_can_never_be_significant(self, units, can):
        assert (2 / 2**units < ALPHA) is can
        values = [0.9] * units, [0.1] * units
        found = paired_difference(*(images(side) for side in values), RULE)
        assert found.can_be_significant is can
        assert (found.p < ALPHA) is can

    def test_the_benchmark_mean_counts_sets_alike(self):
        chance = np.random.default_rng(10)
        sides = [
            [
                images(chance.binomial(10, rate, count) / 10, prefix=name)
                for name, count in (("x", 50), ("y", 400))
            ]
            for rate in (0.85, 0.8)
        ]
        found = benchmark_difference(*sides, replace(RULE, resamples=20_000))
        each = [paired_difference(one, other, RULE) for one, other in zip(*sides, strict=True)]
        assert found.value == pytest.approx((each[0].value + each[1].value) / 2, abs=1e-12)
        gaps = [one.values - other.values for one, other in zip(*sides, strict=True)]
        error = np.sqrt(sum(gap.var() / len(gap) for gap in gaps)) / 2
        assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.04)
        assert found.units == 450
        z = abs(found.value) / np.sqrt(sum(np.mean(gap**2) / len(gap) for gap in gaps)) * 2
        assert found.p == pytest.approx(2 * (1 - paired.NORMAL.cdf(z)), abs=0.01)

    def test_the_order_of_the_sets_changes_nothing(self):
        chance = np.random.default_rng(10)
        sides = [[images(chance.uniform(0, 1, 40), prefix=name) for name in "xyz"] for _ in range(2)]
        forward = benchmark_difference(*sides, RULE)
        assert benchmark_difference(*(side[::-1] for side in sides), RULE) == forward


class TestHolm:
    def test_the_textbook_case(self):
        """0.01, 0.02, 0.03, 0.04 become 4 x 0.01, 3 x 0.02, then no smaller."""
        assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])

    def test_it_agrees_with_stepping_down(self):
        """Reject the smallest while p (m - i) < alpha, then stop."""
        chance = np.random.default_rng(1)
        for _ in range(200):
            p = chance.uniform(0, 0.1, chance.integers(1, 9)).round(3)
            rejected = set()
            for step, index in enumerate(np.argsort(p, kind="stable").tolist()):
                if p[index] * (len(p) - step) >= ALPHA:
                    break
                rejected.add(index)
            assert {i for i, adjusted in enumerate(holm(p)) if adjusted < ALPHA} == rejected

    def test_none_and_one_are_left_as_they_are(self):
        assert holm([]).tolist() == []
        assert holm([0.3]).tolist() == [0.3]

    def test_pairs_are_one_family(self):
        p = np.array([[1.0, 0.01, 0.04], [0.01, 1.0, 0.02], [0.04, 0.02, 1.0]])
        adjusted = holm_pairs(p)
        assert adjusted == pytest.approx(np.array([[1, 0.03, 0.04], [0.03, 1, 0.04], [0.04, 0.04, 1]]))

    @pytest.mark.parametrize("models", [1, 2, 12, 40, 100])
    def test_enough_flips_are_drawn_for_holm_to_find_something(self, models):
        flips = flips_for(models)
        assert flips >= 10_000
        assert comb(models, 2) / (flips + 1) < ALPHA


class TestTieGroups:
    @staticmethod
    def adjusted(models, pairs):
        """Adjusted p values of 0.5, and 0.01 for the pairs named."""
        p = np.full((models, models), 0.5)
        np.fill_diagonal(p, 1)
        for one, other in pairs:
            p[one, other] = p[other, one] = 0.01
        return p

    @pytest.mark.parametrize(
        ("means", "different", "groups"),
        [
            ([0.9, 0.8, 0.7], [], [1, 1, 1]),
            ([0.9, 0.8, 0.7], [(0, 1), (0, 2), (1, 2)], [1, 2, 3]),
            ([0.7, 0.9, 0.8], [(1, 0)], [2, 1, 1]),
            ([0.9, 0.8, 0.7, 0.6], [(0, 2), (0, 3)], [1, 1, 2, 2]),
            ([0.9, 0.8, 0.7], [(0, 1)], [1, 2, 1]),  # the third is noisy: it is not told apart from the best
            ([0.9, 0.8, 0.7], [(0, 2), (1, 2)], [1, 1, 2]),
            ([0.9, 0.8, 0.7], [(1, 2)], [1, 1, 1]),  # members may differ among themselves
            ([], [], []),
        ],
    )
    def test_by_hand(self, means, different, groups):
        assert tie_groups(means, self.adjusted(len(means), different)) == groups

    def test_five_percent_itself_is_a_tie(self):
        assert tie_groups([0.9, 0.8], np.array([[1, ALPHA], [ALPHA, 1]])) == [1, 1]

    def test_equal_models_are_rarely_told_apart(self):
        """Six equal models, 300 tables: more than one group in at most about 5 %."""
        chance, apart = np.random.default_rng(2), 0
        for _ in range(300):
            models = [images(beta_binomial(chance, 200, 10, 0.8, 0.3)) for _ in range(6)]
            means = [each.mean for each in models]
            p = pairwise_p(flipped_means(models, int(chance.integers(1 << 30)), 1000), means)
            apart += max(tie_groups(means, holm_pairs(p))) > 1
        assert apart / 300 <= 0.08


def pair_of(chance, design, gap):
    """Two models' scores whose true image rates have the design's correlation, by a Gaussian copula."""
    normal = chance.normal(size=(2, design.images))
    mix = copula(design, gap)
    normal[1] = mix * normal[0] + np.sqrt(1 - mix**2) * normal[1]
    rates = rates_of(design, gap, normal)
    return [chance.binomial(design.points, each) / design.points for each in rates]


@cache
def quantiles(delta1, rho):
    """A table of a Beta law's quantiles at equal steps of the normal score; the exact ones are slow."""
    scores = np.linspace(-5, 5, 4001)
    return scores, beta(delta1 * (1 / rho - 1), (1 - delta1) * (1 / rho - 1)).ppf(norm.cdf(scores))


def rates_of(design, gap, normal):
    deltas = (design.delta1, design.delta1 - gap)
    return [np.interp(n, *quantiles(d, design.rho)) for d, n in zip(deltas, normal, strict=True)]


@cache
def copula(design, gap):
    """The normal correlation that gives the rates theirs, by bisection: Beta margins make it smaller."""
    first, other = np.random.default_rng(0).normal(size=(2, 100_000))
    low, high = 0.0, 1.0
    for _ in range(12 if design.correlation else 0):
        mix = (low + high) / 2
        rates = rates_of(design, gap, [first, mix * first + np.sqrt(1 - mix**2) * other])
        low, high = (mix, high) if np.corrcoef(*rates)[0, 1] < design.correlation else (low, mix)
    return low


def rejection_rate(repetitions, seed, draw):
    """How often p < 5 % in a comparison, how often the first is then better, and scores lower at all."""
    chance, found, right, wrong = np.random.default_rng(seed), 0, 0, 0
    for repetition in range(repetitions):
        first, second = (images(values) for values in draw(chance))
        p = paired_difference(first, second, replace(RULE, resamples=1, seed=repetition)).p
        found += p < ALPHA
        right += p < ALPHA and first.mean > second.mean
        wrong += first.mean < second.mean
    return found / repetitions, right / repetitions, wrong / repetitions


EQUAL = [pytest.param(1000, 10, id="1000x10"), pytest.param(100, 100, id="100x100")]


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.3])
@pytest.mark.parametrize(("count", "points"), EQUAL)
def test_equal_models_differ_in_five_of_a_hundred(count, points, rho):
    draw = lambda chance: [beta_binomial(chance, count, points, 0.9, rho) for _ in range(2)]  # noqa: E731
    found, _, _ = rejection_rate(5000, 30, draw)
    print(f"false positives {count}x{points} rho {rho}: {found:.4f}")
    assert 0.04 <= found <= 0.06


@pytest.mark.parametrize(("count", "points"), EQUAL)
def test_equal_models_differ_in_about_five_of_a_hundred(count, points):
    """The slow test in small: 300 repetitions have a standard error of 1.3 %."""
    draw = lambda chance: [beta_binomial(chance, count, points, 0.9, 0.3) for _ in range(2)]  # noqa: E731
    found, _, _ = rejection_rate(300, 31, draw)
    assert 0.015 <= found <= 0.085


POWERED = [
    pytest.param(Design(1000, 10, 0.9, 0.3), 0.01, id="1000x10, 0.01"),
    pytest.param(Design(1000, 10, 0.9, 0.3), 0.024, id="1000x10, 0.024"),
    pytest.param(Design(1000, 10, 0.9, 0.3, 0.62), 0.016, id="1000x10, correlated, 0.016"),
    pytest.param(Design(100, 100, 0.9, 0.3, 0.62), 0.05, id="100x100, correlated, 0.05"),
    pytest.param(Design(15, 100, 0.8, 0.3), 0.2, id="15x100, 0.2"),
    pytest.param(Design(10, 100, 0.8, 0.3), 0.3, id="10x100, 0.3"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("design", "gap"), POWERED)
def test_power_is_what_simulation_finds(design, gap):
    _, right, wrong = rejection_rate(5000, 32, lambda chance: pair_of(chance, design, gap))
    told = power(design, gap)
    print(
        f"power {design} gap {gap}: {told.found:.4f}, simulated {right:.4f}; "
        f"wrong order {told.wrong_order:.4f}, simulated {wrong:.4f}"
    )
    assert told.found == pytest.approx(right, abs=0.03)
    assert told.wrong_order == pytest.approx(wrong, abs=0.02)


class TestPower:
    def test_it_is_about_what_simulation_finds(self):
        """The slow test in small, without correlation: 250 repetitions have a standard error of 2.5 %."""
        draw = lambda chance: [beta_binomial(chance, 1000, 10, rate, 0.3) for rate in (0.9, 0.876)]  # noqa: E731
        _, right, _ = rejection_rate(250, 33, draw)
        assert power(Design(1000, 10, 0.9, 0.3), 0.024).found == pytest.approx(right, abs=0.08)

    def test_the_smallest_gap_is_found_with_80_percent(self):
        design = Design(1000, 10, 0.9, 0.3, 0.5)
        smallest = power(design).smallest_gap
        assert power(design, smallest).found == pytest.approx(0.8, abs=1e-9)
        assert power(design, 0.99 * smallest).found < 0.8

    def test_more_of_anything_finds_more(self):
        base = Design(100, 10, 0.8, 0.3, 0.2)
        known = power(base, 0.05).found
        for better in ({"images": 200}, {"points": 20}, {"rho": 0.1}, {"correlation": 0.6}):
            assert power(replace(base, **better), 0.05).found > known

    def test_on_few_images_it_is_about_what_simulation_finds(self):
        """A normal approximation says 0.76 here; 400 repetitions have a standard error of 2.4 %."""
        design = Design(10, 100, 0.8, 0.3)
        _, right, _ = rejection_rate(400, 34, lambda chance: pair_of(chance, design, 0.3))
        assert power(design, 0.3).found == pytest.approx(right, abs=0.08)

    @pytest.mark.parametrize(("images", "finds"), [(2, False), (5, False), (6, True)])
    def test_fewer_than_six_images_find_nothing(self, images, finds):
        told = power(Design(images, 100, 0.95, 0.1), 0.9)
        assert (told.smallest_gap is not None) is finds
        assert (told.found > 0) is finds
        assert told.wrong_order < 0.01

    @pytest.mark.parametrize("images", [10, 1000, 10**6, 10**9])
    def test_a_huge_gap_is_found_for_sure(self, images):
        told = power(Design(images, 10, 0.9, 0.3), 0.8999)
        assert told.found == pytest.approx(1, abs=1e-9)
        assert 0 < told.smallest_gap < 0.5

    def test_without_correlation_within_images_it_is_the_binomial_error(self):
        design = Design(50, 20, 0.7, 0.0, 0.9)
        assert design.gap_error(1e-12) == pytest.approx(np.sqrt(2 * 0.7 * 0.3 / 1000))

    def test_the_golden_half_widths(self):
        """`halfwidth95_formula` of 60 designs; the golden numbers."""
        if not GOLDEN.is_file():
            pytest.skip("the golden numbers are not part of a checkout")
        for case in json.loads(GOLDEN.read_text())["ci"]:
            count, points = case["design"].split()[0].split("x")
            if not points.isdigit():
                continue
            told = power(Design(int(count), int(points), case["p"], case["icc"])).half_width
            assert told == pytest.approx(case["halfwidth95_formula"], abs=6e-5), case
            assert told == pytest.approx(case["halfwidth95_sim"], abs=0.0032), case

    def test_the_golden_shares_of_wrong_orders(self):
        """Section 5.3, few repetitions each; its copula of 0.7 is a correlation of 0.62 of Beta rates."""
        if not GOLDEN.is_file():
            pytest.skip("the golden numbers are not part of a checkout")
        for case in json.loads(GOLDEN.read_text())["rank_flip"]:
            count, points = case["design"].split()[0].split("x")
            correlation = 0.62 if case["copula_corr"] else 0.0
            design = Design(int(count), int(points), 0.9, case["icc"], correlation)
            assert design.gap_error(case["true_gap"]) == pytest.approx(case["sd_of_gap"], rel=0.2), case
            told = power(design, case["true_gap"]).wrong_order
            assert told == pytest.approx(case["flip_probability"], abs=0.06), case

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"images": 1}, "images is 1"),
            ({"points": 0}, "points is 0"),
            ({"delta1": 1.0}, "delta1 is 1.0"),
            ({"delta1": float("nan")}, "delta1 is nan"),
            ({"rho": -0.1}, "rho is -0.1"),
            ({"correlation": 1.0}, "correlation is 1.0"),
        ],
    )
    def test_impossible_designs_are_refused(self, change, said):
        with pytest.raises(UsageError, match=said):
            Design(**({"images": 10, "points": 10, "delta1": 0.5, "rho": 0.3} | change))

    @pytest.mark.parametrize("gap", [0.0, -0.1, 0.5, float("nan")])
    def test_impossible_gaps_are_refused(self, gap):
        with pytest.raises(UsageError, match="gap is"):
            power(Design(10, 10, 0.5, 0.3), gap)
