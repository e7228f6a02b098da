"""What a full depth map costs where a model runs: its own adapter, timed, counted and watched."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.depthvlm.cost.watch import Watched, forget_peak, peak_bytes, settle, used_device, watch
from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict.contracts import Model, View


@dataclass(frozen=True)
class Measured:
    """What one full depth map takes here.

    Attributes:
        kind: dense or point.
        device, device_name: cpu or cuda, and which.
        runs_s: timed runs of the most questions, s, as they were.
        asked: questions of those runs; 1 for a dense model.
        questions: questions of a full map: 1, or one for each pixel of the picture.
        seconds: median of the runs, brought to a full map.
        watched: counts, brought to a full map.
        peak_bytes, peak_of: highest memory of the timed runs, weights included, and whose it is.
    """

    kind: str
    device: str
    device_name: str
    runs_s: tuple[float, ...]
    asked: int
    questions: int
    seconds: float
    watched: Watched
    peak_bytes: int
    peak_of: str

    @property
    def scaled(self) -> bool:
        """Whether fewer questions were asked than a full map needs."""
        return self.asked != self.questions


@dataclass(frozen=True)
class _Run:
    """Timed and counted runs with some number of questions."""

    asked: int
    runs_s: tuple[float, ...]
    watched: Watched


def measure(
    model: Model,
    options: Any,  # noqa: ANN401 - the model's options_type
    view: View,
    *,
    runs: int = 3,
    questions: int = 4,
) -> Measured:
    """Load a model, run it on one picture, and say what a full map costs.

    A point model is asked `questions` pixels and twice as many; a straight line through the two gives what is
    done once and what is done for every pixel. Runs are warmed up first and counted last, so that neither
    costs measured time.

    Args:
        model: a registered model.
        options: its options.
        view: the picture and its camera.
        runs: timed runs of each kind.
        questions: pixels asked of a point model; the full map is asked where it has no more than twice these.

    Raises:
        UsageError: a model that is fitted first, or that runs in another process, where nothing is counted.
    """
    if model.card.fitted or model.card.isolation != "inproc":
        why = "it is fitted on training splits first" if model.card.fitted else "it runs in another process"
        raise UsageError(f"{model.card.id} cannot be measured here", why=why)
    predictor: Any = model.build()
    predictor.load(options)
    whole = view.picture.width * view.picture.height if model.card.kind == "point" else 1
    sizes = [whole] if whole <= 2 * questions else [questions, 2 * questions]
    _ask(predictor, model, view, sizes[0])()
    forget_peak()
    timed = [(size, _times(_ask(predictor, model, view, size), runs)) for size in sizes]
    peak, peak_of = peak_bytes()
    done = [_Run(size, times, watch(_ask(predictor, model, view, size))) for size, times in timed]
    device, device_name = used_device()
    return Measured(
        kind=model.card.kind,
        device=device,
        device_name=device_name,
        runs_s=done[-1].runs_s,
        asked=done[-1].asked,
        questions=whole,
        seconds=brought_to(whole, [(run.asked, statistics.median(run.runs_s)) for run in done]),
        watched=_full(whole, done),
        peak_bytes=peak,
        peak_of=peak_of,
    )


def spread_points(size: tuple[int, int], number: int) -> FloatArray:
    """Pixels (N, 2) spread evenly over a picture in reading order, no two the same."""
    width, height = size
    index = np.arange(number) * (width * height) // number
    return np.stack([index % width, index // width], axis=1).astype(np.float64)


def brought_to(questions: int, values: list[tuple[int, float]]) -> float:
    """A value at another number of questions, on the line through what was measured.

    In proportion to the largest where there is one value only, or where noise lets the line fall.
    """
    most, at_most = values[-1]
    if len(values) > 1:
        fewest, at_fewest = values[0]
        each = (at_most - at_fewest) / (most - fewest)
        if each > 0 or at_most == at_fewest:
            return at_most + each * (questions - most)
    return at_most * questions / most


def _ask(predictor: Any, model: Model, view: View, questions: int) -> Callable[[], object]:  # noqa: ANN401
    if model.card.kind == "dense":
        return lambda: predictor.predict([view])
    points = spread_points(view.picture.size, questions)
    return lambda: predictor.ask(view, points)


def _times(run: Callable[[], object], runs: int) -> tuple[float, ...]:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        settle()
        times.append(time.perf_counter() - start)
    return tuple(times)


def _full(questions: int, done: list[_Run]) -> Watched:
    counts = {}
    for name in ("flops", "prefill_tokens", "decode_steps"):
        values = [(run.asked, getattr(run.watched, name)) for run in done]
        known = all(value is not None for _, value in values)
        counts[name] = brought_to(questions, values) if known else None
    return Watched(**counts)
