import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_matterport3d import (
    CODES,
    COLOR,
    DEPTH,
    FARTHEST,
    FARTHEST_RAW,
    INTRINSICS,
    LAYOUTS,
    LISTS,
    NO_DEPTH,
    OTHER_TRAIN,
    PANOS,
    PARAMETERS,
    SIZE,
    TEST,
    TRAIN,
    UNITS_PER_M,
    UNLISTED,
    VAL,
    HouseWriter,
    depth_png,
    matrix_line,
    plane_m,
    put,
    quantised,
    scan_line,
    write_lists,
    write_matterport3d_tree,
)

from depthvlm_bench.cards import official_names
from depthvlm_bench.config import parse_options
from depthvlm_bench.convert.doctor import examine
from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.errors import CheckError, DataMissingError, FrameError, UsageError
from depthvlm_bench.frames import FrameRef, Skip, Split, scorable
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter

CONVERTER = load_converter("matterport3d")
CARD = CONVERTER.card
TRAINING = Split("train", "train")
HALF_STEP_M = 0.5 / UNITS_PER_M
FIRST = f"{TRAIN}/0/{PANOS[0]}_i0_0"


def open_tree(root, **options):
    return CONVERTER.open(root, CONVERTER.options_type(**options))


def refs(source, split=TRAINING):
    found = (item for item in source.index(split) if isinstance(item, FrameRef))
    return {item.id.split("/", 2)[2]: item for item in found}


def skips(source, split=TRAINING):
    return {item.id: item for item in source.index(split) if isinstance(item, Skip)}


def read(source, name, split=TRAINING):
    return source.read(refs(source, split)[name])


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_matterport3d_tree(tmp_path_factory.mktemp("matterport3d"))


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture(scope="module")
def frames(truth, source):
    return {name: read(source, name) for name in truth.views if name.split("/")[0] in LISTS["train"]}


@pytest.fixture
def small(tmp_path):
    """A tree without faulty views that a test may damage."""
    return write_matterport3d_tree(tmp_path / "above" / "mp3d", faulty=False)


# Which views there are


