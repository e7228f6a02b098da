"""How many points an image is asked: from the card and the official list, never from what is on disk."""

from functools import cache

from depthvlm_bench.cards import DatasetCard, official_names
from depthvlm_bench.hashing import hash64
from depthvlm_bench.sampling.draw import SEED


def points_asked(card: DatasetCard, scene: str, frame: str) -> int:
    """Points of one image of the card's evaluation set.

    Args:
        card: its `points_per_image` is the least number; where `points_total` is more than all of them, the
            official images of lowest hash have one more.
        scene, frame: of the record; official lists name frames, or scene/frame.
    """
    if card.points_per_image is None:
        raise ValueError(f"{card.name} is no evaluation set")
    favoured = _favoured(card.name, *_surplus(card))
    return card.points_per_image + bool({frame, f"{scene}/{frame}"} & favoured)


def _surplus(card: DatasetCard) -> tuple[str, int]:
    """The official evaluation split, and how many of its images have one point more."""
    if card.points_total is None or card.images is None or card.points_per_image is None:
        return "", 0
    return card.splits["eval"][0], card.points_total - card.images * card.points_per_image


@cache
def _favoured(dataset: str, split: str, surplus: int) -> frozenset[str]:
    if not surplus:
        return frozenset()
    names = official_names(dataset)[split]
    return frozenset(sorted(names, key=lambda name: (hash64(SEED, dataset, name), name))[:surplus])
