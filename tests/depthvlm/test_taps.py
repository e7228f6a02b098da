"""Image tokens found and sorted by image, and what does not add up."""

import pytest

pytest.importorskip("torch")

import torch

from depthvlm_bench.depthvlm.taps import gather_taps, merged_grids, token_types
from depthvlm_bench.errors import UsageError

IMAGE, VIDEO = 95, 96


def test_token_types_tell_text_images_and_videos_apart() -> None:
    ids = torch.tensor([[1, IMAGE, IMAGE, 2], [VIDEO, 3, IMAGE, 0]])
    assert token_types(ids, IMAGE, VIDEO).tolist() == [[0, 1, 1, 0], [2, 0, 1, 0]]


def test_grids_of_patches_become_grids_of_tokens() -> None:
    assert merged_grids(torch.tensor([[1, 4, 6], [1, 2, 2]]), 2) == [(2, 3), (1, 1)]


@pytest.mark.parametrize("grid", [(2, 4, 6), (1, 3, 6), (1, 4, 5)])
def test_a_grid_that_is_no_picture_is_refused(grid: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="is no picture"):
        merged_grids(torch.tensor([grid]), 2)


def batch() -> tuple[list[list[torch.Tensor]], torch.Tensor, torch.Tensor]:
    """Row 0: no image; row 1: 1x2 and 1x1 tokens; the state of a token is its position in the batch."""
    mask = torch.tensor([[0, 0, 0, 0, 0], [1, 1, 0, 1, 0]]).bool()
    hidden = torch.arange(10.0).reshape(2, 5, 1)
    sizes = [2, 1]
    deepstack = [list(torch.arange(3.0)[:, None].add(10 * level).split(sizes)) for level in (1, 2, 3)]
    return deepstack, hidden, mask


def test_each_image_gets_its_own_tokens_of_every_level() -> None:
    first, second = gather_taps(*batch(), [(1, 2), (1, 1)])
    assert [tap.flatten().tolist() for tap in first.features] == [[10, 11], [20, 21], [30, 31], [5, 6]]
    assert [tap.flatten().tolist() for tap in second.features] == [[12], [22], [32], [8]]
    assert (first.sample, first.grid, second.sample) == (1, (1, 2), 1)


def test_of_repeated_rows_only_the_first_is_read() -> None:
    deepstack, hidden, mask = batch()
    twice = [[*level, *level] for level in deepstack]
    rows = [0, 0, 1, 1]
    images = gather_taps(twice, hidden[rows], mask[rows], [(1, 2), (1, 1)], repeats=2)
    assert [image.sample for image in images] == [1, 1]
    assert [image.features[3].flatten().tolist() for image in images] == [[5, 6], [8]]


@pytest.mark.parametrize(
    ("grids", "said"),
    [([(1, 2)], "2 images do not fit 1 grids"), ([(1, 3), (1, 1)], "do not fit")],
)
def test_grids_that_are_not_the_images_are_refused(grids: list[tuple[int, int]], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gather_taps(*batch(), grids)


def test_a_prompt_with_too_few_image_tokens_is_refused() -> None:
    deepstack, hidden, mask = batch()
    mask[1, 3] = False
    with pytest.raises(UsageError, match="2 tokens of the prompt do not fit 3 tokens of its images"):
        gather_taps(deepstack, hidden, mask, [(1, 2), (1, 1)])
