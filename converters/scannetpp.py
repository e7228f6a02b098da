"""ScanNet++ v2, iPhone stream: 1920x1440 video frames with 256x192 LiDAR depth and intrinsics a frame."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthvlm_bench.converters._files import RawTree, png_grid, require_folder

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.errors import CheckError, FrameError
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


class ScanNetPPSource:
    """A folder that holds data/ and splits/."""

    def __init__(self, root: Path, options: Options) -> None:
        require_folder(root / "data", CARD.name)
        require_folder(root / "splits", CARD.name)
        self.root, self.tree, self.every = root, RawTree(root), options.every

    def source_splits(self) -> list[str]:
        """Split lists of which at least one scene is on disk."""
        listed = [split for sources in CARD.splits.values() for split in sources]
        return [s for s in listed if any((self.root / "data" / scene).is_dir() for scene in self.scenes(s))]

    def scenes(self, source_split: str) -> list[str]:
        """Scene ids of splits/NAME.txt; blank lines and # comments are left out."""
        path = self.root / "splits" / f"{source_split}.txt"
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
        ids = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        for scene in ids:
            if not SCENE_ID.fullmatch(scene):
                raise CheckError(
                    f"{scene!r} is not a scene id", where=path, why="expected 10 hex digits a line"
                )
        return sorted(set(ids))

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """Every stride-th frame that the scene's JSON or rgb folder names."""
        for scene in self.scenes(split.source):
            folder = f"data/{scene}/iphone"
            if not (self.root / folder).is_dir():
                yield Skip(f"{CARD.name}/{split.role}/{scene}/-/-", "missing_scene", folder)
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
            return {name: entry.get("intrinsic") for name, entry in entries.items()}, f"not in {path}"
        except FrameError as error:
            return {}, error.detail
        except (ValueError, AttributeError) as error:
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
        return Frame(
            ref, picture, camera, png_grid(encoded, values, values == 0, CARD.depth_scale, picture.size)
        )

    def layout(self) -> Iterator[LayoutItem]:
        """Split lists, then the files of the scenes on disk."""
        yield LayoutItem("splits/nvs_sem_*.txt", len(list((self.root / "splits").glob("nvs_sem_*.txt"))))
        for pattern in ("rgb/frame_*.jpg", "depth/frame_*.png", INTRINSICS):
            found = sum(1 for _ in (self.root / "data").glob(f"*/iphone/{pattern}"))
            yield LayoutItem(f"data/*/iphone/{pattern}", found)

    def close(self) -> None:
        """Nothing is held open."""


def pinhole(ref: FrameRef, size: tuple[int, int]) -> PinholeCamera:
    """The frame's intrinsics, refused where they cannot be those of a phone's wide camera at this size."""
    matrix = ref.locator["K"]
    if matrix is None:
        raise FrameError("missing_intrinsics", ref.locator["fault"])
    try:
        camera = PinholeCamera(*size, matrix[0][0], matrix[1][1], matrix[0][2], matrix[1][2])
    except (ValueError, TypeError, IndexError) as error:
        raise FrameError("bad_intrinsics", f"{ref.frame}: {error}") from error
    if not 0.5 <= camera.fx_px / size[0] <= 1.5 or abs(camera.cx_px / size[0] - 0.5) > 0.05:
        raise FrameError("bad_intrinsics", f"{ref.frame}: fx {camera.fx_px}, cx {camera.cx_px} for {size}")
    return camera


CONVERTER = Converter(CARD, ScanNetPPSource, Options)
