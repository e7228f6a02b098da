"""What `dvbench eval` adds to a model's own time: python benchmarks/bench_eval.py [--short]

A tiny DepthVLM on pictures of 1342x1006: a bare loop that reads, decodes, prepares and asks, against the
runner, which also reads the map at the points, takes all sums over the depth and stores both. CPU time on
one thread; the two take turns. A model's own time varies by more than the runner adds, so both are also timed
with a stub that is handed the map, where only what is added is left. Needs the extra `models`.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read once, when numpy is loaded

import torch
from PIL import Image
from raw_trees import write_scannetpp

from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.depthvlm.inference import Answer, DepthVLM, Shown
from depthvlm_bench.depthvlm.tiny import make_tiny
from depthvlm_bench.frames import NoOptions
from depthvlm_bench.predict.contracts import DenseMap, Model, ModelCard, View
from depthvlm_bench.predict.runner import RunSettings, predict
from depthvlm_bench.predict.store import RunStore
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter
from depthvlm_bench.scoring.evaluate import run_spec

GOAL = 0.02
IMAGES, ROUNDS, SHORT_ROUNDS = 8, 11, 3
Ask = Callable[[Sequence[Shown]], list[Answer]]


@dataclass(frozen=True)
class Asked:
    """The tiny model as the harness sees it: loaded already."""

    ask: Ask

    def load(self, _options: NoOptions) -> None:
        """It is."""

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        return [answer.dense_map() for answer in self.ask([Shown(view.picture) for view in views])]


@dataclass(frozen=True)
class Bench:
    """One converted set, gone through with and without the harness."""

    records: RecordSet
    work: Path
    numbers: "count[int]"

    def bare(self, ask: Ask) -> None:
        """Read, decode, prepare and ask, and nothing else."""
        for row in self.records.rows(["image"]):
            with Image.open(io.BytesIO(row["image"]["bytes"])) as stored:
                picture = stored.convert("RGB")
            ask([Shown(picture)])

    def runner(self, ask: Ask) -> None:
        """The runner of `dvbench eval`, into a new run each time."""
        card = ModelCard("tiny", "bench", "dense", "tiny", licence="none", camera="ignored")
        model, settings = Model(card, lambda: Asked(ask)), RunSettings(lists=("points", "points_balanced"))
        wanted = set(self.records.points(["id"])["id"].to_pylist())
        spec = run_spec(model, NoOptions(), {}, self.records, settings)
        store = RunStore(self.work / f"runs-{next(self.numbers)}", spec)
        store.open({})
        predict(model, NoOptions(), self.records, wanted, settings, store, Silent())

    def in_turns(self, ask: Ask, rounds: int) -> tuple[float, float]:
        """Median CPU seconds of the bare loop and of the runner; the first round warms up."""
        taken: dict[str, list[float]] = {"bare": [], "runner": []}
        for turn in range(rounds + 1):
            for name in ("bare", "runner") if turn % 2 else ("runner", "bare"):
                begun = time.process_time()
                getattr(self, name)(ask)
                if turn:
                    taken[name].append(time.process_time() - begun)
        bare, runner = (statistics.median(times) for times in taken.values())
        return bare, runner


def converted(work: Path) -> RecordSet:
    """An evaluation set of made photographs, as `dvbench convert` writes it."""
    write_scannetpp(work / "raw")
    request = ConvertRequest(
        work / "raw", work / "data", source_split="nvs_sem_train", allow_overlap=True, limit=IMAGES
    )
    return RecordSet(convert(load_converter("scannetpp"), request, Silent()).folder, "eval")


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="two minutes")
    rounds = SHORT_ROUNDS if parser.parse_args().short else ROUNDS
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bench = Bench(converted(work), work, count())
        model = DepthVLM.open(make_tiny(work / "tiny"), dtype="float32", device="cpu")
        images = len(bench.records.points(["id"]))
        row = next(bench.records.rows(["width", "height", "depth_width", "depth_height"]))
        answer = model.answer([Shown(Image.new("RGB", (row["width"], row["height"])))])
        bare, runner = (1000 / images * s for s in bench.in_turns(model.answer, rounds))
        stub_bare, stub_runner = (1000 / images * s for s in bench.in_turns(lambda _: answer, 2 * rounds))
    added = stub_runner - stub_bare
    share = added / bare
    print("{width}x{height}, depth {depth_width}x{depth_height}: ms of CPU a picture".format(**row))
    print(f"bare loop            {bare:8.1f}")
    print(f"runner               {runner:8.1f}  ({runner / bare - 1:+.2%})")
    print(f"added, with a stub   {added:8.1f}  ({share:.2%}, {'<=' if share <= GOAL else '!!'} {GOAL:.0%})")


if __name__ == "__main__":
    main()
