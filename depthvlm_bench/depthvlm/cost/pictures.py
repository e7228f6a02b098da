"""A picture's way into a model: the size it is shown at, its patches and its tokens."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from depthvlm_bench.depthvlm.cost.sheets import CostModel, PictureRule, Size
from depthvlm_bench.errors import UsageError

Profile = Literal["native", "reference_v1"]


@dataclass(frozen=True)
class Picture:
    """A picture and its focal length, px; the paper's canonical ScanNet++ picture where nothing is said."""

    size: Size = (1342, 1006)
    focal_px: float = 1000.0

    def __post_init__(self) -> None:
        """Refuse what no picture can be (UsageError)."""
        if min(self.size) < 1 or not (math.isfinite(self.focal_px) and self.focal_px > 0):
            size = f"{self.size[0]}x{self.size[1]}"
            raise UsageError(f"no picture is {size} px with a focal length of {self.focal_px} px")

    def at_focal(self, focal_px: float) -> Size:
        """Its size when its focal length is brought to another, px."""
        width, height = (max(1, round(side * focal_px / self.focal_px)) for side in self.size)
        return width, height


@dataclass(frozen=True)
class Seen:
    """A picture as one model sees it.

    Attributes:
        shown: size at the model's focal length, px.
        resized: size that is cut into patches, px.
        patches: (columns, rows) of patches.
        grid: (columns, rows) of picture tokens.
        tokens: the language model's tokens for the picture, those that end a row included.
    """

    shown: Size
    resized: Size
    patches: Size
    grid: Size
    tokens: int


def see(model: CostModel, picture: Picture, profile: Profile = "native") -> Seen:
    """How a model sees a picture; profiles differ for models that have them."""
    rule, tower, first = model.sizes.picture, model.sizes.tower, model.sheet.profile_multiple_px
    shown = picture.at_focal(model.sheet.focal_px)
    resized = shown
    if profile == "reference_v1" and first:
        utils = PictureRule("nearest", first, smallest_px=4 * first**2, largest_px=16384 * first**2)
        resized = resized_by(utils, resized)
    resized = resized_by(rule, resized)
    patches = (resized[0] // tower.patch_px, resized[1] // tower.patch_px)
    grid = (patches[0] // tower.merge, patches[1] // tower.merge)
    tokens = grid[0] * grid[1] + rule.row_tokens * grid[1]
    return Seen(shown, resized, patches, grid, tokens)


def resized_by(rule: PictureRule, size: Size) -> Size:
    """The size that a rule brings a picture to; halves round to even, as Python does."""
    step = rule.multiple_px
    if rule.rule == "fit":
        excess = max(1.0, *(side / rule.longest_edge_px for side in size))
        fitted = [math.floor(side / excess) for side in size] if excess > 1 else list(size)
        return _both(math.ceil(side / step) * step for side in fitted)
    width, height = _both(max(step, round(side / step) * step) for side in size)
    if rule.largest_px and width * height > rule.largest_px:
        excess = math.sqrt(size[0] * size[1] / rule.largest_px)
        return _both(max(step, math.floor(side / excess / step) * step) for side in size)
    if width * height < rule.smallest_px:
        excess = math.sqrt(rule.smallest_px / (size[0] * size[1]))
        return _both(math.ceil(side * excess / step) * step for side in size)
    return width, height


def _both(sides: Iterable[int]) -> Size:
    width, height = sides
    return width, height