def test_views_of_the_houses_of_the_split_are_indexed_and_nothing_else(truth, source):
    assert set(refs(source)) == truth.names(TRAIN, OTHER_TRAIN)
    assert set(refs(source, Split("train", "val"))) == truth.names(VAL)
    assert set(refs(source, Split("train", "test"))) == truth.names(TEST)
    assert source.source_splits() == ["train", "val", "test"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_records(tmp_path, frames, layout):
    truth = write_matterport3d_tree(tmp_path, layout)
    source = open_tree(truth.root)
    found = refs(source)
    assert set(found) == truth.names(TRAIN, OTHER_TRAIN)
    frame = source.read(found[FIRST])
    assert frame.ref.id == frames[FIRST].ref.id
    assert frame.picture.sha256 == frames[FIRST].picture.sha256
    assert np.array_equal(frame.depth.values, frames[FIRST].depth.values)
    assert frame.picture.path == f"{truth.folder(TRAIN)}/{COLOR}/{PANOS[0]}_i0_0.jpg"


@pytest.mark.parametrize("root", ["v1", "v1/scans"])
def test_a_root_inside_the_download_is_a_root(tmp_path, root):
    truth = write_matterport3d_tree(tmp_path, "download")
    write_lists(tmp_path / root)
    assert set(refs(open_tree(tmp_path / root))) == truth.names(TRAIN, OTHER_TRAIN)


def test_a_view_is_named_by_house_camera_and_picture(source):
    ref = refs(source)[f"{TRAIN}/1/{PANOS[1]}_i1_3"]
    assert ref.id == f"matterport3d/train/{TRAIN}/1/{PANOS[1]}_i1_3"
    assert (ref.scene, ref.group, ref.camera) == (TRAIN, TRAIN, "1")


def test_views_follow_each_other_as_in_the_camera_file(truth, source):
    lines = truth.conf(TRAIN).read_text().splitlines()
    in_file = [line.split()[2].removesuffix(".jpg") for line in lines if line.startswith("scan ")]
    ordered = sorted(
        (ref for ref in refs(source).values() if ref.scene == TRAIN), key=lambda ref: ref.order_key
    )
    assert [ref.frame for ref in ordered] == in_file


def test_what_the_camera_file_or_the_folders_lack_is_counted_under_its_reason(truth, source):
    found = {name: s for name, s in skips(source).items() if not name.endswith("/-/-")}
    assert {name: (s.reason, s.detail) for name, s in found.items()} == truth.absent
    assert sorted(reason for reason, _ in truth.absent.values()) == [
        "missing_depth",
        "missing_image",
        "missing_intrinsics",
    ]


def test_a_house_of_no_list_and_one_without_depth_are_counted_once_each(truth, source):
    found = {name: s for name, s in skips(source).items() if name.endswith("/-/-")}
    assert set(found) == {f"matterport3d/train/{house}/-/-" for house in (NO_DEPTH, UNLISTED)}
    lacking, unlisted = (found[f"matterport3d/train/{house}/-/-"] for house in (NO_DEPTH, UNLISTED))
    assert (lacking.reason, lacking.group) == ("missing_scene", NO_DEPTH)
    assert lacking.detail == f"no {NO_DEPTH}/{DEPTH}"
    assert (unlisted.reason, unlisted.group) == ("not_in_split", "")


def test_houses_of_other_splits_are_no_skips(source):
    assert not any(VAL in name or TEST in name for name in skips(source))


def test_a_house_without_camera_file_has_no_frame_without_focal_length(small):
    small.conf(TRAIN).rename(small.conf(TRAIN).with_name("another.conf"))
    source = open_tree(small.root)
    assert set(refs(source)) == small.names(OTHER_TRAIN)
    skip = skips(source)[f"matterport3d/train/{TRAIN}/-/-"]
    assert (skip.reason, skip.detail) == ("missing_scene", f"no {TRAIN}/{PARAMETERS}/{TRAIN}.conf")


def test_the_index_opens_no_picture(truth, monkeypatch):
    opened = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.name) or read_bytes(path))
    refs(open_tree(truth.root))
    assert set(opened) == {f"{TRAIN}.conf", f"{OTHER_TRAIN}.conf"}


def test_the_index_goes_house_by_house(small, monkeypatch):
    opened = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.name) or read_bytes(path))
    items = open_tree(small.root).index(TRAINING)
    assert next(item for item in items if isinstance(item, FrameRef)).scene == OTHER_TRAIN
    assert opened == [f"{OTHER_TRAIN}.conf"]


# Splits


