"""iBims-1: 100 tripod pictures with laser depth, calibration, masks, marked edges and planes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.converters._files import RawTree, png_grid
from depthvlm_bench.converters._ibims1_mat import MatImages
from depthvlm_bench.converters._ibims1_raw import RawImages
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
from depthvlm_bench.records.marks import SurfaceMarks, marks_extra

CARD = builtin_card("ibims1")
CORE_RAW, CORE_MAT = "ibims1_core_raw", "ibims1_core_mat"
# Marked edges, and planes by kind of surface: 0 none, k the k-th. Not every image has planes of every kind.
EDGES = "edges"
MARKS = (EDGES, "mask_wall", "mask_table", "mask_floor")
MASKS = ("mask_invalid", "mask_transp")  # both non-zero where the pixel is good, whatever their names say
SATURATED = 65535


class Ibims1Source:
    """A folder that holds ibims1_core_raw/, or else ibims1_core_mat/; or is one of them."""

    def __init__(self, root: Path, _options: NoOptions) -> None:
        raw, packed = (root / name if (root / name).is_dir() else root for name in (CORE_RAW, CORE_MAT))
        has_raw = (raw / "rgb").is_dir() or not RawTree(packed).count("*.mat")
        core = raw if has_raw else packed
        self.images = RawImages(core, CARD.name) if has_raw else MatImages(core, CARD.depth_scale)
        lists = [folder / "imagelist.txt" for folder in (core, core.parent)]
        self.image_list = next((path for path in lists if path.is_file()), None)

    def source_splits(self) -> list[str]:
        """The one split, test."""
        return ["test"]

    def scenes(self, source_split: str) -> Iterable[str]:
        """Unknown: each picture is a place of its own."""
        return ()

    def names(self) -> list[str]:
        """Names of imagelist.txt, or of all images where there is no list."""
        if self.image_list is not None:
            return RawTree(self.image_list.parent).names(self.image_list.name)
        return self.images.names()

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """One frame a name."""
        for name in self.names():
            yield FrameRef(CARD.name, split, "", "", name, 0, "", {"name": name})

    def read(self, ref: FrameRef) -> Frame:
        """Picture, calibration and depth with both masks applied."""
        name = ref.locator["name"]
        picture = self.images.picture(name)
        camera = self.images.camera(name, picture.size)
        encoded, values = self.images.depth(name)
        if values.shape != (camera.height, camera.width):
            detail = f"{self.images.where('depth', name)} is {values.shape[::-1]}, picture {picture.size}"
            raise FrameError("size_mismatch", detail)
        masked = np.zeros(values.shape, dtype=bool)
        for kind in MASKS:
            masked |= self.images.mask(kind, name, values.shape) == 0
        grid = png_grid(encoded, values, masked | (values == SATURATED), CARD.depth_scale, picture.size)
        extra = {"masks": list(MASKS), "masked_share": round(float(masked.mean()), 6)}
        extra |= marks_extra(self.marks(name, values.shape))
        return Frame(ref, picture, camera, grid, extra=extra, unmasked=values)

    def marks(self, name: str, shape: tuple[int, ...]) -> SurfaceMarks:
        """Edges and planes of an image, as far as the tree has them; one of another size is an error."""
        marked = {kind: self.images.mask(kind, name, shape) for kind in MARKS if self.images.has(kind, name)}
        edges = marked.pop(EDGES, None)
        return SurfaceMarks(
            None if edges is None else edges != 0,
            tuple(labels.astype(np.uint8) for labels in marked.values()),
        )

    def layout(self) -> Iterator[LayoutItem]:
        """What the images are made of, the marks and the list."""
        yield from self.images.layout(MARKS)
        yield LayoutItem("imagelist.txt", int(self.image_list is not None), required=False)

    def close(self) -> None:
        """Nothing is held open."""


CONVERTER = Converter(CARD, Ibims1Source, version=2)
