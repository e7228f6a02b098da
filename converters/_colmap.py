"""COLMAP's text model: cameras.txt and images.txt, read line by line as the format defines them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import BoolArray, FloatArray, pixel_index
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.errors import FrameError
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import ViewGrid
from depthvlm_bench.geometry.lens import PARAMETERS, Lens, LensModel

LENSES: dict[str, LensModel | None] = {"PINHOLE": None, "THIN_PRISM_FISHEYE": "thin_prism_fisheye"}
PIXEL_CENTRE = 0.5  # COLMAP's first pixel covers [0, 1)
HEADER_FIELDS, POINT_FIELDS = 10, 3
BLOCK_ROWS = 64


@dataclass(frozen=True)
class LensCamera:
    """A camera with its lens; `pinhole` has the principal point at our pixel centres, lens None is none."""

    pinhole: PinholeCamera
    lens: Lens | None

    def project(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Pixel coordinates of rays (x, y, 1), and whether the lens sees them.

        A polynomial lens folds back beyond its field of view: a ray that its inverse does not return to
        within a hundredth of a pixel is not one that the lens ever saw.
        """
        camera, seen = self.pinhole, np.ones(x.shape, dtype=bool)
        if self.lens is not None:
            rays, (x, y) = (x, y), self.lens.distort(x, y)
            x_back, y_back, known = self.lens.undistort(x, y)
            error_px = camera.fx_px * np.hypot(x_back - rays[0], y_back - rays[1])
            seen = known & (error_px < 0.01)
        return x * camera.fx_px + camera.cx_px, y * camera.fy_px + camera.cy_px, seen


def pixels_met(camera: PinholeCamera, grid: ViewGrid, other: LensCamera) -> npt.NDArray[np.int32]:
    """For each pixel (h, w) that `grid` makes of a picture, the other camera's pixel that its ray meets.

    Both cameras look from one place in one direction. Returns row-major indices, -1 where there is none.
    """
    pixels = np.full((grid.height, grid.width), -1, dtype=np.int32)
    source_from_view = grid.view_from_source.inverse()
    for top in range(0, grid.height, BLOCK_ROWS):  # whole, the arrays would take hundreds of MB
        block = pixels[top : top + BLOCK_ROWS]
        row, column = np.indices(block.shape)
        rays = camera.rays(*source_from_view.apply(column, row + top))
        u, v, seen = other.project(rays[..., 0], rays[..., 1])
        seen &= other.pinhole.contains(u, v)
        block[seen] = pixel_index(v[seen]) * other.pinhole.width + pixel_index(u[seen])
    return pixels


class ColmapModel:
    """A folder with cameras.txt and images.txt; a line that is no camera's is a fault of its own pictures."""

    def __init__(self, tree: RawTree, folder: str) -> None:
        self.folder = folder
        lines = _lines(tree, f"{folder}/cameras.txt")
        split = [line.split() for line in lines if line.strip() and not line.startswith("#")]
        self._cameras = {fields[0]: fields[1:] for fields in split}
        self._camera_of = dict(_pictures(_lines(tree, f"{folder}/images.txt"), f"{folder}/images.txt"))

    def camera(self, file_name: str) -> LensCamera:
        """The camera of a picture; FrameError `missing_intrinsics` or `bad_intrinsics`."""
        camera_id = self._camera_of.get(file_name)
        if camera_id is None:
            raise FrameError("missing_intrinsics", f"{self.folder}/images.txt does not name {file_name}")
        if camera_id not in self._cameras:
            raise FrameError("missing_intrinsics", f"{self.folder}/cameras.txt has no camera {camera_id}")
        try:
            return _camera(*self._cameras[camera_id])
        except (ValueError, TypeError) as error:
            where = f"{self.folder}/cameras.txt, camera {camera_id}"
            raise FrameError("bad_intrinsics", f"{where}: {error}") from error


def _lines(tree: RawTree, path: str) -> list[str]:
    """Lines of a text file, blank ones kept: a picture without keypoints has a blank second line."""
    text = tree.read(path, "missing_intrinsics").decode("utf-8", "replace")
    return text.replace("\r\n", "\n").split("\n")


def _pictures(lines: list[str], where: str) -> Iterator[tuple[str, str]]:
    """File name and camera id of each pair of lines: a picture's, then its keypoints', which may be blank."""
    rest = iter(lines)
    for line in rest:
        if not line.strip() or line.startswith("#"):
            continue
        fields, points = line.split(maxsplit=HEADER_FIELDS - 1), next(rest, "").split()
        if len(fields) < HEADER_FIELDS or len(points) % POINT_FIELDS:
            why = "is not followed by its keypoints: were blank lines removed?"
            raise FrameError("bad_intrinsics", f"{where}: {line[:60]!r} {why}")
        yield PurePosixPath(fields[-1].strip()).name, fields[HEADER_FIELDS - 2]


def _camera(model: str, width: str, height: str, *values: str) -> LensCamera:
    """One line of cameras.txt: only the models whose columns are known to mean fx, fy, cx, cy and a lens."""
    if model not in LENSES:
        raise ValueError(f"model {model} is not read, only {', '.join(LENSES)}")
    lens_model = LENSES[model]
    expected = 4 + (len(PARAMETERS[lens_model]) if lens_model else 0)
    if len(values) != expected:
        raise ValueError(f"{model} has {expected} parameters, found {len(values)}")
    fx_px, fy_px, cx_px, cy_px, *distortion = map(float, values)
    centre = cx_px - PIXEL_CENTRE, cy_px - PIXEL_CENTRE
    pinhole = PinholeCamera(int(width), int(height), fx_px, fy_px, *centre)
    return LensCamera(pinhole, Lens(lens_model, tuple(distortion)) if lens_model else None)
