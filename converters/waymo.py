"""Waymo Open Dataset Perception v2: five cameras with lenses, lasers as range images, parquet tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.converters import _waymo_segments as segments
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._waymo_cameras import camera_model, read_shot
from depthvlm_bench.converters._waymo_depth import paper_depth, pinhole_depth, seen_points
from depthvlm_bench.converters._waymo_sweeps import SweepReader
from depthvlm_bench.converters._waymo_tables import COMPONENTS, Segment
from depthvlm_bench.errors import FrameError, UsageError
from depthvlm_bench.frames import Converter, DepthKind, Frame, FrameRef, LayoutItem, Skip, Split

CARD = builtin_card("waymo")
SPLITS = tuple(split for splits in CARD.splits.values() for split in splits)


@dataclass(frozen=True)
class Options:
    """Which lasers and returns give depth, and whether frames are made as the paper's script makes them.

    Attributes:
        lasers: 1 top, 2 front, 3 side left, 4 side right, 5 rear; the paper's joins leave the top one alone.
        returns: 1 first, 2 second.
        paper: ray distance, principal point in the middle, the frame's pose for the picture's.
    """

    lasers: tuple[int, ...] = (1,)
    returns: tuple[int, ...] = (1,)
    paper: bool = False

    def __post_init__(self) -> None:
        """Refuse lasers and returns that there are none of."""
        for name, asked, last in (("lasers", self.lasers, 5), ("returns", self.returns, 2)):
            if not asked or sorted(set(asked)) != list(asked) or asked[0] < 1 or asked[-1] > last:
                given = ",".join(map(str, asked))
                raise UsageError(f"{name}={given}: name some of 1 to {last}, in order", where=CARD.name)


class WaymoSource:
    """A folder that holds training/, validation/ or testing/, each with a folder a component."""

    def __init__(self, root: Path, options: Options) -> None:
        segments.require_pictures(root, CARD)
        self.tree, self.options = RawTree(root), options
        self.sweep = SweepReader(options.lasers, options.returns)
        self._segment: Segment | None = None

    def source_splits(self) -> list[str]:
        """Split folders that hold pictures."""
        return [split for split in SPLITS if self.tree.count(f"{split}/camera_image/*.parquet")]

    def scenes(self, source_split: str) -> list[str]:
        """Segments on disk, and of an evaluation split all official ones."""
        return sorted(segments.on_disk(self.tree, source_split) | segments.official(CARD.name, source_split))

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """One frame a row of camera_image, from its key columns; absent segments keep their share."""
        official = segments.official(CARD.name, split.source)
        for scene in self.scenes(split.source):
            if official and scene not in official:
                why = f"{split.source}/*/{scene}.parquet is not in the official list"
                yield Skip(f"{CARD.name}/{split.role}/{scene}/-/-", "not_in_split", why)
                continue
            segment = Segment(self.tree, split.source, scene)
            groups = {camera: f"{scene}/{camera}" for camera in CARD.cameras}
            try:
                rows = segment.numbered("camera_image")
            except FrameError as error:
                reason = "missing_scene" if error.reason == "missing_image" else error.reason
                for group in groups.values():
                    yield Skip(f"{CARD.name}/{split.role}/{group}/-", reason, error.detail, group)
                continue
            finally:
                segment.close()
            for (time_us, number), row in rows.items():
                camera = CARD.cameras[number - 1]
                name, locator = str(time_us), {"row": row}
                yield FrameRef(CARD.name, split, scene, camera, name, time_us, groups[camera], locator)

    def read(self, ref: FrameRef) -> Frame:
        """Picture with its lens, and the frame's points where the range image places them in it."""
        segment, number, paper = self.segment(ref), CARD.cameras.index(ref.camera) + 1, self.options.paper
        shot = read_shot(segment, ref.time, number, at_frame_pose=paper)
        model, sweep = camera_model(segment, number, as_paper=paper), self.sweep(segment, ref.time)
        whole, seen = sweep.whole_pixels, seen_points(sweep, number, model, shot.global_from_vehicle)
        depth = paper_depth(model, seen) if paper else pinhole_depth(model, seen, whole, CARD.near_m)
        extra = shot.extra | {"whole_pixels": whole, "lasers": list(sweep.lasers)}
        kind: DepthKind = "ray" if paper else "z"
        return Frame(ref, shot.picture, model.camera, depth, extra=extra, lens=model.lens, depth_kind=kind)

    def segment(self, ref: FrameRef) -> Segment:
        """The tables of a frame's segment, kept open for the frames that follow."""
        known = self._segment
        if known is None or (known.split, known.name) != (ref.split.source, ref.scene):
            self.close()
            self._segment = known = Segment(self.tree, ref.split.source, ref.scene)
        return known

    def layout(self) -> Iterator[LayoutItem]:
        """Tables a component, over the splits that are there."""
        for split in self.source_splits():
            for component in COMPONENTS:
                pattern = f"{split}/{component}/*.parquet"
                yield LayoutItem(pattern, self.tree.count(pattern))

    def close(self) -> None:
        """Let go of the open segment."""
        if self._segment is not None:
            self._segment.close()
        self._segment = None


CONVERTER = Converter(CARD, WaymoSource, Options, version=2, compat=Options(paper=True))
