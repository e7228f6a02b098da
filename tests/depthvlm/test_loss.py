"""SILog and the training δ1: a golden value, an independent implementation, and the edges."""

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from depthvlm_golden import needs_golden, vectors

from depthvlm_bench.depthvlm.loss import delta1_counts, depth_loss, silog


def random_pair(seed: int = 0, invalid: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    pred = random.uniform(0.5, 20, (12, 17)).astype(np.float32)
    target = random.uniform(0.5, 20, (12, 17)).astype(np.float32)
    target[random.random((12, 17)) < invalid] = 0.0
    return torch.from_numpy(pred), torch.from_numpy(target)


@needs_golden
def test_silog_is_the_references() -> None:
    pred, target, loss = (vectors("expected")[f"silog.{name}"] for name in ("pred", "gt", "loss"))
    found = silog(torch.from_numpy(pred)[None], torch.from_numpy(target)[None])
    assert float(found) == pytest.approx(float(loss), abs=1e-6) == pytest.approx(0.18809555, abs=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_silog_is_that_of_its_formula_in_float64(lam: float) -> None:
    pred, target = random_pair()
    valid = target.numpy() > 0
    d = np.log(pred.numpy()[valid].astype(np.float64)) - np.log(target.numpy()[valid].astype(np.float64))
    expected = math.sqrt((d**2).mean() - lam * d.mean() ** 2 + 1e-8)
    assert float(silog(pred, target, lam=lam)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_a_common_scale_error_is_half_forgiven(scale: float) -> None:
    pred, target = random_pair()
    d = torch.log(pred * scale)[target > 0] - torch.log(target)[target > 0]
    variance, mean = float(d.var(unbiased=False)), float(d.mean())
    assert float(silog(pred * scale, target)) == pytest.approx(math.sqrt(variance + 0.5 * mean**2), rel=1e-4)


def test_a_perfect_map_leaves_the_epsilon() -> None:
    _, target = random_pair()
    assert float(silog(target.clamp(min=1.0), target.clamp(min=1.0))) == pytest.approx(1e-4, rel=1e-3)


def test_pixels_without_depth_or_with_a_prediction_of_zero_get_no_gradient() -> None:
    pred, target = random_pair()
    pred[0] = 0.0
    pred.requires_grad_()
    silog(pred, target).backward()
    left_out = (target == 0) | (pred == 0)
    assert bool((pred.grad[left_out] == 0).all())
    assert bool((pred.grad[~left_out] != 0).all())


def test_an_image_without_a_valid_pixel_has_no_loss() -> None:
    pred, target = random_pair()
    assert silog(pred, torch.zeros_like(target)) is None
    assert silog(torch.zeros_like(pred), target) is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_prediction_is_seen_in_the_loss(value: float) -> None:
    pred, target = random_pair()
    row, column = (int(i) for i in target.nonzero()[0])
    pred[row, column] = value
    assert not math.isfinite(float(silog(pred, target)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_label_that_is_no_depth_counts_as_unknown(value: float) -> None:
    pred, target = random_pair()
    broken = torch.where(target == 0, torch.tensor(value), target)
    assert float(silog(pred, broken)) == float(silog(pred, target))
    assert delta1_counts(pred, broken) == delta1_counts(pred, target)


def test_low_precision_predictions_are_measured_in_float32() -> None:
    pred, target = random_pair()
    rounded = pred.bfloat16()
    assert torch.equal(silog(rounded, target), silog(rounded.float(), target))


def test_a_map_is_brought_to_its_labels_size_with_aligned_corners() -> None:
    pred = torch.tensor([[1.0, 4.0]])
    target = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert float(depth_loss([pred], [target]).loss) == pytest.approx(1e-4, rel=1e-3)


def test_images_weigh_alike_whatever_their_number_of_points() -> None:
    dense, sparse = random_pair(1, invalid=0.0), random_pair(2, invalid=0.95)
    found = depth_loss([dense[0], sparse[0]], [dense[1], sparse[1]])
    assert found.images == 2
    assert float(found.loss) == pytest.approx((float(silog(*dense)) + float(silog(*sparse))) / 2, rel=1e-6)


def test_images_without_a_label_or_a_valid_pixel_are_left_out_of_the_mean() -> None:
    pred, target = random_pair()
    found = depth_loss([pred, pred, pred], [None, target, torch.zeros_like(target)])
    assert found.images == 1
    assert float(found.loss) == float(silog(pred, target))
    assert int(found.valid) == int((target > 0).sum())


def test_a_batch_without_any_depth_has_no_loss_and_no_pixels() -> None:
    pred, target = random_pair()
    found = depth_loss([pred], [torch.zeros_like(target)])
    assert (found.loss, found.images, int(found.hits), int(found.valid)) == (None, 0, 0, 0)
    assert depth_loss([], []).loss is None


def test_labels_may_have_a_channel() -> None:
    pred, target = random_pair()
    assert torch.equal(depth_loss([pred], [target[None]]).loss, depth_loss([pred], [target]).loss)


def test_delta1_counts_what_is_within_a_quarter_and_every_other_answer_as_a_miss() -> None:
    target = torch.tensor([[2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.0]])
    pred = torch.tensor([[2.49, 2.5, 1.61, 1.6, 0.0, math.nan, -2.0, 2.0]])
    hits, valid = delta1_counts(pred, target)
    assert (int(hits), int(valid)) == (2, 7)


def test_delta1_is_measured_on_the_resized_map() -> None:
    found = depth_loss([torch.tensor([[1.0, 4.0]])], [torch.tensor([[1.0, 2.0, 3.0, 40.0]])])
    assert (int(found.hits), int(found.valid)) == (3, 4)


def test_there_is_a_label_or_none_for_each_map() -> None:
    pred, target = random_pair()
    with pytest.raises(ValueError, match="argument"):
        depth_loss([pred, pred], [target])
