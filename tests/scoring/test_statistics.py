import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from drawn_points import NO_ANSWERS, POINTS, columns
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import depthvlm_bench.scoring.statistics as st_module
from depthvlm_bench.scoring.statistics import (
    DISTANCE_EDGES_M,
    RATIO_NAMES,
    RATIOS,
    STATISTICS_FIELDS,
    from_columns,
    image_statistics,
    mean_over_images,
    per_image_metrics,
    pooled_metrics,
    to_columns,
)


def share_below(ratios, limit):
    return sum(ratio < limit for ratio in ratios) / len(ratios)


def metrics_by_hand(points):
    """Straight from the formulas, one point at a time."""
    ratios, errors = [], []
    for p, g in points:
        usable = math.isfinite(p) and p > 0
        ratios.append(max(p / g, g / p) if usable else math.inf)
        if usable:
            errors.append((p, g, math.log(p) - math.log(g)))
    found = {name: share_below(ratios, r) for name, r in zip(RATIO_NAMES, RATIOS, strict=True)}
    found["coverage"] = len(errors) / len(points)
    found["delta1_ray"] = found["delta1"]
    exponents = [0.01 + k * (5.0 - 0.01) / 99 for k in range(100)]
    deltas = [share_below(ratios, 1.25**x) for x in exponents]
    found["delta_auc"] = (
        sum((deltas[k] + deltas[k + 1]) / 2 * (exponents[k + 1] - exponents[k]) for k in range(99)) / 5
    )
    n = len(errors)

    def mean(function):
        return math.fsum(function(*x) for x in errors) / n if n else math.nan

    mean_e = mean(lambda p, g, e: e)
    logs = sorted(e for _, _, e in errors)
    median = (logs[(n - 1) // 2] + logs[n // 2]) / 2 if n else math.nan
    return found | {
        "abs_rel": mean(lambda p, g, e: abs(p - g) / g),
        "sq_rel": mean(lambda p, g, e: (p - g) ** 2 / g),
        "rmse": math.sqrt(mean(lambda p, g, e: (p - g) ** 2)),
        "rmse_log": math.sqrt(mean(lambda p, g, e: e**2)),
        "log10": mean(lambda p, g, e: abs(math.log10(p) - math.log10(g))),
        "silog": 100 * math.sqrt(mean(lambda p, g, e: (e - mean_e) ** 2)),
        "irmse": math.sqrt(mean(lambda p, g, e: (1 / p - 1 / g) ** 2)),
        "log_bias": mean_e,
        "median_log_error": 100 * abs(median),
    }


def near_a_step(points):
    """Whether a ratio lies so near a step of delta-AUC that rounding of 1.25**x decides."""
    answered = [(p, g) for p, g in points if math.isfinite(p) and p > 0]
    places = [(abs(math.log(p / g)) / math.log(1.25) - 0.01) * 99 / 4.99 for p, g in answered]
    return any(abs(place - round(place)) < 1e-9 for place in places)


@settings(deadline=None, max_examples=150)
@given(POINTS)
def test_metrics_are_those_of_a_loop(points):
    assume(not near_a_step(points))
    found, wanted = per_image_metrics(image_statistics(*columns(points))), metrics_by_hand(points)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        slack = 2e-5 if name == "silog" else 1e-11
        assert found[name] == pytest.approx(value, rel=1e-9, abs=slack, nan_ok=True), name


@pytest.mark.parametrize(
    ("factor", "shares"),
    [(1.0, (1, 1, 1, 1, 1, 1)), (1.2, (0, 0, 0, 1, 1, 1)), (1.3, (0, 0, 0, 0, 1, 1)), (2, (0,) * 6)],
)
def test_a_scaled_prediction_scores_by_its_scale(factor, shares):
    truth = np.array([0.5, 1.0, 3.0, 7.5, 22.0, 90.0])
    found = per_image_metrics(image_statistics(truth * factor, truth))
    assert tuple(found[name] for name in RATIO_NAMES) == shares
    assert found["abs_rel"] == pytest.approx(factor - 1)
    assert found["log_bias"] == pytest.approx(math.log(factor), abs=1e-15)
    assert found["rmse_log"] == pytest.approx(math.log(factor), abs=1e-15)
    assert found["log10"] == pytest.approx(math.log10(factor), abs=1e-15)
    assert found["median_log_error"] == pytest.approx(100 * math.log(factor), abs=1e-12)
    assert found["silog"] == pytest.approx(0, abs=1e-5)
    assert found["coverage"] == 1


def test_the_best_delta_auc_is_the_length_of_its_exponents():
    truth = np.array([1.0, 2.0])
    assert per_image_metrics(image_statistics(truth, truth))["delta_auc"] == pytest.approx(4.99 / 5)
    # Beyond 1.25^5 there is no area; in the last step there is half a step.
    assert per_image_metrics(image_statistics(truth * 3.06, truth))["delta_auc"] == 0
    last = per_image_metrics(image_statistics(truth * 1.25**4.97, truth))["delta_auc"]
    assert last == pytest.approx(4.99 / 99 / 2 / 5)


@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_what_is_no_answer_is_a_miss_without_an_error(answer):
    statistics = image_statistics([2.0, answer], [2.0, 4.0], flags=[0, 7])
    found = per_image_metrics(statistics)
    assert (statistics.asked, statistics.answered, statistics.within) == (2, 1, (1,) * 6)
    assert found["delta1"] == found["coverage"] == found["delta1_ray"] == 0.5
    assert found["delta_auc"] == pytest.approx(4.99 / 5 / 2)
    assert found["abs_rel"] == found["rmse"] == found["irmse"] == found["median_log_error"] == 0
    assert (statistics.flag_asked, statistics.flag_hits) == ((1, 1, 1), (0, 0, 0))


def test_an_image_without_answers_has_shares_but_no_errors():
    found = per_image_metrics(image_statistics([math.nan, 0.0], [1.0, 2.0]))
    shares = {*RATIO_NAMES, "coverage", "delta_auc", "delta1_ray"}
    assert all(found[name] == 0 for name in shares)
    assert all(math.isnan(value) for name, value in found.items() if name not in shares)


def test_an_image_without_points_has_no_metric_at_all():
    assert all(math.isnan(value) for value in per_image_metrics(image_statistics([], [])).values())


@pytest.mark.parametrize("truth", [0.0, -1.0, math.nan, math.inf])
def test_truth_that_cannot_be_asked_is_refused(truth):
    with pytest.raises(ValueError, match="truth_m"):
        image_statistics([1.0, 1.0], [1.0, truth])


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\) and \(1,\)"):
        image_statistics([1.0, 1.0], [1.0])


def test_absurd_answers_leave_no_warning_and_no_hit(recwarn):
    statistics = image_statistics([1e308, 5e-324], [0.01, 100.0])
    assert statistics.answered == 2
    assert statistics.within == (0,) * 6
    assert per_image_metrics(statistics)["rmse"] == math.inf
    assert not recwarn.list


@settings(deadline=None)
@given(POINTS)
def test_bins_hold_every_point_once(points):
    statistics = image_statistics(*columns(points))
    for name in ("asked", "answered", "hits"):
        by_hand = [
            sum(
                low <= g < high
                and (name == "asked" or (math.isfinite(p) and p > 0))
                and (name != "hits" or max(p / g, g / p) < 1.25)
                for p, g in points
            )
            for low, high in itertools.pairwise(DISTANCE_EDGES_M)
        ]
        assert list(getattr(statistics, f"bin_{name}")) == by_hand


def test_a_distance_on_an_edge_belongs_to_the_farther_bin():
    statistics = image_statistics([1.0] * 3, [1.0, 5.0, 80.0])
    assert statistics.bin_asked == (0, 1, 0, 1, 0, 0, 0, 1)


def test_ray_answers_are_compared_with_ray_distance():
    truth, factor = np.array([2.0, 2.0, 2.0]), np.array([1.5, 1.0, math.nan])
    statistics = image_statistics(truth * 1.5, truth, ray_factor=factor, answers_ray=True)
    assert (statistics.ray_asked, statistics.ray_hits) == (2, 1)
    assert statistics.within[3] == 0
    assert image_statistics(truth, truth, answers_ray=True).ray_asked == 0


def test_z_answers_hit_alike_on_ray_distance():
    truth = np.array([2.0, 3.0])
    statistics = image_statistics([2.0, 9.0], truth, ray_factor=[1.3, 1.1])
    assert (statistics.ray_asked, statistics.ray_hits) == (2, 1)


def test_flags_count_by_bit():
    statistics = image_statistics([1.0, 1.0, 9.0], [1.0, 1.0, 1.0], flags=[1, 6, 3])
    assert (statistics.flag_asked, statistics.flag_hits) == ((2, 2, 1), (1, 1, 1))


@settings(deadline=None, max_examples=50)
@given(POINTS, st.randoms(use_true_random=False))
def test_counts_do_not_depend_on_the_order_of_points(points, shuffler):
    shuffled = list(points)
    shuffler.shuffle(shuffled)
    one, other = (to_columns(image_statistics(*columns(p))) for p in (points, shuffled))
    for name, kind in STATISTICS_FIELDS.items():
        if kind != "float64" or name == "median_log":
            assert one[name] == other[name] or math.isnan(one[name])
        else:
            assert one[name] == pytest.approx(other[name], rel=1e-12, abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(POINTS, st.floats(0.1, 10.0))
def test_shares_and_relative_errors_do_not_depend_on_the_unit(points, unit):
    p, g = columns(points)
    before, after = (per_image_metrics(image_statistics(p * s, g * s)) for s in (1.0, unit))
    for name in ("abs_rel", "rmse_log", "log10", "log_bias"):
        assert after[name] == pytest.approx(before[name], rel=1e-7, abs=1e-12, nan_ok=True)
    for name, power in (("rmse", 1), ("sq_rel", 1), ("irmse", -1)):
        wanted = before[name] * unit**power
        assert after[name] == pytest.approx(wanted, rel=1e-7, abs=1e-9, nan_ok=True)


def test_columns_come_back_as_they_were_and_have_the_named_types():
    statistics = image_statistics([1.0, 2.0, math.nan], [1.1, 2.0, 3.0], flags=[0, 1, 4])
    row = to_columns(statistics)
    assert from_columns(row | {"id": "a"}) == statistics
    types = {"int64": int, "float64": float, "list<int64>": list}
    assert all(type(row[name]) is types[kind] for name, kind in STATISTICS_FIELDS.items())
    assert row.keys() == STATISTICS_FIELDS.keys()
    assert all(type(item) is int for value in row.values() if isinstance(value, list) for item in value)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6) | st.just(math.nan), min_size=1, max_size=60), st.integers(1, 7))
