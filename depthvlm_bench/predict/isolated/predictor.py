"""A dense predictor that lives in a worker: restarted when it dies, at the cost of the picture in hand."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from depthvlm_bench.errors import CheckError
from depthvlm_bench.geometry.camera import estimated_camera
from depthvlm_bench.hashing import hash64
from depthvlm_bench.predict.contracts import DenseMap, View
from depthvlm_bench.predict.isolated import wire
from depthvlm_bench.predict.isolated.process import WorkerDiedError, WorkerProcess
from depthvlm_bench.predict.memory import SAID

# Pictures in a row without an answer that end a run: by then it is not the pictures.
MAX_FAILURES = 3
# A worker is ready once it has answered this: what fails on it is the environment, and costs no picture.
TRIAL_SIZE = (160, 120)
MEMORY_ERRORS = ("MemoryError", "OutOfMemoryError")


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is made of.

    Attributes:
        model: id of the model, for messages.
        python: interpreter of its environment.
        module: the file that loads and asks the model, see `worker.py`.
        code: folders that go in front of its search path.
        options: what `load` of that module is given; JSON.
        load_limit_s, answer_limit_s: how long loading, and an answer to one picture, may take.
        next_step: what to do when it does not work at all.
    """

    model: str
    python: Path
    module: Path
    options: Mapping[str, Any]
    code: tuple[Path, ...] = ()
    load_limit_s: float = 1800.0
    answer_limit_s: float = 300.0
    next_step: str = ""


class _NoAnswerError(Exception):
    """Why one request has no answer."""


class IsolatedPredictor:
    """Asks a model in a worker process.

    A picture on which the worker crashes, hangs, or gives something that is no map costs its answer: the map
    is NaN and its text says why. The worker is then started anew.

    Args:
        setup_of: the model's options -> what the worker is made of.
        report: told of each picture without an answer; by default a line on standard error.
    """

    def __init__(
        self, setup_of: Callable[[Any], WorkerSetup], report: Callable[[str], None] | None = None
    ) -> None:
        self._setup_of = setup_of
        self.report = report or (lambda text: print(text, file=sys.stderr))
        self.versions: dict[str, str] = {}
        self._failures = 0
        self._running: WorkerProcess | None = None

    def load(self, options: Any) -> None:  # noqa: ANN401 - the model's options_type
        """Start the worker, load the model in it, and have it answer a trial picture.

        Raises:
            CheckError: it does not get that far.
        """
        self._setup = self._setup_of(options)
        self._begin()

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        """One map a view.

        Raises:
            MemoryError: the model ran out of memory; it lives, and may be asked about fewer.
            CheckError: several pictures in a row have no answer, or the worker cannot be started again.
        """
        try:
            maps = self._ask(views)
        except _NoAnswerError as error:
            return self._one_by_one(views) if len(views) > 1 else [self._without_answer(views[0], str(error))]
        self._failures = 0
        return maps

    def close(self) -> None:
        """End the worker; it also ends with this object."""
        if self._running is not None:
            self._running.end()

    @property
    def _process(self) -> WorkerProcess:
        assert self._running is not None, "load comes first"
        return self._running

    def _one_by_one(self, views: Sequence[View]) -> list[DenseMap]:
        """Find the picture to blame."""
        self._begin()
        return [dense for view in views for dense in self.predict([view])]

    def _without_answer(self, view: View, why: str) -> DenseMap:
        self._failures += 1
        self._tell(f"{self._setup.model}: no answer to {view.id}: {why}")
        if self._failures >= MAX_FAILURES:
            raise CheckError(
                f"{self._setup.model} has no answer to {self._failures} pictures in a row",
                where=view.id,
                why=why,
                next_step="what it said is above; the same command resumes behind the pictures it gave up",
            )
        self._begin()
        return DenseMap(np.full((1, 1), np.nan, np.float32), text=f"no answer: {why}")

    def _begin(self) -> None:
        """Start a worker that has answered a trial picture."""
        self.close()  # an earlier one goes first: there may be room for one alone
        setup = self._setup
        self._running = WorkerProcess(setup.python)
        order = {
            "kind": "load",
            "module": str(setup.module),
            "code": [str(folder) for folder in setup.code],
            "options": dict(setup.options),
        }
        try:
            ready, _ = self._reply(order, [], setup.load_limit_s)
            self.versions = {"python": ready["python"], **ready["versions"]}
            (answered,) = self._ask([_trial()])
            if np.isnan(answered.depth_m).all():
                raise _NoAnswerError("its answer to a plain picture has no finite depth")
        except (_NoAnswerError, MemoryError) as error:
            self._tell(f"{setup.model}: its worker does not start")
            raise CheckError(
                f"{setup.model} does not work in its environment",
                where=setup.python,
                why=str(error),
                next_step=setup.next_step,
            ) from None

    def _ask(self, views: Sequence[View]) -> list[DenseMap]:
        told = [{"camera": _intrinsics(view), "seed": hash64(view.id) % 2**63} for view in views]
        pictures = [np.asarray(view.picture.convert("RGB")) for view in views]
        limit_s = self._setup.answer_limit_s * len(views)
        reply, maps = self._reply({"kind": "predict", "pictures": told}, pictures, limit_s)
        if len(maps) != len(views) or len(reply["fx_px"]) != len(views):
            raise _NoAnswerError(f"it gave {len(maps)} maps for {len(views)} pictures")
        return [_dense(*answer) for answer in zip(views, maps, reply["fx_px"], strict=True)]

    def _reply(
        self, header: Mapping[str, Any], arrays: Sequence[wire.Array], limit_s: float
    ) -> tuple[dict[str, Any], list[wire.Array]]:
        try:
            reply, maps = self._process.ask(header, arrays, limit_s)
        except WorkerDiedError as error:
            raise _NoAnswerError(str(error)) from None
        if reply["kind"] != "fault":
            return reply, maps
        said = f"{reply['types'][0]}: {reply['message'].strip() or 'no message'}".splitlines()[0]
        if set(reply["types"]) & set(MEMORY_ERRORS) or any(phrase in reply["message"] for phrase in SAID):
            raise MemoryError(said)
        raise _NoAnswerError(said)

    def _tell(self, text: str) -> None:
        """Report, with the last lines that the worker printed."""
        self.report("\n  | ".join([text, *self._process.said()]))


def _dense(view: View, depth_m: wire.Array, fx_px: float | None) -> DenseMap:
    if depth_m.ndim != 2 or not depth_m.size:
        raise _NoAnswerError(f"it gave a map of shape {depth_m.shape}, not (h, w)")
    known = np.isfinite(depth_m)
    undefined = depth_m if known.all() else np.where(known, depth_m, np.float32(np.nan))
    text = fov_deg = None
    if fx_px is not None:
        fov_deg = math.degrees(2 * math.atan2(view.picture.width, 2 * fx_px))
        text = f"horizontal field of view {fov_deg:.3f} degrees estimated"
    return DenseMap(undefined, text=text, fov_deg=fov_deg)


def _intrinsics(view: View) -> list[float] | None:
    camera = view.camera
    return None if camera is None else [camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px]


def _trial() -> View:
    """A plain grey picture and a usual camera."""
    picture = Image.new("RGB", TRIAL_SIZE, (128, 128, 128))
    return View("trial picture", picture, estimated_camera(*TRIAL_SIZE))
