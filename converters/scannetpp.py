"""ScanNet++ v2, iPhone stream: 1920x1440 video frames with 256x192 LiDAR depth and intrinsics a frame."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.converters._files import RawTree, check_aspect, png_grid
from depthvlm_bench.converters._roots import refuse, require
from depthvlm_bench.converters._scannetpp_depth import DepthReader
from depthvlm_bench.converters._scannetpp_intrinsics import INTRINSICS, pinhole, read_intrinsics
from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.frames import Converter, Frame, FrameRef, LayoutItem, Skip, Split

CARD = builtin_card("scannetpp")
SCENE_ID = re.compile(r"[0-9a-f]{10}")
FRAME = re.compile(r"frame_(\d{6,})")
FOREIGN = {"scans/scene*_*": "ScanNet v2"}
MAPS, PACKED, VIDEOS = "depth/frame_*.png", "depth.bin", "rgb.m*"
EXTRACT = "only what is extracted to rgb/ is read: the dataset's own prepare_iphone_data does that"


@dataclass(frozen=True)
class Options:
    """What of a scene is read.

    Attributes:
        every: take frames whose video index is a multiple of this (60 = one a second).
        masks: leave out depth where rgb_masks/ is 0 (anonymised). Not by default, or a set would depend on
            whether they were extracted.
    """

    every: int = 60
    masks: bool = False

    def __post_init__(self) -> None:
        """Refuse a stride that is none."""
        if self.every < 1:
            raise UsageError(
                f"every={self.every} is no stride", where="scannetpp", why="it must be 1 or more"
            )


class ScanNetPPSource:
    """A folder that holds data/ and splits/."""

    def __init__(self, root: Path, options: Options) -> None:
        refuse(root, CARD.name, FOREIGN)
        for folder in ("data", "splits"):
            require(root / folder, CARD.name)
        self.root, self.tree, self.options = root, RawTree(root), options
        self.depth = DepthReader(self.tree)

    def source_splits(self) -> list[str]:
        """Split lists of which at least one scene is on disk."""
        listed = [split for sources in CARD.splits.values() for split in sources]
        return [s for s in listed if any((self.root / "data" / scene).is_dir() for scene in self.scenes(s))]

    def scenes(self, source_split: str) -> list[str]:
        """Scene ids of splits/NAME.txt."""
        ids = self.tree.names(f"splits/{source_split}.txt")
        for scene in ids:
            if not SCENE_ID.fullmatch(scene):
                where = self.root / "splits" / f"{source_split}.txt"
                raise CheckError(f"{scene!r} is not a scene id", where=where, why="it needs 10 hex digits")
        return ids

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """Every stride-th frame that the scene's JSON or rgb folder names."""
        for scene in self.scenes(split.source):
            folder = f"data/{scene}/iphone"
            if not (self.root / folder).is_dir():
                yield Skip(f"{CARD.name}/{split.role}/{scene}/-/-", "missing_scene", folder, scene)
                continue
            intrinsics, fault = read_intrinsics(self.tree, folder)
            stems = set(intrinsics) | {path.stem for path in (self.root / folder / "rgb").glob("frame_*.jpg")}
            matches = [match for stem in sorted(stems) if (match := FRAME.fullmatch(stem))]
            if not matches:
                detail = f"{folder}: no frame in rgb/ or {INTRINSICS}"
                yield Skip(f"{CARD.name}/{split.role}/{scene}/-/-", "missing_scene", detail, scene)
            for stem, index in ((match[0], int(match[1])) for match in matches):
                if index % self.options.every == 0:
                    locator = {"folder": folder, "K": intrinsics.get(stem), "fault": fault}
                    yield FrameRef(CARD.name, split, scene, "", stem, index, scene, locator)

    def read(self, ref: FrameRef) -> Frame:
        """Picture, intrinsics of this very frame, and the LiDAR depth on its own grid."""
        folder = ref.locator["folder"]
        picture = self.tree.picture(f"{folder}/rgb/{ref.frame}.jpg")
        camera = pinhole(ref, picture.size)
        encoded, values = self.depth(folder, ref.frame, ref.time)
        check_aspect(values.shape, picture, f"{folder}/depth/{ref.frame}.png")
        invalid, extra = values == 0, {}
        if self.options.masks:
            masked = self.depth.masked(f"{folder}/rgb_masks/{ref.frame}.png", picture, values.shape)
            invalid, extra = invalid | masked, {"masked_share": round(float(masked.mean()), 6)}
        grid = png_grid(encoded, values, invalid, CARD.depth_scale, picture.size)
        return Frame(ref, picture, camera, grid, extra=extra)

    def layout(self) -> Iterator[LayoutItem]:
        """Split lists, then the files of the scenes on disk; depth may be extracted or packed."""
        yield LayoutItem("splits/nvs_sem_*.txt", self.tree.count("splits/nvs_sem_*.txt"))
        names = ("rgb/frame_*.jpg", INTRINSICS, MAPS, PACKED, VIDEOS)
        found = {name: self.tree.count(f"data/*/iphone/{name}") for name in names}
        instead = {MAPS: found[PACKED], PACKED: found[MAPS], VIDEOS: True}
        for name, count in found.items():
            note = EXTRACT if name == VIDEOS and count else ""
            yield LayoutItem(f"data/*/iphone/{name}", count, required=not instead.get(name), note=note)

    def close(self) -> None:
        """Let go of the last scene's depth.bin."""
        self.depth.close()


CONVERTER = Converter(CARD, ScanNetPPSource, Options)
