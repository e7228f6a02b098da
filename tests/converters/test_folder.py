import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from raw_folder import (
    CAMERA,
    HEIGHT,
    OTHER,
    WIDTH,
    depth_png,
    encoded,
    npy,
    picture,
    put,
    write_cameras,
    write_folder_tree,
)

from depthvlm_bench.errors import CheckError, DataMissingError, FrameError
from depthvlm_bench.frames import Split
from depthvlm_bench.registry import load_converter

CONVERTER = load_converter("folder")
EVAL = Split("eval", "eval")


def open_tree(root):
    return CONVERTER.open(root, CONVERTER.options_type())


def index(source, split=EVAL):
    return {ref.id: ref for ref in source.index(split)}


def frame(root, name):
    source = open_tree(root)
    return source.read(index(source)[f"folder/eval/{name}"])


@pytest.fixture
def tree(tmp_path):
    return write_folder_tree(tmp_path / "mine")


def test_every_picture_is_a_frame_and_decoys_are_none(tree):
    assert sorted(index(open_tree(tree))) == [
        "folder/eval/-/-/c",
        "folder/eval/kitchen/-/a",
        "folder/eval/kitchen/-/b",
    ]
    assert open_tree(tree).scenes("eval") == ["kitchen"]


def test_intrinsics_are_the_pictures_own_or_the_default(tree):
    for name, expected in (("kitchen/-/a", CAMERA), ("kitchen/-/b", OTHER)):
        camera = frame(tree, name).camera
        assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == tuple(expected.values())


def test_what_is_not_given_is_assumed_and_said_so(tree):
    write_cameras(tree, default={"fx": 60.0})
    assumed = frame(tree, "kitchen/-/a")
    assert assumed.camera_assumed
    assert (assumed.camera.fy_px, assumed.camera.cx_px, assumed.camera.cy_px) == (60.0, 31.5, 23.5)
    assert not frame(tree, "kitchen/-/b").camera_assumed


def test_depth_is_millimetres_of_the_png_or_metres_of_the_array(tree):
    assert frame(tree, "kitchen/-/a").depth.values[3, 5] == 1030
    coarse = frame(tree, "kitchen/-/b").depth
    assert coarse.values.shape == (HEIGHT // 2, WIDTH // 2)
    assert coarse.values[3, 5] == 1060
    assert coarse.source_from_depth.apply(0, 0) == (0.5, 0.5)


def test_another_scale_is_that_of_cameras_json(tree):
    write_cameras(tree, depth_scale=256)
    depth = frame(tree, "-/-/c").depth
    assert depth.depth_m[0] == 1000 / 256


def test_splits_are_folders(tmp_path):
    write_folder_tree(tmp_path / "eval")
    write_folder_tree(tmp_path / "train")
    source = open_tree(tmp_path)
    assert source.source_splits() == ["eval", "train"]
    refs = list(source.index(Split("train", "train")))
    assert {ref.split.role for ref in refs} == {"train"}
    assert source.read(refs[0]).picture.path.startswith("train/rgb/")


def edit(tree, **changes):
    write_cameras(tree, **changes)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda t: (t / "depth/kitchen/a.png").unlink(), "missing_depth"),
        (lambda t: put(t / "depth/kitchen/a.npy", b"\x93NUMPY broken"), "unreadable"),
        (lambda t: put(t / "depth/kitchen/a.npy", npy(np.ones(5))), "unreadable"),
        (lambda t: put(t / "depth/kitchen/a.npy", npy(np.array([[{}]], dtype=object))), "unreadable"),
        (lambda t: put(t / "depth/kitchen/a.png", encoded(picture(0))), "unreadable"),
        (lambda t: put(t / "rgb/kitchen/a.png", b"GIF89a"), "unreadable"),
        (lambda t: edit(t, default=None), "missing_intrinsics"),
        (lambda t: edit(t, default={"fy": 60}), "bad_intrinsics"),
        (lambda t: edit(t, default={"fx": 0}), "bad_intrinsics"),
        (lambda t: edit(t, default={"fx": "sixty"}), "bad_intrinsics"),
        (lambda t: edit(t, default=[600]), "bad_intrinsics"),
        (lambda t: edit(t, default={"fx": 0.9375}), "bad_intrinsics"),
        (lambda t: edit(t, default=CAMERA | {"Cx": 3.0}), "bad_intrinsics"),
        (
            lambda t: put(t / "depth/kitchen/a.png", depth_png(np.ones((WIDTH, HEIGHT)), 1000)),
            "size_mismatch",
        ),
        (lambda t: put(t / "depth/kitchen/a.npy", npy(np.ones((WIDTH, HEIGHT)))), "size_mismatch"),
        (lambda t: put(t / "depth/kitchen/a.npy", npy(np.full((HEIGHT, WIDTH), 65.6))), "unreadable"),
    ],
)
def test_a_frame_that_cannot_be_used_says_why_and_no_other_suffers(tree, damage, reason):
    damage(tree)
    with pytest.raises(FrameError) as caught:
        frame(tree, "kitchen/-/a")
    assert caught.value.reason == reason
    assert caught.value.detail
    assert frame(tree, "kitchen/-/b").depth.values.any()


def test_metres_that_the_scale_cannot_hold_say_what_to_do(tree):
    put(tree / "depth/kitchen/b.npy", npy(np.full((HEIGHT, WIDTH), 80.0)))
    with pytest.raises(FrameError, match=r"b\.npy: 80\.0 m .* depth_scale 1000 .* 65\.5 m.*lower"):
        frame(tree, "kitchen/-/b")


def test_what_the_scale_cannot_hold_is_no_fault_beyond_the_valid_range_nor_what_is_no_distance(tree):
    metres = np.full((HEIGHT, WIDTH), 2.0)
    metres[0, :4] = (np.inf, np.nan, -1.0, 1e6)
    put(tree / "depth/kitchen/b.npy", npy(metres))
    assert frame(tree, "kitchen/-/b").depth.depth_m[:5].tolist() == [0, 0, 0, 0, 2]


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "{}", '{"depth_scale": 0}', '{"depth_scale": 1, "cameras": 3}'),
        '{"depth_scale": 1, "camera": {}}',
    ],
)
def test_a_file_that_is_no_file_of_cameras_is_named(tree, text):
    (tree / "cameras.json").write_text(text)
    with pytest.raises(CheckError, match=r"cameras\.json"):
        open_tree(tree)


@pytest.mark.parametrize("missing", ["rgb", "depth", "cameras.json"])
def test_what_the_root_lacks_is_named(tree, missing):
    path = tree / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataMissingError, match=f"no {missing}"):
        open_tree(tree)


def test_a_root_one_level_off_is_recognised(tree):
    with pytest.raises(DataMissingError, match=f"--root {tree} has it"):
        open_tree(tree.parent)


def test_listing_order_does_not_matter(tree, monkeypatch):
    before = [ref.id for ref in open_tree(tree).index(EVAL)]
    listing = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: reversed(list(listing(self, pattern))))
    assert [ref.id for ref in open_tree(tree).index(EVAL)] == before


def test_layout_counts_what_is_there(tree):
    found = {item.pattern: item.found for item in open_tree(tree).layout()}
    assert found == {"./rgb/**/*.*": 5, "./depth/**/*.*": 3, "./cameras.json": 1}


def test_the_card_publishes_nothing():
    card = CONVERTER.card
    assert not card.licence.pixels
    assert not card.licence.annotations
    assert json.dumps(card.splits) == '{"eval": ["eval"], "train": ["train"]}'
