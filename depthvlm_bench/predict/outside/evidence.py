"""What a suspicion is, and the small statistics that its evidence is made of."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import BoolArray, FloatArray


@dataclass(frozen=True)
class Suspicion:
    """What may be wrong, the figures that say so, and what to declare (or do) if it is so."""

    what: str
    evidence: str
    declare: str

    def one_line(self) -> str:
        """As it is printed."""
        return f"{self.what} — evidence: {self.evidence} — if so: {self.declare}"


def usable(values: npt.NDArray[np.floating]) -> BoolArray:
    """Which values have a logarithm."""
    return np.asarray(np.isfinite(values) & (np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) > 0))


def moments(x: FloatArray, y: FloatArray) -> tuple[float, float, float]:
    """Sums of products about the means: xy, xx, yy."""
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y), float(x @ x), float(y @ y)


def correlation(xy: float, xx: float, yy: float) -> float:
    """Correlation; 0 where one side does not vary."""
    return float(xy / math.sqrt(xx * yy)) if xx > 1e-6 and yy > 1e-6 else 0.0


def spread(values: FloatArray) -> float:
    """Robust standard deviation: 1.4826 times the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
