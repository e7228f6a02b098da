"""The official split lists: as published, whole, apart from each other, and in one form."""

import hashlib
import json
import re
from importlib.resources import files
from itertools import combinations

import pytest

FOLDER = files("depthvlm_bench.manifests") / "splits"

# What each list was read from, how many names it has, and the first 16 digits of the SHA-256 of its names one
# a line, sorted by value (numbers) or by byte: computed from the files named here, not from ours.
OFFICIAL = {
    # nutonomy/nuscenes-devkit, python-sdk/nuscenes/utils/splits.py; train is train_detect with train_track
    ("nuscenes", "train"): (700, "80e7f1b38e4973cc"),
    ("nuscenes", "val"): (150, "d93d05f110816360"),
    ("nuscenes", "v1.0-test"): (150, "ceb6c4a825ec001b"),
    ("nuscenes", "mini_train"): (8, "5d1e1bf79cb12165"),
    ("nuscenes", "mini_val"): (2, "ea8a8f3cdf6efc5e"),
    # argoverse/av2-api, src/av2/datasets/sensor/splits.py
    ("argoverse2", "train"): (700, "e080a349d9ff6932"),
    ("argoverse2", "val"): (150, "36d7b8d53c5ecbb9"),
    ("argoverse2", "test"): (150, "0fdd1a8aba27263d"),
    # PJLab-ADG/DetZero, data/waymo/ImageSets/{test,val}.txt, without what v1 puts before and after the names;
    # open-mmlab/OpenPCDet has the same val.txt
    ("waymo", "testing"): (150, "f6d458a5650a12c0"),
    ("waymo", "validation"): (202, "7484a97e1b3d4467"),
    # StanfordVL/taskonomy, data/assets/splits_taskonomy.zip, train_val_test_fullplus.csv
    ("taskonomy", "train"): (383, "fcc7b0e2f6f4a2b1"),
    ("taskonomy", "val"): (75, "db5bdda12fd38d34"),
    ("taskonomy", "test"): (79, "caf0b7634e4af8d8"),
    # matterport/habitat-matterport-3dresearch, metadata.csv
    ("hm3d", "train"): (800, "3b72f3a88087f640"),
    ("hm3d", "val"): (100, "007aafef6f27dd31"),
    # niessner/Matterport, tasks/benchmark/scenes_{train,val,test}.txt
    ("matterport3d", "train"): (61, "4ed1c414b66fd37c"),
    ("matterport3d", "val"): (11, "c032d26cbe9ae52f"),
    ("matterport3d", "test"): (18, "397f9dd6bb5c5372"),
    # The toolbox's splits.mat and the indices in prs-eth/Marigold, data_split/nyu_depth/labeled, as nyu_0001
    ("nyuv2", "train"): (795, "48f52342b048d7c0"),
    ("nyuv2", "test"): (654, "898ace5e448b5487"),
    # The same, named as SUN RGB-D's folders are
    ("nyuv2-sun", "test"): (654, "b7d1b36b7e5d166b"),
    # prs-eth/Marigold, data_split/eth3d_depth/eth3d_filename_list.txt
    ("eth3d", "dslr"): (454, "5a423977e0676ded"),
    # Scenes, not pictures; cvg/pixel-perfect-sfm, pixsfm/eval/eth3d/config.py
    ("eth3d", "indoor"): (7, "412346e07860b956"),
    ("eth3d", "outdoor"): (6, "953ed5482c37d878"),
}
PATTERNS = {
    "argoverse2": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "nuscenes": r"scene-\d{4}",
    "waymo": r"\d{13,20}(_\d+_\d{3}){2}",
    "taskonomy": r"[a-z]+",
    "hm3d": r"\d{5}-[0-9A-Za-z]{11}",
    "matterport3d": r"[0-9A-Za-z]{11}",
    "nyuv2": r"nyu_[01]\d{3}",
    "nyuv2-sun": r"NYU[01]\d{3}",
    "eth3d": r"[a-z]+(_[a-z]+)?(_2)?(/DSC_\d{4})?",
}
ETH3D_PICTURES = {
    **{"delivery_area": 44, "kicker": 31, "office": 26, "pipes": 14, "relief": 31, "relief_2": 31},
    **{"terrains": 42, "courtyard": 38, "electro": 45, "facade": 76, "meadow": 15, "playground": 38},
    "terrace": 23,
}
# The mini release is ten scenes of the large one, and two of its training scenes are the large one's val: the
# only lists that share names.
SHARED = {
    ("train", "mini_train"): {f"scene-{n}" for n in ("0061", "0655", "0757", "1077", "1094", "1100")},
    ("val", "mini_train"): {"scene-0553", "scene-0796"},
    ("val", "mini_val"): {"scene-0103", "scene-0916"},
}


