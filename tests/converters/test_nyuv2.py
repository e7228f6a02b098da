import io
import tracemalloc
from itertools import chain

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from raw_nyuv2 import (
    ALMOST_SATURATED,
    EIGEN,
    EMPTY,
    FILE,
    HEIGHT,
    HOLE,
    INSIDE_BORDER,
    INVALID,
    MATLAB_K,
    PICTURES,
    SPLITS,
    TEST,
    TRAIN,
    WIDTH,
    WRITTEN,
    LabelledWriter,
    scene_of,
    write_nyuv2_tree,
    write_splits,
)
from scipy.io import savemat

from depthvlm_bench.cards import official_names
from depthvlm_bench.config import parse_options
from depthvlm_bench.convert.doctor import examine
from depthvlm_bench.convert.run import ConvertRequest, convert, open_source
from depthvlm_bench.errors import CheckError, DataMissingError, FrameError, UsageError
from depthvlm_bench.frames import FrameRef, Skip, Split, scorable
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.codec import decode_depth
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter
from depthvlm_bench.sampling.quota import points_asked

CONVERTER = load_converter("nyuv2")
CARD = CONVERTER.card
EVAL, TRAINING = Split("eval", "test"), Split("train", "train")
HALF_STEP_M = 0.0005
WINDOWS = {"eval": EIGEN, "train": INSIDE_BORDER}


def open_tree(root, **options):
    return CONVERTER.open(root, CONVERTER.options_type(**options))


def refs(source, split=EVAL):
    return {item.time: item for item in source.index(split) if isinstance(item, FrameRef)}


def read(source, number, split=EVAL):
    return source.read(refs(source, split)[number])


def windowed(depth_m, role):
    within = np.zeros_like(depth_m)
    within[WINDOWS[role]] = depth_m[WINDOWS[role]]
    return within


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_nyuv2_tree(tmp_path_factory.mktemp("nyuv2"))


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture
def tree(tmp_path):
    return write_nyuv2_tree(tmp_path / "above" / "nyu")


# Which pictures there are


def test_the_splits_are_the_official_pictures_counted_from_one(source):
    assert tuple(refs(source)) == TEST
    assert tuple(refs(source, TRAINING)) == TRAIN
    assert source.source_splits() == ["test", "train"]


def test_a_picture_is_named_by_its_number_and_its_scene(source):
    ref = refs(source)[14]
    assert ref.id == "nyuv2/eval/living_room_0011/-/nyu_0014"
    assert (ref.group, ref.camera, ref.time) == ("", "", 14)
    for number, other in chain(refs(source).items(), refs(source, TRAINING).items()):
        assert (other.frame, other.scene) == (f"nyu_{number:04d}", scene_of(number))


def test_scenes_of_the_two_splits_are_told_apart(source):
    assert source.scenes("test") == ["kitchen_0004", "living_room_0011", "office_0005"]
    assert source.scenes("train") == ["office_0003", "office_0004", "study_room_0002"]


def test_official_pictures_that_a_short_file_has_not_are_counted(source):
    for split, total in ((EVAL, 654), (TRAINING, 795)):
        skips = [item for item in source.index(split) if isinstance(item, Skip)]
        assert len(skips) + len(refs(source, split)) == total
        assert {skip.reason for skip in skips} == {"missing_image"}
        assert {skip.detail for skip in skips} == {f"{FILE} ends at picture {PICTURES}"}
    assert skips[0].id == "nyuv2/train/-/-/nyu_0019"


def test_the_index_reads_no_picture_and_a_frame_reads_two_slices(truth, monkeypatch):
    taken = []
    plain = h5py.Dataset.__getitem__
    monkeypatch.setattr(
        h5py.Dataset,
        "__getitem__",
        lambda d, key, **more: taken.append((d.name, key)) or plain(d, key, **more),
    )
    source = open_tree(truth.root)
    ref = refs(source)[14]
    assert not [name for name, _ in taken if name in ("/images", "/rawDepths", "/depths")]
    taken.clear()
    source.read(ref)
    assert taken == [("/images", 13), ("/rawDepths", 13)]


