import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthvlm_bench.scoring.aligned import (
    MIN_POINTS,
    affine_aligned_depth,
    affine_aligned_disparity,
    aligned_metrics,
    scale_aligned,
)

ALIGNMENTS = (scale_aligned, affine_aligned_depth, affine_aligned_disparity)


def scene(count=80, seed=0, noise=0.1):
    random = np.random.default_rng(seed)
    truth = random.uniform(0.5, 20.0, count)
    return truth * np.exp(random.normal(0, noise, count)), truth


@pytest.mark.parametrize("align", ALIGNMENTS)
def test_a_perfect_prediction_stays_perfect(align):
    _, truth = scene()
    assert align(truth, truth) == pytest.approx(truth, rel=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 100.0), st.integers(0, 1000))
def test_scale_does_not_matter_after_any_alignment(scale, seed):
    prediction, truth = scene(seed=seed)
    for align in ALIGNMENTS:
        assert align(prediction * scale, truth) == pytest.approx(align(prediction, truth), rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.1, 10.0), st.floats(0.0, 5.0))
def test_an_affine_map_of_the_truth_is_undone(scale, shift):
    _, truth = scene()
    assert affine_aligned_depth(truth * scale + shift, truth) == pytest.approx(truth, rel=1e-9)
    assert affine_aligned_disparity(1 / (scale / truth + shift), truth) == pytest.approx(truth, rel=1e-9)


def test_scale_alignment_is_the_ratio_of_medians():
    prediction, truth = scene(count=51)
    factor = sorted(truth)[25] / sorted(prediction)[25]
    assert scale_aligned(prediction, truth) == pytest.approx(prediction * factor, rel=1e-15)


def test_affine_depth_is_numpys_least_squares():
    prediction, truth = scene()
    matrix = np.stack([prediction, np.ones_like(prediction)], axis=1)
    scale, shift = np.linalg.lstsq(matrix, truth, rcond=None)[0]
    wanted = np.maximum(prediction * scale + shift, 1e-6)
    assert affine_aligned_depth(prediction, truth) == pytest.approx(wanted, rel=1e-9)


def test_affine_disparity_is_numpys_least_squares_clamped_at_the_farthest_truth():
    _, truth = scene()
    prediction = np.sqrt(truth)
    matrix = np.stack([1 / prediction, np.ones_like(prediction)], axis=1)
    scale, shift = np.linalg.lstsq(matrix, 1 / truth, rcond=None)[0]
    disparity = scale / prediction + shift
    assert (disparity < 1 / truth.max()).any()
    found = affine_aligned_disparity(prediction, truth)
    assert found == pytest.approx(1 / np.maximum(disparity, 1 / truth.max()), rel=1e-9)
    assert found.max() <= truth.max() * (1 + 1e-12)


def test_affine_depth_is_clipped_to_be_positive():
    truth = np.r_[np.full(60, 1.0), np.linspace(10, 20, 40)]
    prediction = np.r_[np.full(59, 5.0), 0.001, np.linspace(10, 20, 40)]
    assert affine_aligned_depth(prediction, truth).min() == 1e-6


def test_a_constant_prediction_becomes_the_mean_truth():
    _, truth = scene()
    constant = np.full_like(truth, 2.0)
    assert affine_aligned_depth(constant, truth) == pytest.approx(np.full_like(truth, truth.mean()))
    assert affine_aligned_disparity(constant, truth) == pytest.approx(
        np.full_like(truth, 1 / np.mean(1 / truth))
    )


@pytest.mark.parametrize("align", ALIGNMENTS)
def test_too_few_answers_are_not_aligned(align):
    prediction, truth = scene(count=MIN_POINTS)
    assert align(prediction, truth) is not None
    prediction[0] = math.nan
    assert align(prediction, truth) is None


@pytest.mark.parametrize("align", ALIGNMENTS)
@pytest.mark.parametrize("answer", [math.nan, 0.0, -3.0, math.inf])
def test_what_is_no_answer_is_neither_fitted_nor_brought_back(align, answer, recwarn):
    prediction, truth = scene()
    spoiled = np.r_[prediction, answer]
    found = align(spoiled, np.r_[truth, truth.max()])
    assert math.isnan(found[-1])
    assert found[:-1] == pytest.approx(align(prediction, truth), rel=1e-12)
    assert not recwarn.list


def test_metrics_are_those_of_a_loop():
    prediction, truth = scene(noise=0.3)
    prediction[:3] = math.nan
    found = aligned_metrics(prediction, truth)
    for name, align in zip(("scale", "affine", "disparity"), ALIGNMENTS, strict=True):
        pairs = [(p, g) for p, g in zip(align(prediction, truth), truth, strict=True) if not math.isnan(p)]
        hits = sum(max(p / g, g / p) < 1.25 for p, g in pairs)
        assert found[f"delta1_{name}"] == hits / len(truth)
        assert found[f"abs_rel_{name}"] == pytest.approx(sum(abs(p - g) / g for p, g in pairs) / len(pairs))
    assert len(found) == 6


def test_a_wrong_scale_is_forgiven_and_a_missing_answer_is_not():
    _, truth = scene()
    found = aligned_metrics(np.r_[truth * 7, math.nan], np.r_[truth, 1.0])
    assert found["delta1_scale"] == 80 / 81
    assert found["abs_rel_scale"] == pytest.approx(0, abs=1e-12)


def test_metrics_of_few_points_are_nan():
    prediction, truth = scene(count=MIN_POINTS - 1)
    assert all(math.isnan(value) for value in aligned_metrics(prediction, truth).values())


@pytest.mark.parametrize("answers", [0, MIN_POINTS - 1])
def test_an_image_with_too_few_answers_is_missed_and_not_left_out(answers):
    """Else a model could choose its images by its silence."""
    _, truth = scene()
    found = aligned_metrics(np.where(np.arange(len(truth)) < answers, truth, math.nan), truth)
    for name in ("scale", "affine", "disparity"):
        assert found[f"delta1_{name}"] == 0
        assert math.isnan(found[f"abs_rel_{name}"])


def test_absurd_answers_leave_no_warning(recwarn):
    _, truth = scene()
    for answer in (1e308, 5e-324):
        aligned_metrics(np.r_[truth, [answer] * 2], np.r_[truth, 1.0, 2.0])
    assert not recwarn.list
