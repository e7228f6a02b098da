"""NYU Depth V2, the 1,449 labelled pictures of a Kinect, with depth as measured or as filled in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from depthvlm_bench.cards import Role, builtin_card
from depthvlm_bench.converters._nyuv2_mat import ARRAYS, HEIGHT, WIDTH, LabelledFile
from depthvlm_bench.converters._nyuv2_splits import check_splits, official_numbers
from depthvlm_bench.converters._roots import refuse, require
from depthvlm_bench.frames import Converter, DepthGrid, Frame, FrameRef, LayoutItem, Picture, Skip, Split
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import PixelAffine

CARD = builtin_card("nyuv2")
FILE, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
FOREIGN = {
    "SUNRGBD/kv1": "SUN RGB-D with its copy of NYUv2 (dataset nyuv2-sun)",
    "nyuv2_extracted": "the paper's extract of that copy (dataset nyuv2-sun)",
    "nyu_depth_data_labeled.mat": "NYU Depth V1",
    "official_splits": "pictures that others extracted from the labelled file",
    "nyudepthv2": "pictures that others extracted from the labelled file",
    "*/*.dump": "the raw recordings, which have no aligned depth",
}
# camera_params.m of the toolbox, which counts pixels from 1.
FX_PX, FY_PX, CX_PX, CY_PX = 518.85790117450188, 519.46961112127485, 325.58244941119034, 253.73616633400465
CAMERA = PinholeCamera(WIDTH, HEIGHT, FX_PX, FY_PX, CX_PX - 1, CY_PX - 1)
FARTHEST_M = 10.0  # a code: the sensor's end, not a distance
# Rows from:to and columns from:to in which depth counts, half-open, from 0: the window of the official
# evaluation, and what the white border of undistortion leaves.
WINDOWS: dict[Role, tuple[str, tuple[int, int, int, int]]] = {
    "eval": ("eigen_window", (45, 471, 41, 601)),
    "train": ("white_border", (7, 474, 7, 632)),
}


@dataclass(frozen=True)
class Options:
    """gt: raw, as the sensor measured, or filled, with holes painted in by the toolbox."""

    gt: Literal["raw", "filled"] = "raw"


class Nyuv2Source:
    """A folder that holds nyu_depth_v2_labeled.mat."""

    def __init__(self, root: Path, options: Options) -> None:
        if not any(path.is_file() for path in (root / FILE, *root.glob(f"*/{FILE}"))):
            refuse(root, CARD.name, FOREIGN)
        require(root / FILE, CARD.name)
        self.numbers = official_numbers(CARD.name)
        self.has_splits = (root / SPLITS).is_file()
        if self.has_splits:
            check_splits(root / SPLITS, self.numbers)
        self.labelled = LabelledFile(root / FILE, sum(map(len, self.numbers.values())))
        self.depths = "rawDepths" if options.gt == "raw" else "depths"

    def source_splits(self) -> list[str]:
        """Splits of which the file has a picture, evaluation first."""
        return [split for splits in CARD.splits.values() for split in splits if self.scenes(split)]

    def scenes(self, source_split: str) -> list[str]:
        """Scenes of a split's pictures."""
        names, numbers = self.labelled.scenes, self.numbers[source_split]
        return sorted({names[number - 1] for number in numbers if number <= len(names)})

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """The split's pictures, named by their number from 1."""
        names = self.labelled.scenes
        for number in self.numbers[split.source]:
            frame = f"nyu_{number:04d}"
            if number <= len(names):
                scene, locator = names[number - 1], {"index": number - 1}
                yield FrameRef(CARD.name, split, scene, "", frame, number, "", locator)
            else:
                name = f"{CARD.name}/{split.role}/-/-/{frame}"
                yield Skip(name, "missing_image", f"{FILE} ends at picture {len(names)}")

    def read(self, ref: FrameRef) -> Frame:
        """Picture and depth of one slice each; depth outside the role's window is no truth."""
        index, (mask, window) = ref.locator["index"], WINDOWS[ref.split.role]
        top, bottom, left, right = window
        rgb, depth_m = self.labelled.picture(index), self.labelled.depth_m(self.depths, index)
        picture = Picture(b"P6\n%d %d\n255\n" % (WIDTH, HEIGHT) + rgb.tobytes(), f"{FILE}#images/{index}")
        counted = np.zeros(depth_m.shape, dtype=bool)
        counted[top:bottom, left:right] = True
        saturated = counted & (depth_m >= FARTHEST_M)
        truth_m = np.where(counted & ~saturated, depth_m, 0.0)
        grid = DepthGrid.from_metres(truth_m, CARD.depth_scale, PixelAffine.identity())
        extra: dict[str, Any] = {"depth_array": self.depths, "masks": [mask], "window": list(window)}
        extra["saturated_share"] = round(float(saturated.sum() / counted.sum()), 6)
        return Frame(ref, picture, CAMERA, grid, extra=extra)

    def layout(self) -> Iterator[LayoutItem]:
        """The arrays that are read, the scenes, and the optional list."""
        for name in ARRAYS:
            yield LayoutItem(f"{FILE}#{name}", len(self.labelled.scenes))
        yield LayoutItem(f"{FILE}#scenes", len(set(self.labelled.scenes)))
        border = f"its white border leaves {self.labelled.inner_window()}; 7:474 and 7:632 are expected"
        yield LayoutItem("picture nyu_0001", 1, note=border)
        note = "it is the official split" if self.has_splits else "the split comes with the package"
        yield LayoutItem(SPLITS, int(self.has_splits), required=False, note=note)

    def close(self) -> None:
        """Close the file."""
        self.labelled.close()


CONVERTER = Converter(CARD, Nyuv2Source, Options)
