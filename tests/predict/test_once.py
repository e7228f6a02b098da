from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from predictors import Recorder, dense_model, point_model

from depthvlm_bench.predict.contracts import Identity, View
from depthvlm_bench.predict.once import loaded_once


@dataclass(frozen=True)
class Options:
    depth_m: float = 2.0


VIEW = View("a", Image.new("RGB", (2, 2)), None)


def test_a_model_is_loaded_once_for_all_that_build_it():
    recorder = Recorder()
    model = loaded_once(dense_model(lambda view: [[2.0]], recorder))
    for _ in range(3):
        predictor = model.build()
        predictor.load(Options())
        assert predictor.predict([VIEW])[0].depth_m == [[2.0]]
    assert recorder.loads == 1


def test_other_options_are_loaded_anew():
    recorder = Recorder()
    model = loaded_once(dense_model(lambda view: [[2.0]], recorder))
    for options in (Options(), Options(3.0), Options(3.0)):
        model.build().load(options)
    assert recorder.loads == 2


def test_a_loading_that_fails_is_tried_again():
    class Failing:
        tries = 0

        def load(self, options):
            Failing.tries += 1
            raise RuntimeError("no weights")

    model = loaded_once(replace(dense_model(lambda view: [[2.0]]), build=Failing))
    for _ in range(2):
        try:
            model.build().load(Options())
        except RuntimeError:
            continue
    assert Failing.tries == 2


def test_a_point_model_is_asked_as_before():
    model = loaded_once(point_model(lambda view, point: float(point[0])))
    predictor = model.build()
    predictor.load(Options())
    assert [answer.value_m for answer in predictor.ask(VIEW, np.array([[1.5, 0.0], [2.5, 0.0]]))] == [
        1.5,
        2.5,
    ]


def test_weights_are_identified_once():
    asked = []

    def identify(options):
        asked.append(options)
        return Identity({}, {"content_sha256": "0" * 64})

    model = loaded_once(replace(dense_model(lambda view: [[2.0]]), identify=identify))
    assert model.identify(Options()) == model.identify(Options())
    assert asked == [Options()]


def test_a_model_without_weights_has_no_identity_of_its_own():
    assert loaded_once(dense_model(lambda view: [[2.0]])).identify is None
