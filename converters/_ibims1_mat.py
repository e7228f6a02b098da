"""ibims1_core_mat: one MATLAB file an image, its fields in the struct `data`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat

from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._mat import MAT_ERRORS
from depthvlm_bench.errors import FrameError, SkipReason
from depthvlm_bench.frames import DepthGrid, LayoutItem, Picture, UInt16Array
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import PixelAffine


class MatImages:
    """The folder that holds NAME.mat; the image read last stays in memory."""

    def __init__(self, core: Path, depth_scale: float) -> None:
        self._tree, self._depth_scale = RawTree(core), depth_scale
        self._image, self._data = "", dict[str, Any]()

    def names(self) -> list[str]:
        """Names of all files, for trees without a list."""
        found = self._tree.root.glob("*.mat")
        return sorted(path.stem for path in found if not path.name.startswith("."))

    def where(self, kind: str, image: str) -> str:
        """The file and field that hold a map of an image."""
        return f"{image}.mat: {kind}"

    def picture(self, image: str) -> Picture:
        """`rgb` as a binary PPM: it is no picture file, and a PPM has the same bytes everywhere."""
        rgb = self._field(image, "rgb", "missing_image")
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise FrameError("unreadable", f"{self.where('rgb', image)} is {rgb.shape} {rgb.dtype}")
        header = f"P6\n{rgb.shape[1]} {rgb.shape[0]}\n255\n".encode("ascii")
        return Picture(header + rgb.tobytes(), f"{image}.mat")

    def camera(self, image: str, size: tuple[int, int]) -> PinholeCamera:
        """Intrinsics from `calib`, which is MATLAB's: the transpose of K."""
        calib = self._field(image, "calib", "missing_intrinsics")
        try:
            if calib.shape != (3, 3) or not np.allclose(calib[:, 2], (0, 0, 1)):
                raise ValueError(f"{calib.tolist()} is no transposed K")
            return PinholeCamera(*size, *(float(calib[at]) for at in ((0, 0), (1, 1), (2, 0), (2, 1))))
        except (ValueError, TypeError) as error:
            raise FrameError("bad_intrinsics", f"{self.where('calib', image)}: {error}") from error

    def depth(self, image: str) -> tuple[bytes | None, UInt16Array]:
        """`depth` (h, w) in the units of core_raw's PNG; 0 where it is 0 or not finite."""
        depth_m = self._field(image, "depth", "missing_depth")
        if depth_m.ndim != 2 or not np.issubdtype(depth_m.dtype, np.floating):
            raise FrameError("unreadable", f"{self.where('depth', image)} is {depth_m.shape} {depth_m.dtype}")
        grid = DepthGrid.from_metres(depth_m, self._depth_scale, PixelAffine.identity())
        return None, grid.values.astype(np.uint16)

    def mask(self, kind: str, image: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """A mask's values (h, w); one that is absent or of another size is an error."""
        values = self._field(image, kind, "missing_depth")
        if values.shape != shape:
            detail = f"{self.where(kind, image)} is {values.shape[::-1]}, depth {shape[::-1]}"
            raise FrameError("size_mismatch", detail)
        return values

    def has(self, kind: str, image: str) -> bool:
        """Whether something is marked: images without a kind of plane have it empty, or 0 throughout."""
        return bool(np.any(self._load(image).get(kind, 0)))

    def layout(self, _marks: tuple[str, ...]) -> Iterator[LayoutItem]:
        """The files; marks lie inside."""
        yield LayoutItem("*.mat", self._tree.count("*.mat"))

    def _field(self, image: str, field: str, missing: SkipReason) -> npt.NDArray[Any]:
        values = np.asarray(self._load(image).get(field, ()))
        if not values.size:
            raise FrameError(missing, f"{self.where(field, image)} is absent or empty")
        return values

    def _load(self, image: str) -> dict[str, Any]:
        if image != self._image:
            path = self._tree.path(f"{image}.mat")
            if not path.is_file():
                raise FrameError("missing_image", path.name)
            try:
                # By their MATLAB class: a file keeps doubles that happen to be whole as bytes.
                variables = loadmat(str(path), mat_dtype=True, variable_names=["data"], simplify_cells=True)
                self._data = dict(variables["data"])
            except MAT_ERRORS as error:
                raise FrameError("unreadable", f"{image}.mat: {type(error).__name__}: {error}") from error
            self._image = image
        return self._data
