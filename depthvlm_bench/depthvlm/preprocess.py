"""A picture as the model sees it: its size under a profile, its patches, and the camera that goes with them.

`native` resizes once, to a grid of whole 32 px tokens. `reference_v1` is what the paper's programs do: to
multiples of 28 first, then of 32, so that pictures are interpolated twice and slightly out of shape.
Pixels are Pillow's bicubic and the arithmetic of transformers' PIL image processor, bit for bit; its
torchvision twin differs by up to three grey levels, and is never used.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from depthvlm_bench.conventions import CANONICAL_FX_PX
from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.frames import UInt8Array
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import ViewGrid, cropped_grid, focal_grid
from depthvlm_bench.predict.photos import as_rgb
from depthvlm_bench.records.files import reading

Profile = Literal["native", "reference_v1"]
PROFILES: tuple[Profile, ...] = get_args(Profile)
Size = tuple[int, int]

PATCH_PX, MERGE, FRAMES = 16, 2, 2
TOKEN_PX = PATCH_PX * MERGE
MIN_PIXELS, MAX_PIXELS = 65_536, 16_777_216
MEAN = STD = 0.5
# The first resize of `reference_v1`: qwen-vl-utils at its default patch of 14 px.
UTILS_PX = 28
UTILS_PIXELS = (4 * UTILS_PX**2, 16_384 * UTILS_PX**2)
GREATEST_ASPECT = 200
# Levels 0..255 as the processor makes them: scaled in float64, shifted in float32.
LEVELS = ((np.arange(256) * (1 / 255)).astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
PREPROCESSOR = {"patch_size": PATCH_PX, "merge_size": MERGE, "temporal_patch_size": FRAMES}


@dataclass(frozen=True)
class PixelLimits:
    """Areas, px, between which a picture is brought before its patches are cut."""

    least: int = MIN_PIXELS
    most: int = MAX_PIXELS

    def __post_init__(self) -> None:
        """Refuse limits that no grid of tokens can meet (UsageError)."""
        if not 1 <= self.least <= self.most or self.most < TOKEN_PX**2:
            raise UsageError(
                f"no picture has an area from {self.least} to {self.most} px",
                why=f"a token is {TOKEN_PX}x{TOKEN_PX} px",
            )


@dataclass(frozen=True, eq=False)
class PreparedPicture:
    """A picture cut into patches.

    Attributes:
        pixel_values: (P, 3 * FRAMES * PATCH_PX ** 2) float32, patches in merge-block order.
        grid_thw: (3,) int64: frames, rows and columns of patches.
        source_size: (width, height) of the picture that was given, px.
        model_size: (width, height) as the model sees it, px; also the size of the depth map.
    """

    pixel_values: torch.Tensor
    grid_thw: torch.Tensor
    source_size: Size
    model_size: Size

    @property
    def tokens(self) -> int:
        """How many tokens of the language model it becomes."""
        return int(self.grid_thw.prod()) // MERGE**2

    @property
    def grid(self) -> ViewGrid:
        """The picture that was given -> the picture as the model sees it."""
        return cropped_grid(self.source_size, self.model_size)

    def camera(self, camera: PinholeCamera) -> PinholeCamera:
        """Effective intrinsics of the picture as the model sees it; its fx and fy may differ."""
        return camera.seen_through(self.grid)


def prepare(
    picture: Image.Image,
    profile: Profile = "native",
    *,
    canonical_size: Size | None = None,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
) -> PreparedPicture:
    """Bring a picture to the model's size and cut it into patches.

    Args:
        picture: any mode that `as_rgb` takes.
        profile: how its size is found.
        canonical_size: focal-normalised (width, height), from `canonical_size_of`; None: the picture's own.
        max_pixels, min_pixels: other area limits than the model's.

    Raises:
        UsageError: no such profile, a picture that is none, or one far too long for its width.
    """
    limits = PixelLimits(
        MIN_PIXELS if min_pixels is None else min_pixels, MAX_PIXELS if max_pixels is None else max_pixels
    )
    shown, given = as_rgb(picture), picture.size
    if profile == "reference_v1" and canonical_size not in (None, given):
        shown = shown.resize(canonical_size, Image.Resampling.BILINEAR)
    for size in model_sizes(canonical_size or given, profile, limits):
        shown = shown if shown.size == size else shown.resize(size, Image.Resampling.BICUBIC)
    width, height = shown.size
    grid_thw = torch.tensor([1, height // PATCH_PX, width // PATCH_PX])
    return PreparedPicture(torch.from_numpy(patches(np.asarray(shown))), grid_thw, given, shown.size)


def model_sizes(size: Size, profile: Profile, limits: PixelLimits | None = None) -> list[Size]:
    """The sizes a picture goes through, px; the last is the model's."""
    limits = limits or PixelLimits()
    if profile not in PROFILES:
        raise UsageError(f"unknown profile {profile!r}", why=f"known: {', '.join(PROFILES)}")
    if max(size) > GREATEST_ASPECT * min(size):
        raise UsageError(
            f"a picture of {size[0]}x{size[1]} px is too long for the model",
            why=f"one side is more than {GREATEST_ASPECT} times the other",
            next_step="crop it",
        )
    first = [] if profile == "native" else [_fit(size, UTILS_PX, PixelLimits(*UTILS_PIXELS), UTILS_PX)]
    return [*first, _fit([size, *first][-1], TOKEN_PX, limits)]


