"""The pinhole camera: intrinsics that follow the picture through resize and crop, projection and rays."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import BoolArray, FloatArray, check_points, pixel_index
from depthvlm_bench.geometry.grids import ViewGrid

# The field's usual guess when nothing is known of a lens (COLMAP's default_focal_length_factor).
UNKNOWN_FOCAL_FACTOR = 1.2


@dataclass(frozen=True)
class PinholeCamera:
    """Intrinsics of a picture without lens distortion.

    Attributes:
        width, height: picture size, px.
        fx_px, fy_px: focal lengths, px; never assumed equal.
        cx_px, cy_px: principal point, px, pixel centres at integers.
    """

    width: int
    height: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float

    def __post_init__(self) -> None:
        """Refuse sizes and intrinsics that no picture can have (ValueError)."""
        if self.width < 1 or self.height < 1:
            raise ValueError(f"picture size must be positive, got {self.width}x{self.height}")
        values = (self.fx_px, self.fy_px, self.cx_px, self.cy_px)
        if not all(map(math.isfinite, values)) or self.fx_px <= 0 or self.fy_px <= 0:
            raise ValueError(f"intrinsics must be finite with positive focal lengths, got {values}")

    @property
    def fov_deg(self) -> float:
        """Horizontal field of view between the outer edges of a centred picture of this width, degrees."""
        return math.degrees(2 * math.atan2(self.width, 2 * self.fx_px))

    def project(self, points_cam: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Pixel coordinates (u, v) of points (N, 3) in the camera frame; z must be non-zero."""
        x, y, z = check_points(points_cam, "points_cam").T
        return self.fx_px * x / z + self.cx_px, self.fy_px * y / z + self.cy_px

    def rays(self, u_px: npt.ArrayLike, v_px: npt.ArrayLike) -> FloatArray:
        """Rays (N, 3) with z = 1 through pixel coordinates, so that depth * ray is the point."""
        x = (np.asarray(u_px, dtype=np.float64) - self.cx_px) / self.fx_px
        y = (np.asarray(v_px, dtype=np.float64) - self.cy_px) / self.fy_px
        return np.stack([x, y, np.ones_like(x)], axis=-1)

    def ray_factor(self, u_px: npt.ArrayLike, v_px: npt.ArrayLike) -> FloatArray:
        """Ray distance over z-depth at pixel coordinates: |ray| with z = 1."""
        return np.asarray(np.linalg.norm(self.rays(u_px, v_px), axis=-1))

    def contains(self, u_px: npt.ArrayLike, v_px: npt.ArrayLike) -> BoolArray:
        """Whether the pixel of each coordinate lies in the picture."""
        return inside(u_px, v_px, self.width, self.height)

    def seen_through(self, grid: ViewGrid) -> "PinholeCamera":
        """Intrinsics of the picture that `grid` makes from this camera's picture (resize, then crop)."""
        if (grid.source_width, grid.source_height) != (self.width, self.height):
            raise ValueError(
                f"grid is for {grid.source_width}x{grid.source_height}, camera is {self.width}x{self.height}"
            )
        to_view = grid.view_from_source
        return PinholeCamera(
            width=grid.width,
            height=grid.height,
            fx_px=self.fx_px * to_view.sx,
            fy_px=self.fy_px * to_view.sy,
            cx_px=self.cx_px * to_view.sx + to_view.ox,
            cy_px=self.cy_px * to_view.sy + to_view.oy,
        )


def inside(u_px: npt.ArrayLike, v_px: npt.ArrayLike, width: int, height: int) -> BoolArray:
    """Whether the pixel floor(u + 0.5), floor(v + 0.5) of each coordinate lies in width x height."""
    column, row = pixel_index(u_px), pixel_index(v_px)
    return (column >= 0) & (column < width) & (row >= 0) & (row < height)


def estimated_camera(width: int, height: int) -> PinholeCamera:
    """The one declared guess for models that need a focal length when the camera is unknown."""
    focal_px = UNKNOWN_FOCAL_FACTOR * max(width, height)
    return PinholeCamera(width, height, focal_px, focal_px, (width - 1) / 2, (height - 1) / 2)