def test_without_lists_in_the_tree_the_official_61_11_and_18_houses_are_taken(small):
    for path in small.root.glob("scenes_*.txt"):
        path.unlink()
    source = open_tree(small.root)
    assert {s: len(source.scenes(s)) for s in ("train", "val", "test")} == {
        "train": 61,
        "val": 11,
        "test": 18,
    }
    assert set(refs(source)) == small.names(TRAIN, OTHER_TRAIN)
    assert source.source_splits() == ["train", "val", "test"]
    absent = [skip for skip in skips(source).values() if skip.reason == "missing_scene"]
    assert len(absent) == 61 - 2
    assert {skip.group for skip in absent} == set(official_names("matterport3d")["train"]) - {
        TRAIN,
        OTHER_TRAIN,
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_with_either_line_end_are_read(small, end):
    put(small.root / "scenes_train.txt", f"# houses{end}{end}{TRAIN}{end}{OTHER_TRAIN}{end}".encode())
    source = open_tree(small.root)
    assert source.scenes("train") == sorted([TRAIN, OTHER_TRAIN])
    assert skips(source)[f"matterport3d/train/{NO_DEPTH}/-/-"].reason == "not_in_split"


def test_a_house_in_two_lists_is_refused(small):
    write_lists(small.root, LISTS | {"test": (TEST, TRAIN)})
    with pytest.raises(
        CheckError, match=rf"{TRAIN} is in two splits.*scenes_test\.txt.*in train and in test"
    ):
        open_tree(small.root)


def test_splits_are_those_with_a_whole_house_on_disk(small):
    shutil.rmtree(small.path(VAL, COLOR, "x").parent)
    assert open_tree(small.root).source_splits() == ["train", "test"]


# What a view holds


def test_every_good_view_is_read(frames):
    assert len(frames) == 8 + 4


def test_intrinsics_are_those_of_the_views_own_tripod_and_camera(truth, frames):
    for name, frame in frames.items():
        camera = frame.camera
        assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == truth.views[name].intrinsics
        assert (camera.width, camera.height) == SIZE
        assert frame.extra == {"cy_origin": "unspecified"}
    assert len({frame.camera for frame in frames.values() if frame.ref.scene == TRAIN}) == len(INTRINSICS)


def test_depth_is_the_plane_within_half_a_step_and_nothing_where_a_code_stands(truth, frames):
    for name, frame in frames.items():
        found_m, expected_m = frame.depth.depth_m.reshape(SIZE[::-1]), truth.views[name].depth_m
        assert np.array_equal(found_m == 0, expected_m == 0)
        assert np.abs(found_m - expected_m).max() <= HALF_STEP_M + 1e-12


@pytest.mark.parametrize("region", [region for region, _ in CODES])
def test_codes_are_never_valid(frames, region):
    assert not any(frame.depth.values[region].any() for frame in frames.values())


def test_the_farthest_distance_is_stored_and_not_asked(frames):
    depth = frames[FIRST].depth
    assert (depth.values[FARTHEST] == FARTHEST_RAW).all()
    asked = scorable(depth, CARD.valid_min_m, CARD.valid_max_m).reshape(depth.values.shape)
    assert not asked[FARTHEST].any()
    assert asked.sum() > 4000


def test_a_file_without_codes_is_kept_as_it_is(small):
    raw = quantised(plane_m(INTRINSICS[PANOS[0], 0], 2.0))
    path = small.path(TRAIN, DEPTH, f"{PANOS[0]}_d0_0.png")
    path.write_bytes(depth_png(raw))
    depth = read(open_tree(small.root), FIRST).depth
    assert depth.source_png == path.read_bytes()
    assert np.array_equal(depth.values, raw)


def test_the_picture_is_that_of_the_depth(truth, frames):
    for name, frame in frames.items():
        pixels = np.asarray(frame.picture.decode()).astype(int)
        v, u = np.mgrid[: SIZE[1], : SIZE[0]]
        expected = np.stack([u // 16 * 40, v // 16 * 60, np.full_like(u, truth.views[name].blue)], axis=-1)
        assert np.abs(pixels - expected)[4::16, 4::16].max() <= 8


def test_a_view_of_the_releases_own_size(small):
    """1280x1024 with the numbers that real camera files have."""
    writer = HouseWriter(small, VAL)
    intrinsics = (1075.79, 1076.02, 629.673, 504.871)
    raw = quantised(plane_m(intrinsics, 3.0, (1280, 1024)))
    name = writer.view(PANOS[0], 1, 2, raw, intrinsics=intrinsics, size=(1280, 1024))
    writer.finish()
    frame = read(open_tree(small.root), name, Split("train", "val"))
    assert (frame.camera.cx_px, frame.camera.cy_px) == (629.673, 504.871)
    assert np.array_equal(frame.depth.values, raw)


# Camera files


def conf_of(*lines, announced):
    return "\n".join(["dataset matterport", f"n_images {announced}", *lines]) + "\n"


def two_views(between=()):
    """Lines of two views of the house TRAIN, and what stands between them."""
    key = PANOS[0], 0
    return [matrix_line(INTRINSICS[key]), scan_line(*key, 0), *between, scan_line(*key, 3)]


def names_and_focal_lengths(small):
    return {
        name: ref.locator["K"][0][0] for name, ref in refs(open_tree(small.root)).items() if TRAIN in name
    }


def test_a_later_matrix_leaves_earlier_scans_alone(small):
    other = (70.0, 70.0, 40.0, 32.0)
    put(small.conf(TRAIN), conf_of(*two_views([matrix_line(other)]), announced=2))
    assert names_and_focal_lengths(small) == {FIRST: 67.2, FIRST[:-1] + "3": 70.0}


def test_a_matrix_that_is_set_twice_is_the_last_one_before_the_scan(small):
    put(small.conf(TRAIN), conf_of(matrix_line((70.0, 70.0, 40.0, 32.0)), *two_views(), announced=2))
    assert set(names_and_focal_lengths(small).values()) == {67.2}


@pytest.mark.parametrize("end", ["\r\n", "\n\n"])
def test_line_ends_comments_and_blanks_do_not_matter(small, end):
    lines = ["# intrinsics_matrix 1 0 1  0 1 1  0 0 1", *two_views(["", "   # scan", "\t"])]
    put(small.conf(TRAIN), conf_of(*lines, announced=2).replace("\n", end).replace(" ", "\t"))
    assert names_and_focal_lengths(small) == {FIRST: 67.2, FIRST[:-1] + "3": 67.2}


@pytest.mark.parametrize("announced", [1, 3, 18])
def test_another_number_of_scans_than_announced_is_refused(small, announced):
    put(small.conf(TRAIN), conf_of(*two_views(), announced=announced))
    source = open_tree(small.root)
    with pytest.raises(CheckError, match=rf"n_images is {announced}, there are 2 scans") as caught:
        list(source.index(TRAINING))
    assert f"{TRAIN}.conf" in str(caught.value)
    assert "-o check_n_images=false" in str(caught.value)
    options = parse_options(CONVERTER.options_type, ["check_n_images=false"], "matterport3d")
    assert FIRST in refs(CONVERTER.open(small.root, options))


def test_a_file_that_announces_no_number_is_refused(small):
    put(small.conf(TRAIN), "\n".join(two_views()))
    with pytest.raises(CheckError, match="n_images is None"):
        list(open_tree(small.root).index(TRAINING))


UUID = PANOS[0]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("intrinsics_matrix 67.2 0 40  0 67.2 32  0 0", "a camera matrix has 9 numbers, not 8"),
        ("intrinsics_matrix 67.2 0 40  0 67.2 32  0 0 1 0", "9 numbers, not 10"),
        ("intrinsics_matrix 67.2 0.5 40  0 67.2 32  0 0 1", "without skew"),
        ("intrinsics_matrix 67.2 0 0  0 67.2 0  40 32 1", "no camera matrix"),
        ("intrinsics_matrix 0 0 40  0 67.2 32  0 0 1", "no camera matrix"),
        ("intrinsics_matrix 67.2 0 nan  0 67.2 32  0 0 1", "no camera matrix"),
        ("intrinsics_matrix fx 0 cx  0 fy cy  0 0 1", "could not convert"),
        (f"scan {UUID}_d0_0.png {UUID}_i0_0.jpg " + "1 " * 15, "16 numbers, not 15"),
        (f"scan {UUID}_d0_0.png {UUID}_i0_0.jpg " + "x " * 16, "could not convert"),
        (f"scan {UUID}_d0_0.png {UUID}_i0_3.jpg " + "1 " * 16, "are not depth and picture of one view"),
        (f"scan {UUID}_d1_0.png {UUID}_i0_0.jpg " + "1 " * 16, "are not depth and picture of one view"),
        (f"scan {PANOS[1]}_d0_0.png {UUID}_i0_0.jpg " + "1 " * 16, "are not depth and picture"),
        (f"scan {UUID}_i0_0.jpg {UUID}_d0_0.png " + "1 " * 16, "are not depth and picture"),
        (f"scan ../{UUID}_d0_0.png ../{UUID}_i0_0.jpg " + "1 " * 16, "are not depth and picture"),
        ("scan", "are not depth and picture"),
        ("n_images two", "invalid literal"),
        ("n_images", "invalid literal"),
        ("intrinsics camera.txt", "'intrinsics' is no keyword"),
    ],
)
def test_a_line_that_the_format_has_not_is_refused_by_number(small, line, why):
    put(small.conf(TRAIN), conf_of(*two_views([line]), announced=2))
    with pytest.raises(CheckError, match=why) as caught:
        list(open_tree(small.root).index(TRAINING))
    assert f"{TRAIN}.conf, line 5" in str(caught.value)


def test_a_scan_before_any_matrix_is_refused(small):
    put(small.conf(TRAIN), conf_of(*two_views()[1:], announced=2))
    with pytest.raises(CheckError, match=r"line 3.*a scan before any intrinsics_matrix"):
        list(open_tree(small.root).index(TRAINING))


def test_a_camera_file_that_is_none_is_refused(small):
    small.conf(TRAIN).write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    with pytest.raises(CheckError, match=r"line 1"):
        list(open_tree(small.root).index(TRAINING))


def test_a_view_that_is_listed_twice_is_refused_on_converting(small, tmp_path):
    put(small.conf(TRAIN), conf_of(*two_views([scan_line(PANOS[0], 0, 0)]), announced=3))
    with pytest.raises(CheckError, match="two frames have one name"):
        convert(CONVERTER, ConvertRequest(small.root, tmp_path, "train"), Silent())


# What cannot be used


def test_every_faulty_view_says_why_and_where(truth, source):
    assert {reason for reason, _ in truth.faults.values()} == {
        "unreadable",
        "size_mismatch",
        "bad_intrinsics",
    }
    found = refs(source)
    for name, (reason, detail) in truth.faults.items():
        with pytest.raises(FrameError) as caught:
            source.read(found[name]).source_picture()
        assert (caught.value.reason, detail in caught.value.detail) == (reason, True), caught.value


def test_intrinsics_of_the_whole_size_are_refused_for_smaller_pictures(small):
    """Copies at a quarter of the size keep the camera files of the whole one."""
    writer = HouseWriter(small, VAL)
    raw = quantised(plane_m((67.2, 67.2, 40.0, 32.0), 2.0))
    name = writer.view(PANOS[0], 0, 0, raw, intrinsics=(268.8, 268.8, 160.0, 128.0))
    writer.finish()
    with pytest.raises(FrameError, match=r"bad_intrinsics: .* is \(80, 64\), its camera"):
        read(open_tree(small.root), name, Split("train", "val"))


def test_a_file_that_goes_after_the_index_is_missing(small):
    source = open_tree(small.root)
    ref = refs(source)[FIRST]
    small.path(TRAIN, DEPTH, f"{PANOS[0]}_d0_0.png").unlink()
    with pytest.raises(FrameError, match=f"missing_depth: {TRAIN}/{DEPTH}/{PANOS[0]}_d0_0.png"):
        source.read(ref)
    small.path(TRAIN, COLOR, f"{PANOS[0]}_i0_0.jpg").unlink()
    with pytest.raises(FrameError, match=f"missing_image: {TRAIN}/{COLOR}/{PANOS[0]}_i0_0.jpg"):
        source.read(ref)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_code_can_be_asked(scratch, seed):
    rng = np.random.default_rng(seed)
    measured = rng.integers(40, 40_001, SIZE[::-1])
    codes = rng.choice([0, 65_501, 65_535, 65_520], measured.shape)
    coded = rng.random(measured.shape) < rng.random()
    scratch.path(TRAIN, DEPTH, f"{PANOS[0]}_d0_0.png").write_bytes(
        depth_png(np.where(coded, codes, measured))
    )
    depth = read(open_tree(scratch.root), FIRST).depth
    usable = scorable(depth, CARD.valid_min_m, CARD.valid_max_m)
    assert np.array_equal(usable.reshape(measured.shape), ~coded)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return write_matterport3d_tree(tmp_path_factory.mktemp("scratch"), faulty=False)


# Roots


def test_a_root_that_is_one_house_is_pointed_to_the_folder_above(small):
    house = small.root / small.folder(TRAIN)
    with pytest.raises(DataMissingError, match=f"one house of Matterport3D.*--root {small.root}"):
        open_tree(house)


def test_a_root_above_or_beside_is_named(tmp_path):
    write_matterport3d_tree(tmp_path / "a" / "mp3d", "download")
    with pytest.raises(DataMissingError, match=f"no scans/ in.*holds mp3d.*--root {tmp_path / 'a' / 'mp3d'}"):
        open_tree(tmp_path / "a")


@pytest.mark.parametrize(
    ("removed", "named"),
    [
        ("undistorted_camera_parameters/*.conf", f"undistorted_camera_parameters/{OTHER_TRAIN}.conf"),
        ("undistorted_depth_images", "undistorted_depth_images"),
    ],
)
def test_houses_that_all_lack_a_kind_of_file_say_which(tmp_path, removed, named):
    """One of the kinds of archive was not downloaded, or not unpacked."""
    tree = write_matterport3d_tree(tmp_path, faulty=False)
    for path in [*tree.root.glob(f"*/{removed}")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataMissingError, match=r"no house of this matterport3d tree is whole") as caught:
        open_tree(tmp_path)
    assert f"the first lacks {OTHER_TRAIN}/{named}" in str(caught.value)
    assert "unpack" in caught.value.next_step


def test_an_empty_download_says_what_is_looked_for(tmp_path):
    (tmp_path / "v1" / "scans" / TRAIN).mkdir(parents=True)
    with pytest.raises(DataMissingError, match=r"no HOUSE/undistorted_color_images/ in this matterport3d"):
        open_tree(tmp_path)


@pytest.mark.parametrize(
    ("there", "meaning"),
    [
        (f"v1/scans/{TRAIN}/undistorted_color_images.zip", "archives that are not unpacked"),
        (f"{TRAIN}/undistorted_depth_images.zip", "archives that are not unpacked"),
        (f"v1/scans/{TRAIN}/{TRAIN}/matterport_color_images/x.jpg", "the distorted pictures"),
        (f"v1/tasks/mp3d_habitat/{TRAIN}.txt", "no scans/"),
        (f"{TRAIN}/{TRAIN}.glb", r"meshes \(for Habitat\)"),
        (f"v1/scans/{TRAIN}/matterport_skybox_images/x.jpg", "panoramas without depth"),
    ],
)
def test_another_release_is_refused_by_name(tmp_path, there, meaning):
    put(tmp_path / there, b"x")
    with pytest.raises(DataMissingError, match=meaning):
        open_tree(tmp_path)


def test_a_house_that_was_unpacked_twice_is_refused(small):
    shutil.copytree(small.root / TRAIN, small.root / TRAIN / TRAIN)
    with pytest.raises(CheckError, match=f"{TRAIN} is there twice.*{TRAIN} and {TRAIN}/{TRAIN}"):
        open_tree(small.root)


# Determinism


def test_nothing_depends_on_the_order_of_folders(truth, source, monkeypatch):
    plain_glob, plain_iterdir = Path.glob, Path.iterdir
    rng = random.Random(7)

    def shuffled(paths):
        paths = list(paths)
        rng.shuffle(paths)
        return iter(paths)

    expected = list(source.index(TRAINING))
    monkeypatch.setattr(Path, "glob", lambda path, pattern: shuffled(plain_glob(path, pattern)))
    monkeypatch.setattr(Path, "iterdir", lambda path: shuffled(plain_iterdir(path)))
    for _ in range(3):
        assert list(open_tree(truth.root).index(TRAINING)) == expected


def test_a_corrupt_file_changes_only_its_frame(small, tmp_path):
    def converted(name):
        request = ConvertRequest(small.root, tmp_path / name, "train", max_skip_share=1.0)
        rows = RecordSet(convert(CONVERTER, request, Silent()).folder, "train").rows()
        return {row["id"]: row["depth"]["bytes"] for row in rows}

    before = converted("before")
    small.path(TRAIN, DEPTH, f"{PANOS[0]}_d0_0.png").write_bytes(b"\x89PNG broken")
    after = converted("after")
    assert set(before) - set(after) == {f"matterport3d/train/{FIRST}"}
    assert after == {name: depth for name, depth in before.items() if name in after}


# Before and while converting


def test_a_view_without_depth_in_range_is_left_out(small, tmp_path):
    small.path(TRAIN, DEPTH, f"{PANOS[0]}_d0_0.png").write_bytes(depth_png(np.zeros(SIZE[::-1])))
    request = ConvertRequest(small.root, tmp_path, "train", max_skip_share=1.0)
    summary = convert(CONVERTER, request, Silent())
    assert summary.images == len(small.names(TRAIN, OTHER_TRAIN)) - 1
    assert summary.skips == {"no_valid_depth": 1, "missing_scene": 1, "not_in_split": 1}


def test_another_split_is_converted_by_name(small, tmp_path):
    request = ConvertRequest(small.root, tmp_path, "train", source_split="val")
    summary = convert(CONVERTER, request, Silent())
    assert (summary.set_name, summary.images) == ("matterport3d@val", len(small.names(VAL)))


def test_it_is_no_evaluation_set(small, tmp_path):
    with pytest.raises(UsageError, match="matterport3d has no eval split"):
        convert(CONVERTER, ConvertRequest(small.root, tmp_path), Silent())


def test_layout_counts_houses_by_kind(source):
    items = {item.pattern: item for item in source.layout()}
    assert {kind: items[f"HOUSE/{kind}/"].found for kind in (PARAMETERS, COLOR, DEPTH)} == {
        PARAMETERS: 6,
        COLOR: 6,
        DEPTH: 5,
    }
    assert items["scenes_*.txt"].found == 3
    assert items[f"HOUSE/{DEPTH}/"].note == "the lists have 5 houses"


def test_doctor_finds_the_tree_fit_and_names_what_is_left_out(truth, small, tmp_path):
    checks = {c.name: c for c in examine(CONVERTER, small.root, None, 4, Silent(), workspace=tmp_path).checks}
    assert {c.status for c in checks.values()} == {"ok", "warn"}
    assert checks["train: frames"].found == "12 in the index"
    assert checks["train: left out"].status == "warn"
    assert checks["train: sample"].found == "4 of 4 read"


def test_doctor_says_which_camera_file_is_wrong(small, tmp_path):
    put(small.conf(TRAIN), conf_of(*two_views(), announced=18))
    found = examine(CONVERTER, small.root, None, 2, Silent(), workspace=tmp_path)
    check = {c.name: c for c in found.checks}["index of train"]
    assert (found.status, check.status) == ("fail", "fail")
    assert "n_images is 18, there are 2 scans" in check.found


def test_the_card_lets_nothing_out():
    assert (CARD.valid_min_m, CARD.valid_max_m, CARD.depth_scale) == (0.01, 10.0, 4000)
    assert (CARD.licence.login, CARD.licence.pixels, CARD.licence.annotations) == (True, False, False)
    assert CARD.splits == {"train": ("train", "val", "test")}
