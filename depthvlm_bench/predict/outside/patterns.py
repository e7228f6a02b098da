"""Whether the maps follow the truth better under another reading: transposed, flipped, cut, inverse."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.predict.outside.evidence import Suspicion, correlation, moments, usable
from depthvlm_bench.predict.outside.readings import AS_GIVEN, OTHER_READINGS, Reading, Sample

# Another reading is named where it leaves at most this share of the variance that is unexplained as given.
MOST_UNEXPLAINED, MOST_UNEXPLAINED_FEW = 0.8, 0.5
LEAST_CORRELATION = 0.35
LEAST_SHARE_OF_IMAGES = 0.8
FEW_IMAGES = 4
MIN_POINTS = 8
# Where the map is blank beyond the part that a reading takes, less is asked of the correlation.
BLANK, FILLED = 0.95, 0.8
MOST_UNEXPLAINED_BLANK, LEAST_SHARE_BLANK = 0.95, 0.6
# A map whose rows vary by less than this share is a prior by row: it says nothing of the picture's place.
LEAST_VARIATION = 0.01


# Of one record: log truth, log prediction as given.
_Logs = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class _Fit:
    """How well a reading follows the truth within images: log correlation, by image and pooled."""

    pooled: float
    by_image: FloatArray


def find_pattern(samples: Sequence[Sample]) -> tuple[Reading, list[Suspicion]]:
    """The reading under which the maps follow the truth best, named where it is not the one as given."""
    size = _swapped_size(samples)
    best, said = AS_GIVEN, ""
    best_pooled = -1.0
    prior = _is_prior(samples)
    logs = [(np.log(sample.truth_m), _log(sample.read(AS_GIVEN))) for sample in samples]
    for reading in OTHER_READINGS:
        given, other = _fits(samples, logs, reading)
        blank = reading.part and _is_blank_beyond(samples, reading)
        if reading.part and prior and not blank:
            continue
        if other.pooled > best_pooled and _is_better(given, other, blank=blank):
            best, best_pooled = reading, other.pooled
            share = float(np.mean(other.by_image > given.by_image))
            said = (
                f"log correlation with the truth within images {given.pooled:.2f} as given, "
                f"{other.pooled:.2f} {reading.read}; better in {share:.0%} of {len(other.by_image)} images"
            ) + ("; the maps are blank beyond that part" if blank else "")
    if best is AS_GIVEN and size:
        transposed = next(reading for reading in OTHER_READINGS if reading.name == "transposed")
        return AS_GIVEN, [Suspicion(transposed.what, size, transposed.declare)]
    if best is AS_GIVEN:
        return best, []
    evidence = f"{said}; {size}" if size and best.name == "transposed" else said
    return best, [Suspicion(best.what, evidence, best.declare)]


def _swapped_size(samples: Sequence[Sample]) -> str:
    """That maps have the pictures' sides exchanged, in figures; '' where not all of them have."""
    width, height = samples[0].view_size
    for sample in samples:
        if sample.map_size != sample.view_size[::-1] or sample.view_size[0] == sample.view_size[1]:
            return ""
    return f"maps have {width} rows and {height} columns, pictures {height} rows and {width} columns"


def _is_better(given: _Fit, other: _Fit, *, blank: bool) -> bool:
    if other.pooled < LEAST_CORRELATION:
        return False
    left = (1 - other.pooled**2) / (1 - min(max(given.pooled, 0.0), 0.999) ** 2)
    share = float(np.mean(other.by_image > given.by_image))
    if blank:
        return left <= MOST_UNEXPLAINED_BLANK and share >= LEAST_SHARE_BLANK
    limit = MOST_UNEXPLAINED if len(other.by_image) >= FEW_IMAGES else MOST_UNEXPLAINED_FEW
    return left <= limit and share >= LEAST_SHARE_OF_IMAGES


def _is_blank_beyond(samples: Sequence[Sample], reading: Reading) -> bool:
    """Whether the maps hold depth only in the part of them that a reading takes."""
    beyond = np.concatenate([sample.beyond(reading) for sample in samples])
    given = usable(np.concatenate([sample.read(AS_GIVEN) for sample in samples]))
    other = usable(np.concatenate([sample.read(reading) for sample in samples]))
    return bool(beyond.any() and np.mean(~given[beyond]) >= BLANK and other.mean() >= FILLED)


def _is_prior(samples: Sequence[Sample]) -> bool:
    """Whether all maps are one, or each has like values along its rows: no picture was looked at."""
    maps = [sample.depth_m for sample in samples]
    if len(maps) > 1 and all(np.array_equal(maps[0], other, equal_nan=True) for other in maps[1:]):
        return True
    return all(float(np.nanmedian(_variation(depth_m))) < LEAST_VARIATION for depth_m in maps)


def _variation(depth_m: npt.NDArray[np.floating]) -> FloatArray:
    """Spread over middle of each row's values, 0 where there are none."""
    valid = np.where(usable(depth_m), depth_m, 0.0).reshape(depth_m.shape[0], -1)
    number = np.maximum((valid > 0).sum(axis=1), 1)
    mean = valid.sum(axis=1) / number
    spread = np.sqrt((np.where(valid > 0, valid - mean[:, None], 0.0) ** 2).sum(axis=1) / number)
    return np.asarray(spread[mean > 0] / mean[mean > 0] if (mean > 0).any() else np.zeros(1))


def _fits(samples: Sequence[Sample], logs: Sequence[_Logs], reading: Reading) -> tuple[_Fit, _Fit]:
    """The reading as given and another, over the points that both of them answer."""
    given, other = [], []
    for sample, (truth, first) in zip(samples, logs, strict=True):
        second = _log(sample.read(reading))
        both = np.isfinite(first) & np.isfinite(second)
        if both.sum() >= MIN_POINTS:
            given.append(moments(first[both], truth[both]))
            other.append(moments(second[both], truth[both]))
    return _fit(given), _fit(other)


def _log(values: FloatArray) -> FloatArray:
    """Logarithms, NaN where a value has none."""
    return np.log(np.where(usable(values), values, np.nan))


def _fit(moments: Sequence[tuple[float, float, float]]) -> _Fit:
    if not moments:
        return _Fit(0.0, np.zeros(0))
    xy, xx, yy = np.asarray(moments).T
    return _Fit(correlation(xy.sum(), xx.sum(), yy.sum()), np.array([correlation(*row) for row in moments]))