def _fit(size: Size, step: int, limits: PixelLimits, least_side: int = 0) -> Size:
    """The multiples of `step` nearest to a size (half to even) whose area keeps the limits."""
    width, height = (max(least_side, round(side / step) * step) for side in size)
    if width * height > limits.most:
        shrink = math.sqrt(size[0] * size[1] / limits.most)
        width, height = (max(step, math.floor(side / shrink / step) * step) for side in size)
    elif width * height < limits.least:
        grow = math.sqrt(limits.least / (size[0] * size[1]))
        width, height = (math.ceil(side * grow / step) * step for side in size)
    return width, height


def canonical_size_of(camera: PinholeCamera) -> Size:
    """(width, height) of a camera's picture at the focal length the model was trained at, fx = 1000 px."""
    grid = focal_grid(camera.width, camera.height, camera.fx_px, focal_px=CANONICAL_FX_PX)
    # A picture that is canonical up to the rounding of its width stays as it is, to the last row.
    full = (grid.full_width, grid.full_height)
    return (camera.width, camera.height) if grid.full_width == camera.width else full


def patches(pixels: UInt8Array) -> npt.NDArray[np.float32]:
    """Normalised patches (P, 3 * FRAMES * PATCH_PX ** 2) of pixels (h, w, 3), in merge-block order.

    Rows of a patch are (channel, frame, row, column); the one frame of a still picture is there twice.
    """
    height, width, _ = pixels.shape
    blocks = pixels.reshape(
        height // TOKEN_PX, MERGE, PATCH_PX, width // TOKEN_PX, MERGE, PATCH_PX, 3
    ).transpose(0, 3, 1, 4, 6, 2, 5)
    still = LEVELS.take(np.ascontiguousarray(blocks).reshape(-1, 3, 1, PATCH_PX**2))
    return np.broadcast_to(still, (len(still), 3, FRAMES, PATCH_PX**2)).reshape(len(still), -1)


def checkpoint_limits(folder: Path) -> PixelLimits:
    """The area limits that a checkpoint's preprocessor_config.json declares; the model's own without one.

    Raises:
        CheckError: it declares other patches or another normalisation than the ones made here.
    """
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return PixelLimits()
    with reading(path, "copy the checkpoint again"):
        declared: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        size = declared.get("size") or {}
        least = declared.get("min_pixels") or size.get("shortest_edge") or MIN_PIXELS
        most = declared.get("max_pixels") or size.get("longest_edge") or MAX_PIXELS
    expected = PREPROCESSOR | {"image_mean": [MEAN] * 3, "image_std": [STD] * 3}
    other = {k: declared[k] for k, value in expected.items() if declared.get(k, value) != value}
    if other:
        raise CheckError("the checkpoint wants pictures of another kind", where=path, why=str(other))
    return PixelLimits(int(least), int(most))
