"""Maps between pixel grids: resize, crop and the focal-normalised grid."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import CANONICAL_FX_PX, FloatArray


@dataclass(frozen=True)
class PixelAffine:
    """Axis-aligned map between two pixel grids: u_dst = sx * u_src + ox, v_dst = sy * v_src + oy.

    Convention: pixel centres at integer coordinates on both grids.
    """

    sx: float
    sy: float
    ox: float
    oy: float

    @classmethod
    def resize(cls, src_size: tuple[int, int], dst_size: tuple[int, int]) -> Self:
        """The map of a resize between (width, height) sizes: u' = (u + 0.5) * s - 0.5 on each axis."""
        sx, sy = dst_size[0] / src_size[0], dst_size[1] / src_size[1]
        return cls(sx, sy, 0.5 * sx - 0.5, 0.5 * sy - 0.5)

    @classmethod
    def identity(cls) -> Self:
        """The map of a grid onto itself."""
        return cls(1.0, 1.0, 0.0, 0.0)

    def apply(self, u_px: npt.ArrayLike, v_px: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Map coordinates of any shape; returns float64 (u, v)."""
        u, v = np.asarray(u_px, dtype=np.float64), np.asarray(v_px, dtype=np.float64)
        return u * self.sx + self.ox, v * self.sy + self.oy

    def inverse(self) -> "PixelAffine":
        """The map in the other direction."""
        return PixelAffine(1.0 / self.sx, 1.0 / self.sy, -self.ox / self.sx, -self.oy / self.sy)

    def then(self, after: "PixelAffine") -> "PixelAffine":
        """This map followed by another."""
        return PixelAffine(
            self.sx * after.sx,
            self.sy * after.sy,
            self.ox * after.sx + after.ox,
            self.oy * after.sy + after.oy,
        )


@dataclass(frozen=True)
class ViewGrid:
    """How a picture is made from its source: one resize to the full size, then a crop.

    Attributes:
        source_width, source_height: size of the source picture, px.
        full_width, full_height: size after the resize, px.
        left, top, width, height: the crop within the resized picture, px.
    """

    source_width: int
    source_height: int
    full_width: int
    full_height: int
    left: int
    top: int
    width: int
    height: int

    @property
    def view_from_source(self) -> PixelAffine:
        """Source pixel coordinates to coordinates of the finished picture."""
        resize = PixelAffine.resize(
            (self.source_width, self.source_height), (self.full_width, self.full_height)
        )
        return PixelAffine(resize.sx, resize.sy, resize.ox - self.left, resize.oy - self.top)

    @property
    def shrinks(self) -> bool:
        """Whether the resize makes the picture smaller; only then is the result worth storing."""
        return self.full_width < self.source_width

    @property
    def is_identity(self) -> bool:
        """Whether the finished picture is the source picture itself."""
        source = (self.source_width, self.source_height)
        return source == (self.full_width, self.full_height) == (self.width, self.height)


def native_grid(width: int, height: int) -> ViewGrid:
    """The grid of a picture that is shown at source size."""
    return ViewGrid(width, height, width, height, 0, 0, width, height)


def focal_grid(
    width: int,
    height: int,
    fx_px: float,
    *,
    focal_px: float = CANONICAL_FX_PX,
    max_edge: int | None = None,
) -> ViewGrid:
    """The grid that brings fx to `focal_px`, as the paper does it: s = focal / fx, sizes by Python's round.

    Both axes are scaled by the same s (fx alone decides); the true scales follow from the rounded sizes.
    With `max_edge`, a longer side is cut down by a centre crop (floor offsets).

    Source: DepthVLM (arXiv 2605.15876), focal normalisation; reproduces the sizes it publishes.
    """
    if not (np.isfinite(fx_px) and fx_px > 0):
        raise ValueError(f"fx_px must be positive and finite, got {fx_px}")
    scale = focal_px / fx_px
    full_size = max(1, round(width * scale)), max(1, round(height * scale))
    return cropped_grid((width, height), full_size, max_edge)


def cropped_grid(
    source_size: tuple[int, int], full_size: tuple[int, int], max_edge: int | None = None
) -> ViewGrid:
    """The grid of a resize between (width, height) sizes; `max_edge` adds a centre crop (floor offsets)."""
    (width, height), (full_width, full_height) = source_size, full_size
    crop_width = full_width if max_edge is None else min(full_width, max_edge)
    crop_height = full_height if max_edge is None else min(full_height, max_edge)
    left, top = (full_width - crop_width) // 2, (full_height - crop_height) // 2
    return ViewGrid(width, height, full_width, full_height, left, top, crop_width, crop_height)
