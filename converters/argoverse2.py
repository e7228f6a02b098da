"""Argoverse 2 Sensor: seven ring cameras at 20 Hz, each picture with the sweep nearest in time."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from depthvlm_bench.cards import builtin_card, official_names
from depthvlm_bench.converters._av2_log import Av2Log, require_logs
from depthvlm_bench.converters._av2_paper import homogeneous_raster
from depthvlm_bench.converters._av2_tables import read_sweep
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._lidar import SweepCache, points_in_picture
from depthvlm_bench.errors import FrameError, UsageError
from depthvlm_bench.frames import Converter, Frame, FrameRef, LayoutItem, Skip, Split
from depthvlm_bench.geometry.rigid import transform_points

CARD = builtin_card("argoverse2")
# The devkit's tolerance of a pair, half a sweep and a millisecond; stricter than the 55 ms of other sets.
MAX_PAIR_GAP_NS = 51_000_000


@dataclass(frozen=True)
class Options:
    """How the logs are read.

    Attributes:
        every: training takes every n-th picture of a camera (10: two a second); evaluation chooses among all.
        max_point_dt_ms: leave out points measured longer before or after the picture than this.
        paper: rasters as the paper's script made them; for compat sets only.
    """

    every: int = 10
    max_point_dt_ms: float | None = None
    paper: bool = False

    def __post_init__(self) -> None:
        """Refuse a stride or a time that is none."""
        if self.every < 1 or (self.max_point_dt_ms is not None and self.max_point_dt_ms <= 0):
            raise UsageError(f"{self} cannot be", where="argoverse2", why="every >= 1, max_point_dt_ms > 0")


class Argoverse2Source:
    """A folder that holds train/, val/ or test/, and in each one folder a log."""

    def __init__(self, root: Path, options: Options) -> None:
        require_logs(root, CARD.name)
        self.tree, self.options = RawTree(root), options
        self.log, self.sweep = Av2Log(self.tree, ""), SweepCache(partial(read_sweep, self.tree))

    def source_splits(self) -> list[str]:
        """Splits of which at least one official log is on disk."""
        root, lists = self.tree.root, official_names(CARD.name)
        return [s for s, logs in lists.items() if any((root / s / log / "sensors").is_dir() for log in logs)]

    def scenes(self, source_split: str) -> list[str]:
        """The official logs of a split, on disk or not."""
        return official_names(CARD.name)[source_split]

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """Pictures of the official logs' ring cameras, named by their time stamps."""
        official = set(self.scenes(split.source))
        on_disk = {path.parent.name for path in (self.tree.root / split.source).glob("*/sensors")}
        for log in sorted(official | on_disk):
            name = f"{CARD.name}/{split.role}/{log}/-/-"
            if log not in official:
                yield Skip(name, "not_in_split", f"{split.source}/{log} is not in the official list")
            elif log in on_disk or split.role == "eval":
                yield from self.frames(split, log)
            else:  # a whole log: no frame was lost
                yield Skip(name, "missing_scene", f"{split.source}/{log}", log)

    def frames(self, split: Split, log: str) -> Iterator[FrameRef | Skip]:
        """One log's pictures with their sweeps; a camera without pictures keeps its share of the budget."""
        folder, every = Av2Log(self.tree, f"{split.source}/{log}"), self.options.every
        for camera in CARD.cameras:
            group, times_ns = f"{log}/{camera}", folder.pictures_ns(camera)
            if not times_ns:
                detail = f"no picture in {folder.folder}/sensors/cameras/{camera}"
                yield Skip(f"{CARD.name}/{split.role}/{group}/-", "missing_scene", detail, group)
            for time_ns in times_ns[:: every if split.role == "train" else 1]:
                locator = {"log": folder.folder, "sweep_ns": folder.nearest_sweep_ns(time_ns)}
                yield FrameRef(CARD.name, split, log, camera, str(time_ns), time_ns, group, locator)

    def read(self, ref: FrameRef) -> Frame:
        """Picture, and the sweep's points moved by the car's poses at both times into the camera."""
        folder, sweep_ns, image_ns = ref.locator["log"], ref.locator["sweep_ns"], int(ref.frame)
        if sweep_ns is None:
            raise FrameError("missing_depth", f"{folder}/sensors/lidar has no sweep")
        if abs(gap_ns := image_ns - sweep_ns) > MAX_PAIR_GAP_NS:
            raise FrameError("time_gap", f"picture and nearest sweep are {gap_ns / 1e6:.1f} ms apart")
        self.log = self.log if self.log.folder == folder else Av2Log(self.tree, folder)
        picture = self.tree.picture(f"{folder}/sensors/cameras/{ref.camera}/{ref.frame}.jpg")
        camera = self.log.camera(ref.camera)
        cam_from_lidar, way_m = self.log.cam_from_lidar(ref.camera, image_ns, sweep_ns)
        points = self.sweep(f"{folder}/sensors/lidar/{sweep_ns}.feather")
        extra = {"image_time_ns": image_ns, "lidar_time_ns": sweep_ns, "ego_shift_m": way_m}
        extra["former_lens_k1_k2_k3"] = self.log.former_lens(ref.camera)
        if self.options.paper:
            raster = homogeneous_raster(transform_points(cam_from_lidar, points[:, :3]), camera)
            return Frame(ref, picture, camera, raster, extra=extra, depth_kind="ray_homogeneous")
        if self.options.max_point_dt_ms is not None:
            since_image_ns = points[:, 3] + (sweep_ns - image_ns)
            points = points[np.abs(since_image_ns) <= self.options.max_point_dt_ms * 1e6]
        depth = points_in_picture(points[:, :3], cam_from_lidar, camera, CARD.near_m)
        return Frame(ref, picture, camera, depth, extra=extra)

    def layout(self) -> Iterator[LayoutItem]:
        """Tables and sensor files of the logs."""
        files = ["city_SE3_egovehicle.feather", "calibration/*.feather", "sensors/lidar/*.feather"]
        for pattern in (*files, *(f"sensors/cameras/{camera}/*.jpg" for camera in CARD.cameras)):
            yield LayoutItem(f"*/*/{pattern}", self.tree.count(f"*/*/{pattern}"))

    def close(self) -> None:
        """Nothing is held open."""


CONVERTER = Converter(CARD, Argoverse2Source, Options, compat=Options(paper=True))
