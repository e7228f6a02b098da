"""Matterport3D's undistorted pictures: 18 from each tripod, three cameras turned to six sides, with depth."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.converters._cameras import pinhole_from_matrix
from depthvlm_bench.converters._files import RawTree, png_grid
from depthvlm_bench.converters._matterport_conf import read_scans
from depthvlm_bench.converters._matterport_houses import (
    COLOR,
    DEPTH,
    PARAMETERS,
    house_folders,
    lacking,
    require_whole,
    split_lists,
)
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import Converter, Frame, FrameRef, LayoutItem, Skip, Split

CARD = builtin_card("matterport3d")
FARTHEST_RAW = 65_500  # what is larger is a code, not a distance
# The intrinsics are those of 1280x1024; in a picture of another size their centre is far from its middle.
MOST_OFF_CENTRE = 0.1


@dataclass(frozen=True)
class Options:
    """check_n_images: refuse a camera file that announces another number of scans than it has."""

    check_n_images: bool = True


class Matterport3dSource:
    """A folder with a folder for each house, or the folder that the download script filled."""

    def __init__(self, root: Path, options: Options) -> None:
        self.tree, self.options = RawTree(root), options
        self.houses = house_folders(root, CARD.name)
        self.lists = split_lists(self.tree, CARD)
        require_whole(self.tree, self.houses, self.lists, CARD.name)

    def source_splits(self) -> list[str]:
        """Splits of which a whole house is on disk."""
        return [split for split, houses in self.lists.items() if not all(map(self.lacking, houses))]

    def scenes(self, source_split: str) -> list[str]:
        """Houses of a split, on disk or not."""
        return self.lists[source_split]

    def lacking(self, house: str) -> list[str]:
        """What a house needs and has not."""
        return lacking(self.tree, self.houses, house)

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """Scans house by house; a house that is in no list, or lacks a whole folder, is named once."""
        wanted, listed = set(self.scenes(split.source)), set().union(*self.lists.values())
        for house in sorted(wanted | (set(self.houses) - listed)):
            name, lacking = f"{CARD.name}/{split.role}/{house}/-/-", self.lacking(house)
            if house not in listed:
                yield Skip(name, "not_in_split", f"{house} is in no split")
            elif lacking:
                yield Skip(name, "missing_scene", f"no {', '.join(lacking)}", house)
            else:
                yield from self.scans(house, split)

    def scans(self, house: str, split: Split) -> Iterator[FrameRef | Skip]:
        """A house's scans as its camera file lists them; a picture that it does not name has no camera."""
        folder = self.houses[house]
        conf = f"{folder}/{PARAMETERS}/{house}.conf"
        listed = {kind: self.tree.path(f"{folder}/{kind}").iterdir() for kind in (COLOR, DEPTH)}
        there, named = {kind: {path.name for path in paths} for kind, paths in listed.items()}, set()
        for order, scan in enumerate(read_scans(self.tree, conf, check_count=self.options.check_n_images)):
            named.add(scan.color)
            color, depth = f"{folder}/{COLOR}/{scan.color}", f"{folder}/{DEPTH}/{scan.depth}"
            locator: dict[str, Any] = {"color": color, "depth": depth, "K": scan.matrix}
            frame = PurePosixPath(scan.color).stem
            ref = FrameRef(CARD.name, split, house, scan.camera, frame, order, house, locator)
            if scan.color not in there[COLOR]:
                yield Skip(ref.id, "missing_image", color)
            elif scan.depth not in there[DEPTH]:
                yield Skip(ref.id, "missing_depth", depth)
            else:
                yield ref
        for name in sorted(there[COLOR] - named):
            if name.endswith(".jpg") and not name.startswith("."):
                frame = f"{CARD.name}/{split.role}/{house}/-/{PurePosixPath(name).stem}"
                yield Skip(frame, "missing_intrinsics", f"{conf} does not name {name}")

    def read(self, ref: FrameRef) -> Frame:
        """Picture, the intrinsics of its camera on its tripod, and z-depth on the same grid."""
        picture, path = self.tree.picture(ref.locator["color"]), ref.locator["depth"]
        camera = pinhole_from_matrix(ref.locator["K"], picture.size, ref.id)
        off_centre = max(abs(2 * camera.cx_px / camera.width - 1), abs(2 * camera.cy_px / camera.height - 1))
        if off_centre > MOST_OFF_CENTRE:
            raise FrameError("bad_intrinsics", f"{picture.path} is {picture.size}, its camera {camera}")
        encoded, values = self.tree.depth_png(path)
        if values.shape != (camera.height, camera.width):
            raise FrameError("size_mismatch", f"{path} is {values.shape[::-1]}, picture {picture.size}")
        grid = png_grid(encoded, values, values > FARTHEST_RAW, CARD.depth_scale, picture.size)
        # The release says that its pictures begin at the bottom left; whether cy does, no text tells.
        return Frame(ref, picture, camera, grid, extra={"cy_origin": "unspecified"})

    def layout(self) -> Iterator[LayoutItem]:
        """Houses that have each kind of folder; files are not counted, they are many."""
        note = f"the lists have {sum(map(len, self.lists.values()))} houses"
        for kind in (PARAMETERS, COLOR, DEPTH):
            folders = (self.tree.path(f"{folder}/{kind}") for folder in self.houses.values())
            yield LayoutItem(f"HOUSE/{kind}/", sum(folder.is_dir() for folder in folders), note=note)
        yield LayoutItem("scenes_*.txt", self.tree.count("scenes_*.txt"), required=False)

    def close(self) -> None:
        """Nothing is held open."""


CONVERTER = Converter(CARD, Matterport3dSource, Options)