def test_means_are_the_same_to_the_last_bit_in_any_order_and_sharding(values, shards):
    ids = [f"image/{k:03d}" for k in range(len(values))]
    rows = list(zip(ids, values, strict=True))
    merged = [row for shard in range(shards) for row in rows[shard::shards]]
    random.Random(shards).shuffle(merged)
    one = mean_over_images(values, ids)
    other = mean_over_images([v for _, v in merged], [i for i, _ in merged])
    assert one.hex() == other.hex()
    exact = [Fraction(v) for v in values if not math.isnan(v)]
    if exact:
        assert one == pytest.approx(float(sum(exact) / len(exact)), rel=1e-15)
    else:
        assert math.isnan(one)


def test_means_refuse_an_image_that_comes_twice():
    with pytest.raises(ValueError, match="twice"):
        mean_over_images([0.1, 0.2], ["a", "a"])


def test_means_of_absurd_errors_are_infinite():
    assert mean_over_images([1e308] * 3, ["a", "b", "c"]) == math.inf
    assert mean_over_images([math.inf, 1.0], ["a", "b"]) == math.inf


@settings(deadline=None, max_examples=50)
@given(st.lists(POINTS, min_size=1, max_size=6))
def test_pooled_shares_are_those_of_all_points_together(images):
    statistics = [image_statistics(*columns(points)) for points in images]
    everything = [point for points in images for point in points]
    whole, found = image_statistics(*columns(everything)), pooled_metrics(statistics)
    assert found["delta1_pooled"] == per_image_metrics(whole)["delta1"]
    assert found == pytest.approx(pooled_metrics([whole]), abs=0, nan_ok=True)
    assert found == pytest.approx(pooled_metrics(statistics[::-1]), abs=0, nan_ok=True)


def test_pooled_shares_are_named_by_distance_and_flag():
    found = pooled_metrics([image_statistics([1.0, 90.0], [1.5, 90.0], flags=[0, 2])])
    assert found["delta1_1_2_m"] == 0
    assert found["delta1_80_inf_m"] == found["delta1_flag_2"] == 1
    assert math.isnan(found["delta1_0_1_m"])
    assert math.isnan(found["delta1_flag_1"])
    assert found["delta1_among_answered"] == 0.5
    assert len(found) == 2 + 8 + 3
    assert all(math.isnan(value) for value in pooled_metrics([]).values())


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


def test_the_place_among_the_ratios_of_delta_auc_is_exact():
    walls = st_module._AUC_RATIOS
    around = np.concatenate([walls, np.nextafter(walls, 0), np.nextafter(walls, np.inf)])
    random = 1.25 ** np.random.default_rng(0).uniform(0, 6, 10_000)
    ratio = np.concatenate([[1.0, np.inf, 1e308], around, random])
    expected = np.searchsorted(walls, ratio, side="right")
    assert np.array_equal(st_module._first_ratio_above(ratio), expected)
