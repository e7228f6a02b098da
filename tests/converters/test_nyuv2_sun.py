import shutil
from importlib.resources import files

import numpy as np
import pytest
from raw_nyuv2_sun import FARTHEST_MM, LAST_ASKED_MM, write_nyuv2_sun_tree
from raw_sunrgbd import GOOD, HOLE, LIST, NYU_GOOD, NYU_K, NYU_UNLISTED, TRAIN, depth_png, rotated, write_list

from depthvlm_bench.cards import official_names
from depthvlm_bench.convert.doctor import examine
from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.errors import CheckError, DataMissingError, FrameError
from depthvlm_bench.frames import FrameRef, Skip, Split, scorable
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter
from depthvlm_bench.sampling.quota import points_asked

CONVERTER = load_converter("nyuv2-sun")
TEST = Split("eval", "test")
NAMES = tuple(key.split("/")[-1] for key in NYU_GOOD)
DEFAULT = CONVERTER.options_type()


def open_tree(root, options=DEFAULT):
    return CONVERTER.open(root, options)


def index(source):
    return {item.frame: item for item in source.index(TEST) if isinstance(item, FrameRef)}


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_nyuv2_sun_tree(tmp_path_factory.mktemp("nyuv2_sun"))


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture(scope="module")
def frames(source):
    return {name: source.read(ref) for name, ref in index(source).items()}


@pytest.fixture
def tree(tmp_path):
    return write_nyuv2_sun_tree(tmp_path)


def test_the_frames_are_the_nyu_scenes_of_the_test_list_and_no_other(source):
    refs = index(source)
    assert tuple(refs) == NAMES
    assert {ref.id for ref in refs.values()} == {f"nyuv2-sun/eval/-/-/{name}" for name in NAMES}
    assert {ref.group for ref in refs.values()} == {""}
    assert TRAIN[0].split("/")[-1] not in refs


def test_an_nyu_scene_in_neither_list_is_counted_and_no_other_datasets_is(source):
    (skip,) = [item for item in source.index(TEST) if isinstance(item, Skip)]
    assert skip.reason == "not_in_split"
    assert skip.detail == f"SUNRGBD/{NYU_UNLISTED} is in neither list of {LIST}"


def test_sunrgbd_and_nyuv2_sun_share_no_picture(truth, source):
    other = load_converter("sunrgbd").open(truth.root, load_converter("sunrgbd").options_type())
    theirs = {item.locator["folder"] for item in other.index(TEST) if isinstance(item, FrameRef)}
    mine = {ref.locator["folder"] for ref in index(source).values()}
    assert len(mine) == 3
    assert not mine & theirs
    assert not [folder for folder in theirs if "NYU" in folder]


@pytest.mark.parametrize("key", NYU_GOOD)
def test_depth_is_the_filled_map_in_millimetres(truth, frames, key):
    frame, scene = frames[key.split("/")[-1]], truth.scenes[key]
    assert np.array_equal(frame.depth.values, scene.bfx_mm)
    assert frame.depth.depth_scale == 1000
    assert frame.extra == {"depth_folder": "depth_bfx", "beyond_8m_share": 0.0}


def test_measured_depth_is_read_when_asked_for(truth):
    source = open_tree(truth.root, CONVERTER.options_type(depth="raw"))
    frame = source.read(index(source)[NAMES[0]])
    assert np.array_equal(frame.depth.values, truth.scenes[NYU_GOOD[0]].raw_mm)
    assert not frame.depth.values[HOLE].any()


def test_a_scene_without_filled_depth_is_left_out_not_read_from_the_other(tree):
    shutil.rmtree(tree.folder(NYU_GOOD[0]) / "depth_bfx")
    source = open_tree(tree.root)
    with pytest.raises(FrameError, match=r"missing_depth: SUNRGBD/kv1/NYUdata/NYU0001/depth_bfx"):
        source.read(index(source)[NAMES[0]])


def test_intrinsics_are_read_as_they_stand(frames):
    for frame in frames.values():
        camera = frame.camera
        assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == NYU_K


def test_the_copys_farthest_depth_is_kept_and_not_asked(tree):
    """Where the copy ends lies what was beyond its end: 7.995 m is no distance that was measured."""
    mm = tree.scenes[NYU_GOOD[0]].bfx_mm.copy()
    mm[0, :3] = FARTHEST_MM, LAST_ASKED_MM, LAST_ASKED_MM + 1
    next((tree.folder(NYU_GOOD[0]) / "depth_bfx").iterdir()).write_bytes(depth_png(mm))
    source = open_tree(tree.root)
    depth = source.read(index(source)[NAMES[0]]).depth
    assert depth.values[0, :3].tolist() == [FARTHEST_MM, LAST_ASKED_MM, LAST_ASKED_MM + 1]
    asked = scorable(depth, CONVERTER.card.valid_min_m, CONVERTER.card.valid_max_m)
    assert asked[:3].tolist() == [False, True, False]
    assert asked[3:].all()


