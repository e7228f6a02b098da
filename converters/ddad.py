"""DDAD: six cameras and a long-range LiDAR in DGP scenes, each datum with its own pose at its own time."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.converters._dgp import Calibration, Message, pose_matrix, samples, scene_files
from depthvlm_bench.converters._dgp_points import TICKS_PER_US, dgp_raster, read_points, ticks, ticks_of_pair
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._lidar import SweepCache, check_time_gap, points_in_picture
from depthvlm_bench.converters._roots import require
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import Converter, Frame, FrameRef, LayoutItem, Skip, Split
from depthvlm_bench.geometry.rigid import invert_transform, transform_points

CARD = builtin_card("ddad")
LISTS, LIDAR = "ddad.json", "LIDAR"
SPLIT_NUMBERS = {"train": "0", "val": "1"}  # 2 is test, which has no LiDAR


@dataclass(frozen=True)
class Options:
    """paper: rasters as the paper's script made them; for compat sets only."""

    paper: bool = False


class DdadSource:
    """The folder ddad_train_val: ddad.json, and in one folder each the scenes that it lists."""

    def __init__(self, root: Path, options: Options) -> None:
        require(root / LISTS, CARD.name)
        self.tree, self.options, self.lists = RawTree(root), options, scene_files(root / LISTS, SPLIT_NUMBERS)
        self.sweep = SweepCache(partial(read_points, self.tree))
        self.calibration: Calibration | None = None

    def source_splits(self) -> list[str]:
        """Splits of which at least one scene is on disk."""
        return [s for s, files in self.lists.items() if any((self.tree.root / f).is_file() for f in files)]

    def scenes(self, source_split: str) -> list[str]:
        """Folders of the scenes that are listed for a split, on disk or not."""
        return [PurePosixPath(path).parent.name for path in self.lists[source_split]]

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """One frame a sample and camera; a scene that is not there keeps its share of the budget."""
        for path, scene in zip(self.lists[split.source], self.scenes(split.source), strict=True):
            try:
                yield from [r for sample in samples(self.tree, path) for r in frames(split, scene, *sample)]
            except FrameError as error:
                for group in (f"{scene}/{camera}" for camera in CARD.cameras):
                    yield Skip(f"{CARD.name}/{split.role}/{group}/-", error.reason, error.detail, group)

    def read(self, ref: FrameRef) -> Frame:
        """Picture, and the sweep's points moved by the poses of both into the camera."""
        image, lidar = ref.locator["image"], ref.locator["lidar"]
        if lidar is None:
            raise FrameError("missing_depth", f"{ref.id}: its sample has no {LIDAR}")
        image_ticks, lidar_ticks = ticks_of_pair(image["filename"], lidar["filename"])
        if not self.options.paper:  # the paper's script looks at no time
            check_time_gap((image_ticks - lidar_ticks) // TICKS_PER_US)
        picture = self.tree.picture(image["filename"])
        calibration = self.calibrated(ref.locator["calibration"])
        size = (image["width"] or picture.size[0], image["height"] or picture.size[1])
        camera = calibration.camera(ref.camera, size)
        at_image, at_sweep = (pose_matrix(datum["pose"], datum["filename"]) for datum in (image, lidar))
        cam_from_lidar, points = invert_transform(at_image) @ at_sweep, self.sweep(lidar["filename"])
        cars = [calibration.world_from_vehicle(*at) for at in ((ref.camera, at_image), (LIDAR, at_sweep))]
        way_m = float(np.linalg.norm((cars[0] - cars[1])[:3, 3]))
        extra = {"image_time_100ns": image_ticks, "lidar_time_100ns": lidar_ticks, "ego_shift_m": way_m}
        if self.options.paper:
            raster = dgp_raster(transform_points(cam_from_lidar, points), camera)
            return Frame(ref, picture, camera, raster, extra=extra)
        depth = points_in_picture(points, cam_from_lidar, camera, CARD.near_m)
        return Frame(ref, picture, camera, depth, extra=extra)

    def calibrated(self, path: str) -> Calibration:
        """A calibration file, read once for the frames that follow each other."""
        if self.calibration is None or self.calibration.path != path:
            self.calibration = Calibration(self.tree, path)
        return self.calibration

    def layout(self) -> Iterator[LayoutItem]:
        """Scenes, calibrations and sensor files."""
        sensors = [f"rgb/{camera}/*" for camera in CARD.cameras] + [f"point_cloud/{LIDAR}/*.npz"]
        for pattern in ("scene_*.json", "calibration/*.json", *sensors):
            yield LayoutItem(f"*/{pattern}", self.tree.count(f"*/{pattern}"))

    def close(self) -> None:
        """Nothing is held open."""


def frames(split: Split, scene: str, calibration: str, sensors: dict[str, Message]) -> Iterator[FrameRef]:
    """The frames of one sample, ordered by its sweep's time."""
    names = ("filename", "width", "height", "pose")
    kept: dict[str, Message] = {s: {name: m.get(name) for name in names} for s, m in sensors.items()}
    lidar = kept.get(LIDAR)
    for camera, image in ((camera, kept[camera]) for camera in CARD.cameras if camera in kept):
        locator = {"image": image, "lidar": lidar, "calibration": calibration}
        stem, time = PurePosixPath(image["filename"]).stem, ticks((lidar or image)["filename"]) or 0
        yield FrameRef(CARD.name, split, scene, camera, stem, time, f"{scene}/{camera}", locator)


CONVERTER = Converter(CARD, DdadSource, Options, compat=Options(paper=True))
