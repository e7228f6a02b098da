"""SUN RGB-D's scene folders: one picture each, with 16-bit depth whose bits are rotated, and intrinsics."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from depthvlm_bench.cards import DatasetCard
from depthvlm_bench.converters._roots import require
from depthvlm_bench.converters._sunrgbd_list import PICTURES, open_tree, split_keys
from depthvlm_bench.converters._sunrgbd_scene import intrinsics, millimetres, only_file
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import DepthGrid, Frame, FrameRef, LayoutItem, Skip, Split
from depthvlm_bench.geometry.grids import PixelAffine

DepthName = Literal["raw", "bfx"]
Decoding = Literal["official", "paper"]

NYU = "kv1/NYUdata"
FOLDERS = {"raw": "depth", "bfx": "depth_bfx"}
FARTHEST_MM = 8000  # the toolbox clamps what is farther: no sensor of the set measures it
PAPER_UNITS_PER_M = 8000.0


class SceneFolders(ABC):
    """A root that holds SUNRGBD/ and the toolbox's list; a subclass says which scenes are its dataset's."""

    card: ClassVar[DatasetCard]
    patterns: ClassVar[tuple[str, ...]]  # of its scene folders below SUNRGBD/

    def __init__(self, root: Path, options: Any) -> None:  # noqa: ANN401 - each dataset has its own
        self.tree = open_tree(root, self.card.name)
        self.list_file, self.listed = split_keys(root, self.card.name)
        self.depth, self.decoding = options.depth, options.decoding
        refs = self.refs(Split("eval", "test"))
        if refs and not any(map(self.is_there, refs)):
            require(root / PICTURES / source_of(refs[0]), self.card.name, root)

    @abstractmethod
    def ref(self, split: Split, key: str, rank: int) -> FrameRef | None:
        """The frame of a scene folder, by its place in the list; None where it is another dataset's."""

    def refs(self, split: Split) -> list[FrameRef]:
        """The dataset's frames of a split, on disk or not."""
        found = (self.ref(split, key, rank) for rank, key in enumerate(self.listed[split.source]))
        return [ref for ref in found if ref is not None]

    def source_splits(self) -> list[str]:
        """The test split, where a scene of it is on disk."""
        return ["test"] if any(map(self.is_there, self.refs(Split("eval", "test")))) else []

    def is_there(self, ref: FrameRef) -> bool:
        """Whether the frame's scene folder is on disk."""
        return self.tree.path(ref.locator["folder"]).is_dir()

    def scenes(self, source_split: str) -> Sequence[str]:
        """Unknown: which pictures show one place is told by one source of nine alone."""
        return ()

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """Every scene of the list, so that one that is missing moves no other; then what the list lacks."""
        yield from self.refs(split)
        base = self.tree.root / PICTURES
        known = {key for keys in self.listed.values() for key in keys}
        files = [path for pattern in self.patterns for path in base.glob(f"{pattern}/intrinsics.txt")]
        for key in sorted({path.parent.relative_to(base).as_posix() for path in files} - known):
            if ref := self.ref(split, key, 0):
                yield Skip(ref.id, "not_in_split", f"{PICTURES}/{key} is in neither list of {self.list_file}")

    def read(self, ref: FrameRef) -> Frame:
        """The folder's picture, intrinsics and depth, all on one grid."""
        folder = ref.locator["folder"]
        if not self.is_there(ref):
            raise FrameError("missing_scene", f"{folder} is not on disk")
        picture_file = only_file(self.tree, f"{folder}/image", (".jpg", ".png"), "missing_image")
        picture = self.tree.picture(picture_file)
        camera = intrinsics(self.tree, f"{folder}/intrinsics.txt", picture.size)
        depth_folder = self.depth_folder(folder)
        path = only_file(self.tree, f"{folder}/{depth_folder}", (".png",), "missing_depth")
        encoded, stored = self.tree.depth_png(path)
        if stored.shape != (camera.height, camera.width):
            raise FrameError("size_mismatch", f"{path} is {stored.shape[::-1]}, picture {picture.size}")
        extra: dict[str, Any] = {"depth_folder": depth_folder}
        if self.decoding == "paper":
            grid = DepthGrid(stored, PAPER_UNITS_PER_M, PixelAffine.identity(), encoded)
        else:
            depth_mm = millimetres(stored)
            near_mm = np.where(depth_mm <= FARTHEST_MM, depth_mm, np.uint16(0))
            grid = DepthGrid(near_mm, self.card.depth_scale, PixelAffine.identity())
            extra["beyond_8m_share"] = round(float((near_mm < depth_mm).mean()), 6)
        return Frame(ref, picture, camera, grid, extra=extra)

    def depth_folder(self, folder: str) -> str:
        """Measured or filled depth; the paper's script takes the measured where there is no filled."""
        wanted = FOLDERS[self.depth]
        there = self.tree.path(f"{folder}/{wanted}").is_dir()
        return wanted if there or self.decoding == "official" else FOLDERS["raw"]

    def layout(self) -> Iterator[LayoutItem]:
        """The split list, and of each source the test scenes that are on disk."""
        counts = " and ".join(f"{len(keys)} {split}" for split, keys in self.listed.items())
        yield LayoutItem(self.list_file, 1, note=f"{counts} scenes; the published list has 5285 and 5050")
        refs = self.refs(Split("eval", "test"))
        listed, there = (Counter(map(source_of, some)) for some in (refs, filter(self.is_there, refs)))
        for source, count in sorted(listed.items()):
            note = f"of {count} scenes in the test list"
            yield LayoutItem(f"{PICTURES}/{source}", there[source], required=False, note=note)

    def close(self) -> None:
        """Let go of the split list; no file is held open."""
        self.listed.clear()


def source_of(ref: FrameRef) -> str:
    """SENSOR/SOURCE of a frame's scene folder."""
    return "/".join(ref.locator["folder"].split("/")[1:3])
