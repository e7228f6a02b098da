import random
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from raw_sunrgbd import (
    ELSEWHERE,
    EMPTY,
    GOOD,
    HOLE,
    HOLE_FILLED_MM,
    KINECT,
    LIST,
    NYU_GOOD,
    SPECIAL_MM,
    SUN3D,
    TRAIN,
    UNLISTED,
    SceneWriter,
    cells,
    depth_png,
    encoded,
    picture,
    rotated,
    write_list,
    write_sunrgbd_tree,
)
from scipy.io import savemat

from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.errors import CheckError, DataMissingError, FrameError
from depthvlm_bench.frames import FrameRef, Skip, Split, scorable
from depthvlm_bench.geometry.grids import PixelAffine
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter

CONVERTER = load_converter("sunrgbd")
TEST = Split("eval", "test")
OFFICIAL, PAPER = CONVERTER.options_type(), CONVERTER.compat
FILLED = CONVERTER.options_type(depth="bfx")


def open_tree(root, options=OFFICIAL):
    return CONVERTER.open(root, options)


def key_of(ref):
    return ref.locator["folder"].removeprefix("SUNRGBD/")


def index(source):
    return {key_of(item): item for item in source.index(TEST) if isinstance(item, FrameRef)}


def read_all(source, keys):
    refs = index(source)
    return {key: source.read(refs[key]) for key in keys}


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_sunrgbd_tree(tmp_path_factory.mktemp("sunrgbd"))


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture(scope="module")
def frames(source):
    return read_all(source, (*GOOD, EMPTY))


@pytest.fixture
def tree(tmp_path):
    return write_sunrgbd_tree(tmp_path)


# Which frames there are


def test_the_frames_are_the_test_list_without_nyu(truth, source):
    assert set(index(source)) == truth.test
    assert {"kv1/NYUdata", "xtion/sun3ddata"} & {ref.group for ref in index(source).values()} == {
        "xtion/sun3ddata"
    }


def test_no_training_scene_is_a_frame_though_its_folder_has_the_name_of_one(source):
    assert TRAIN[2].split("/")[-1] == SUN3D.split("/")[-1] == UNLISTED[1].split("/")[-1]
    assert not set(index(source)) & set(TRAIN)


def test_names_of_the_records(source):
    refs = index(source)
    stem = "000065_2014-05-26_14-47-05_260595134347_rgbf000121-resize"
    assert refs[KINECT].id == f"sunrgbd/eval/-/kv2/kinect2data__{stem}"
    assert refs[SUN3D].id == "sunrgbd/eval/-/xtion/sun3ddata__brown_bm_1__brown_bm_1__0000001-000000020431"
    assert len({ref.id for ref in refs.values()}) == len(refs)


def test_the_budget_is_balanced_over_sensor_and_source(source):
    groups = {key: ref.group for key, ref in index(source).items() if key in GOOD}
    assert groups == {key: "/".join(key.split("/")[:2]) for key in GOOD}
    assert len(set(groups.values())) == 9


def test_frames_are_in_the_order_of_their_folders(source):
    in_order = [key_of(ref) for ref in sorted(index(source).values(), key=lambda ref: ref.order_key)]
    assert in_order == sorted(in_order)


def test_a_folder_in_neither_list_is_counted_and_never_given_a_split(source):
    skips = [item for item in source.index(TEST) if isinstance(item, Skip)]
    assert [(skip.reason, skip.detail) for skip in skips] == [
        ("not_in_split", f"SUNRGBD/{key} is in neither list of {LIST}") for key in UNLISTED
    ]


def test_the_one_split_is_there_and_places_are_unknown(source):
    assert source.source_splits() == ["test"]
    assert list(source.scenes("test")) == []


# What a frame holds


@pytest.mark.parametrize("key", GOOD)
def test_intrinsics_are_the_folders_own_to_the_last_digit(truth, frames, key):
    camera, scene = frames[key].camera, truth.scenes[key]
    assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == scene.intrinsics
    assert (camera.width, camera.height) == scene.size


def test_both_forms_of_the_intrinsics_file_are_in_the_tree(truth):
    texts = [(truth.folder(key) / "intrinsics.txt").read_text().strip() for key in GOOD]
    assert {text.count("\n") for text in texts} == {0, 2}


