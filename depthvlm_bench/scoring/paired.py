"""Models on the same images: differences, sign-flip tests, Holm, tie groups, and what a design can find.

Everything is paired: scores are aligned by image id, both models see the same resamples and the same flips.
The unit of resampling and of flipping is the image, or the scene where scenes repeat
(`uncertainty.unit_numbers`). McNemar's test over pixels is not valid here, since the pixels of one image are
not independent.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from scipy.special import nctdtr, stdtrit

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.scoring.protocol import Bootstrap
from depthvlm_bench.scoring.uncertainty import (
    UNKNOWN_SCENE,
    as_units,
    benchmark_interval,
    unit_numbers,
)

ALPHA = 0.05
FLIPS = 10_000
FLIPS_A_PAIR = 40
DECIMALS = 12  # 0.9 - 0.8 and 0.4 - 0.3 are one difference
TIE_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class ImageScores:
    """One model's scores on one set, in the order of the ids.

    Attributes:
        ids: N record ids, ascending.
        values: (N,) score of each image.
        scenes: scene of each image; '-' is unknown.
    """

    ids: tuple[str, ...]
    values: FloatArray
    scenes: tuple[str, ...]

    @classmethod
    def of(cls, scores: Mapping[str, float], scenes: Mapping[str, str] | None = None) -> "ImageScores":
        """From scores, and scenes where they are known, by id, in any order."""
        ids = tuple(sorted(scores))
        values = np.array([scores[name] for name in ids], dtype=np.float64)
        return cls(ids, values, tuple((scenes or {}).get(name, UNKNOWN_SCENE) for name in ids))

    @property
    def mean(self) -> float:
        """Mean over the images, by an exact sum."""
        return math.fsum(self.values) / len(self.values)

    def drawn_by(self, rule: Bootstrap) -> "ImageScores":
        """These for a rule: the same, but that one which draws images is told of no scene."""
        return self if rule.unit == "scene" else replace(self, scenes=(UNKNOWN_SCENE,) * len(self.ids))


def can_be_significant(units: int) -> bool:
    """Whether so many units could ever give p < 5 %: the least p of G units is 2 / 2^G, so G >= 6."""
    return 2.0 ** (1 - min(units, 60)) < ALPHA


@dataclass(frozen=True)
class Difference:
    """First minus second.

    Attributes:
        value: mean difference; low, high: its bootstrap interval.
        p: two-sided p value of the sign-flip test.
        units: how many images, or scenes, were flipped.
    """

    value: float
    low: float
    high: float
    p: float
    units: int

    @property
    def can_be_significant(self) -> bool:
        """Whether there are units enough for p < 5 %."""
        return can_be_significant(self.units)


def check_same_images(first: ImageScores, second: ImageScores, what: str = "two results") -> None:
    """CheckError, with how many ids and the first of them, unless both are of the same images."""
    if first.ids == second.ids:
        return
    one, other = set(first.ids), set(second.ids)
    parts = [
        f"{len(only)} only in the {side}, e.g. {min(only)}"
        for side, only in (("first", one - other), ("second", other - one))
        if only
    ]
    raise CheckError(
        f"{what} are not of the same images",
        why="; ".join(parts) or "an id is there twice",
        next_step="dvbench eval completes a partial result",
    )


def paired_difference(
    first: ImageScores, second: ImageScores, rule: Bootstrap, flips: int = FLIPS
) -> Difference:
    """Mean difference of two models on one set, its interval and p value.

    The bootstrap draws per-image differences, which is to draw both models with the same indices.

    Raises:
        CheckError: the ids differ.
    """
    return benchmark_difference([first], [second], rule, flips)


def benchmark_difference(
    first: Sequence[ImageScores], second: Sequence[ImageScores], rule: Bootstrap, flips: int = FLIPS
) -> Difference:
    """Difference of two models' benchmark means over K sets; sets are resampled and flipped independently.

    Units are those of the rule: images, or scenes where they repeat.
    """
    pairs = [(a.drawn_by(rule), b.drawn_by(rule)) for a, b in zip(first, second, strict=True)]
    for one, other in pairs:
        check_same_images(one, other)
    units = [as_units((a.values - b.values).round(DECIMALS), a.scenes) for a, b in pairs]
    low, high = benchmark_interval(units, rule)
    flipped = sum(flipped_means(pair, rule.seed, flips) for pair in pairs) / len(pairs)
    observed = [math.fsum(each.mean for each in side) / len(pairs) for side in (first, second)]
    p = pairwise_p(np.asarray(flipped), observed)[0, 1]
    return Difference(observed[0] - observed[1], low, high, float(p), sum(len(u.sums) for u in units))


def flipped_means(models: Sequence[ImageScores], seed: int, flips: int = FLIPS) -> FloatArray:
    """(flips, R) sign-flipped means of R models on one set: (1/N) sum over units of s_g x_gr, s_g = +1 or -1.

    The difference of two columns is the sign-flipped mean of those two models' paired differences, so one
    draw serves all pairs of a table, and means of several sets' arrays serve the benchmark mean. The signs
    depend on the seed and the ids only: a pair has the same p value alone and in a table.
    """
    first = models[0]
    for other in models[1:]:
        check_same_images(first, other)
    numbers = np.array(unit_numbers(first.scenes))
    sums = np.stack([np.bincount(numbers, each.values) for each in models], axis=1) / len(first.ids)
    key = hashlib.sha256("\n".join(first.ids).encode()).digest()
    heads = _coin_sums(sums, np.random.Generator(np.random.PCG64([seed, *key])), flips)
    signed: FloatArray = 2 * heads - sums.sum(axis=0)
    return signed


def _coin_sums(sums: FloatArray, random: np.random.Generator, flips: int) -> FloatArray:
    """(flips, R) sums over those of G rows whose fair coin shows heads.

    A random byte is eight coins, and picks one of the 256 sums that eight rows can have: a sixth of the time
    of unpacking the coins for a matrix product, and nothing of size flips x G is held.
    """
    subsets = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float64)
    padded = np.concatenate([sums, np.zeros((-len(sums) % 8, sums.shape[1]))])
    total = np.zeros((flips, sums.shape[1]))
    for start in range(0, len(padded), 8):
        coins = np.frombuffer(random.bytes(flips + -flips % 4), np.uint8)[:flips]
        total += (subsets @ padded[start : start + 8]).take(coins, axis=0)
    return total


def pairwise_p(flipped: FloatArray, observed: Sequence[float]) -> FloatArray:
    """(R, R) two-sided p values of all pairs: (b + 1) / (n + 1), b of n flips as far from 0 as observed.

    Source: Phipson and Smyth 2010, doi 10.2202/1544-6115.1585. The diagonal is 1.

    Args:
        flipped: (n, R) of `flipped_means`, or the mean of several sets'.
        observed: R observed means.
    """
    n, models = flipped.shape
    p = np.ones((models, models))
    for index in range(models - 1):
        gaps = np.abs(np.subtract(observed[index], observed[index + 1 :]))
        reached = np.abs(flipped[:, index + 1 :] - flipped[:, [index]]) >= gaps - TIE_TOLERANCE
        p[index, index + 1 :] = p[index + 1 :, index] = (reached.sum(axis=0) + 1) / (n + 1)
    return p


def holm(p_values: Sequence[float] | FloatArray) -> FloatArray:
    """Adjusted p values in the order given: max over j <= i of min(1, (m - j + 1) p_(j)).

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70. Rejecting where they are below 5 % keeps
    the chance of any false rejection in the family below 5 %, however the tests depend on each other.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(np.minimum(1, p[order] * np.arange(len(p), 0, -1)))
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted


def holm_pairs(p: FloatArray) -> FloatArray:
    """(R, R) p values of all pairs, adjusted over the R (R - 1) / 2 pairs; the diagonal is 1."""
    above = np.triu_indices(len(p), 1)
    adjusted = np.ones_like(p)
    adjusted[above] = holm(p[above])
    return np.minimum(adjusted, adjusted.T)


def flips_for(models: int) -> int:
    """10,000 flips, or more where a table has so many pairs that Holm could find nothing with these."""
    return max(FLIPS, FLIPS_A_PAIR * models * (models - 1) // 2)


def tie_groups(means: Sequence[float], adjusted: FloatArray) -> list[int]:
    """Tie group of each row, 1 for that of the best.

    The best row that has no group yet leads the next one (of equal means the first given). To its group
    belongs every other row without a group whose paired difference from that leader is not significant, that
    is p >= 5 % after Holm over all pairs of the ranking. All pairs are the family because the data choose the
    leader: if all models are equal, the chance that they fall into more than one group is at most 5 %. A
    group says "not told apart from its leader"; its other members may differ from each other.

    Args:
        means: R scores, higher is better.
        adjusted: (R, R) of `holm_pairs`.
    """
    groups = [0] * len(means)
    for leader in sorted(range(len(means)), key=lambda row: -means[row]):
        if not groups[leader]:
            number = max(groups) + 1
            for row, group in enumerate(groups):
                if not group and adjusted[leader, row] >= ALPHA:
                    groups[row] = number
    return groups


@dataclass(frozen=True)
class Design:
    """A set and two models on it, for `power`.

    Attributes:
        images, points: images, and points an image.
        delta1: score of the better model.
        rho: correlation of two hits of one image; 0.2 to 0.3 is usual for metric depth models.
        correlation: of the two models' true scores of an image; 0, the cautious choice, where unknown.
    """

    images: int
    points: int
    delta1: float
    rho: float
    correlation: float = 0.0

    def __post_init__(self) -> None:
        rules = (
            ("images", self.images, self.images >= 2, "at least 2"),
            ("points", self.points, self.points >= 1, "at least 1"),
            ("delta1", self.delta1, 0 < self.delta1 < 1, "between 0 and 1"),
            ("rho", self.rho, 0 <= self.rho <= 1, "from 0 to 1"),
            ("correlation", self.correlation, 0 <= self.correlation < 1, "at least 0 and below 1"),
        )
        for name, value, holds, wanted in rules:
            if not holds:
                raise UsageError(f"{name} is {value}", why=f"it must be {wanted}")

    def score_variance(self, delta1: float) -> float:
        """Variance of one image's score: p (1 - p) / m * (1 + (m - 1) rho); Kish 1965, the design effect."""
        return delta1 * (1 - delta1) / self.points * (1 + (self.points - 1) * self.rho)

    def gap_error(self, gap: float) -> float:
        """Standard error of the difference of models with scores p and p - gap.

        sqrt((V(p) + V(p - gap) - 2 c rho sqrt(p (1 - p) q (1 - q))) / N), q = p - gap: two true image scores
        have variances rho p (1 - p) and rho q (1 - q) and correlation c; what the points add is independent.
        """
        other = self.delta1 - gap
        spread = math.sqrt(self.delta1 * (1 - self.delta1) * other * (1 - other))
        total = self.score_variance(self.delta1) + self.score_variance(other)
        return math.sqrt((total - 2 * self.correlation * self.rho * spread) / self.images)


@dataclass(frozen=True)
class Power:
    """What a design can tell apart.

    Attributes:
        half_width: half of one model's 95 % interval.
        smallest_gap: the smallest gap that is found with 80 %; None where no gap is.
        gap: the gap asked about, if any.
        found: how probable p < 5 % in the right direction is.
        wrong_order: how probable it is that the worse model scores higher.
    """

    half_width: float
    smallest_gap: float | None
    gap: float | None = None
    found: float | None = None
    wrong_order: float | None = None


NORMAL = NormalDist()
WANTED_POWER = 0.8
SURE = 20.0  # standard errors; a larger gap is found with 1 to the last bit, and scipy's function fails there


def power(design: Design, gap: float | None = None) -> Power:
    """What a paired two-sided test at 5 % finds.

    By Student's t: P(T > t_0.975), where T of images - 1 degrees of freedom is noncentral by gap / SE(gap).
    Fewer than six images find nothing, since p is never below 2 / 2^6. Against 5,000 simulated beta-binomial
    pairs and the sign-flip test it is right within about 0.03 from 10 images up (tests); with six to nine the
    test has few p values, and less power than is told here.

    Raises:
        UsageError: the gap is not between 0 and delta1.
    """
    if gap is not None and not 0 < gap < design.delta1:
        raise UsageError(f"gap is {gap}", why=f"it must be above 0 and below delta1, {design.delta1}")
    z = NORMAL.inv_cdf(1 - ALPHA / 2)
    half_width = z * math.sqrt(design.score_variance(design.delta1) / design.images)
    smallest = _smallest_gap(design)
    if gap is None:
        return Power(half_width, smallest)
    return Power(half_width, smallest, gap, _found(design, gap), NORMAL.cdf(-gap / design.gap_error(gap)))


def _found(design: Design, gap: float) -> float:
    if not can_be_significant(design.images):
        return 0.0
    freedom = design.images - 1
    shift = min(gap / design.gap_error(gap), SURE)
    return 1 - float(nctdtr(freedom, shift, stdtrit(freedom, 1 - ALPHA / 2)))


def _smallest_gap(design: Design) -> float | None:
    """By bisection to the last bit; a larger gap is found more often."""
    low, high = 0.0, design.delta1 * (1 - 1e-9)
    if _found(design, high) < WANTED_POWER:
        return None
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if _found(design, middle) >= WANTED_POWER else (middle, high)
    return high