def test_a_frame_takes_the_memory_of_one_picture(source):
    ref = refs(source)[2]
    tracemalloc.start()
    source.read(ref)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


# What a picture holds


@pytest.mark.parametrize("number", [1, 2, 14])
def test_the_picture_comes_back_pixel_by_pixel_as_ppm(truth, source, number):
    picture = read(source, number).picture
    assert picture.encoded[:15] == b"P6\n640 480\n255\n"
    with Image.open(io.BytesIO(picture.encoded)) as image:
        assert image.format == "PPM"
        assert np.array_equal(np.asarray(image), truth.rgb[number])
    assert picture.path == f"{FILE}#images/{number - 1}"


@pytest.mark.parametrize("number", [1, 2, 14])
def test_evaluation_depth_is_what_was_measured_inside_the_official_window(truth, source, number):
    frame = read(source, number)
    found_m, expected_m = frame.depth.depth_m.reshape(HEIGHT, WIDTH), windowed(truth.raw_m[number], "eval")
    assert np.array_equal(found_m == 0, expected_m == 0)
    assert np.abs(found_m - expected_m).max() <= HALF_STEP_M + 1e-12
    assert (found_m > 0).sum() < 426 * 560
    assert frame.extra["depth_array"] == "rawDepths"
    assert (frame.extra["masks"], frame.extra["window"]) == (["eigen_window"], [45, 471, 41, 601])


def test_training_depth_is_what_was_measured_inside_the_white_border(truth, source):
    for number in (3, 4):
        frame = read(source, number, TRAINING)
        expected_m = windowed(truth.raw_m[number], "train")
        found_m = frame.depth.depth_m.reshape(HEIGHT, WIDTH)
        assert np.array_equal(found_m == 0, expected_m == 0)
        assert np.abs(found_m - expected_m).max() <= HALF_STEP_M + 1e-12
        assert (frame.extra["masks"], frame.extra["window"]) == (["white_border"], [7, 474, 7, 632])
        white = (np.asarray(frame.picture.decode()) == 255).all(axis=2)
        assert not found_m[white].any()


def test_a_training_picture_that_is_evaluated_has_the_official_window(source):
    frame = read(source, 3, Split("eval", "train"))
    assert frame.extra["window"] == [45, 471, 41, 601]


@pytest.mark.parametrize("region", INVALID)
def test_what_is_no_distance_is_never_valid(source, region):
    assert not read(source, 1).depth.values[region].any()


def test_almost_ten_metres_is_a_distance_and_the_share_of_the_sensors_end_is_recorded(source):
    frame = read(source, 2)
    assert (frame.depth.values[ALMOST_SATURATED] == 10_000).all()
    asked = scorable(frame.depth, CARD.valid_min_m, CARD.valid_max_m).reshape(HEIGHT, WIDTH)
    assert asked[ALMOST_SATURATED].all()
    assert frame.extra["saturated_share"] == round((40 * 80 + 8 * 20) / (426 * 560), 6)


def test_filled_depth_is_read_when_asked_for(truth):
    source = open_tree(truth.root, gt="filled")
    frame = read(source, 2)
    found_m, expected_m = frame.depth.depth_m.reshape(HEIGHT, WIDTH), windowed(truth.filled_m[2], "eval")
    assert np.abs(found_m - expected_m).max() <= HALF_STEP_M + 1e-12
    assert (found_m[HOLE] > truth.filled_m[2][0, 0]).all()
    assert frame.extra["depth_array"] == "depths"
    with pytest.raises(UsageError, match=r"raw.*filled"):
        parse_options(CONVERTER.options_type, ["gt=inpainted"], "nyuv2")