@pytest.mark.parametrize("key", [key for key in GOOD if key != KINECT])
def test_depth_is_what_was_measured_in_whole_millimetres(truth, frames, key):
    depth, scene = frames[key].depth, truth.scenes[key]
    assert np.array_equal(depth.values, scene.raw_mm)
    assert depth.depth_scale == 1000
    assert depth.source_from_depth == PixelAffine.identity()
    assert frames[key].extra == {"depth_folder": "depth", "beyond_8m_share": 0.0}
    assert not depth.values[HOLE].any()


@pytest.mark.parametrize(
    ("stored_mm", "kept_mm"), [(8191, 0), (8192, 0), (9000, 0), (0, 0), (8000, 8000), (8001, 0)]
)
def test_depth_beyond_8_m_is_invalid_and_does_not_wrap(frames, stored_mm, kept_mm):
    (pixel,) = [pixel for pixel, mm in SPECIAL_MM.items() if mm == stored_mm]
    assert frames[KINECT].depth.values[pixel] == kept_mm


def test_the_rest_of_that_frame_is_untouched_and_the_share_is_told(truth, frames):
    raw_mm = truth.scenes[KINECT].raw_mm
    assert np.array_equal(frames[KINECT].depth.values, np.where(raw_mm <= 8000, raw_mm, 0))
    share = 4 / raw_mm.size
    assert frames[KINECT].extra["beyond_8m_share"] == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(("mm", "stored"), [(1, 8), (8191, 65528), (8192, 1), (9000, 6465), (65535, 65535)])
def test_the_fixture_writes_the_bits_as_the_sensor_tools_do(mm, stored):
    assert int(rotated(mm)) == stored


def test_every_16_bit_depth_is_decoded_and_nothing_out_of_range_can_be_asked(tree):
    """Random pixels of every kind: no invalid code or depth beyond the range is ever scorable."""
    rng = np.random.default_rng(3)
    scene, card = tree.scenes[GOOD[0]], CONVERTER.card
    path = next((tree.folder(GOOD[0]) / "depth").iterdir())
    source = open_tree(tree.root)
    ref = index(source)[GOOD[0]]
    for _ in range(20):
        mm = rng.choice([0, 1, 4, 5, 7999, 8000, 8001, 8191, 8192, 12345, 65535], scene.raw_mm.shape)
        mm = np.where(rng.random(mm.shape) < 0.5, rng.integers(0, 65536, mm.shape), mm)
        path.write_bytes(depth_png(mm))
        depth = source.read(ref).depth
        asked = scorable(depth, card.valid_min_m, card.valid_max_m)
        assert np.array_equal(asked, ((mm >= 5) & (mm <= 8000)).ravel())
        assert np.array_equal(depth.depth_m[asked], mm.ravel()[asked] / 1000)


def test_a_frame_without_any_depth_is_read_and_nothing_of_it_can_be_asked(frames):
    assert not scorable(frames[EMPTY].depth, 0.005, 8.0).any()


@pytest.mark.parametrize("key", GOOD)
def test_the_picture_is_the_folders_own_not_that_of_fullres(truth, frames, key):
    pixels = np.asarray(frames[key].picture.decode(), dtype=int)
    blue = truth.scenes[key].blue
    for column, row, expected in [(8, 8, (0, 0, blue)), (24, 8, (60, 0, blue)), (8, 20, (0, 60, blue))]:
        assert np.abs(pixels[row, column] - expected).max() <= 8
    assert frames[key].picture.path == f"SUNRGBD/{key}/image/{key.split('/')[-1][:11]}.jpg"


def test_a_picture_may_be_png(tree):
    folder = tree.folder(GOOD[0]) / "image"
    shutil.rmtree(folder)
    tree_png = encoded(picture(tree.scenes[GOOD[0]].size, 7), "PNG")
    folder.mkdir()
    (folder / "img_0063.PNG").write_bytes(tree_png)
    frame = read_all(open_tree(tree.root), [GOOD[0]])[GOOD[0]]
    assert frame.picture.encoded == tree_png


# The other depth, and the paper's


def test_filled_depth_is_read_when_asked_for_and_said(truth):
    frame = read_all(open_tree(truth.root, FILLED), [GOOD[0]])[GOOD[0]]
    scene = truth.scenes[GOOD[0]]
    assert np.array_equal(frame.depth.values, scene.bfx_mm)
    assert (scene.bfx_mm - scene.raw_mm)[HOLE].min() > HOLE_FILLED_MM
    assert frame.extra["depth_folder"] == "depth_bfx"


