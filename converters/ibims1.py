"""iBims-1 (core_raw): 100 tripod pictures with laser depth, calibration, masks, marked edges and planes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.converters._files import RawTree, png_grid, require
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import (
    Converter,
    Frame,
    FrameRef,
    LayoutItem,
    NoOptions,
    Skip,
    Split,
)
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.records.marks import SurfaceMarks, decode_mask, marks_extra

CARD = builtin_card("ibims1")
CORE = "ibims1_core_raw"
FOLDERS = {"rgb": "png", "depth": "png", "calib": "txt", "mask_invalid": "png", "mask_transp": "png"}
# Marked edges, and planes by kind of surface: 0 none, k the k-th. Not every image has planes of every kind.
EDGES, PLANES = "edges", ("mask_wall", "mask_table", "mask_floor")
MASKS = ("mask_invalid", "mask_transp")  # both non-zero where the pixel is good, whatever their names say
SATURATED = 65535


class Ibims1Source:
    """A folder that holds ibims1_core_raw/, or is it."""

    def __init__(self, root: Path, _options: NoOptions) -> None:
        self.core = root / CORE if (root / CORE).is_dir() else root
        require(self.core / "rgb", CARD.name)
        lists = [folder / "imagelist.txt" for folder in (self.core, self.core.parent)]
        self.image_list = next((path for path in lists if path.is_file()), None)
        self.tree = RawTree(self.core)

    def source_splits(self) -> list[str]:
        """The one split, test."""
        return ["test"]

    def scenes(self, source_split: str) -> Iterable[str]:
        """Unknown: each picture is a place of its own."""
        return ()

    def names(self) -> list[str]:
        """Names of imagelist.txt, or of rgb/*.png where there is no list."""
        if self.image_list is not None:
            return RawTree(self.image_list.parent).names(self.image_list.name)
        return sorted(
            path.stem for path in (self.core / "rgb").glob("*.png") if not path.name.startswith(".")
        )

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """One frame a name."""
        for name in self.names():
            yield FrameRef(CARD.name, split, "", "", name, 0, "", {"name": name})

    def read(self, ref: FrameRef) -> Frame:
        """Picture, calibration and depth with both masks applied."""
        name = ref.locator["name"]
        picture = self.tree.picture(f"rgb/{name}.png")
        camera = self.camera(name, picture.size)
        encoded, values = self.tree.depth_png(f"depth/{name}.png")
        if values.shape != (camera.height, camera.width):
            raise FrameError(
                "size_mismatch", f"depth/{name}.png is {values.shape[::-1]}, picture {picture.size}"
            )
        masked = np.zeros(values.shape, dtype=bool)
        for folder in MASKS:
            masked |= self.mask(f"{folder}/{name}.png", values.shape) == 0
        grid = png_grid(encoded, values, masked | (values == SATURATED), CARD.depth_scale, picture.size)
        extra = {"masks": list(MASKS), "masked_share": round(float(masked.mean()), 6)}
        extra |= marks_extra(self.marks(name, values.shape))
        return Frame(ref, picture, camera, grid, extra=extra, unmasked=values)

    def camera(self, name: str, size: tuple[int, int]) -> PinholeCamera:
        """Intrinsics from calib/NAME.txt: one line fx,fy,cx,cy."""
        text = self.tree.read(f"calib/{name}.txt", "missing_intrinsics").decode("ascii", "replace")
        try:
            fx_px, fy_px, cx_px, cy_px = (float(part) for part in text.strip().split(","))
            return PinholeCamera(*size, fx_px, fy_px, cx_px, cy_px)
        except ValueError as error:
            raise FrameError("bad_intrinsics", f"calib/{name}.txt: {error}") from error

    def marks(self, image: str, shape: tuple[int, ...]) -> SurfaceMarks:
        """Edges and planes of an image, as far as the tree has them; one of another size is an error."""
        there = [name for name in (EDGES, *PLANES) if self.tree.path(f"{name}/{image}.png").is_file()]
        marked = {folder: self.mask(f"{folder}/{image}.png", shape) for folder in there}
        edges = marked.pop(EDGES, None)
        return SurfaceMarks(
            None if edges is None else edges != 0,
            tuple(labels.astype(np.uint8) for labels in marked.values()),
        )

    def mask(self, relative: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """A mask's values (h, w); one that is absent or of another size is an error."""
        return decode_mask(self.tree.read(relative, "missing_depth"), relative, shape)

    def layout(self) -> Iterator[LayoutItem]:
        """The five folders, the marks and the list."""
        for folder, suffix in FOLDERS.items():
            yield LayoutItem(f"{folder}/*.{suffix}", self.tree.count(f"{folder}/*.{suffix}"))
        for folder in (EDGES, *PLANES):
            yield LayoutItem(f"{folder}/*.png", self.tree.count(f"{folder}/*.png"), required=False)
        yield LayoutItem("imagelist.txt", int(self.image_list is not None), required=False)

    def close(self) -> None:
        """Nothing is held open."""


CONVERTER = Converter(CARD, Ibims1Source, version=2)
