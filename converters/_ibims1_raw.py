"""ibims1_core_raw: one folder a kind of file, one file an image."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt

from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._roots import require
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import LayoutItem, Picture, UInt16Array
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.records.marks import decode_mask

FOLDERS = {"rgb": "png", "depth": "png", "calib": "txt", "mask_invalid": "png", "mask_transp": "png"}


class RawImages:
    """The folder that holds rgb/, depth/, calib/ and the masks."""

    def __init__(self, core: Path, dataset: str) -> None:
        require(core / "rgb", dataset)
        self._tree = RawTree(core)

    def names(self) -> list[str]:
        """Names of all pictures, for trees without a list; hidden files are decoys that archives leave."""
        found = (self._tree.root / "rgb").glob("*.png")
        return sorted(path.stem for path in found if not path.name.startswith("."))

    def where(self, kind: str, image: str) -> str:
        """The file that holds a map of an image."""
        return f"{kind}/{image}.png"

    def picture(self, image: str) -> Picture:
        """The picture file."""
        return self._tree.picture(self.where("rgb", image))

    def camera(self, image: str, size: tuple[int, int]) -> PinholeCamera:
        """Intrinsics from calib/NAME.txt: one line fx,fy,cx,cy."""
        path = f"calib/{image}.txt"
        text = self._tree.read(path, "missing_intrinsics").decode("ascii", "replace")
        try:
            fx_px, fy_px, cx_px, cy_px = (float(part) for part in text.strip().split(","))
            return PinholeCamera(*size, fx_px, fy_px, cx_px, cy_px)
        except ValueError as error:
            raise FrameError("bad_intrinsics", f"{path}: {error}") from error

    def depth(self, image: str) -> tuple[bytes | None, UInt16Array]:
        """The depth PNG, and its values (h, w)."""
        return self._tree.depth_png(self.where("depth", image))

    def mask(self, kind: str, image: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """A mask's values (h, w); one that is absent or of another size is an error."""
        path = self.where(kind, image)
        return decode_mask(self._tree.read(path, "missing_depth"), path, shape)

    def has(self, kind: str, image: str) -> bool:
        """Whether a mask is there: not every image has planes of every kind."""
        return self._tree.path(self.where(kind, image)).is_file()

    def layout(self, marks: tuple[str, ...]) -> Iterator[LayoutItem]:
        """The five folders, and those of marks."""
        for folder, suffix in FOLDERS.items():
            yield LayoutItem(f"{folder}/*.{suffix}", self._tree.count(f"{folder}/*.{suffix}"))
        for folder in marks:
            yield LayoutItem(f"{folder}/*.png", self._tree.count(f"{folder}/*.png"), required=False)
