import sys
from pathlib import Path

import numpy as np
import pytest
import worker_stub as stub
from PIL import Image

from depthvlm_bench.errors import CheckError, PartialError, UsageError
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.predict.contracts import View
from depthvlm_bench.predict.isolated.predictor import IsolatedPredictor, WorkerSetup
from depthvlm_bench.predict.memory import Portions

SIZE = (12, 8)
CAMERA = PinholeCamera(*SIZE, 20.0, 21.0, 5.5, 3.5)


def view(name, what=stub.PLAIN, green=30, camera=CAMERA):
    rgb = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = what, green
    return View(name, Image.fromarray(rgb), camera)


class Asked:
    """A predictor on the stub, and what it reported."""

    def __init__(self, **known):
        self.told = []
        self.limits = {name: known.pop(name) for name in ("answer_limit_s", "load_limit_s") if name in known}
        self.predictor = IsolatedPredictor(self._setup, self.told.append)
        self.predictor.load(known)

    def _setup(self, options):
        module = Path(stub.__file__)
        step = "dvbench env create stub"
        return WorkerSetup("stub-model", Path(sys.executable), module, options, next_step=step, **self.limits)

    def __call__(self, *views):
        return self.predictor.predict(views)


@pytest.fixture(scope="module")
def asked():
    shared = Asked(answer_limit_s=20.0)
    yield shared
    shared.predictor.close()


@pytest.fixture
def told(asked):
    asked.told.clear()
    return asked.told


def test_pictures_and_answers_go_through_a_process_of_their_own(asked, told, capfd):
    first, second = asked(view("a", green=30), view("b", green=55))
    assert first.depth_m.dtype == np.float32
    assert first.depth_m.shape == (8, 12)
    assert np.all(first.depth_m == np.float32(3.0))
    assert np.all(second.depth_m == np.float32(5.5))
    assert first.text is None
    assert not told
    assert capfd.readouterr() == ("", ""), "what libraries print stays with the worker"


def test_an_estimated_focal_length_is_told_as_a_field_of_view(asked):
    (dense,) = asked(view("a", camera=None))
    # 12 px wide at f = 50 px.
    assert dense.text == f"horizontal field of view {2 * np.degrees(np.arctan(6 / 50)):.3f} degrees estimated"


def test_printing_a_lot_is_no_answer_and_blocks_nothing(asked, told):
    (dense,) = asked(view("a", stub.CHATTER))
    assert np.all(dense.depth_m == np.float32(3.0))
    assert not told


def test_what_is_undefined_is_nan(asked):
    (dense,) = asked(view("a", stub.INFINITE))
    assert np.isnan(dense.depth_m[0, 0])
    assert np.isfinite(dense.depth_m).sum() == 8 * 12 - 1


def test_other_numbers_become_float32(asked):
    (dense,) = asked(view("a", stub.INTEGERS))
    assert dense.depth_m.dtype == np.float32
    assert np.all(dense.depth_m == 30)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (stub.CRASH, "it ended with exit status 3"),
        (stub.KILLED, "it was ended by SIGKILL, as the kernel does when memory runs out"),
        (stub.CUBE, "it gave a map of shape (2, 3, 4), not (h, w)"),
        (stub.TOO_FEW, "it gave 0 maps for 1 pictures"),
        (stub.FAULT, "ValueError: matrices do not fit"),
        (stub.LEAVES, "it ended with exit status 0"),
        (stub.EXIT, "SystemExit: the library thinks it is a program"),
    ],
)
def test_a_picture_that_breaks_the_worker_costs_its_answer_alone(asked, told, what, why):
    asked.predictor.predict([view("before")])
    (lost,) = asked(view("the/bad/one", what))
    assert np.isnan(lost.depth_m).all()
    assert lost.text == f"no answer: {why}"
    assert told[0].startswith(f"stub-model: no answer to the/bad/one: {why}")
    (after,) = asked(view("after"))
    assert np.all(after.depth_m == np.float32(3.0))