@pytest.mark.parametrize(("options", "folder"), [(OFFICIAL, "depth"), (FILLED, "depth_bfx")])
def test_the_two_depths_are_never_mixed(tree, options, folder):
    shutil.rmtree(tree.folder(KINECT) / folder)
    with pytest.raises(FrameError, match=rf"missing_depth: SUNRGBD/{KINECT}/{folder} holds no \*\.png"):
        read_all(open_tree(tree.root, options), [KINECT])


def test_the_papers_depth_is_the_stored_value_over_8000_and_wraps(truth):
    frame = read_all(open_tree(truth.root, PAPER), [KINECT])[KINECT]
    depth, bfx_mm = frame.depth, truth.scenes[KINECT].bfx_mm
    assert (depth.depth_scale, frame.depth_kind) == (8000, "z")
    assert np.array_equal(depth.values, rotated(bfx_mm))
    assert depth.source_png == next((truth.folder(KINECT) / "depth_bfx").iterdir()).read_bytes()
    metres = depth.depth_m.reshape(bfx_mm.shape)
    assert metres[20, 12] == 6465 / 8000  # 9 m read as 0.81 m
    assert metres[20, 11] == 1 / 8000
    assert np.array_equal(metres[bfx_mm < 8192], bfx_mm[bfx_mm < 8192] / 1000)
    assert frame.extra == {"depth_folder": "depth_bfx"}


def test_the_paper_takes_measured_depth_where_there_is_no_filled(tree):
    shutil.rmtree(tree.folder(GOOD[0]) / "depth_bfx")
    frame = read_all(open_tree(tree.root, PAPER), [GOOD[0]])[GOOD[0]]
    assert np.array_equal(frame.depth.values, rotated(tree.scenes[GOOD[0]].raw_mm))
    assert frame.extra["depth_folder"] == "depth"


def test_a_compat_set_has_the_papers_list_and_depths(truth, tmp_path):
    summary = convert(CONVERTER, ConvertRequest(truth.root, tmp_path, sampling="compat"), Silent())
    assert summary.set_name == "sunrgbd@compat"
    rows = sorted(RecordSet(summary.folder, "eval").rows(), key=lambda row: row["listed_row"])
    unread = {"scene", "image", "two", "rgb", "text", "numbers", "skew", "row", "nan"}
    faulty = {key for key in truth.faults if key.split("_")[2] in unread}
    expected = sorted(truth.test - faulty - {EMPTY})
    random.Random(42).shuffle(expected)
    listed = [row["source_path"].removeprefix("SUNRGBD/").split("/image/")[0] for row in rows]
    assert listed == expected
    for key, row in zip(listed, rows, strict=True):
        assert (row["depth_kind"], row["depth_scale"]) == ("z", 8000)
        assert len(row["xy_listed"]) == 10
        if key in truth.scenes:
            stored = rotated(truth.scenes[key].bfx_mm)
            read_m = [round(float(stored[int(v), int(u)] / 8000), 4) for u, v in row["xy_listed"]]
            assert row["listed_depth_m"] == pytest.approx(read_m, abs=1e-9)


# What cannot be used


FAULTS = (
    *("scene", "image", "two", "depth", "rgb", "png", "eight", "size"),
    *("text", "numbers", "skew", "row", "nan"),
)


@pytest.mark.parametrize("name", FAULTS)
def test_a_frame_that_cannot_be_used_says_why_and_where(truth, source, name):
    key = f"kv2/align_kv2/2014-12-20_{name}_260595134347"
    reason, detail = truth.faults[key]
    with pytest.raises(FrameError) as caught:
        source.read(index(source)[key]).picture.decode()
    assert caught.value.reason == reason
    assert detail in caught.value.detail


def test_all_faults_of_the_tree_are_tried(truth):
    assert len(truth.faults) == len(FAULTS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("27.5 0 16.75 0 27 13.5 0 0 1", None),
        ("27.5\t0 16.75\r\n0 27 13.5\r\n0 0 1\r\n", None),
        ("", "bad_intrinsics"),
        ("27.5 0 16.75 0 27 13.5 0 0 1 0", "bad_intrinsics"),
        ("27.5,0,16.75,0,27,13.5,0,0,1", "bad_intrinsics"),
        ("-27.5 0 16.75 0 27 13.5 0 0 1", "bad_intrinsics"),
        ("27.5 0 0 0 27 0 16.75 13.5 1", "bad_intrinsics"),
        ("27.5 0 16.75 0.3 27 13.5 0 0 1", "bad_intrinsics"),
        ("\xff\xfe", "bad_intrinsics"),
    ],
)
def test_intrinsics_files(tree, text, reason):
    (tree.folder(KINECT) / "intrinsics.txt").write_bytes(text.encode("latin-1"))
    source = open_tree(tree.root)
    if reason is None:
        camera = source.read(index(source)[KINECT]).camera
        assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == (27.5, 27, 16.75, 13.5)
    else:
        with pytest.raises(FrameError, match=f"{reason}: SUNRGBD/{KINECT}/intrinsics.txt"):
            source.read(index(source)[KINECT])


