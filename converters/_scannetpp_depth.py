"""Depth of ScanNet++'s iPhone frames: extracted PNGs or the scene's depth.bin, and the picture's masks."""

import numpy as np
from PIL import Image

from depthvlm_bench.conventions import BoolArray
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._scannetpp_bin import DepthBin
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import Picture, UInt16Array

MAX_MASKED_SHARE = 0.6


class DepthReader:
    """Reads depth maps; the last scene's depth.bin stays open."""

    def __init__(self, tree: RawTree) -> None:
        self._tree = tree
        self._packed: DepthBin | None = None

    def __call__(self, folder: str, frame: str, index: int) -> tuple[bytes | None, UInt16Array]:
        """The frame's PNG and its values (h, w) in mm; without one, its map in depth.bin by video index."""
        png, packed = f"{folder}/depth/{frame}.png", f"{folder}/depth.bin"
        if self._tree.path(png).is_file() or not self._tree.path(packed).is_file():
            return self._tree.depth_png(png)
        if self._packed is None or self._packed.path != packed:
            self.close()
            self._packed = DepthBin(self._tree, packed)
        return None, self._packed(index)

    def masked(self, path: str, picture: Picture, shape: tuple[int, ...]) -> BoolArray:
        """What of a depth grid (h, w) the picture's mask takes, by the nearest of its pixels: 0 is invalid.

        Raises:
            FrameError: no such mask, one of another size, or one that takes nearly all, as the other polarity
                would.
        """
        mask = Picture(self._tree.read(path, "missing_depth"), path)
        if mask.size != picture.size:
            raise FrameError("size_mismatch", f"{path} is {mask.size}, picture {picture.size}")
        nearest = mask.decode().resize((shape[1], shape[0]), Image.Resampling.NEAREST)
        masked = ~np.asarray(nearest).any(axis=-1)
        if masked.mean() > MAX_MASKED_SHARE:
            detail = (
                f"{path} is 0 in {masked.mean():.0%} of the frame: do its masks mark what is hidden by 0?"
            )
            raise FrameError("no_valid_depth", detail)
        return np.asarray(masked)

    def close(self) -> None:
        """Let go of the last scene's depth.bin."""
        if self._packed is not None:
            self._packed.close()
            self._packed = None
