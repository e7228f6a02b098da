"""Speed of scoring against the reference's form: python benchmarks/bench_scoring.py

Sparse: 9 sets of 1,000 images with 10 points. Dense: one 1342x1006 float32 map. Best of several repetitions,
so that maps lie in the cache. The goals are for delta1 alone, like the reference; `eval, a dense map` is what
`dvbench eval` spends on all metrics of a map.
"""

import timeit
from collections.abc import Callable

import numpy as np

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.scoring.aligned import aligned_metrics
from depthvlm_bench.scoring.bulk import delta1_of_sets, dense_delta1_counts
from depthvlm_bench.scoring.clouds import cloud_distances, f_auc
from depthvlm_bench.scoring.edges import boundary_scores
from depthvlm_bench.scoring.statistics import image_statistics, per_image_metrics

SETS, IMAGES, POINTS = 9, 1000, 10
HEIGHT, WIDTH = 1006, 1342
SPARSE_GOAL, DENSE_GOAL = 100.0, 8.0


def milliseconds(work: Callable[[], object], *, number: int, repeat: int = 7) -> float:
    """Best time of one call."""
    return min(timeit.repeat(work, number=number, repeat=repeat)) / number * 1000


def scene(shape: tuple[int, ...], dtype: type) -> tuple[FloatArray, FloatArray]:
    """A prediction with 20 % log-normal noise, and its truth."""
    random = np.random.default_rng(0)
    truth = random.uniform(0.5, 10.0, shape)
    return (truth * np.exp(random.normal(0, 0.2, shape))).astype(dtype), truth.astype(dtype)


def reference_delta1(prediction: FloatArray, truth: FloatArray) -> float:
    """The paper's form: masked copies, two divisions."""
    valid = (truth > 0) & (prediction > 0)
    if not valid.any():
        return 0.0
    p, g = prediction[valid], truth[valid]
    return float((np.maximum(p / g, g / p) < 1.25).mean())


def reference_sets(prediction: FloatArray, truth: FloatArray) -> list[float]:
    """One image after the other, then the mean of each set."""
    scores = [reference_delta1(p, g) for p, g in zip(prediction, truth, strict=True)]
    return [float(np.mean(scores[k : k + IMAGES])) for k in range(0, len(scores), IMAGES)]


def bench_sparse() -> list[tuple[str, float, float, float]]:
    """Rows of (what, ms, speed-up, goal) for the ten-point sets."""
    prediction, truth = scene((SETS * IMAGES, POINTS), np.float64)
    p, g = prediction.ravel(), truth.ravel()
    first_point, first_image = np.arange(0, p.size, POINTS), np.arange(0, SETS * IMAGES, IMAGES)
    found = delta1_of_sets(p, g, first_point, first_image)
    assert np.allclose(found, reference_sets(prediction, truth), rtol=0, atol=1e-12)
    slow = milliseconds(lambda: reference_sets(prediction, truth), number=1)
    fast = milliseconds(lambda: delta1_of_sets(p, g, first_point, first_image), number=50)
    whole = milliseconds(
        lambda: [per_image_metrics(image_statistics(a, b)) for a, b in zip(prediction, truth, strict=True)],
        number=1,
        repeat=2,
    )
    return [
        ("9 x 1,000 x 10, per-image loop", slow, 1.0, 0.0),
        ("9 x 1,000 x 10, delta1_of_sets", fast, slow / fast, SPARSE_GOAL),
        ("9 x 1,000 x 10, image_statistics, 18 metrics", whole, slow / whole, 0.0),
    ]


def bench_dense() -> list[tuple[str, float, float, float]]:
    """Rows of (what, ms, speed-up, goal) for one dense map."""
    prediction, truth = scene((HEIGHT, WIDTH), np.float32)
    truth[::20] = 0.0
    counts = dense_delta1_counts(prediction, truth)
    assert counts.asked == np.count_nonzero(truth)
    assert abs(counts.hits / counts.asked - reference_delta1(prediction, truth)) < 1e-5
    holed = np.where(np.random.default_rng(1).random(truth.shape) < 0.05, np.float32(np.nan), prediction)
    slow = milliseconds(lambda: reference_delta1(prediction, truth), number=5)
    fast = milliseconds(lambda: dense_delta1_counts(prediction, truth), number=20)
    slow_holed = milliseconds(lambda: reference_delta1(holed, truth), number=5)
    fast_holed = milliseconds(lambda: dense_delta1_counts(holed, truth), number=20)
    p, g = prediction[truth > 0], truth[truth > 0]
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(u - 670.5) / 1000, (v - 502.5) / 1000, np.ones_like(u)], axis=-1)
    others: dict[str, Callable[[], object]] = {
        "eval, a dense map": lambda: (image_statistics(p, g), aligned_metrics(p, g)),
        "of that image_statistics": lambda: image_statistics(p, g),
        "of that aligned_metrics": lambda: aligned_metrics(p, g),
        "boundary_scores, radius 1": lambda: boundary_scores(prediction, truth),
        "cloud_distances + f_auc": lambda: f_auc(cloud_distances(prediction, truth, rays), 0.01, 10.0),
    }
    rows = [("1342x1006, reference form", slow, 1.0, 0.0)]
    rows.append(("1342x1006, dense_delta1_counts", fast, slow / fast, DENSE_GOAL))
    rows.append(("1342x1006, 5 % holes, reference form", slow_holed, 1.0, 0.0))
    rows.append(
        ("1342x1006, 5 % holes, dense_delta1_counts", fast_holed, slow_holed / fast_holed, DENSE_GOAL)
    )
    for name, work in others.items():
        rows.append((f"1342x1006, {name}", milliseconds(work, number=1, repeat=3), 0.0, 0.0))
    return rows


def main() -> None:
    """Print the table."""
    print(f"{'':46}{'ms':>10}{'times':>9}{'goal':>8}")
    for name, cost, gain, goal in bench_sparse() + bench_dense():
        times = f"{gain:.1f}" if gain else ""
        verdict = "" if not goal else f">= {goal:.0f}" if gain >= goal else f"!! {goal:.0f}"
        print(f"{name:46}{cost:10.2f}{times:>9}{verdict:>8}")


if __name__ == "__main__":
    main()
