import shutil

import numpy as np
import pytest
from raw_hm3d import HEADER, METADATA, TRAIN, UNLISTED, VAL, write_hm3d_tree
from raw_omnidata import NO_MESH, SIZE, UNITS_PER_M, info_json, one_hot_csv, png, put, table_csv, write_view

from depthvlm_bench.cards import official_names
from depthvlm_bench.errors import CheckError, DataMissingError, FrameError, UsageError
from depthvlm_bench.frames import FrameRef, Skip, Split, scorable
from depthvlm_bench.registry import load_converter

CONVERTER = load_converter("hm3d")
CARD = CONVERTER.card
TRAINING, VALIDATION = Split("train", "train"), Split("train", "val")
FIXATED, POINT_INFO, WIDE = (f"{TRAIN}/point_{view}" for view in ("0_view_0", "0_view_1", "10_view_2"))


def open_tree(root, **options):
    return CONVERTER.open(root, CONVERTER.options_type(**options))


def refs(source, split=TRAINING):
    return {f"{item.scene}/{item.frame}": item for item in source.index(split) if isinstance(item, FrameRef)}


def skips(source, split=TRAINING):
    return [item for item in source.index(split) if isinstance(item, Skip)]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_hm3d_tree(tmp_path_factory.mktemp("hm3d") / "omnidata_hm3d")


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture
def small(tmp_path):
    return write_hm3d_tree(tmp_path / "omnidata_hm3d")


# Which views there are


def test_views_of_the_split_are_indexed_and_nothing_else(truth, source):
    for split, scene in ((TRAINING, TRAIN), (VALIDATION, VAL)):
        assert set(refs(source, split)) == {name for name in truth.views if name.startswith(scene)}
    assert {ref.group for ref in refs(source).values()} == {TRAIN}
    assert refs(source)[WIDE].id == f"hm3d/train/{TRAIN}/-/point_10_view_2"
    assert source.source_splits() == ["train", "val"]


def test_a_scene_that_no_list_names_is_counted_once(truth):
    (skip,) = skips(open_tree(truth.root, splits_csv=METADATA))
    assert skip == Skip(f"hm3d/train/{UNLISTED}/-/-", "not_in_split", f"{UNLISTED} is in no split")


def test_the_packaged_list_is_that_of_the_meshes(source):
    assert {split: len(source.scenes(split)) for split in ("train", "val", "test")} == {
        "train": 800,
        "val": 100,
        "test": 0,
    }
    assert source.scenes("val") == official_names("hm3d")["val"]
    assert "00559-53jtKd53a1X" in source.scenes("train")  # Omnidata's own list lacks it
    reasons = [skip.reason for skip in skips(source)]
    assert (reasons.count("missing_scene"), reasons.count("not_in_split"), len(reasons)) == (799, 1, 800)


@pytest.mark.parametrize("line_end", ["\r", "\r\n", "\n"])
def test_metadata_with_any_line_end_is_read(small, line_end):
    assert len(HEADER.split(",")) == 17
    rows = [{"scene": TRAIN, "split": "train"}, {"scene": VAL, "split": "val"}]
    (small.root / METADATA).write_bytes(table_csv(HEADER, rows, line_end))
    source = open_tree(small.root, splits_csv=METADATA)
    assert (source.scenes("train"), source.scenes("val")) == ([TRAIN], [VAL])


def test_omnidatas_own_list_is_read_too(small):
    (small.root / "omnidata.csv").write_bytes(one_hot_csv({TRAIN: "val", VAL: "train"}, "\n"))
    source = open_tree(small.root, splits_csv="omnidata.csv")
    assert (source.scenes("train"), source.scenes("val")) == ([VAL], [TRAIN])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"scene,split\n{TRAIN},test\n", "split 'test'; splits are train, val"),
        (f"id,train,val,test\n{TRAIN},0,0,1\n", "split 'test'; splits are train, val"),
        (f"split,furnished\ntrain,{TRAIN}\n", "no column 'scene'"),
        (f"scene,split\n{TRAIN}\n", "split ''"),
    ],
)
def test_a_list_of_another_kind_is_refused(small, text, why):
    (small.root / "bad.csv").write_text(text)
    with pytest.raises(CheckError, match=why):
        open_tree(small.root, splits_csv="bad.csv")


# What a view holds


@pytest.mark.parametrize("name", [FIXATED, POINT_INFO, WIDE])
def test_camera_files_of_both_names_are_read(truth, source, name):
    assert truth.path("point_info", name, "fixatedpose").is_file() == (name != POINT_INFO)
    camera = source.read(refs(source)[name]).camera
    found = (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px)
    assert found == pytest.approx(truth.views[name].intrinsics, abs=1e-12)


def test_point_info_is_taken_where_both_are_there(small):
    put(small.path("point_info", FIXATED), info_json(0.7, 2.0))
    source = open_tree(small.root)
    ref = refs(source)[FIXATED]
    assert ref.locator == {"info": "point_info"}
    assert source.read(ref).camera.fx_px == pytest.approx(SIZE / (2 * np.tan(0.35)))