def test_what_it_said_before_it_died_is_shown(asked, told):
    asked(view("a", stub.CRASH))
    assert "\n  | last words before the crash" in told[0]
    assert "\n  | library banner on stdout" in told[0]


def test_a_worker_that_hangs_is_ended_when_time_is_up():
    asked = Asked(answer_limit_s=1.0)
    (lost,) = asked(view("a", stub.HANG))
    assert lost.text == "no answer: it did not answer within 1 s"
    assert np.all(asked(view("b"))[0].depth_m == np.float32(3.0))


def test_within_a_batch_only_the_picture_to_blame_is_lost(asked, told):
    maps = asked(view("a", green=10), view("b", stub.CRASH), view("c", green=20))
    assert [dense.text for dense in maps] == [None, "no answer: it ended with exit status 3", None]
    assert [float(np.nanmax(maps[i].depth_m)) for i in (0, 2)] == [1.0, 2.0]
    assert len(told) == 1


def test_several_failures_in_a_row_end_the_run():
    asked = Asked()
    asked(view("a", stub.CRASH)), asked(view("b", stub.FAULT))
    with pytest.raises(CheckError, match="no answer to 3 pictures in a row") as caught:
        asked(view("c", stub.CRASH))
    assert caught.value.where == "c"
    assert "exit status 3" in caught.value.why
    assert len(asked.told) == 3


def test_an_answer_between_failures_begins_the_count_anew():
    asked = Asked()
    for what in (stub.FAULT, stub.FAULT, stub.PLAIN, stub.FAULT, stub.FAULT):
        asked(view("a", what))
    assert len(asked.told) == 4


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({"load": "crash"}, "it ended with exit status 7"),
        ({"load": "fault"}, "ImportError: no module named 'left_out'"),
        ({"load": "hang", "load_limit_s": 1.0}, "it did not answer within 1 s"),
        ({"broken": True}, "it ended with exit status 1"),
        ({"nothing": True}, "its answer to a plain picture has no finite depth"),
    ],
)
def test_an_environment_that_does_not_work_ends_the_run_before_any_picture(known, why):
    with pytest.raises(CheckError) as caught:
        Asked(**known)
    assert caught.value.what == "stub-model does not work in its environment"
    assert caught.value.why == why
    assert caught.value.next_step == "dvbench env create stub"


def test_an_interpreter_that_is_not_there_is_named(tmp_path):
    predictor = IsolatedPredictor(
        lambda options: WorkerSetup("stub-model", tmp_path / "python", Path(stub.__file__), {})
    )
    with pytest.raises(UsageError, match="cannot be started") as caught:
        predictor.load(None)
    assert caught.value.where == str(tmp_path / "python")


def test_memory_that_runs_out_in_the_worker_is_a_memory_error_here():
    """So that the runner halves the batch, as it does for models in its own process; the worker lives on."""
    asked = Asked(most=2)
    views = [view(name) for name in "abcde"]
    portions, notes = Portions(5, lambda text: notes.append(text)), []
    done = list(portions.each(views, lambda some: asked(*some), lambda item: item.id))
    assert [number for number, _ in done] == [2, 2, 1]
    assert "5 pictures" in notes[0]
    assert not asked.told


def test_a_single_picture_that_does_not_fit_is_told_as_such(asked):
    with pytest.raises(PartialError, match="single picture"):
        list(Portions(1, print).each([view("a", stub.MEMORY)], lambda s: asked(*s), lambda item: item.id))


def test_the_worker_ends_with_the_predictor():
    asked = Asked()
    process = asked.predictor._process._process
    assert process.poll() is None
    del asked.predictor
    assert process.poll() is not None


def test_the_worker_needs_no_torch_and_tells_its_versions(asked):
    assert asked.predictor.versions["python"].count(".") == 2
    assert asked.predictor.versions["numpy"] == np.__version__
    assert "torch" not in asked.predictor.versions