def test_intrinsics_are_the_toolboxs_with_pixels_counted_from_zero(source):
    fx, fy, cx, cy = MATLAB_K
    for number in (1, 14):
        camera = read(source, number).camera
        assert (camera.width, camera.height) == (WIDTH, HEIGHT)
        assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == (fx, fy, cx - 1, cy - 1)


def test_intrinsics_are_those_of_the_copy_in_its_own_window(source):
    """SUN RGB-D's copy begins at row 44 and column 40; the numbers are those of its own files."""
    camera = read(source, 1).camera
    assert (camera.cx_px - 40, camera.cy_px - 44) == pytest.approx((284.582449, 208.736166), abs=1e-6)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return write_nyuv2_tree(tmp_path_factory.mktemp("scratch"))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), role=st.sampled_from(["eval", "train"]))
def test_no_invalid_code_and_nothing_outside_the_window_can_be_asked(scratch, seed, role):
    rng = np.random.default_rng(seed)
    split, number = (EVAL, 1) if role == "eval" else (TRAINING, 3)
    measured = rng.uniform(0.5, 9.9, (HEIGHT, WIDTH)).astype(np.float32)
    codes = rng.choice(np.array([0, 10, 10.0001, 11, -1, np.nan, np.inf], dtype=np.float32), measured.shape)
    coded = rng.random(measured.shape) < rng.random()
    with h5py.File(scratch.path, "r+") as file:
        file["rawDepths"][number - 1] = np.where(coded, codes, measured).T
    source = open_tree(scratch.root)
    usable = scorable(read(source, number, split).depth, CARD.valid_min_m, CARD.valid_max_m)
    source.close()
    window = np.zeros(measured.shape, dtype=bool)
    window[WINDOWS[role]] = True
    assert np.array_equal(usable.reshape(measured.shape), ~coded & window)


# The optional splits.mat


@pytest.mark.parametrize("reverse", [False, True])
def test_the_official_splits_mat_agrees_in_any_order(tree, source, reverse):
    numbers = {s: [int(n[4:]) for n in official_names("nyuv2")[s]] for s in ("test", "train")}
    write_splits(tree.root / SPLITS, *(sorted(n, reverse=reverse) for n in numbers.values()))
    other = open_tree(tree.root)
    assert list(other.index(EVAL)) == list(source.index(EVAL))
    assert {item.pattern: item.found for item in other.layout()}[SPLITS] == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda test, train: ([n - 1 for n in test], [n - 1 for n in train]),
            r"train: it has 795 pictures, \d+ of them",
        ),
        (lambda test, train: (train, test), "train: it has 654 pictures, 0 of them of the official 795"),
        (lambda test, train: ([*test, 3], train), "test: it has 655 pictures, 654 of them"),
        (lambda test, train: (test, train[:-1]), "train: it has 794 pictures, 794 of them"),
    ],
)
def test_another_split_is_refused(tree, change, why):
    numbers = [[int(n[4:]) for n in official_names("nyuv2")[s]] for s in ("test", "train")]
    write_splits(tree.root / SPLITS, *change(*numbers))
    with pytest.raises(CheckError, match=why) as caught:
        open_tree(tree.root)
    assert SPLITS in str(caught.value)


def test_a_splits_mat_that_cannot_be_read_is_refused(tree):
    savemat(tree.root / SPLITS, {"trainNdxs": np.array([1])})
    with pytest.raises(CheckError, match=r"cannot be read.*testNdxs"):
        open_tree(tree.root)
    (tree.root / SPLITS).write_bytes(b"<html>not found</html>")
    with pytest.raises(CheckError, match=r"cannot be read.*splits\.mat"):
        open_tree(tree.root)


# Files that are not the published one


def test_a_truncated_file_is_refused(tree):
    whole = tree.path.read_bytes()
    tree.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckError, match=r"no HDF5 file.*truncated.*about 2\.8 GB\) again"):
        open_tree(tree.root)