def test_a_view_without_any_camera_file_is_counted(small):
    small.path("point_info", FIXATED, "fixatedpose").unlink()
    source = open_tree(small.root, splits_csv=METADATA)
    (skip,) = [skip for skip in skips(source) if skip.reason != "not_in_split"]
    path = f"point_info/hm3d/{FIXATED}_domain_point_info.json"
    assert (skip.id.split("/")[-1], skip.reason, skip.detail) == (
        "point_0_view_0",
        "missing_intrinsics",
        path,
    )


@pytest.mark.parametrize("name", [FIXATED, POINT_INFO, WIDE])
def test_depth_is_the_plane_within_half_a_step(truth, source, name):
    depth, expected_m = source.read(refs(source)[name]).depth, truth.views[name].depth_m
    metres = depth.depth_m.reshape(depth.values.shape)
    assert np.array_equal(depth.values == 0, expected_m == 0)
    assert np.abs(metres - expected_m).max() <= 0.5 / UNITS_PER_M + 1e-12


@pytest.mark.parametrize("name", [FIXATED, POINT_INFO, WIDE])
def test_the_picture_is_that_of_the_depth(truth, source, name):
    frame = source.read(refs(source)[name])
    pixels = np.asarray(frame.picture.decode()).reshape(-1, 3)
    u, v = frame.depth.source_pixels()
    blue = np.full_like(u, truth.views[name].blue)
    assert np.array_equal(pixels, np.stack([u, v, blue], axis=-1).astype(np.uint8))


def test_what_is_farther_than_ten_metres_is_kept_and_not_asked(small):
    name = f"{TRAIN}/point_8_view_8"
    depth_m = np.full((SIZE, SIZE), 9.5)
    depth_m[:10] = 10.5
    write_view(small, name, 1.0, depth_m)
    source = open_tree(small.root)
    depth = source.read(refs(source)[name]).depth
    assert (depth.values > 0).all()
    assert scorable(depth, CARD.valid_min_m, CARD.valid_max_m).sum() == SIZE * (SIZE - 10)


def test_a_camera_inside_the_mesh_has_zeros_and_a_view_through_a_hole_none(small):
    name = f"{TRAIN}/point_8_view_8"
    write_view(small, name, 1.0, np.full((SIZE, SIZE), 2.0), info_kind="fixatedpose")
    values = np.full((SIZE, SIZE), NO_MESH, np.uint16)
    values[:2] = 0
    put(small.path("depth_zbuffer", name), png(values))
    source = open_tree(small.root)
    with pytest.raises(FrameError, match=r"no_valid_depth: .*a mesh shows in 0\.00%"):
        source.read(refs(source)[name])


# Roots and roles


@pytest.mark.parametrize(
    ("file", "meaning"),
    [
        ("train/00000-kfPV7w3FaU5/kfPV7w3FaU5.glb", "the meshes of Habitat-Matterport 3D"),
        ("00000-kfPV7w3FaU5/kfPV7w3FaU5.basis.glb", "the meshes of Habitat-Matterport 3D"),
        ("hm3d-train-habitat-v0.2.tar", "archives of the meshes"),
        ("compressed/rgb__hm3d__00000-kfPV7w3FaU5.tar", "archives that are not unpacked"),
    ],
)
def test_another_release_is_named(tmp_path, file, meaning):
    put(tmp_path / file, b"")
    with pytest.raises(DataMissingError, match=meaning) as caught:
        open_tree(tmp_path)
    assert file in str(caught.value)


def test_a_root_that_is_one_level_off_is_told_the_right_one(small):
    for root in (small.root.parent, small.root / "rgb", small.root / "rgb" / "hm3d"):
        with pytest.raises(DataMissingError, match=f"--root {small.root} has it"):
            open_tree(root)


def test_the_other_data_set_of_the_release_is_not_this_one(small):
    for domain in ("rgb", "depth_zbuffer", "point_info", "mask_valid", "depth_euclidean"):
        shutil.move(small.root / domain / "hm3d", small.root / domain / "taskonomy")
    with pytest.raises(DataMissingError, match=r"no hm3d/ in this hm3d tree .*holds taskonomy"):
        open_tree(small.root)


def test_layout_counts_the_scenes_of_each_kind(truth):
    found = {item.pattern: item.found for item in open_tree(truth.root).layout()}
    assert found == {f"{d}/hm3d/*/": 3 for d in ("rgb", "depth_zbuffer", "point_info", "mask_valid")}


def test_training_views_are_converted_and_there_is_no_evaluation_set(convert_split, truth, tmp_path):
    assert CARD.roles == ("train",)
    with pytest.raises(UsageError, match="hm3d has no eval split"):
        convert_split("hm3d", truth.root, tmp_path, role="eval")
    options = CONVERTER.options_type(splits_csv=METADATA)
    summary = convert_split("hm3d", truth.root, tmp_path / "data", role="train", options=options)
    assert (summary.images, summary.skips) == (3, {"not_in_split": 1})
    summary = convert_split(
        "hm3d", truth.root, tmp_path / "data", role="train", options=options, source_split="val"
    )
    assert (summary.set_name, summary.images) == ("hm3d@val", 3)
