"""Omnidata's trees, which Taskonomy and HM3D share: their scenes and views, listed scene by scene."""

from collections.abc import Iterator
from pathlib import Path

from depthvlm_bench.cards import DatasetCard, official_names
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._omnidata_lists import Entry, read_lists
from depthvlm_bench.converters._omnidata_tree import (
    INFO,
    INFO_KINDS,
    MASK,
    RGB,
    scene_folders,
    view_kinds,
    view_path,
)
from depthvlm_bench.converters._omnidata_view import Options, read_view
from depthvlm_bench.converters._roots import require
from depthvlm_bench.errors import SkipReason
from depthvlm_bench.frames import Frame, FrameRef, LayoutItem, Skip, Split

LOCATORS = {kind: {"info": kind} for kind in INFO_KINDS}  # shared: a split has millions of views


class OmnidataSource:
    """A folder that holds rgb/, depth_zbuffer/ and point_info/, each with a folder of the data set."""

    def __init__(self, root: Path, options: Options, card: DatasetCard, entry: Entry) -> None:
        self.tree, self.options, self.card = RawTree(root), options, card
        self.depth, csv = f"depth_{options.depth}", options.splits_csv
        self.reasons: dict[str, SkipReason] = {RGB: "missing_image", self.depth: "missing_depth"}
        self.reasons[INFO] = "missing_intrinsics"
        for domain in self.reasons:
            require(root / domain / card.name, card.name, root)
        self.present = {domain: scene_folders(root / domain / card.name) for domain in (*self.reasons, MASK)}
        self.lists = read_lists(root / csv, card, entry) if csv else official_names(card.name)

    def source_splits(self) -> list[str]:
        """Splits of which a scene is on disk, in the card's order."""
        whole = set.intersection(*(self.present[domain] for domain in self.reasons))
        names = [name for sources in self.card.splits.values() for name in sources]
        return [name for name in names if not whole.isdisjoint(self.scenes(name))]

    def scenes(self, source_split: str) -> list[str]:
        """Scenes of a split, by its list."""
        return self.lists.get(source_split, [])

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """Views scene by scene; a scene that is not listed, or lacks a whole folder, is named once."""
        wanted = set(self.scenes(split.source))
        unlisted = set.union(*(self.present[d] for d in self.reasons)).difference(*self.lists.values())
        for scene in sorted(wanted | unlisted):
            name = f"{self.card.name}/{split.role}/{scene}/-"
            lacking = [domain for domain in self.reasons if scene not in self.present[domain]]
            if scene in unlisted:
                yield Skip(f"{name}/-", "not_in_split", f"{scene} is in no split")
            elif lacking:
                partly = len(lacking) < len(self.reasons)
                paths = ", ".join(f"{domain}/{self.card.name}/{scene}" for domain in lacking)
                detail = f"no {paths}" if partly else "none of its folders"
                yield Skip(f"{name}/-", "missing_scene", detail, scene)
            else:
                yield from self.views(scene, split, name)

    def views(self, scene: str, split: Split, name: str) -> Iterator[FrameRef | Skip]:
        """Views of a scene by point and number; one that lacks a file is a Skip that names it."""
        parent = Path(self.card.name) / scene
        kinds = {domain: view_kinds(self.tree.root / domain / parent, domain) for domain in self.reasons}
        for view in sorted(set().union(*kinds.values())):
            missing = next((domain for domain, there in kinds.items() if view not in there), None)
            if missing is not None:
                path = view_path(missing, self.card.name, scene, view.stem)
                yield Skip(f"{name}/{view.stem}", self.reasons[missing], path)
                continue
            locator = LOCATORS[kinds[INFO][view]]
            yield FrameRef(self.card.name, split, scene, "", view.stem, view.point, scene, locator)

    def read(self, ref: FrameRef) -> Frame:
        """Picture, the view's own camera, and z-depth where a mesh was seen."""
        return read_view(self.tree, self.card, self.options, ref)

    def layout(self) -> Iterator[LayoutItem]:
        """Scene folders of each kind; files are not counted here, they are millions."""
        for domain, scenes in self.present.items():
            yield LayoutItem(f"{domain}/{self.card.name}/*/", len(scenes), required=domain != MASK)

    def close(self) -> None:
        """Nothing is held open."""