@pytest.mark.parametrize(
    "text", [b"", b"<!DOCTYPE html><html>404</html>", b"MATLAB 7.3 MAT-file" + bytes(600)]
)
def test_a_file_of_another_kind_is_refused(tree, text):
    tree.path.write_bytes(text)
    with pytest.raises(CheckError, match=r"no HDF5 file \[.*nyu_depth_v2_labeled\.mat\]"):
        open_tree(tree.root)


def test_a_file_that_another_program_saved_as_matlab_5_is_refused(tree):
    savemat(tree.path, {"images": np.zeros((2, 2), dtype=np.uint8)})
    with pytest.raises(CheckError, match=r"a MATLAB 5 file.*MATLAB 7\.3"):
        open_tree(tree.root)


@pytest.mark.parametrize("names", [("rawDepths",), ("scenes", "depths"), ("images",)])
def test_a_file_without_an_array_names_what_it_lacks_and_holds(tmp_path, names):
    write_file(tmp_path, 3, leave_out=names)
    with pytest.raises(CheckError, match=f"no {', '.join(sorted(names))}.*it holds.*accelData"):
        open_tree(tmp_path)


def write_file(root, pictures, *, cells=None, **changes):
    writer = LabelledWriter(root / FILE, pictures, **changes)
    writer.cells("scenes", cells or ["kitchen_0004"] * pictures)
    writer.close()


def test_a_transposed_file_is_refused_not_read_turned(tmp_path):
    write_file(tmp_path, 3, size=(480, 640))
    with pytest.raises(CheckError, match=r"images is uint8 \(3, 3, 480, 640\), not uint8 \(3, 3, 640, 480\)"):
        open_tree(tmp_path)


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("images", np.zeros((3, 480, 640, 3), np.uint8), r"images is uint8 \(3, 480, 640, 3\)"),
        ("rawDepths", np.zeros((3, 640, 480), np.uint16), r"rawDepths is uint16"),
        ("depths", np.zeros((2, 640, 480), np.float32), r"depths is float32 \(2, 640, 480\), not .* \(3,"),
        ("images", np.uint8(0), r"images is uint8 \(\)"),
    ],
)
def test_an_array_of_another_kind_or_shape_is_refused(tmp_path, name, values, found):
    write_file(tmp_path, 3)
    with h5py.File(tmp_path / FILE, "r+") as file:
        del file[name]
        file[name] = values
    with pytest.raises(CheckError, match=found):
        open_tree(tmp_path)


@pytest.mark.parametrize("name", ["images", "scenes"])
def test_a_group_in_place_of_an_array_is_refused(tmp_path, name):
    write_file(tmp_path, 3)
    with h5py.File(tmp_path / FILE, "r+") as file:
        del file[name]
        file.create_group(name)
    with pytest.raises(CheckError, match=name):
        open_tree(tmp_path)


def test_the_first_nyu_depth_is_not_taken_for_the_second(tmp_path):
    write_file(tmp_path, 2284)
    with pytest.raises(CheckError, match=r"it has 2284 pictures.*NYU Depth V2 has 1449 \(V1 has 2284\)"):
        open_tree(tmp_path)


@pytest.mark.parametrize("cells", [["kitchen_0004", "", "x"], ["a", "../b", "c"], ["a", "b"], ["a/b"] * 3])
def test_scene_names_that_are_none_are_refused(tmp_path, cells):
    write_file(tmp_path, 3, cells=cells)
    with pytest.raises(CheckError, match=rf"scenes has {len(cells)} names for 3 pictures"):
        open_tree(tmp_path)


def test_scenes_that_are_no_references_are_refused(tmp_path):
    write_file(tmp_path, 3)
    with h5py.File(tmp_path / FILE, "r+") as file:
        del file["scenes"]
        file["scenes"] = np.ones((1, 3))
    with pytest.raises(CheckError, match="scenes cannot be read"):
        open_tree(tmp_path)


# Roots