def text_of(dataset):
    return (FOLDER / f"{dataset}.json").read_text(encoding="utf-8")


def lists_of(dataset):
    return json.loads(text_of(dataset))


def pictures_of(scenes):
    return [name for name in lists_of("eth3d")["dslr"] if name.split("/")[0] in scenes]


def test_every_list_that_ships_is_known_here():
    shipped = {path.name.removesuffix(".json") for path in FOLDER.iterdir()}
    assert shipped == set(PATTERNS)
    assert {(dataset, split) for dataset in shipped for split in lists_of(dataset)} == set(OFFICIAL)


@pytest.mark.parametrize(("dataset", "split"), OFFICIAL)
def test_a_list_is_the_published_one(dataset, split):
    names = lists_of(dataset)[split]
    lines = "".join(f"{name}\n" for name in sorted(names))
    digest = hashlib.sha256(lines.encode("ascii")).hexdigest()[:16]
    assert (len(names), digest) == OFFICIAL[dataset, split]


@pytest.mark.parametrize("dataset", PATTERNS)
def test_names_are_of_the_datasets_form_without_doubles_and_sorted(dataset):
    for split, names in lists_of(dataset).items():
        assert not [name for name in names if not re.fullmatch(PATTERNS[dataset], str(name))], split
        assert len(set(names)) == len(names), split
        assert names == sorted(names), split
        assert {type(name) for name in names} == {str}, split


@pytest.mark.parametrize("dataset", PATTERNS)
def test_no_name_is_in_two_splits_but_for_the_mini_scenes_of_nuscenes(dataset):
    lists = lists_of(dataset)
    shared = {pair: set(lists[pair[0]]) & set(lists[pair[1]]) for pair in combinations(lists, 2)}
    expected = SHARED if dataset == "nuscenes" else {}
    assert {pair: names for pair, names in shared.items() if names} == expected


@pytest.mark.parametrize("dataset", PATTERNS)
def test_a_file_is_small_and_has_a_line_a_split(dataset):
    lines = [f"{json.dumps(split)}: {json.dumps(names)}" for split, names in lists_of(dataset).items()]
    assert text_of(dataset) == "{\n" + ",\n".join(lines) + "\n}\n"
    assert len(text_of(dataset)) < 60_000


def test_the_two_hm3d_splits_number_all_900_scenes_and_no_scan_is_there_twice():
    lists = lists_of("hm3d")
    parts = [name.split("-") for name in lists["train"] + lists["val"]]
    assert [int(number) for number, _ in parts] == list(range(900))
    assert len({scan for _, scan in parts}) == 900


def test_no_hm3d_scan_is_a_matterport3d_house():
    scans = {name.split("-")[1] for names in lists_of("hm3d").values() for name in names}
    assert scans.isdisjoint(house for houses in lists_of("matterport3d").values() for house in houses)


def test_the_nyuv2_splits_are_the_1449_labelled_images_counted_from_one():
    lists = {
        split: [int(name.removeprefix("nyu_")) for name in names]
        for split, names in lists_of("nyuv2").items()
    }
    assert sorted(lists["train"] + lists["test"]) == list(range(1, 1450))
    # The first kitchen and the last dining room are test: counted from zero neither would be.
    assert {1, 2, 1449} < set(lists["test"])
    assert {3, 4, 1440} < set(lists["train"])


def test_every_eth3d_scene_is_indoor_or_outdoor_and_has_its_pictures():
    lists = lists_of("eth3d")
    assert {*lists["indoor"], *lists["outdoor"]} == set(ETH3D_PICTURES)
    assert {scene: len(pictures_of([scene])) for scene in ETH3D_PICTURES} == ETH3D_PICTURES
    assert (len(pictures_of(lists["indoor"])), len(pictures_of(lists["outdoor"]))) == (219, 235)
    assert len(lists["dslr"]) == 219 + 235
