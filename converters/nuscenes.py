"""nuScenes keyframes: six cameras and one 32-beam LiDAR, each with its own ego pose at its own time."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from depthvlm_bench.cards import builtin_card, official_names
from depthvlm_bench.converters._cameras import pinhole_from_matrix
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._lidar import SweepCache, check_time_gap, points_in_picture
from depthvlm_bench.converters._nuscenes_points import paper_depth, read_sweep
from depthvlm_bench.converters._nuscenes_tables import Tables, cam_from_lidar, ego_shift_m
from depthvlm_bench.converters._roots import refuse, require
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import Converter, Frame, FrameRef, LayoutItem, Skip, Split

CARD = builtin_card("nuscenes")
LIDAR = "LIDAR_TOP"
VERSIONS = {
    "v1.0-test": ("v1.0-test",),
    "v1.0-trainval": ("train", "val"),
    "v1.0-mini": ("mini_train", "mini_val"),
}
FOREIGN = {"v1.0-*/surface_ann.json": "nuImages, single pictures without LiDAR"}


@dataclass(frozen=True)
class Options:
    """How depth is made.

    Attributes:
        ego_motion: whether the car's way between sweep and picture is undone; without it points are off by
            tens of pixels.
        paper: rasters as the paper's script made them; for compat sets only.
    """

    ego_motion: bool = True
    paper: bool = False


class NuScenesSource:
    """A dataroot: one or more v1.0-* table folders beside samples/."""

    def __init__(self, root: Path, options: Options) -> None:
        self.tables = {v: Tables(root / v) for v in VERSIONS if (root / v / "scene.json").is_file()}
        if not self.tables:
            refuse(root, CARD.name, FOREIGN)
        below = (path.name for levels in ("*", "*/*") for path in sorted(root.glob(f"{levels}/v1.0-*")))
        near = chain(self.tables, [root.absolute().name], below)
        version = next((name for name in near if name in VERSIONS), "v1.0-trainval")
        for needed in (version, f"{version}/scene.json", "samples"):
            require(root / needed, CARD.name, root)
        self.tree, self.options = RawTree(root), options
        self.sweep = SweepCache(partial(read_sweep, self.tree))

    def source_splits(self) -> list[str]:
        """Official splits that the tables on disk have scenes of."""
        return [split for version in self.tables for split in VERSIONS[version] if self.scenes(split)]

    def scenes(self, source_split: str) -> list[str]:
        """Scenes of a split that the tables on disk know, by name."""
        tables = [tables for version, tables in self.tables.items() if source_split in VERSIONS[version]]
        known = {name for version in tables for name in version.scene_names()}
        return sorted(known & set(official_names(CARD.name)[source_split]))

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """One frame a keyframe and camera, with the whole transform chain in its locator."""
        version = next(v for v, splits in VERSIONS.items() if split.source in splits)
        wanted = set(self.scenes(split.source))
        for sample in self.tables[version].keyframes(wanted, (*CARD.cameras, LIDAR)):
            for channel in (c for c in CARD.cameras if c in sample.rows):
                row, lidar = sample.rows[channel], sample.rows.get(LIDAR)
                stem, group = PurePosixPath(row["filename"]).stem, f"{sample.scene}/{channel}"
                locator: dict[str, Any] = {name: row[name] for name in ("filename", "width", "height", "K")}
                if lidar is not None:
                    locator |= {"image_time_us": row["timestamp"], "lidar_time_us": lidar["timestamp"]}
                    locator |= {"lidar": lidar["filename"], "ego_shift_m": ego_shift_m(row, lidar)}
                    chain = cam_from_lidar(row, lidar, ego_motion=self.options.ego_motion)
                    locator["cam_from_lidar"] = chain.ravel().tolist()
                yield FrameRef(CARD.name, split, sample.scene, channel, stem, sample.time_us, group, locator)

    def read(self, ref: FrameRef) -> Frame:
        """Picture, and the sweep's points moved through both ego poses into the camera."""
        found = ref.locator
        if "lidar" not in found:
            raise FrameError("missing_depth", f"{ref.id}: its sample has no {LIDAR}")
        if not self.options.paper:  # the paper's script looks at no time
            check_time_gap(found["image_time_us"] - found["lidar_time_us"])
        picture = self.tree.picture(found["filename"])
        camera = pinhole_from_matrix(found["K"], (found["width"], found["height"]), ref.id)
        extra = {name: found[name] for name in ("image_time_us", "lidar_time_us", "ego_shift_m")}
        points, chain = self.sweep(found["lidar"]), found["cam_from_lidar"]
        if self.options.paper:
            return Frame(ref, picture, camera, paper_depth(points, chain, camera), extra=extra)
        return Frame(ref, picture, camera, points_in_picture(points, chain, camera, CARD.near_m), extra=extra)

    def layout(self) -> Iterator[LayoutItem]:
        """Tables and the files of the seven sensors."""
        for version in self.tables:
            yield LayoutItem(f"{version}/*.json", self.tree.count(f"{version}/*.json"))
        for channel, suffix in [*((camera, "jpg") for camera in CARD.cameras), (LIDAR, "pcd.bin")]:
            pattern = f"samples/{channel}/*.{suffix}"
            yield LayoutItem(pattern, self.tree.count(pattern))

    def close(self) -> None:
        """Nothing is held open."""


CONVERTER = Converter(CARD, NuScenesSource, Options, compat=Options(ego_motion=False, paper=True))