def test_a_root_one_level_off_is_named(tree):
    with pytest.raises(DataMissingError, match=r"no nyu_depth_v2_labeled\.mat in.*holds nyu") as caught:
        open_tree(tree.root.parent)
    assert f"--root {tree.root} has it" in str(caught.value)
    (tree.root / "pictures").mkdir()
    with pytest.raises(DataMissingError, match=f"--root {tree.root} has it"):
        open_tree(tree.root / "pictures")


def test_a_root_above_is_named_even_beside_another_dataset(tree):
    (tree.root.parent / "SUNRGBD" / "kv1").mkdir(parents=True)
    with pytest.raises(DataMissingError, match=f"--root {tree.root} has it"):
        open_tree(tree.root.parent)


def test_the_file_itself_is_no_root(tree):
    with pytest.raises(DataMissingError, match="it is a file, not a folder"):
        open_source(CONVERTER, tree.path)


@pytest.mark.parametrize(
    ("there", "meaning"),
    [
        ("SUNRGBD/kv1/NYUdata/NYU0001/intrinsics.txt", r"dataset nyuv2-sun\), which nyuv2 is not read from"),
        ("nyuv2_extracted/test/rgb/NYU0001.jpg", "the paper's extract"),
        ("nyu_depth_data_labeled.mat", "NYU Depth V1"),
        ("official_splits/test/kitchen/rgb_00001.jpg", "others extracted"),
        ("nyudepthv2/val/official/00001.h5", "others extracted"),
        ("kitchen_0004/a-1294439279.dump", "raw recordings"),
    ],
)
def test_another_release_is_refused_by_name(tmp_path, there, meaning):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).write_bytes(b"x")
    with pytest.raises(DataMissingError, match=meaning):
        open_tree(tmp_path)


# Damage, determinism


def damage(path, name, number):
    """Overwrite the packed bytes of one picture."""
    with h5py.File(path, "r") as file:
        chunk = file[name].id.get_chunk_info_by_coord((number - 1, *[0] * (file[name].ndim - 1)))
    with path.open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(b"\xff" * chunk.size)


@pytest.mark.parametrize("name", ["images", "rawDepths"])
def test_a_damaged_picture_changes_only_its_frame(tree, source, name):
    damage(tree.path, name, 2)
    other = open_tree(tree.root)
    with pytest.raises(FrameError, match=f"unreadable: {FILE}#{name}/1"):
        read(other, 2)
    for number in (1, 14):
        ours, theirs = read(source, number), read(other, number)
        assert ours.picture == theirs.picture
        assert np.array_equal(ours.depth.values, theirs.depth.values)


def test_a_damaged_first_picture_does_not_stop_the_look_at_the_tree(tree):
    damage(tree.path, "images", 1)
    items = {item.pattern: item for item in open_tree(tree.root).layout()}
    assert f"{FILE}#images/0" in items["picture nyu_0001"].note


def test_two_readers_see_the_same(truth, source):
    other = open_tree(truth.root)
    assert list(other.index(EVAL)) == list(source.index(EVAL))
    assert read(other, 14).picture.sha256 == read(source, 14).picture.sha256


# Converting


def test_a_converted_evaluation_set_asks_inside_the_window_only(truth, tmp_path):
    folder = convert(CONVERTER, ConvertRequest(truth.root, tmp_path), Silent()).folder
    rows = {row["frame"]: row for row in RecordSet(folder, "eval").rows()}
    assert set(rows) == {"nyu_0001", "nyu_0002", "nyu_0014"}
    for frame, row in rows.items():
        number = int(frame[-4:])
        assert len(row["points"]) == points_asked(CARD, row["scene"], frame)
        for point in chain(row["points"], row["points_balanced"]):
            column, line = int(point["u_src"]), int(point["v_src"])
            assert (column, line) == (point["u_src"], point["v_src"])
            assert 45 <= line < 471
            assert 41 <= column < 601
            assert point["depth_m"] == pytest.approx(truth.raw_m[number][line, column], abs=HALF_STEP_M)
        assert row["source_image"] == read(open_tree(truth.root), number).picture.encoded
        assert (row["width"], row["height"], row["fy"]) == (1233, 925, pytest.approx(1001.04, abs=0.5))
        assert not decode_depth(row).values[:45].any()


