"""Depth Anything v2 metric: six sets of weights, three pairs, one's own; a domain policy that is told."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("torch")
pytest.importorskip("transformers")

from native_models import Seer, evaluated, loaded, ramp_error_px, ramps, view

from depthvlm_bench.baselines.depth_anything_v2 import INDOOR_S, OUTDOOR_S, OWN, PAIR_S, PairOptions
from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict.contracts import View
from depthvlm_bench.predict.tiny import make_tiny
from depthvlm_bench.predict.tiny.depth_anything import make_tiny as make_depth_anything


@pytest.fixture(scope="module")
def random(tmp_path_factory):
    return make_tiny(INDOOR_S.card.id, tmp_path_factory.mktemp("da") / "random")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return make_tiny(INDOOR_S.card.id, tmp_path_factory.mktemp("da") / "three", answer_m=3.0)


@pytest.fixture(scope="module")
def thirty(tmp_path_factory):
    return make_tiny(OUTDOOR_S.card.id, tmp_path_factory.mktemp("da") / "thirty", answer_m=30.0)


@pytest.fixture(scope="module")
def pair(three, thirty):
    predictor = PAIR_S.build()
    predictor.load(PairOptions(str(three), str(thirty), device="cpu"))
    return predictor


@pytest.mark.parametrize("model", [INDOOR_S, OWN], ids=lambda model: model.card.id)
def test_a_known_answer_is_three_metres_through_an_evaluation(model, three, tmp_path, monkeypatch):
    run, done = evaluated(model, three, tmp_path, monkeypatch, depth_m=3.0)
    assert_allclose(run.predictions()["nearest_m"].to_numpy(), 3.0, rtol=0, atol=1e-5)
    assert [result.scores["delta1"].value for result in done.results] == [1.0, 1.0]


@pytest.mark.parametrize("channel", [0, 1], ids=["columns", "rows"])
def test_a_ramp_comes_back_where_it_was(random, channel):
    predictor = loaded(INDOOR_S, random)
    mean, std = predictor.processor.image_mean[channel], predictor.processor.image_std[channel]
    predictor.model = Seer(channel, mean, std)
    (answer,) = predictor.predict([View("a", ramps(), None)])
    assert answer.depth_m.shape == (90, 120)
    assert ramp_error_px(answer.depth_m, channel) < 0.5


def test_a_picture_answers_alike_alone_and_in_a_batch_of_several_sizes(random):
    predictor = loaded(INDOOR_S, random)
    views = [view(seed=0), view(64, 96, seed=1), view(seed=2), view(48, 72, seed=3)]
    together = predictor.predict(views)
    for alone, one in zip([predictor.predict([of])[0] for of in views], together, strict=True):
        assert_allclose(alone.depth_m, one.depth_m, rtol=1e-4)
    assert not np.allclose(together[0].depth_m, together[2].depth_m, rtol=1e-3)


def test_pictures_that_the_model_sees_at_one_size_are_asked_about_together(random):
    predictor = loaded(INDOOR_S, random)
    predictor.model = Seer(0, 0.5, 0.5)
    predictor.predict([view(seed=0), view(64, 96, seed=1), view(seed=2)])
    assert predictor.model.batches == [2, 1]


def test_maps_stay_in_the_range_of_the_head(random):
    predictor = loaded(INDOOR_S, random)
    steps = Seer(0, 0.5, 0.5, answer=lambda levels: (levels > levels.mean()) * 20.0)
    steps.config.max_depth = 20
    predictor.model = steps
    (answer,) = predictor.predict([view()])
    assert (answer.depth_m.min(), answer.depth_m.max()) == (np.float32(0.001), 20.0)


def test_a_camera_changes_nothing_and_neither_does_a_larger_picture(three):
    predictor = loaded(INDOOR_S, three)
    views = [view(48, 32), view(48, 32, 100.0), view(48, 32, 200.0), view(96, 64, 200.0)]
    for answer in predictor.predict(views):
        assert_allclose(answer.depth_m, 3.0, rtol=0, atol=1e-5)


def test_a_pair_answers_rooms_and_streets_with_different_weights_and_says_with_which(pair):
    views = [view(of="ibims1"), view(of="nuscenes", seed=1), view(64, 48, of="nyuv2", seed=2)]
    answers = pair.predict(views)
    assert_allclose([float(answer.depth_m.mean()) for answer in answers], [3.0, 30.0, 3.0], rtol=1e-5)
    assert [answer.text for answer in answers] == ["domain indoor", "domain outdoor", "domain indoor"]


def test_a_pair_is_refused_where_nothing_tells_the_domain(pair):
    with pytest.raises(UsageError, match="indoors or outdoors"):
        pair.predict([view(of="my-own-set")])


def test_a_run_records_the_domain_and_who_decides_it(three, thirty):
    one = INDOOR_S.identify(INDOOR_S.options_type(checkpoint=str(three), device="cpu"))
    assert (one.loaded["domain_policy"], one.loaded["domain"], one.loaded["max_depth_m"]) == (
        "one",
        "indoor",
        20.0,
    )
    both = PAIR_S.identify(PairOptions(str(three), str(thirty), device="cpu"))
    assert both.loaded["domain_policy"] == "dataset"
    assert both.loaded["outdoor"]["max_depth_m"] == 80.0
    assert both.options.keys() == {"indoor", "outdoor"}
    other = PAIR_S.identify(PairOptions(str(three), str(three), device="cpu"))
    assert other.loaded != both.loaded


def test_a_pair_takes_no_single_checkpoint_and_says_when_it_is_not_in_full_precision(three, thirty):
    options = PairOptions(str(three), str(thirty), device="cpu")
    assert not hasattr(options, "checkpoint")
    assert PAIR_S.identify(replace(options, dtype="bfloat16")).options["dtype"] == "bfloat16"


def test_a_relative_checkpoint_is_recognised_and_refused_by_name(tmp_path):
    folder = make_depth_anything(tmp_path / "my-relative", metric=False)
    assert OWN.recognises(folder)
    for model in (OWN, INDOOR_S):
        with pytest.raises(UsageError, match="my-relative is a relative-depth checkpoint"):
            loaded(model, folder)
        with pytest.raises(UsageError, match="my-relative is a relative-depth checkpoint"):
            model.identify(model.options_type(checkpoint=str(folder)))


def test_an_answer_beyond_the_head_is_refused(tmp_path):
    with pytest.raises(UsageError, match="before 20 m"):
        make_tiny(INDOOR_S.card.id, tmp_path / "far", answer_m=30.0)
