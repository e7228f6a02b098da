"""Lenses: their models, their inversion, and the warp that makes a pinhole's picture of a lens's.

Convention: normalised coordinates x = X / Z, y = Y / Z of the camera frame; pixel centres at integers. A lens
keeps the principal point and focal lengths of its camera, so that undoing it changes no intrinsics. Only a
shifted lens has its own principal point: undoing it moves the picture under the camera's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from depthvlm_bench.conventions import BoolArray, FloatArray
from depthvlm_bench.geometry.camera import PinholeCamera

LensModel = Literal["brown_conrady", "shifted_brown_conrady", "thin_prism_fisheye"]
PARAMETERS: dict[LensModel, tuple[str, ...]] = {
    "brown_conrady": ("k1", "k2", "p1", "p2", "k3"),
    "shifted_brown_conrady": ("k1", "k2", "p1", "p2", "k3", "shift_x", "shift_y"),
    "thin_prism_fisheye": ("k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1"),
}
MAX_STEPS = 50
CONVERGED = 1e-12


@dataclass(frozen=True)
class Lens:
    """A lens by its model and parameters, in the order of `PARAMETERS`.

    Raises:
        ValueError: unknown model, or not its number of finite parameters.
    """

    model: LensModel
    parameters: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what is no lens."""
        if self.model not in PARAMETERS:
            raise ValueError(f"unknown lens model {self.model!r}, known: {', '.join(PARAMETERS)}")
        names = PARAMETERS[self.model]
        if len(self.parameters) != len(names) or not np.isfinite(self.parameters).all():
            raise ValueError(f"{self.model} needs {', '.join(names)} (finite), got {self.parameters}")

    def distort(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Where the lens puts rays (x, y, 1), in normalised coordinates of any shape."""
        return FORMULAS[self.model](
            self.parameters, np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        )

    def undistort(
        self, x_lens: npt.ArrayLike, y_lens: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """The rays that the lens puts at (x_lens, y_lens), by fixed-point iteration.

        Returns:
            x, y and whether the iteration converged; where it did not, the ray is not to be used.
        """
        x_lens, y_lens = np.asarray(x_lens, dtype=np.float64), np.asarray(y_lens, dtype=np.float64)
        x, y = x_lens.copy(), y_lens.copy()
        error = np.full(x.shape, np.inf)
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(MAX_STEPS):
                x_there, y_there = self.distort(x, y)
                x_step, y_step = x_lens - x_there, y_lens - y_there
                error = np.maximum(np.abs(x_step), np.abs(y_step))
                if not (error > CONVERGED).any():
                    break
                x, y = x + x_step, y + y_step
        return x, y, np.asarray(error < 1e-6)


def _brown_conrady(p: Sequence[float], x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Radial k1, k2, k3 and tangential p1, p2. Source: Brown 1966 as OpenCV's calibration documents it."""
    k1, k2, p1, p2, k3 = p
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def _shifted_brown_conrady(p: Sequence[float], x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Brown-Conrady whose picture lies shift_x, shift_y (focal lengths) off the camera's principal point."""
    *brown, shift_x, shift_y = p
    x, y = _brown_conrady(brown, x, y)
    return x + shift_x, y + shift_y


def _thin_prism_fisheye(p: Sequence[float], x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Equidistant fisheye, then radial, tangential and thin-prism terms.

    Source: the camera model THIN_PRISM_FISHEYE of COLMAP, which ETH3D documents for its pictures.
    """
    k1, k2, p1, p2, k3, k4, sx1, sy1 = p
    r = np.hypot(x, y)
    scale = np.divide(np.arctan(r), r, out=np.ones_like(r), where=r > 0)
    u, v = x * scale, y * scale
    q = u * u + v * v
    radial = 1 + q * (k1 + q * (k2 + q * (k3 + q * k4)))
    return (
        u * radial + 2 * p1 * u * v + p2 * (q + 2 * u * u) + sx1 * q,
        v * radial + 2 * p2 * u * v + p1 * (q + 2 * v * v) + sy1 * q,
    )


Formula = Callable[[Sequence[float], FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
FORMULAS: dict[LensModel, Formula] = {
    "brown_conrady": _brown_conrady,
    "shifted_brown_conrady": _shifted_brown_conrady,
    "thin_prism_fisheye": _thin_prism_fisheye,
}


def lens_pixels(
    camera: PinholeCamera, lens: Lens, u_px: npt.ArrayLike, v_px: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Where pixels (u, v) of the pinhole picture lie in the picture that the lens made."""
    rays = camera.rays(u_px, v_px)
    x, y = lens.distort(rays[..., 0], rays[..., 1])
    return x * camera.fx_px + camera.cx_px, y * camera.fy_px + camera.cy_px


def pinhole_pixels(
    camera: PinholeCamera, lens: Lens, u_lens_px: npt.ArrayLike, v_lens_px: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Where pixels of the lens's picture lie in the pinhole picture, and whether that is known."""
    rays = camera.rays(u_lens_px, v_lens_px)
    x, y, known = lens.undistort(rays[..., 0], rays[..., 1])
    return x * camera.fx_px + camera.cx_px, y * camera.fy_px + camera.cy_px, known


def undo_lens(pixels: npt.NDArray[np.uint8], camera: PinholeCamera, lens: Lens) -> npt.NDArray[np.uint8]:
    """A lens's picture (h, w, 3) as a pinhole sees it, same size: bilinear, black where nothing was seen."""
    v, u = np.mgrid[: camera.height, : camera.width]
    u_lens, v_lens = lens_pixels(camera, lens, u, v)
    planes = [
        map_coordinates(pixels[..., channel].astype(np.float32), (v_lens, u_lens), order=1, cval=0.0)
        for channel in range(3)
    ]
    return np.asarray(np.floor(np.stack(planes, axis=-1) + 0.5), dtype=np.uint8)
