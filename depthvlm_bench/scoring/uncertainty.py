"""Intervals: percentile bootstrap over images, or scenes where they repeat, never over pixels.

The pixels of one image are not independent, nor are the images of one scene: a binomial interval over pixels
holds the truth 28 to 66 % of the time where it says 95 (intra-image correlation 0.3). What is drawn is
therefore a *unit*: an image, or a scene with all its images. Units are put in one canonical order before
anything is drawn, so that no order of images, shards or sets changes a bit of a result.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.scoring.protocol import Bootstrap

CHUNK = 200
CHUNK_ITEMS = 1 << 20
FEW_VALUES = 64
UNKNOWN_SCENE = "-"


@dataclass(frozen=True)
class Units:
    """What a bootstrap draws with replacement, ascending by (size, sum).

    Attributes:
        sums: (G,) sum of the scores of a unit's images.
        sizes: (G,) how many images a unit has.
    """

    sums: FloatArray
    sizes: FloatArray

    @property
    def mean(self) -> float:
        """Mean over all images, by an exact sum."""
        return math.fsum(self.sums) / float(self.sizes.sum())


def unit_numbers(clusters: Sequence[str]) -> list[int]:
    """Number of each image's unit, counted from 0 in the order in which units are met.

    Images of one scene are one unit; '-' means that the scene is unknown: that image is a unit of its own. If
    all images are of one scene nothing is known of other scenes, and the images are the units.
    """
    names = [(scene, index if scene == UNKNOWN_SCENE else -1) for index, scene in enumerate(clusters)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return [numbers[name] for name in names] if len(numbers) > 1 else list(range(len(names)))


def as_units(
    values: npt.ArrayLike, clusters: Sequence[str] | None = None, weights: npt.ArrayLike | None = None
) -> Units:
    """The units of (N,) image scores, N >= 1, and their N scenes; without scenes every image is one.

    With weights, (N,) > 0, values are sums over so many points each, and means are over points.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or not len(scores) or (clusters is not None and len(clusters) != len(scores)):
        raise ValueError(f"expected (N,) scores and N scenes, N >= 1; got scores of shape {scores.shape}")
    each = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    numbers = [] if clusters is None else unit_numbers(clusters)
    if len(set(numbers)) in (0, len(scores)):
        order = np.lexsort((scores, each))
        return Units(scores[order], each[order])
    members: dict[int, list[tuple[float, float]]] = {}
    for number, *image in zip(numbers, each.tolist(), scores.tolist(), strict=True):
        members.setdefault(number, []).append((image[0], image[1]))
    sizes, sums = np.array(
        sorted(tuple(map(math.fsum, zip(*unit, strict=True))) for unit in members.values())
    ).T
    return Units(sums, sizes)


def bootstrap_means(units: Units, random: np.random.Generator, resamples: int) -> FloatArray:
    """(resamples,) means over the images of G units drawn with replacement: sum of sums / sum of sizes.

    Up to 64 distinct units (10-point images have 11 scores), how often each is drawn is multinomial: the same
    law without drawing indices, about six times as fast. Chunks bound the memory to some 20 MB.
    """
    new = (np.diff(units.sums) != 0) | (np.diff(units.sizes) != 0)
    starts = np.concatenate([[0], np.flatnonzero(new) + 1])
    counts = np.diff(np.append(starts, len(units.sums)))
    if len(starts) <= FEW_VALUES:
        sums, sizes = units.sums[starts], units.sizes[starts]
        share = counts / len(units.sums)
        drawn = [
            _weighted(random.multinomial(len(units.sums), share, size), sums, sizes)
            for size in _chunks(resamples, len(starts))
        ]
    else:
        drawn = [
            _indexed(random.integers(0, len(units.sums), (size, len(units.sums))), units)
            for size in _chunks(resamples, len(units.sums))
        ]
    return np.concatenate(drawn)


def _chunks(resamples: int, items: int) -> Iterator[int]:
    """Sizes of chunks of resamples, each of which needs so many items."""
    most = max(1, min(CHUNK_ITEMS // items, resamples if items <= FEW_VALUES else CHUNK))
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def _weighted(draws: npt.NDArray[np.int64], sums: FloatArray, sizes: FloatArray) -> FloatArray:
    totals = draws.astype(np.float64) @ np.stack([sums, sizes], axis=1)
    means: FloatArray = totals[:, 0] / totals[:, 1]
    return means


def _indexed(draws: npt.NDArray[np.int64], units: Units) -> FloatArray:
    one_size = units.sizes[0] == units.sizes[-1]  # they ascend
    sizes = units.sizes.sum() if one_size else units.sizes[draws].sum(axis=1)
    means: FloatArray = units.sums[draws].sum(axis=1) / sizes
    return means


def bootstrap_interval(
    values: npt.ArrayLike, rule: Bootstrap, clusters: Sequence[str] | None = None
) -> tuple[float, float]:
    """Percentile interval of the mean (Efron and Tibshirani 1993, chapter 13).

    Args:
        values: (N,) one score an image, N >= 1, in any order.
        rule: resamples, level and seed.
        clusters: the N images' scenes, which are then drawn instead of images; '-' is unknown.

    Returns:
        (low, high); equal to the value itself for a single image.
    """
    return benchmark_interval([as_units(values, clusters)], rule)


def benchmark_interval(sets: Sequence[Units], rule: Bootstrap) -> tuple[float, float]:
    """Percentile interval of the mean of K sets' means: an independent bootstrap in each, means averaged.

    Its standard error is sqrt(SE_1^2 + ... + SE_K^2) / K. Of one set it is `bootstrap_interval`, to the last
    bit.
    """
    ordered = sorted(sets, key=lambda units: (units.sizes.tolist(), units.sums.tolist()))
    total = np.zeros(rule.resamples)
    for index, units in enumerate(ordered):
        total += bootstrap_means(units, _generator(rule.seed, index), rule.resamples)
    tail = (1 - rule.level) / 2
    low, high = np.quantile(total / len(ordered), [tail, 1 - tail])
    return float(low), float(high)


def _generator(seed: int, index: int) -> np.random.Generator:
    """The stream of the index-th set; that of the first is the seed's own."""
    key = (index,) if index else ()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
