import tomllib
from dataclasses import FrozenInstanceError
from importlib.resources import files

import pytest

from depthvlm_bench.cards import DatasetCard, builtin_card, official_names
from depthvlm_bench.config import from_mapping, load_toml
from depthvlm_bench.errors import UsageError
from depthvlm_bench.registry import CONVERTERS, load_converter, names

FOLDER = files("depthvlm_bench.manifests") / "datasets"
CARDS = sorted(path.name.removesuffix(".toml") for path in FOLDER.iterdir() if path.name.endswith(".toml"))
OWN = "folder"


def mapping_of(name):
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def test_there_are_cards():
    assert {"ibims1", "nuscenes", "scannetpp"} <= set(CARDS)


@pytest.mark.parametrize("name", CARDS)
def test_every_card_loads_and_makes_sense(name):
    card = builtin_card(name)
    assert card.name == name
    assert 0 < card.valid_min_m < card.valid_max_m
    assert card.depth_scale > 0
    assert card.valid_max_m * card.depth_scale <= 65535
    assert set(card.roles) <= {"train", "eval"}
    assert all(card.splits[role] for role in card.roles)
    in_order = [split for splits in card.splits.values() for split in splits]
    assert len(in_order) == len(set(in_order))
    assert card.licence.url.startswith("https://") or name == OWN
    assert card.homepage.startswith("https://") or name == OWN
    assert card.citation
    assert card.size
    assert card.tree.strip()


@pytest.mark.parametrize("name", [name for name in CARDS if "eval" in mapping_of(name)["splits"]])
def test_cards_of_evaluation_sets_say_how_many_images_and_points(name):
    card = builtin_card(name)
    assert card.images or name == OWN
    assert card.points_per_image
    if card.points_total is not None:
        surplus = card.points_total - card.images * card.points_per_image
        assert 0 < surplus < card.images
        assert len(official_names(name)[card.splits["eval"][0]]) == card.images


@pytest.mark.parametrize("name", CARDS)
def test_an_unknown_key_is_an_error(name):
    with pytest.raises(UsageError, match=r"unknown key 'valid_max'.*did you mean 'valid_max_m'"):
        from_mapping(DatasetCard, mapping_of(name) | {"valid_max": 3.0}, name)
    broken = mapping_of(name)
    broken["licence"]["pixel"] = True
    with pytest.raises(UsageError, match=r"unknown key 'pixel'.*did you mean 'pixels'"):
        from_mapping(DatasetCard, broken, name)


@pytest.mark.parametrize("name", names(CONVERTERS))
def test_a_converter_has_the_card_of_its_name(name):
    assert load_converter(name).card == builtin_card(name)


@pytest.mark.parametrize(
    ("name", "low", "high", "images", "points"),
    [
        ("ibims1", 0.005, 25.0, 100, 100),
        ("scannetpp", 0.001, 10.0, 1000, 10),
        ("nuscenes", 0.05, 80.0, 1000, 10),
        ("sunrgbd", 0.005, 8.0, 1000, 10),
        ("nyuv2", 0.005, 10.0, 654, 15),
        ("nyuv2-sun", 0.005, 7.99, 654, 15),
        ("eth3d", 0.01, 50.0, 454, 22),
        ("argoverse2", 0.05, 120.0, 1000, 10),
        ("waymo", 0.05, 70.0, 1000, 10),
        ("ddad", 0.05, 120.0, 1000, 10),
    ],
)
def test_ranges_and_sizes_are_those_of_the_paper(name, low, high, images, points):
    card = builtin_card(name)
    assert (card.valid_min_m, card.valid_max_m) == (low, high)
    assert (card.images, card.points_per_image) == (images, points)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("taskonomy", 0.005, 15.0), ("hm3d", 0.01, 10.0), ("matterport3d", 0.01, 10.0)],
)
def test_ranges_of_training_sets_are_those_of_the_paper(name, low, high):
    card = builtin_card(name)
    assert (card.valid_min_m, card.valid_max_m) == (low, high)
    assert card.roles == ("train",)


def test_evaluation_sets_ask_ten_thousand_points():
    for name in CARDS:
        card = builtin_card(name)
        if card.images:
            assert (card.points_total or card.images * card.points_per_image) == 10_000, name


def test_sets_that_may_not_be_redistributed_publish_no_pixels():
    published = {name for name in CARDS if builtin_card(name).licence.pixels}
    assert published <= {"argoverse2", "ddad"}
    assert not builtin_card("waymo").licence.annotations


def test_the_paper_s_constant_is_that_of_its_table():
    table = tomllib.loads((files("depthvlm_bench.manifests") / "paper" / "table1.toml").read_text("utf-8"))
    row = next(row for row in table["rows"] if row["label"] == "Always Output 2.0m")
    printed = dict(zip(table["datasets"], row["values"], strict=True))
    printed["nyuv2-sun"] = printed["nyuv2"]  # the frames that the paper has for NYUv2
    found = {name: builtin_card(name).paper_constant_2m for name in CARDS if builtin_card(name).images}
    assert found == printed | {"nyuv2": found["nyuv2"]}


def test_nuscenes_prefers_the_test_split_and_knows_its_rig():
    card = builtin_card("nuscenes")
    assert card.splits["eval"] == ("v1.0-test", "val", "mini_val")
    assert card.near_m == 1.0
    assert len(card.cameras) == 6


def test_a_card_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        builtin_card("ibims1").images = 3


def test_a_card_of_a_third_party_loads_from_its_own_file(tmp_path):
    path = tmp_path / "mine.toml"
    text = (FOLDER / "ibims1.toml").read_text(encoding="utf-8").replace('name = "ibims1"', 'name = "mine"')
    path.write_text(text, encoding="utf-8")
    assert load_toml(DatasetCard, path).name == "mine"
