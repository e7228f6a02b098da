"""What log ratios of prediction and truth say: another unit, ray distance, another camera's focal length."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from depthvlm_bench.conventions import BoolArray, FloatArray
from depthvlm_bench.predict.outside.evidence import Suspicion, correlation, moments, spread, usable
from depthvlm_bench.predict.outside.readings import Reading, Sample

# A factor: how near the median log ratio lies, how small its spread is, how far the answers follow the truth.
FACTORS = (10.0, 100.0, 1000.0)
TENFOLD_NEAR, TENFOLD_SPREAD, TENFOLD_CORRELATION = 0.4, 0.45, 0.5
LARGE_NEAR, LARGE_SPREAD, LARGE_CORRELATION = 0.9, 1.0, 0.3
# Of some images only: 100 or 1000, in at least this many and this share, where the others have no factor.
SOME_IMAGES, SOME_SHARE = 2, 0.05
# Ray for z: the slope of log ratio on log ray_factor is 1; of clean predictions 0.
RAY_SLOPE, RAY_T, RAY_CHANCE, RAY_LEAST_RANGE = (0.6, 1.5), 5.0, 0.003, 0.01
FOLLOWS_TRUTH = -0.25
FOLDS = 10
# Focal length: the log ratio is that of the focal lengths, image by image. Where these are alike, nothing
# tells such a fault from a model's bias, so nothing is said.
FOCAL_NEAR, FOCAL_CORRELATION = 0.08, 0.6
FOCAL_VARIES, FOCAL_EXPLAINED, FOCAL_IMAGES = 0.1, 0.6, 4


@dataclass(frozen=True)
class Pairs:
    """Answered points of all samples, pooled: logs of ratio, truth and ray factor; rows; image by index."""

    ratio: FloatArray
    truth: FloatArray
    ray: FloatArray
    row: FloatArray
    focal: FloatArray
    image: FloatArray

    @classmethod
    def of(cls, samples: Sequence[Sample], reading: Reading) -> "Pairs":
        """The points that a reading answers."""
        columns: list[FloatArray] = []
        for index, sample in enumerate(samples):
            values = sample.read(reading)
            ok = usable(values)
            truth = np.log(sample.truth_m[ok])
            same = np.full(len(truth), math.log(sample.focal_ratio))
            ray, row = np.log(sample.ray_factor[ok]), sample.y[ok]
            columns.append(np.stack([np.log(values[ok]) - truth, truth, ray, row, same, 0 * same + index]))
        return cls(*np.concatenate(columns, axis=1))

    @property
    def correlation(self) -> float:
        """Of log prediction and log truth, over all images."""
        return correlation(*moments(self.ratio + self.truth, self.truth))


def find_factor(pairs: Pairs) -> list[Suspicion]:
    """A factor of 10, 100 or 1000 either way, of all images or of some."""
    middle, width, follows = float(np.median(pairs.ratio)), spread(pairs.ratio), pairs.correlation
    for factor in FACTORS:
        tenfold = factor == FACTORS[0]
        near, narrow = (TENFOLD_NEAR, TENFOLD_SPREAD) if tenfold else (LARGE_NEAR, LARGE_SPREAD)
        off = abs(abs(middle) - math.log(factor))
        if off > near or width > narrow or follows < (TENFOLD_CORRELATION if tenfold else LARGE_CORRELATION):
            continue
        way, scale = ("large", factor) if middle > 0 else ("small", 1 / factor)
        evidence = (
            f"median prediction / truth is {math.exp(middle):.4g}, robust spread of its log {width:.2f}, "
            f"log correlation {follows:.2f}"
        )
        declare = f"multiply the declared scale (png_scale for integer maps) by {scale:g}, or name the unit"
        return [Suspicion(f"predictions are {factor:g} times too {way}: another unit", evidence, declare)]
    return _factor_of_some(pairs)


def _factor_of_some(pairs: Pairs) -> list[Suspicion]:
    """A factor of 100 or 1000 in a part of the images: maps of two makers, or of two forms, in one folder."""
    images = np.unique(pairs.image)
    middles = np.array([np.median(pairs.ratio[pairs.image == image]) for image in images])
    plain = np.abs(middles) < LARGE_NEAR
    for factor in FACTORS[1:]:
        for sign, way in ((1, "large"), (-1, "small")):
            off = np.abs(sign * middles - math.log(factor)) < LARGE_NEAR
            few = off.sum() < max(SOME_IMAGES, SOME_SHARE * len(images))
            if few or not plain.any() or not (off | plain).all():
                continue
            evidence = (
                f"median prediction / truth is {math.exp(np.median(middles[off])):.4g} in {off.sum()} of "
                f"{len(images)} images looked at, {math.exp(np.median(middles[plain])):.4g} in the others"
            )
            what = f"some predictions are {factor:g} times too {way}: two units in one folder"
            return [Suspicion(what, evidence, "save all in one unit, or in folders of their own")]
    return []


def find_focal(pairs: Pairs) -> list[Suspicion]:
    """Depth of a camera with another focal length, p = g * (fx / 1000) or its inverse, where fx varies."""
    of_images = [pairs.image == index for index in np.unique(pairs.image)]
    if len(of_images) < FOCAL_IMAGES or pairs.correlation < FOCAL_CORRELATION:
        return []
    if float(np.std([pairs.focal[image][0] for image in of_images])) <= FOCAL_VARIES:
        return []
    for power, how in ((1.0, "fx / 1000"), (-1.0, "1000 / fx")):
        left, focal = pairs.ratio - power * pairs.focal, float(np.median(pairs.focal))
        middle, before = float(np.median(left)), float(np.median(pairs.ratio))
        if abs(middle) < FOCAL_NEAR and _follows(pairs.ratio, left, of_images):
            evidence = (
                f"median prediction / truth is {math.exp(before):.3f}, {math.exp(middle):.3f} once divided "
                f"by {how} (fx of the source pictures is {1000 * math.exp(focal):.0f} px in the median), and "
                "images differ less"
            )
            what = f"depth is scaled by the focal length ({how})"
            return [Suspicion(what, evidence, "undo the model's canonical camera before saving")]
    return []


def _follows(ratio: FloatArray, left: FloatArray, of_images: Sequence[BoolArray]) -> bool:
    """Whether images differ clearly less once the focal length is divided out."""
    before, after = (np.std([np.median(values[image]) for image in of_images]) for values in (ratio, left))
    return bool(after < FOCAL_EXPLAINED * before)


def find_ray(pairs: Pairs) -> list[Suspicion]:
    """Distance along the ray where z is declared, or the reverse.

    The log ratio is regressed on log ray_factor, log truth, and the row up to its square, within images;
    its error comes from leaving out a tenth of the images at a time. Errors of neighbouring pixels go
    together, so one image says nothing, and a few have to agree all the better.
    """
    if float(np.std(pairs.ray)) < RAY_LEAST_RANGE:
        return []
    slope, follows, error, folds = _ray_slope(pairs)
    low, high = RAY_SLOPE
    if folds < 2 or not low <= abs(slope) <= high or follows < FOLLOWS_TRUTH:
        return []
    if abs(slope) < max(RAY_T, float(stdtrit(folds - 1, 1 - RAY_CHANCE / 2))) * error:
        return []
    evidence = (
        f"log(prediction / truth) rises by {slope:.2f} +- {error:.2f} a unit of log(ray distance / z); "
        "1 is expected of ray for z, -1 of z taken for ray, 0 of neither"
    )
    if slope > 0:
        return [Suspicion("distance along the ray is given for z-depth", evidence, "kind = ray")]
    return [Suspicion("z-depth is declared as ray distance", evidence, "kind = z")]


def _ray_slope(pairs: Pairs) -> tuple[float, float, float, int]:
    """Slopes on log ray_factor and log truth, the standard error of the first, and from how many folds."""
    image = pairs.image.astype(np.int64)
    columns = np.stack([pairs.ray, pairs.truth, pairs.row, pairs.row**2, pairs.ratio], axis=1)
    counts = np.maximum(np.bincount(image), 1)
    for column in columns.T:
        column -= (np.bincount(image, column) / counts)[image]
    fold = np.unique(image, return_inverse=True)[1] % FOLDS
    products = [columns[fold == part].T @ columns[fold == part] for part in range(int(fold.max()) + 1)]
    whole = np.sum(products, axis=0)
    slopes = _least_squares(whole)
    left_out = np.array([_least_squares(whole - product)[0] for product in products])
    error = math.sqrt((len(products) - 1) * float(np.var(left_out)))
    return float(slopes[0]), float(slopes[1]), error, len(products)


def _least_squares(products: FloatArray) -> FloatArray:
    """Slopes from the sums of products of the columns (k + 1, k + 1), the last of which is explained."""
    return np.asarray(np.linalg.lstsq(products[:-1, :-1], products[:-1, -1], rcond=1e-12)[0])
