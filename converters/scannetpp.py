"""ScanNet++ v2, iPhone stream: 1920x1440 video frames with 256x192 LiDAR depth and intrinsics a frame."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.converters._cameras import pinhole_from_matrix
from depthvlm_bench.converters._files import RawTree, png_grid, require
from depthvlm_bench.errors import CheckError, FrameError, UsageError
from depthvlm_bench.frames import Converter, Frame, FrameRef, LayoutItem, Skip, Split
from depthvlm_bench.geometry.camera import PinholeCamera

CARD = builtin_card("scannetpp")
SCENE_ID = re.compile(r"[0-9a-f]{10}")
FRAME = re.compile(r"frame_(\d{6,})")
INTRINSICS = "pose_intrinsic_imu.json"
MAX_ASPECT_DIFFERENCE = 0.005


@dataclass(frozen=True)
class Options:
    """every: take frames whose video index is a multiple of this (60 = one a second)."""

    every: int = 60

    def __post_init__(self) -> None:
        """Refuse a stride that is none."""
        if self.every < 1:
            raise UsageError(
                f"every={self.every} is no stride", where="scannetpp", why="it must be 1 or more"
            )


class ScanNetPPSource:
    """A folder that holds data/ and splits/."""

    def __init__(self, root: Path, options: Options) -> None:
        for folder in ("data", "splits"):
            require(root / folder, CARD.name)
        self.root, self.tree, self.every = root, RawTree(root), options.every

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
            intrinsics, fault = self.intrinsics(folder)
            stems = set(intrinsics) | {path.stem for path in (self.root / folder / "rgb").glob("frame_*.jpg")}
            for stem, match in ((stem, FRAME.fullmatch(stem)) for stem in sorted(stems)):
                if match and int(match[1]) % self.every == 0:
                    locator = {"folder": folder, "K": intrinsics.get(stem), "fault": fault}
                    yield FrameRef(CARD.name, split, scene, "", stem, int(match[1]), scene, locator)

    def intrinsics(self, folder: str) -> tuple[dict[str, Any], str]:
        """K by frame name, and what is wrong where the file cannot be read; a frame's fault is its own."""
        path = f"{folder}/{INTRINSICS}"
        try:
            entries = json.loads(self.tree.read(path, "missing_intrinsics"))
            known = {n: entry.get("intrinsic") for n, entry in entries.items() if isinstance(entry, dict)}
            return dict.fromkeys(entries) | known, path
        except FrameError as error:
            return {}, error.detail
        except (ValueError, AttributeError, RecursionError) as error:
            return {}, f"{path}: {error}"

    def read(self, ref: FrameRef) -> Frame:
        """Picture, intrinsics of this very frame, and the LiDAR depth on its own grid."""
        folder = ref.locator["folder"]
        picture = self.tree.picture(f"{folder}/rgb/{ref.frame}.jpg")
        camera = pinhole(ref, picture.size)
        path = f"{folder}/depth/{ref.frame}.png"
        encoded, values = self.tree.depth_png(path)
        height, width = values.shape
        if abs(width * camera.height / (height * camera.width) - 1) > MAX_ASPECT_DIFFERENCE:
            raise FrameError("size_mismatch", f"{path} is {width}x{height}, picture {picture.size}")
        grid = png_grid(encoded, values, values == 0, CARD.depth_scale, picture.size)
        return Frame(ref, picture, camera, grid)

    def layout(self) -> Iterator[LayoutItem]:
        """Split lists, then the files of the scenes on disk."""
        patterns = [f"data/*/iphone/{name}" for name in ("rgb/frame_*.jpg", "depth/frame_*.png", INTRINSICS)]
        for pattern in ("splits/nvs_sem_*.txt", *patterns):
            yield LayoutItem(pattern, self.tree.count(pattern))

    def close(self) -> None:
        """Nothing is held open."""


def pinhole(ref: FrameRef, size: tuple[int, int]) -> PinholeCamera:
    """The frame's intrinsics, refused where they cannot be those of a phone's wide camera at this size."""
    camera = pinhole_from_matrix(ref.locator["K"], size, f"{ref.frame} ({ref.locator['fault']})")
    if not 0.5 <= camera.fx_px / size[0] <= 1.5 or abs(camera.cx_px / (size[0] / 2) - 1) > 0.05:
        raise FrameError("bad_intrinsics", f"{ref.frame}: fx {camera.fx_px}, cx {camera.cx_px} for {size}")
    return camera


CONVERTER = Converter(CARD, ScanNetPPSource, Options)
