"""How many points an image is asked: totals of exactly 10,000, and no dependence on what is on disk."""

from dataclasses import replace

import pytest

from depthvlm_bench.cards import builtin_card, official_names
from depthvlm_bench.sampling.quota import points_asked

IBIMS1 = builtin_card("ibims1")


def test_every_image_has_the_cards_number():
    assert points_asked(IBIMS1, "", "corridor_01") == 100


def test_the_surplus_goes_to_official_images_of_lowest_hash():
    scenes = official_names("matterport3d")["test"]
    card = replace(IBIMS1, name="matterport3d", splits={"eval": ("test",)}, images=18, points_per_image=555)
    card = replace(card, points_total=10_000)
    counts = [points_asked(card, "", scene) for scene in scenes]
    assert sum(counts) == 10_000
    assert sorted(set(counts)) == [555, 556]
    # An image that is no official one is asked the plain number, whatever else is on disk.
    assert points_asked(card, "", "elsewhere") == 555


def test_official_names_may_be_scene_and_frame():
    names = official_names("eth3d")["dslr"]
    card = replace(IBIMS1, name="eth3d", splits={"eval": ("dslr",)}, images=454, points_per_image=22)
    card = replace(card, points_total=10_000)
    assert sum(points_asked(card, *name.split("/")) for name in names) == 10_000


def test_a_training_set_asks_nothing():
    with pytest.raises(ValueError, match="no evaluation set"):
        points_asked(replace(IBIMS1, points_per_image=None), "", "x")
