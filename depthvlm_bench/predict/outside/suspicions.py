"""Faults that predictions from elsewhere often have, named with their evidence and never corrected."""

from collections.abc import Sequence

from depthvlm_bench.predict.outside.evidence import Suspicion
from depthvlm_bench.predict.outside.patterns import MIN_POINTS, find_pattern
from depthvlm_bench.predict.outside.ratios import Pairs, find_factor, find_focal, find_ray
from depthvlm_bench.predict.outside.readings import Sample

MIN_POINTS_IN_ALL = 40


def suspicions(samples: Sequence[Sample]) -> list[Suspicion]:
    """Suspected faults of paired predictions and truths; none for clean ones, however biased or noisy."""
    samples = [sample for sample in samples if len(sample.truth_m) >= MIN_POINTS]
    if sum(len(sample.truth_m) for sample in samples) < MIN_POINTS_IN_ALL:
        return []
    reading, named = find_pattern(samples)
    if reading.inverse:
        return named
    pairs = Pairs.of(samples, reading)
    if len(pairs.ratio) < MIN_POINTS_IN_ALL:
        return named
    return [*named, *(find_factor(pairs) or find_focal(pairs)), *find_ray(pairs)]
