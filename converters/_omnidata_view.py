"""One view of Omnidata's renders: square picture, a camera of its own, depth in 1/512 m."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from depthvlm_bench.cards import DatasetCard
from depthvlm_bench.conventions import BoolArray
from depthvlm_bench.converters._files import RawTree, png_grid
from depthvlm_bench.converters._omnidata_info import point_info, require_fixated, z_from_ray
from depthvlm_bench.converters._omnidata_tree import INFO, MASK, RGB, view_path
from depthvlm_bench.errors import FrameError, UsageError
from depthvlm_bench.frames import DepthGrid, Frame, FrameRef
from depthvlm_bench.records.marks import decode_mask

FARTHEST_RAW = 60_000  # what is larger, 65535 mostly, says that there is no mesh


@dataclass(frozen=True)
class Options:
    """How views are read, and which.

    Attributes:
        depth: the rendering that is read; `euclidean` is distance along the ray, and becomes z.
        splits_csv: list of scenes to take instead of the packaged one, relative to the root.
        min_valid_share: views with a smaller share of pixels that show a mesh are left out.
        check_fixation: leave out views whose depth contradicts the distance that their camera file states.
    """

    depth: Literal["zbuffer", "euclidean"] = "zbuffer"
    splits_csv: str | None = None
    min_valid_share: float = 0.01
    check_fixation: bool = True

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not 0 <= self.min_valid_share <= 1:
            raise UsageError(f"min_valid_share={self.min_valid_share} is no share", why="it must be 0 to 1")


def read_view(tree: RawTree, card: DatasetCard, options: Options, ref: FrameRef) -> Frame:
    """Picture, camera and z-depth of a view; its locator says which kind of camera file it has."""
    names = card.name, ref.scene, ref.frame
    picture = tree.picture(view_path(RGB, *names))
    info_path = view_path(INFO, *names, kind=ref.locator["info"])
    info = point_info(tree.read(info_path, "missing_intrinsics"), info_path)
    path = view_path(f"depth_{options.depth}", *names)
    encoded, values = tree.depth_png(path)
    if values.shape != (info.camera.height, info.camera.width):
        raise FrameError("size_mismatch", f"{path} is {values.shape[::-1]}, camera says {info.camera.width}")
    masked = _masked(tree, view_path(MASK, *names), values.shape)
    grid = png_grid(encoded, values, masked | (values > FARTHEST_RAW), card.depth_scale, picture.size)
    if options.depth == "euclidean":
        z_m = z_from_ray(grid.depth_m.reshape(values.shape), info.camera)
        grid = DepthGrid.from_metres(z_m, card.depth_scale, grid.source_from_depth)
    share = float((grid.values > 0).mean())
    if share < options.min_valid_share:
        raise FrameError("no_valid_depth", f"{path}: a mesh shows in {share:.2%} of it")
    if options.check_fixation:
        require_fixated(info, grid.depth_m.reshape(values.shape), info_path)
    return Frame(ref, picture, info.camera, grid, extra={"masks": [MASK] if masked.any() else []})


def _masked(tree: RawTree, path: str, shape: tuple[int, ...]) -> BoolArray:
    """Where the release's own mask says that geometry is missing (h, w); nowhere without a mask."""
    if not tree.path(path).is_file():
        return np.zeros(shape, dtype=bool)
    return np.asarray(decode_mask(tree.read(path, "missing_depth"), path, shape) == 0)
