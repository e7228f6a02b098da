"""What every adapter of a model in a worker keeps, on a stand-in with its package's call surface."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from isolated_models import PLANE, RED, depth_m, loaded, options_of, plain_view, ramp_view, write_weights

from depthvlm_bench.baselines import depth_anything_3, depth_anything_v1, metric3d, moge2, unidepth
from depthvlm_bench.baselines._exposure import DATASETS
from depthvlm_bench.errors import DataMissingError
from depthvlm_bench.predict.check import AnswerCheck
from depthvlm_bench.predict.isolated import environments
from depthvlm_bench.predict.readout import to_view

ONE_OF_EACH = (
    metric3d.V2_S,
    unidepth.V1_VITL14,
    unidepth.V2_S,
    depth_anything_v1.INDOOR,
    depth_anything_3.METRIC_LARGE,
    depth_anything_3.NESTED_GIANT_LARGE_11,
    moge2.MOGE_2,
)
EVERY = (
    *(metric3d.V1_CONVL, metric3d.V2_S, metric3d.V2_L, metric3d.V2_G),
    *(unidepth.V1_CNVNXTL, unidepth.V1_VITL14, unidepth.V2_S, unidepth.V2_B, unidepth.V2_L),
    *(depth_anything_v1.INDOOR, depth_anything_v1.OUTDOOR, depth_anything_v1.PAIR),
    *(depth_anything_3.METRIC_LARGE, depth_anything_3.NESTED_GIANT_LARGE_11),
    *(depth_anything_3.NESTED_GIANT_LARGE_10, moge2.MOGE_2),
)
# Those whose metres follow the camera, here in proportion to its focal length.
CAMERA_MODELS = ("metric3d-v2-s", "unidepth-v1-vitl14", "unidepth-v2-s", "da3-metric-large", "moge-2")
# Their pictures are 8-bit again after they are enlarged: half a step more.
QUANTISED = ("metric3d", "depth-anything-3")
each = pytest.mark.parametrize("model", ONE_OF_EACH, ids=lambda model: model.card.id)


@each
@pytest.mark.parametrize("axis", [0, 1])
def test_a_ramp_comes_back_within_half_a_pixel(model, axis):
    """Transposes, flips, and padding that is not taken off again all show."""
    view = ramp_view(axis)
    width, height = view.picture.size
    flat = float(np.median(depth_m(model, plain_view(width, height))))
    (dense,) = loaded(model).predict([view])
    AnswerCheck(model.card).maps([view], [dense])
    found = (to_view(dense, width, height) / flat * PLANE - PLANE) / RED
    off_px = np.abs(found - np.indices((height, width))[axis])[4:-4, 4:-4]
    assert off_px.max() < 0.5 + (0.5 if model.card.family in QUANTISED else 0.0)


@each
def test_doubling_only_the_focal_length_doubles_exactly_the_metres_of_camera_models(model):
    near, far = (float(np.median(depth_m(model, plain_view(320, 240, fx_px=fx)))) for fx in (500.0, 1000.0))
    assert far / near == pytest.approx(2.0 if model.card.id in CAMERA_MODELS else 1.0, rel=1e-4)


@pytest.mark.parametrize(
    "model",
    [m for m in ONE_OF_EACH if m.card.family in ("metric3d", "depth-anything-3", "moge")],
    ids=lambda m: m.card.id,
)
def test_doubling_the_picture_and_its_focal_length_leaves_the_metres(model):
    """UniDepth does so by what it has learnt, which a stand-in has not."""
    views = (plain_view(280 * k, 210 * k, fx_px=500.0 * k) for k in (1, 2))
    small, large = (float(np.median(depth_m(model, view))) for view in views)
    assert large == pytest.approx(small, rel=1e-3)


@pytest.mark.parametrize("model", [m for m in ONE_OF_EACH if m.card.max_batch > 1], ids=lambda m: m.card.id)
def test_a_picture_s_answer_does_not_depend_on_its_neighbours(model):
    first, second = ramp_view(0), plain_view(90, 160, fx_px=300.0, name="set/eval/b/-/2")
    alone = [depth_m(model, view) for view in (first, second)]
    together = loaded(model).predict([first, second, first])
    for expected, dense in zip((*alone, alone[0]), together, strict=True):
        assert np.array_equal(dense.depth_m, expected)


@each
def test_what_its_package_prints_does_not_reach_us(model, capfd):
    depth_m(model, plain_view(64, 48))
    assert capfd.readouterr() == ("", "")


@each
def test_identity_is_the_weights_and_all_that_decides_an_answer(model, tmp_path):
    options = options_of(model, write_weights(model.card.family, tmp_path / "a"))
    other = options_of(model, write_weights(model.card.family, tmp_path / "b", plane=3.0))
    known = model.identify(options)
    assert known.loaded["content_sha256"] != model.identify(other).loaded["content_sha256"]
    assert known.loaded["environment"] == model.card.family
    assert known.options["checkpoint"].endswith(known.loaded["content_sha256"][:8])
    assert not {"python", "code", "timeout_s", "weights", "device"} & set(known.loaded)
    assert known.machine["device"] == "cpu"


@each
def test_without_its_environment_the_command_that_makes_it_is_told(model, tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "home", lambda: tmp_path)
    options = options_of(model, write_weights(model.card.family, tmp_path), python=None)
    for use in (model.identify, model.build().load):
        with pytest.raises(DataMissingError, match=f"dvbench env create {model.card.family}"):
            use(options)


@pytest.mark.parametrize("model", EVERY, ids=lambda model: model.card.id)
def test_cards_say_what_is_known(model):
    card = model.card
    assert (card.isolation, card.kind, card.extra) == ("worker", "dense", None)
    assert card.family in environments.names()
    assert set(card.trained_on) == set(DATASETS)
    assert card.trained_on_source
    assert card.licence
    assert card.repos
    assert card.max_batch == 1 or card.family in ("metric3d", "unidepth")
