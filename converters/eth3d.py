"""ETH3D high-resolution multi-view, training scenes: undistorted pictures, laser depth of the distorted ones.

The depth of a canonical pixel is the one value of the distorted map whose pixel holds the ray through the
canonical pixel's centre, so at most half a distorted pixel off that ray. Depths are never averaged, and where
that value is missing or masked there is none, whatever its neighbours have: at a depth edge the pixel belongs
to the side on which its ray falls, and no surface grows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np

from depthvlm_bench.cards import Tags, builtin_card, official_names
from depthvlm_bench.converters import _eth3d_files as files
from depthvlm_bench.converters._colmap import ColmapModel, pixels_met
from depthvlm_bench.converters._eth3d_files import DEPTH, LENS, MASKS, PICTURES, PINHOLE
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import Converter, DepthGrid, Frame, FrameRef, LayoutItem, Skip, Split
from depthvlm_bench.geometry.grids import PixelAffine, focal_grid

CARD = builtin_card("eth3d")
REQUIRED = (PICTURES, PINHOLE, LENS, DEPTH)
SUFFIXES = {PICTURES: "JPG", PINHOLE: "txt", LENS: "txt", DEPTH: "JPG", MASKS: "png"}


@dataclass(frozen=True)
class Options:
    """joined: depth to picture through the cameras of both (lens), or by size alone as the paper (ratio)."""

    joined: Literal["lens", "ratio"] = "lens"


class Eth3dSource:
    """A folder that holds the unpacked archives of the DSLR training scenes."""

    def __init__(self, root: Path, options: Options) -> None:
        self.folders = files.scene_folders(root, CARD.name)
        self.tree, self.joined = RawTree(root), options.joined
        self.model = lru_cache(maxsize=2)(partial(ColmapModel, self.tree))
        self.pixels = lru_cache(maxsize=4)(pixels_met)

    def source_splits(self) -> list[str]:
        """The one split, where a scene of it is on disk."""
        return ["dslr"] if any(not self.lacking(scene) for scene in self.scenes("dslr")) else []

    def scenes(self, source_split: str) -> list[str]:
        """The 13 training scenes."""
        return sorted({name.partition("/")[0] for name in official_names(CARD.name)[source_split]})

    def lacking(self, scene: str) -> list[str]:
        """Folders that a scene needs and has not."""
        return [kind for kind in REQUIRED if kind not in self.folders.get(scene, {})]

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """The official frames of the scenes on disk; other scenes and other depth maps are in no split."""
        official = official_names(CARD.name)
        for scene in sorted({*self.folders, *self.scenes(split.source)}):
            frames = [
                name for of, _, name in (n.partition("/") for n in official[split.source]) if of == scene
            ]
            name, lacking = f"{CARD.name}/{split.role}/{scene}/-", self.lacking(scene)
            if not frames or lacking:
                there = f"{scene} lacks {', '.join(lacking)}" if scene in self.folders else f"no {scene}/"
                why = there if frames else f"{scene} is no training scene"
                yield Skip(f"{name}/-", "missing_scene" if frames else "not_in_split", why)
                continue
            tags = Tags(environment="indoor" if scene in official["indoor"] else "outdoor")
            for frame in frames:
                yield FrameRef(CARD.name, split, scene, "", frame, 0, "", self.folders[scene], tags)
            depth = (self.tree.root / self.folders[scene][DEPTH]).glob("[!.]*.JPG")
            for extra in sorted({path.stem for path in depth} - set(frames)):
                yield Skip(f"{name}/{extra}", "not_in_split", f"{extra} is not in the list")

    def read(self, ref: FrameRef) -> Frame:
        """The undistorted picture, and the laser depth that its pixels' rays meet."""
        folders, name = ref.locator, f"{ref.frame}.JPG"
        picture = self.tree.picture(f"{folders[PICTURES]}/{name}")
        undistorted = self.model(folders[PINHOLE]).camera(name)
        original = self.model(folders[LENS]).camera(name)
        if undistorted.lens is not None:
            raise FrameError("bad_intrinsics", f"{folders[PINHOLE]}: the camera of {name} has a lens")
        camera, size = undistorted.pinhole, (original.pinhole.width, original.pinhole.height)
        depth_m = files.raw_depth(self.tree, f"{folders[DEPTH]}/{name}", size)
        stretched = DepthGrid(depth_m, 1.0, PixelAffine.resize(size, picture.size))
        frame = Frame(ref, picture, camera, stretched)  # refuses what is no camera before it costs memory
        if self.joined == "ratio":
            finite_m = np.where(np.isfinite(depth_m), depth_m, np.float32(0))
            return replace(frame, depth=replace(stretched, values=finite_m))
        grid = focal_grid(camera.width, camera.height, camera.fx_px, max_edge=CARD.max_canonical_edge)
        pixels = self.pixels(camera, grid, original)
        met_m = np.where(pixels >= 0, depth_m.ravel()[pixels], np.float32(0))
        masked = files.mask(self.tree, f"{folders.get(MASKS, MASKS)}/{ref.frame}.png", size)
        if masked is not None:
            met_m[masked.ravel()[pixels]] = 0
        affine = PixelAffine.resize((grid.width, grid.height), picture.size)
        extra = {"masks": [] if masked is None else [MASKS], "distorted_size": list(size)}
        return replace(frame, depth=DepthGrid.from_metres(met_m, CARD.depth_scale, affine), extra=extra)

    def layout(self) -> Iterator[LayoutItem]:
        """Files of each kind of folder, over all scenes."""
        for kind, suffix in SUFFIXES.items():
            folders = [kinds[kind] for kinds in self.folders.values() if kind in kinds]
            found = sum(self.tree.count(f"{folder}/*.{suffix}") for folder in folders)
            yield LayoutItem(f"SCENE/{kind}/*.{suffix}", found, required=kind in REQUIRED)

    def close(self) -> None:
        """Let go of calibrations and pixel maps."""
        self.model.cache_clear()
        self.pixels.cache_clear()


CONVERTER = Converter(CARD, Eth3dSource, Options, compat=Options(joined="ratio"))
