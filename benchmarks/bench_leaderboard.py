"""A paired leaderboard of 12 models x 9 sets x 1,000 images of 10 points, 10,000 resamples and flips.

Measured against the reference's way to score one model on the same 9 x 1,000 x 10 points: a loop over images
with masked copies and two divisions. It is to stay within 20 times that loop.

    python benchmarks/bench_leaderboard.py
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "fixtures"))

from made_results import made_result

from depthvlm_bench.leaderboard.table import Leaderboard, Selection, build
from depthvlm_bench.results.schema import Result
from depthvlm_bench.scoring.paired import ImageScores
from depthvlm_bench.scoring.protocol import load_protocol

MODELS, SETS, IMAGES, POINTS, RESAMPLES = 12, 9, 1000, 10, 10_000
LIMIT, REPEATS = 20, 5


def reference_loop(prediction_m: np.ndarray, truth_m: np.ndarray) -> float:
    """The mean delta1 of one model as the reference's evaluation takes it, an image at a time."""
    scores = []
    for prediction, truth in zip(prediction_m, truth_m, strict=True):
        valid = (truth > 0) & (prediction > 0)
        p, g = prediction[valid], truth[valid]
        scores.append(float((np.maximum(p / g, g / p) < 1.25).mean()))
    return float(np.mean(scores))


def made_table() -> tuple[list[Result], dict[tuple[str, str], ImageScores]]:
    """Results and per-image scores of models of about 0.8 whose hits within an image are correlated."""
    chance, results, samples = np.random.default_rng(0), [], {}
    for set_index in range(SETS):
        ids = [f"set{set_index}/{image:04d}" for image in range(IMAGES)]
        for model in range(MODELS):
            rates = chance.beta(0.8 * 2.33, 0.2 * 2.33, IMAGES) - 0.004 * model
            hits = chance.binomial(POINTS, rates.clip(0, 1)) / POINTS
            images = ImageScores.of(dict(zip(ids, hits, strict=True)))
            name, set_name = f"model{model:02d}", f"set{set_index}"
            results.append(made_result(name, images.mean, set_name, images=IMAGES))
            samples[name, set_name] = images
    return results, samples


def cpu_ms(work: Callable[[], object]) -> float:
    """Median CPU time of a few calls."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


def main() -> int:
    """Print both times and their ratio; 1 where it is above the limit."""
    results, samples = made_table()
    rule = replace(load_protocol("dvbench-1").bootstrap, resamples=RESAMPLES)

    def paired_board() -> Leaderboard:
        read = lambda result: samples[result.model, result.set_name]  # noqa: E731
        return build(results, Selection("dvbench-1"), read, rule)

    chance = np.random.default_rng(1)
    truth_m = chance.uniform(1, 50, (SETS * IMAGES, POINTS))
    prediction_m = truth_m * np.exp(chance.normal(0, 0.2, truth_m.shape))
    loop, board = cpu_ms(lambda: reference_loop(prediction_m, truth_m)), cpu_ms(paired_board)
    ties = sum(bool(cell and cell.tied) for row in paired_board().rows for cell in row.cells)
    print(f"reference loop, 1 model x {SETS} x {IMAGES} x {POINTS} points: {loop:.0f} ms CPU")
    print(f"paired leaderboard, {MODELS} x {SETS} x {RESAMPLES}: {board:.0f} ms CPU, {ties} cells tied")
    print(f"ratio {board / loop:.1f}, at most {LIMIT}")
    return int(board > LIMIT * loop)


if __name__ == "__main__":
    sys.exit(main())