def test_a_picture_without_depth_is_left_out_under_its_name(truth, tmp_path):
    summary = convert(CONVERTER, ConvertRequest(truth.root, tmp_path), Silent())
    assert summary.skips == {"missing_image": 650, "no_valid_depth": 1}
    assert (summary.subset, summary.images_of_the_full_set) == (True, 654)


def test_training_and_evaluation_share_no_scene(truth, tmp_path):
    for role in ("eval", "train"):
        convert(CONVERTER, ConvertRequest(truth.root, tmp_path, role, max_skip_share=1.0), Silent())
    scenes = {
        role: {row["scene"] for row in RecordSet(tmp_path / "nyuv2", role).rows()}
        for role in ("eval", "train")
    }
    assert not scenes["eval"] & scenes["train"]
    assert scenes["train"] == {scene_of(3), scene_of(4)}


def test_a_file_whose_scenes_are_in_both_splits_is_refused(tmp_path):
    write_file(tmp_path / "raw", 4)
    with pytest.raises(CheckError, match=r"share 1 scenes.*kitchen_0004"):
        convert(CONVERTER, ConvertRequest(tmp_path / "raw", tmp_path), Silent())


def test_the_papers_selection_is_made_of_the_other_release(truth, tmp_path):
    with pytest.raises(UsageError, match=r"list is made of nyuv2-sun frames.*dvbench convert nyuv2-sun"):
        convert(CONVERTER, ConvertRequest(truth.root, tmp_path, sampling="compat"), Silent())


def test_654_images_are_asked_10000_points():
    asked = [points_asked(CARD, "any", name) for name in official_names("nyuv2")["test"]]
    assert (len(asked), sum(asked)) == (654, 10_000)
    assert (asked.count(16), asked.count(15)) == (190, 464)


# Before the work


def test_layout_says_what_is_there_and_what_the_border_leaves(source):
    items = {item.pattern: item for item in source.layout()}
    assert {name: items[f"{FILE}#{name}"].found for name in ("images", "rawDepths", "depths", "scenes")} == {
        "images": 14,
        "rawDepths": 14,
        "depths": 14,
        "scenes": 6,
    }
    assert "leaves rows 7:474, columns 7:632; 7:474 and 7:632 are expected" in items["picture nyu_0001"].note
    assert (items[SPLITS].found, items[SPLITS].required) == (0, False)


def test_doctor_finds_a_short_tree_fit_for_a_subset(truth, tmp_path):
    checks = {c.name: c for c in examine(CONVERTER, truth.root, None, 9, Silent(), workspace=tmp_path).checks}
    assert checks["test: frames"].found == "4 in the index, 654 in the full set"
    assert checks["test: sample"].status == "ok"
    assert checks["test: pictures"].found == "640x480, fx 518.9-518.9 px"
    assert {c.status for c in checks.values()} == {"ok", "warn"}


def test_the_card_keeps_the_official_release_apart_from_the_copy():
    copy = load_converter("nyuv2-sun").card
    assert CARD.compat_dataset == copy.name
    assert (CARD.valid_max_m, copy.valid_max_m) == (10.0, 7.99)
    assert (CARD.images, CARD.points_total) == (copy.images, copy.points_total)
    assert (CARD.licence.pixels, CARD.licence.annotations) == (False, True)


def test_the_fixture_is_short_of_nothing_that_the_tests_speak_of():
    assert set(TEST) | set(TRAIN) == set(range(1, PICTURES + 1))
    assert {*WRITTEN, EMPTY} <= set(range(1, PICTURES + 1))
    assert all(region[0].start >= 45 and region[1].start >= 41 for region in (*INVALID, ALMOST_SATURATED))