@pytest.mark.parametrize("damaged", ["image", "depth", "intrinsics.txt"])
def test_a_broken_frame_changes_no_other(truth, frames, tree, damaged):
    path = tree.folder(KINECT) / damaged
    files = (
        [path] if path.is_file() else [p for p in path.iterdir() if p.name[0] != "." and p.suffix != ".db"]
    )
    for file in files:
        file.write_bytes(b"")
    source = open_tree(tree.root)
    refs = index(source)
    assert refs == index(open_tree(truth.root))
    for key in GOOD:
        if key != KINECT:
            assert np.array_equal(source.read(refs[key]).depth.values, frames[key].depth.values)
    with pytest.raises(FrameError):
        source.read(refs[KINECT])


# Order, lists, roots


def test_listing_and_list_order_do_not_matter(truth, tmp_path, monkeypatch):
    expected = sorted(open_tree(truth.root).index(TEST), key=lambda item: item.id)
    other = write_sunrgbd_tree(tmp_path, reverse=True)
    in_order, calls = Path.glob, []

    def reversed_glob(self, pattern):
        calls.append(pattern)
        return iter(sorted(in_order(self, pattern), reverse=True))

    monkeypatch.setattr(Path, "glob", reversed_glob)
    source = open_tree(other.root)
    assert sorted(source.index(TEST), key=lambda item: item.id) == expected
    assert read_all(source, [KINECT])[KINECT].picture.path.startswith(f"SUNRGBD/{KINECT}/image/")
    assert calls


def test_a_small_source_that_is_missing_moves_no_image_of_the_others(tmp_path):
    """It keeps its share, of which it cannot fill more than it has scenes: the list says how many."""
    writer = SceneWriter(tmp_path / "raw")
    sources = {"kv1/b3dodata": 8, "kv2/align_kv2": 8, "realsense/lg": 2}
    keys = [f"{source}/{n:04d}" for source, count in sources.items() for n in range(count)]
    for key in keys:
        writer.plane(key)
    write_list(tmp_path / "raw", TRAIN, keys)
    whole = images_of(tmp_path / "raw", tmp_path / "whole", budget=9)
    shutil.rmtree(tmp_path / "raw" / "SUNRGBD" / "realsense")
    left = images_of(tmp_path / "raw", tmp_path / "left", budget=9)
    assert len([name for name in whole if "/realsense/" in name]) == 2
    assert left == {name for name in whole if "/realsense/" not in name}
    assert len(left) == 7


def images_of(root, data, *, budget):
    converter = replace(CONVERTER, card=replace(CONVERTER.card, images=budget))
    summary = convert(converter, ConvertRequest(root, data), Silent())
    return {row["id"] for row in RecordSet(summary.folder, "eval").rows()}


@pytest.mark.parametrize("name", ["traintestSUNRGBD/allsplit.mat", "allsplit.mat"])
def test_the_list_may_lie_beside_the_pictures(truth, source, tree, name):
    shutil.rmtree(tree.root / "SUNRGBDtoolbox")
    write_list(tree.root, TRAIN, [*truth.test, *NYU_GOOD], name=name)
    assert index(open_tree(tree.root)) == index(source)


def test_a_root_one_level_too_deep_is_told_its_parent(truth):
    with pytest.raises(DataMissingError) as caught:
        open_tree(truth.root / "SUNRGBD")
    assert "no SUNRGBD/ in this sunrgbd tree" in str(caught.value)
    assert f"--root {truth.root} has it" in str(caught.value)


def test_a_root_one_level_too_high_is_told_its_child(tmp_path):
    truth = write_sunrgbd_tree(tmp_path / "OFFICIAL_SUNRGBD")
    with pytest.raises(DataMissingError, match=f"--root {truth.root} has it"):
        open_tree(tmp_path)


