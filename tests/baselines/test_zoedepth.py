"""ZoeDepth: one picture at a time, its own processor, the border taken off, both heads in metres."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from native_models import Seer, evaluated, loaded, ramp_error_px, ramps, view

from depthvlm_bench.baselines.zoedepth import ZOEDEPTH, ZoeDepthOptions, border_px, identify, recognises
from depthvlm_bench.predict.contracts import View
from depthvlm_bench.predict.tiny import make_tiny


@pytest.fixture(scope="module")
def random(tmp_path_factory):
    return make_tiny("zoedepth", tmp_path_factory.mktemp("zoe") / "random")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return make_tiny("zoedepth", tmp_path_factory.mktemp("zoe") / "three", answer_m=3.0)


def test_a_known_answer_is_three_metres_through_an_evaluation(three, tmp_path, monkeypatch):
    run, done = evaluated(ZOEDEPTH, three, tmp_path, monkeypatch, depth_m=3.0)
    assert_allclose(run.predictions()["nearest_m"].to_numpy(), 3.0, rtol=0, atol=1e-4)
    assert [result.scores["delta1"].value for result in done.results] == [1.0, 1.0]


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("channel", [0, 1], ids=["columns", "rows"])
def test_a_ramp_comes_back_where_it_was(random, channel, flip):
    predictor = loaded(ZOEDEPTH, random, flip=flip)
    predictor.model = Seer(channel, 0.5, 0.5)
    (answer,) = predictor.predict([View("a", ramps(), None)])
    assert answer.depth_m.shape == (90, 120)
    assert ramp_error_px(answer.depth_m, channel) < 0.5


def test_pictures_are_asked_about_one_by_one_so_that_none_has_a_say_in_another(random):
    predictor = loaded(ZOEDEPTH, random)
    views = [view(seed=0), view(seed=1), view(80, 60, seed=2)]
    together = predictor.predict(views)
    for alone, one in zip([predictor.predict([of])[0] for of in views], together, strict=True):
        assert np.array_equal(alone.depth_m, one.depth_m)
    predictor.model = Seer(0, 0.5, 0.5)
    predictor.predict(views)
    assert set(predictor.model.batches) == {1}
    assert ZOEDEPTH.card.max_batch == 1


def test_flipping_averages_the_map_with_that_of_the_mirrored_picture(random):
    plain, flipping = loaded(ZOEDEPTH, random, flip=False), loaded(ZOEDEPTH, random)
    shown = view(96, 64)
    mirrored = replace(shown, picture=shown.picture.transpose(0))
    (one,), (other,), (both,) = plain.predict([shown]), plain.predict([mirrored]), flipping.predict([shown])
    assert_allclose(both.depth_m, (one.depth_m + other.depth_m[:, ::-1]) / 2, rtol=0, atol=1e-4)
    assert not np.allclose(both.depth_m, one.depth_m, atol=1e-4)


def test_the_head_that_answered_is_told(random):
    predictor = loaded(ZOEDEPTH, random)
    classifier = predictor.model.metric_head.mlp_classifier.linear2
    with torch.no_grad():
        classifier.weight.zero_()
        for name, bias in (("nyu", (1.0, 0.0)), ("kitti", (0.0, 1.0))):
            classifier.bias.copy_(torch.tensor(bias))
            assert predictor.predict([view()])[0].text == f"domain {name}"


def test_a_camera_changes_nothing(random):
    predictor = loaded(ZOEDEPTH, random)
    answers = [predictor.predict([view(fx_px=fx_px)])[0].depth_m for fx_px in (None, 300.0, 600.0)]
    assert all(np.array_equal(answers[0], answer) for answer in answers[1:])
    assert ZOEDEPTH.card.camera == "unsupported"


def test_a_picture_twice_as_large_is_as_far_away(three):
    predictor = loaded(ZOEDEPTH, three)
    for size in ((48, 32), (96, 64)):
        assert_allclose(predictor.predict([view(*size)])[0].depth_m, 3.0, rtol=0, atol=1e-4)


def test_the_border_is_that_of_the_authors_code():
    assert [border_px(side) for side in (2, 240, 480, 1000)] == [3, 32, 46, 67]


def test_a_run_is_identified_by_the_weights_the_precision_and_the_flip(random, three):
    options = ZoeDepthOptions(checkpoint=str(random), device="cpu")
    known = identify(options)
    assert known.loaded["flip"] is True
    assert known.loaded["pictures"] == "ZoeDepthImageProcessorPil"
    assert known.options.keys() == {"checkpoint"}
    assert known.options["checkpoint"].startswith("random@")
    assert identify(replace(options, flip=False)).options["flip"] is False
    assert identify(replace(options, checkpoint=str(three))).loaded != known.loaded


def test_half_precision_is_close_to_full(random):
    full, half = loaded(ZOEDEPTH, random), loaded(ZOEDEPTH, random, dtype="bfloat16")
    answers = [predictor.predict([view()])[0].depth_m for predictor in (full, half)]
    assert answers[1].dtype == np.float32
    assert_allclose(answers[1], answers[0], rtol=0.05)


def test_a_folder_is_recognised_by_its_kind(random):
    assert recognises(random)
    assert ZOEDEPTH.recognises is recognises
