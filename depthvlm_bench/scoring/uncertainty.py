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

from depthvlm_bench.conventions import FloatArray, IntArray
from depthvlm_bench.scoring.protocol import Bootstrap

CHUNK = 200
CHUNK_ITEMS = 1 << 20
FEW_VALUES = 64
LATTICE = 100  # most points of an image whose scores are looked for on a lattice
LATTICE_TOLERANCE = 1e-9
LATTICE_SUMS = 1 << 17
FOURIER_NOISE = 1e-15
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

    Two shortcuts have the same law without drawing indices. Up to 64 distinct units, how often each is drawn
    is multinomial. Ten-point images have 11 scores, and the sum of multinomial draws of values on a lattice
    is drawn at once, see `_lattice_means`. Chunks bound the memory to some 20 MB.
    """
    new = (np.diff(units.sums) != 0) | (np.diff(units.sizes) != 0)
    starts = np.concatenate([[0], np.flatnonzero(new) + 1])
    counts = np.diff(np.append(starts, len(units.sums)))
    distinct = Units(units.sums[starts], units.sizes[starts])
    lattice = _lattice(distinct, len(units.sums))
    if lattice is not None:
        means: FloatArray = _lattice_means(*lattice, counts, random, resamples) / units.sizes[0]
        return means
    if len(starts) <= FEW_VALUES:
        share = counts / len(units.sums)
        drawn = [
            _weighted(random.multinomial(len(units.sums), share, size), distinct)
            for size in _chunks(resamples, len(starts))
        ]
    else:
        drawn = [
            _indexed(random.integers(0, len(units.sums), (size, len(units.sums))), units)
            for size in _chunks(resamples, len(units.sums))
        ]
    return np.concatenate(drawn)


def _lattice(distinct: Units, drawn: int) -> tuple[int, IntArray] | None:
    """(m, k) with the sums k / m, of the least m <= 100; None off a lattice, or where sizes differ.

    Also None where `drawn` of them have so many different sums that their law is dear.
    """
    if distinct.sizes[0] != distinct.sizes[-1] or len(distinct.sums) > 2 * LATTICE + 1:
        return None
    for m in range(1, LATTICE + 1):
        steps = np.rint(distinct.sums * m)
        if np.abs(distinct.sums * m - steps).max() < LATTICE_TOLERANCE:
            return (m, steps.astype(np.int64)) if (steps[-1] - steps[0]) * drawn < LATTICE_SUMS else None
    return None


def _lattice_means(
    m: int, steps: IntArray, counts: IntArray, random: np.random.Generator, resamples: int
) -> FloatArray:
    """Means of n draws of values k / m, which come with so many counts: drawn from the law of their sum.

    The sum of n independent draws has the n-fold convolution of the law of one; its Fourier transform is the
    n-th power. Probabilities are right to about 1e-13.
    """
    n, span = int(counts.sum()), int(steps[-1] - steps[0])
    one = np.zeros(span + 1)
    one[steps - steps[0]] = counts / n
    length = span * n + 1
    padded = 1 << (length - 1).bit_length()
    law = np.fft.irfft(np.fft.rfft(one, padded) ** n, padded)[:length]
    cumulative = np.cumsum(np.where(law > FOURIER_NOISE, law, 0.0))
    places = np.searchsorted(cumulative, random.random(resamples) * cumulative[-1], side="right")
    means: FloatArray = (np.minimum(places, length - 1) + n * int(steps[0])) / (m * n)
    return means


def _chunks(resamples: int, items: int) -> Iterator[int]:
    """Sizes of chunks of resamples, each of which needs so many items."""
    most = max(1, min(CHUNK_ITEMS // items, resamples if items <= FEW_VALUES else CHUNK))
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def _weighted(draws: IntArray, distinct: Units) -> FloatArray:
    totals = draws.astype(np.float64) @ np.stack([distinct.sums, distinct.sizes], axis=1)
    means: FloatArray = totals[:, 0] / totals[:, 1]
    return means


def _indexed(draws: IntArray, units: Units) -> FloatArray:
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