def test_an_archive_unpacked_into_its_own_folder_is_told_apart(tree):
    inner = tree.root / "SUNRGBD" / "SUNRGBD"
    inner.mkdir()
    for name in ("kv1", "kv2", "realsense", "xtion"):
        (tree.root / "SUNRGBD" / name).rename(inner / name)
    with pytest.raises(DataMissingError, match=r"SUNRGBD\.zip was unpacked one folder too deep"):
        open_tree(tree.root)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("sunrgbd_trainval/calib", "VoteNet's extract"),
        ("SUNRGBDv2Test/11082015", "the LSUN challenge's test pictures"),
        ("image/train", "a segmentation copy"),
        ("nyuv2_extracted/test", "the paper's extract of the NYU scenes"),
    ],
)
def test_another_release_is_named(tmp_path, name, meaning):
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(DataMissingError, match=f"this tree holds {meaning}.*which sunrgbd is not read from"):
        open_tree(tmp_path)


def test_a_tree_without_the_toolbox_says_so(tree):
    shutil.rmtree(tree.root / "SUNRGBDtoolbox")
    with pytest.raises(DataMissingError) as caught:
        open_tree(tree.root)
    assert "no allsplit.mat in this sunrgbd tree" in str(caught.value)
    assert "dvbench datasets sunrgbd" in str(caught.value)


def test_a_tree_of_nyu_scenes_alone_is_not_one_of_this_dataset(tree):
    for name in ("kv2", "realsense", "xtion", "kv1/b3dodata"):
        shutil.rmtree(tree.root / "SUNRGBD" / name)
    with pytest.raises(DataMissingError, match=r"no b3dodata/ in this sunrgbd tree.*kv1 holds NYUdata"):
        open_tree(tree.root)


def hdf5_list(path):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["alltest"] = [1]
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:700]),
    "cut to its header": lambda path: path.write_bytes(path.read_bytes()[:128]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("kv1/b3dodata/img_0063\n" * 20),
    "version 7.3": hdf5_list,
    "one list": lambda path: savemat(path, {"alltrain": cells([ELSEWHERE + TRAIN[0]])}),
    "an empty cell": lambda path: savemat(path, {"alltrain": cells([""]), "alltest": cells([np.array([])])}),
    "no paths": lambda path: savemat(path, {"alltrain": cells(["a"]), "alltest": cells(["b"])}),
    "a path that leaves": lambda path: write_list(path.parents[2], TRAIN, ["kv1/../../../etc/x"]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_list_that_cannot_be_read_is_named(tree, damage):
    damage(tree.root / LIST)
    with pytest.raises(CheckError, match=r"the split list cannot be read .*allsplit\.mat.*unpack") as caught:
        open_tree(tree.root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("train", "test"), [(TRAIN, [*GOOD, TRAIN[1]]), (TRAIN, [*GOOD, GOOD[0]]), ([*TRAIN, TRAIN[0]], GOOD)]
)
def test_a_scene_that_is_listed_twice_is_refused(tree, train, test):
    write_list(tree.root, train, test)
    with pytest.raises(CheckError, match="the split list has 1 scenes twice"):
        open_tree(tree.root)


def test_lists_that_differ_by_a_trailing_slash_still_share_a_scene(tree):
    lists = {"alltrain": [ELSEWHERE + KINECT], "alltest": [f"{ELSEWHERE}{KINECT}/"]}
    savemat(tree.root / LIST, {name: cells(paths) for name, paths in lists.items()})
    with pytest.raises(CheckError, match="kinect2data"):
        open_tree(tree.root)


def test_the_case_of_names_counts(tree):
    write_list(tree.root, TRAIN, [KINECT.replace("kinect2data", "Kinect2Data"), GOOD[0]])
    source = open_tree(tree.root)
    counted = {item.detail.split()[0] for item in source.index(TEST) if isinstance(item, Skip)}
    assert f"SUNRGBD/{KINECT}" in counted
    assert KINECT not in index(source)


def test_layout_counts_the_lists_and_the_scenes_on_disk(truth, source):
    items = {item.pattern: item for item in source.layout()}
    assert items[LIST].note.startswith(f"3 train and {len(truth.test) + 3} test scenes")
    assert items["SUNRGBD/realsense/shr"].found == 1
    align = items["SUNRGBD/kv2/align_kv2"]
    assert (align.found, align.note) == (14, "of 15 scenes in the test list")
    assert "SUNRGBD/kv1/NYUdata" not in items
    assert len(items) == 10


def test_pictures_of_this_set_are_never_published():
    assert not CONVERTER.card.licence.pixels
    assert CONVERTER.card.roles == ("eval",)
    assert (CONVERTER.card.images, CONVERTER.card.points_per_image) == (1000, 10)
    assert (CONVERTER.card.valid_min_m, CONVERTER.card.valid_max_m) == (0.005, 8.0)
