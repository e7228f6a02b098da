"""Depth Pro: inverse depth in metres by the camera's focal length or its own, without torchvision."""

import json
import math
import shutil

import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("torch")
pytest.importorskip("transformers")

from native_models import UNKNOWN_CAMERA, Seer, evaluated, loaded, noise, ramp_error_px, ramps, view
from scipy import ndimage

from depthvlm_bench.baselines.depth_pro import (
    DEPTH_PRO,
    DepthProOptions,
    PictureSettings,
    focal_from_fov,
    identify,
    recognises,
)
from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict.contracts import View
from depthvlm_bench.predict.tiny import make_tiny
from depthvlm_bench.predict.tiny.depth_pro import make_tiny as make_depth_pro

# By how much a forgotten focal length is wrong at the 60 degrees that known answers estimate.
BY_60_DEG = 0.5 / math.tan(math.radians(30))


@pytest.fixture(scope="module")
def random(tmp_path_factory):
    return make_tiny("depth-pro", tmp_path_factory.mktemp("pro") / "random")


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return make_tiny("depth-pro", tmp_path_factory.mktemp("pro") / "four", answer_m=4.0)


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """The same without the part that estimates a field of view."""
    return make_depth_pro(tmp_path_factory.mktemp("pro") / "blind", answer_m=4.0, estimates_fov=False)


def test_a_known_camera_as_wide_as_its_focal_length_answers_four_metres(four, tmp_path, monkeypatch):
    run, done = evaluated(DEPTH_PRO, four, tmp_path, monkeypatch, depth_m=4.0, fx_px=16.0)
    assert_allclose(run.predictions()["nearest_m"].to_numpy(), 4.0, rtol=1e-6)
    assert [result.scores["delta1"].value for result in done.results] == [1.0, 1.0]


def test_an_unknown_camera_answers_by_the_estimated_field_of_view(four, tmp_path, monkeypatch):
    known = {"depth_m": 3.4641, "fx_px": 16.0, "settings": UNKNOWN_CAMERA}
    run, done = evaluated(DEPTH_PRO, four, tmp_path, monkeypatch, **known)
    assert_allclose(run.predictions()["nearest_m"].to_numpy(), 4 * BY_60_DEG, rtol=1e-6)
    assert pytest.approx(3.4641, abs=1e-4) == 4 * BY_60_DEG
    assert run.spec.track == "unknown"
    true_deg = 2 * math.degrees(math.atan(0.5))
    assert done.results[0].metrics["fov_error_deg"] == pytest.approx(60 - true_deg, abs=1e-4)
    assert done.results[0].scores["delta1"].value == 1.0


def test_whose_focal_length_makes_metres_can_be_chosen(four):
    shown = view(100, 80, fx_px=200.0)
    for focal, metres in (("auto", 8.0), ("given", 8.0), ("estimated", 4 * BY_60_DEG)):
        (answer,) = loaded(DEPTH_PRO, four, focal=focal).predict([shown])
        assert_allclose(answer.depth_m, metres, rtol=1e-6)


def test_the_estimated_field_of_view_is_told_and_whether_it_was_used(four, blind):
    predictor = loaded(DEPTH_PRO, four)
    (guessed,), (given,) = predictor.predict([view()]), predictor.predict([view(fx_px=200.0)])
    assert guessed.text == "horizontal field of view 60.000 degrees estimated"
    assert given.text == "horizontal field of view 60.000 degrees estimated, not used"
    assert loaded(DEPTH_PRO, blind).predict([view(fx_px=200.0)])[0].text is None


def test_a_focal_length_that_nobody_knows_is_refused(four, blind):
    with pytest.raises(UsageError, match="this checkpoint estimates none"):
        loaded(DEPTH_PRO, blind).predict([view()])
    with pytest.raises(UsageError, match="focal=given"):
        loaded(DEPTH_PRO, four, focal="given").predict([view()])


def test_doubling_camera_and_picture_leaves_metres_and_doubling_the_camera_alone_doubles_them(four):
    predictor = loaded(DEPTH_PRO, four)
    shown = [view(48, 32, 60.0), view(96, 64, 120.0), view(48, 32, 120.0)]
    plain, both, camera_alone = (answer.depth_m for answer in predictor.predict(shown))
    assert_allclose(both, plain[0, 0], rtol=1e-6)
    assert_allclose(camera_alone, 2 * plain[0, 0], rtol=1e-6)


@pytest.mark.parametrize("channel", [0, 1], ids=["columns", "rows"])
def test_a_ramp_comes_back_where_it_was(random, channel):
    predictor = loaded(DEPTH_PRO, random)
    predictor.model = Seer(channel, 0.5, 0.5, answer=lambda levels: levels / 255 + 1)
    shown = View("a", ramps(), view(120, 90, 60.0).camera)
    (answer,) = predictor.predict([shown])
    inverse = 60.0 / 120 / answer.depth_m
    assert ramp_error_px((inverse - 1) * 255, channel) < 0.5


def test_a_picture_answers_alike_alone_and_in_a_batch(random):
    predictor = loaded(DEPTH_PRO, random)
    views = [view(seed=0), view(80, 60, 90.0, seed=1), view(seed=2)]
    for alone, one in zip(
        [predictor.predict([of])[0] for of in views], predictor.predict(views), strict=True
    ):
        assert_allclose(alone.depth_m, one.depth_m, rtol=1e-4)
    assert not np.allclose(
        predictor.predict(views)[0].depth_m, predictor.predict(views)[2].depth_m, rtol=1e-4
    )


def test_pictures_are_normalised_then_resized_bilinearly_whatever_their_aspect():
    settings = PictureSettings((127.5, 100.0, 50.0), (127.5, 50.0, 25.0), height=48, width=40)
    picture = noise(30, 70)
    values = (np.asarray(picture, np.float64) - settings.mean) / settings.std
    rows, columns = (np.arange(48) + 0.5) * 70 / 48 - 0.5, (np.arange(40) + 0.5) * 30 / 40 - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    expected = [ndimage.map_coordinates(values[..., c], grid, order=1, mode="nearest") for c in range(3)]
    assert_allclose(settings.prepare(picture).numpy()[0], np.stack(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize("change", [{"resample": 3}, {"do_normalize": False}, {"do_resize": False}])
def test_other_picture_settings_are_refused(random, tmp_path, change):
    folder = tmp_path / "changed"
    shutil.copytree(random, folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match="unknown way"):
        loaded(DEPTH_PRO, folder)


def test_an_angle_that_no_lens_has_gives_no_depth():
    assert focal_from_fov(100, 90.0) == pytest.approx(50.0)
    assert all(math.isnan(focal_from_fov(100, angle)) for angle in (0.0, -5.0, 180.0, math.nan))


def test_a_run_is_identified_by_whose_focal_length_it_takes(random):
    options = DepthProOptions(checkpoint=str(random), focal="estimated", device="cpu")
    known = identify(options)
    assert known.options["focal"] == known.loaded["focal"] == "estimated"
    assert recognises(random)
    assert DEPTH_PRO.card.camera == "optional"
