"""Intervals: percentile bootstrap over images, never over pixels (those of one image are not independent)."""

import numpy as np
import numpy.typing as npt

from depthvlm_bench.scoring.protocol import Bootstrap

CHUNK = 200


def bootstrap_interval(values: npt.ArrayLike, rule: Bootstrap) -> tuple[float, float]:
    """Percentile interval of the mean.

    Args:
        values: (N,) one score an image, N >= 1.
        rule: resamples, level and seed.

    Returns:
        (low, high); equal to the value itself for a single image.
    """
    scores = np.asarray(values, dtype=np.float64)
    random = np.random.Generator(np.random.PCG64(rule.seed))
    means = np.concatenate(
        [
            scores[random.integers(0, len(scores), (min(CHUNK, rule.resamples - start), len(scores)))].mean(
                axis=1
            )
            for start in range(0, rule.resamples, CHUNK)
        ]
    )
    tail = (1 - rule.level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
