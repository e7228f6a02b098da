"""What the head reads: the features of each image's tokens, found in a batch and sorted by image.

Convention: images are in the order of `image_grid_thw`, which is the order of their tokens in the batch read
row by row; an image's tokens are in raster order of its merged grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from depthvlm_bench.depthvlm.head import Grid
from depthvlm_bench.errors import UsageError

TEXT, IMAGE, VIDEO = 0, 1, 2


@dataclass(frozen=True, eq=False)
class ImageTaps:
    """Features of one image.

    Attributes:
        features: four tensors (h*w, channels): ViT low, middle, high, language model.
        grid: (h, w), merged tokens.
        sample: the row of the batch that the image stands in.
    """

    features: tuple[Tensor, ...]
    grid: Grid
    sample: int


def token_types(input_ids: Tensor, image_token_id: int, video_token_id: int) -> Tensor:
    """What each token stands for, (B, L): 0 text, 1 image, 2 video; positions in pictures hang on it."""
    return (input_ids == image_token_id) * IMAGE + (input_ids == video_token_id) * VIDEO


def merged_grids(image_grid_thw: Tensor, merge: int) -> list[Grid]:
    """Token grids (h, w) of images given in patches, (n, 3) as (time, height, width).

    Raises:
        UsageError: a grid that is no still image, or no whole number of tokens.
    """
    grids = []
    for time, height, width in image_grid_thw.tolist():
        if time != 1 or height % merge or width % merge:
            raise UsageError(
                f"image grid {time}x{height}x{width} is no picture",
                why=f"a picture has one time step and whole tokens of {merge}x{merge} patches",
            )
        grids.append((height // merge, width // merge))
    return grids


def gather_taps(
    deepstack: Sequence[Sequence[Tensor]],
    hidden: Tensor,
    image_mask: Tensor,
    grids: Sequence[Grid],
    *,
    repeats: int = 1,
) -> list[ImageTaps]:
    """Taps of every image of a batch.

    Args:
        deepstack: three levels, each one tensor (h*w, C) an image: the vision tower's own split.
        hidden: (B, L, C), the language model's last state after its norm.
        image_mask: (B, L), True at image tokens.
        grids: (h, w) an image.
        repeats: how often each row stands in the batch, one after the other; only its first is read, and
            `sample` counts rows without the repeats.

    Raises:
        UsageError: image tokens that do not add up to the grids.
    """
    sizes = [len(tap) for tap in deepstack[0]]
    rows = image_mask.nonzero()[:, 0].cpu()
    if len(rows) != sum(sizes):
        raise _unequal(len(rows), "tokens of the prompt", sum(sizes), "tokens of its images")
    states = torch.split(hidden[image_mask], sizes)
    samples = [int(part[0]) for part in torch.split(rows, sizes)]
    read = [index for index, sample in enumerate(samples) if sample % repeats == 0]
    if [sizes[index] for index in read] != [height * width for height, width in grids]:
        raise _unequal(len(read), "images", len(grids), "grids")
    return [
        ImageTaps((*(level[index] for level in deepstack), states[index]), grid, samples[index] // repeats)
        for index, grid in zip(read, grids, strict=True)
    ]


def _unequal(found: int, what: str, expected: int, of_what: str) -> UsageError:
    return UsageError(
        f"{found} {what} do not fit {expected} {of_what}",
        why="image_grid_thw has one row an image, in the order in which the prompts show them",
    )