def test_the_papers_depth_is_the_stored_value(truth):
    source = open_tree(truth.root, CONVERTER.compat)
    frame = source.read(index(source)[NAMES[1]])
    assert (frame.depth.depth_scale, frame.depth_kind) == (8000, "z")
    assert np.array_equal(frame.depth.values, rotated(truth.scenes[NYU_GOOD[1]].bfx_mm))
    assert frame.depth.source_png is not None


def test_a_compat_set_lists_ten_thousand_points_over_its_rows(truth, tmp_path):
    request = ConvertRequest(truth.root, tmp_path, sampling="compat", limit=2)
    rows = list(RecordSet(convert(CONVERTER, request, Silent()).folder, "eval").rows())
    pixels = 28 * 21  # fewer than 5,000: all are listed
    assert [len(row["xy_listed"]) for row in rows] == [pixels, pixels]
    assert {row["depth_kind"] for row in rows} == {"z"}


def test_the_official_list_is_that_of_nyuv2_in_the_copys_names():
    original = official_names("nyuv2")["test"]
    assert official_names("nyuv2-sun")["test"] == [name.replace("nyu_", "NYU") for name in original]


def test_654_images_are_asked_10000_points():
    asked = [points_asked(CONVERTER.card, "", name) for name in official_names("nyuv2-sun")["test"]]
    assert (len(asked), sum(asked), min(asked), max(asked)) == (654, 10_000, 15, 16)


def test_the_frames_of_the_tree_are_asked_what_the_official_list_says(truth, tmp_path):
    request = ConvertRequest(truth.root, tmp_path)
    rows = {
        row["frame"]: row for row in RecordSet(convert(CONVERTER, request, Silent()).folder, "eval").rows()
    }
    assert {name: len(row["points"]) for name, row in rows.items()} == {
        name: points_asked(CONVERTER.card, "", name) for name in NAMES
    }
    assert set(rows) <= set(official_names("nyuv2-sun")["test"])


def test_a_missing_scene_keeps_its_name(tree):
    shutil.rmtree(tree.folder(NYU_GOOD[1]))
    source = open_tree(tree.root)
    assert tuple(index(source)) == NAMES
    with pytest.raises(FrameError, match="missing_scene: SUNRGBD/kv1/NYUdata/NYU0002 is not on disk"):
        source.read(index(source)[NAMES[1]])


def test_the_index_does_not_depend_on_the_order_of_the_list(truth, source, tree):
    write_list(tree.root, TRAIN, [*NYU_GOOD[::-1], *GOOD])
    assert index(open_tree(tree.root)) != {}
    lists = sorted(index(open_tree(tree.root)).values(), key=lambda ref: ref.order_key)
    assert [ref.frame for ref in lists] == list(NAMES)


def test_a_tree_without_nyu_scenes_says_so(tree):
    shutil.rmtree(tree.root / "SUNRGBD" / "kv1" / "NYUdata")
    with pytest.raises(DataMissingError) as caught:
        open_tree(tree.root)
    assert "no NYUdata/ in this nyuv2-sun tree" in str(caught.value)
    assert "holds b3dodata" in str(caught.value)


def test_the_official_release_is_sent_to_its_own_dataset(tmp_path):
    (tmp_path / "nyu_depth_v2_labeled.mat").write_bytes(b"MATLAB 7.3 MAT-file")
    with pytest.raises(
        DataMissingError, match=r"NYU Depth V2 itself \(dataset nyuv2\), which nyuv2-sun is not"
    ):
        open_tree(tmp_path)


def test_the_list_is_checked_as_for_sunrgbd(tree):
    write_list(tree.root, [*TRAIN, NYU_GOOD[0]], NYU_GOOD)
    with pytest.raises(CheckError, match=r"NYU0001"):
        open_tree(tree.root)


def test_layout_says_how_many_scenes_the_official_test_list_has(tree):
    write_list(tree.root, TRAIN[1:], [*NYU_GOOD, TRAIN[0]])
    items = {item.pattern: item for item in open_tree(tree.root).layout()}
    assert TRAIN[0].split("/")[-1] not in official_names("nyuv2-sun")["test"]
    assert items["SUNRGBD/kv1/NYUdata"].found == 4
    common = items["scenes of the official NYUv2 test list"]
    assert (common.found, common.note[:5]) == (3, "of 4 ")


def test_doctor_finds_the_tree_fit(truth, tmp_path):
    found = examine(CONVERTER, truth.root, None, 3, Silent(), workspace=tmp_path)
    assert found.status == "warn"  # a subset, and one scene that no list has
    checks = {check.name: check for check in found.checks}
    assert checks["test: sample"].found == "3 of 3 read"
    assert [check.name for check in found.checks if check.status == "warn"] == [
        "test: frames",
        "test: left out",
    ]


def test_the_card_keeps_this_legacy_copy_apart_from_nyuv2():
    card = CONVERTER.card
    assert (card.valid_min_m, card.valid_max_m, card.points_total) == (0.005, 7.99, 10_000)
    assert not card.licence.pixels
    text = (files("depthvlm_bench.manifests") / "datasets" / "nyuv2-sun.toml").read_text(encoding="utf-8")
    assert "legacy" in text.splitlines()[1]
