import os
import random
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from raw_omnidata import (
    ALMOST_SATURATED,
    MASKED,
    NEVER_SEEN,
    NO_MESH,
    SIZE,
    UNITS_PER_M,
    UNMEASURED,
    info_json,
    intrinsics_of,
    one_hot_csv,
    png,
    put,
    ray_lengths,
    write_view,
)
from raw_taskonomy import (
    CR_LIST,
    CRLF_LIST,
    NO_PICTURES,
    OTHER_TRAIN,
    SPLIT_OF,
    TEST,
    TRAIN,
    UNLISTED,
    VAL,
    write_analytic_tree,
    write_taskonomy_tree,
)

from depthvlm_bench.cards import official_names
from depthvlm_bench.config import parse_options
from depthvlm_bench.errors import CheckError, DataMissingError, FrameError, UsageError
from depthvlm_bench.frames import FrameRef, Skip, Split, scorable
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter

CONVERTER = load_converter("taskonomy")
CARD = CONVERTER.card
TRAINING = Split("train", "train")
PLAIN, SPOILT, WIDE = (f"{TRAIN}/point_{view}" for view in ("0_view_0", "0_view_1", "10_view_2"))
HALF_STEP_M = 0.5 / UNITS_PER_M


def open_tree(root, **options):
    return CONVERTER.open(root, CONVERTER.options_type(**options))


def items(source, split=TRAINING):
    return list(source.index(split))


def refs(source, split=TRAINING):
    return {f"{item.scene}/{item.frame}": item for item in items(source, split) if isinstance(item, FrameRef)}


def skips(source, split=TRAINING):
    return {item.id: item for item in items(source, split) if isinstance(item, Skip)}


def read(source, name, split=TRAINING):
    return source.read(refs(source, split)[name])


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_taskonomy_tree(tmp_path_factory.mktemp("taskonomy"))


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture(scope="module")
def listed(truth):
    """The same tree by the list that lies in it, which names no building that is not on disk."""
    return open_tree(truth.root, splits_csv=CR_LIST)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_taskonomy_tree(tmp_path_factory.mktemp("good"), faulty=False)


@pytest.fixture
def small(good, tmp_path):
    """A tree without faulty views that a test may damage."""
    root = tmp_path / "above" / "omnidata_taskonomy"
    return replace(good, root=Path(shutil.copytree(good.root, root)))


# Which views there are


def test_views_of_the_buildings_of_the_split_are_indexed_and_nothing_else(truth, listed):
    there = {n for n in (*truth.views, *truth.faults) if n.split("/")[0] in (TRAIN, OTHER_TRAIN)}
    assert set(refs(listed)) == there
    assert set(refs(listed, Split("train", "val"))) == {n for n in truth.views if n.startswith(f"{VAL}/")}
    assert set(refs(listed, Split("train", "test"))) == {n for n in truth.views if n.startswith(f"{TEST}/")}


def test_a_view_is_named_by_its_building_and_its_files(listed):
    ref = refs(listed)[WIDE]
    assert ref.id == f"taskonomy/train/{TRAIN}/-/point_10_view_2"
    assert (ref.group, ref.time, ref.camera) == (TRAIN, 10, "")


def test_a_view_without_one_of_its_files_is_counted_under_its_reason(truth, listed):
    found = {n: s for n, s in skips(listed).items() if not n.endswith("/-/-")}
    expected = {f"taskonomy/train/{name.replace('/', '/-/')}": why for name, why in truth.absent.items()}
    assert {n: (s.reason, s.detail) for n, s in found.items()} == expected
    assert {reason for reason, _ in expected.values()} == {
        "missing_image",
        "missing_depth",
        "missing_intrinsics",
    }


def test_a_building_of_no_list_and_one_without_pictures_are_counted_once_each(truth, listed):
    found = {n: s for n, s in skips(listed).items() if n.endswith("/-/-")}
    assert set(found) == {f"taskonomy/train/{building}/-/-" for building in (NO_PICTURES, UNLISTED)}
    for building, (reason, detail) in truth.scenes.items():
        skip = found[f"taskonomy/train/{building}/-/-"]
        assert (skip.reason, skip.detail) == (reason, detail)
        assert skip.group == (building if reason == "missing_scene" else "")


def test_buildings_of_another_split_are_no_skips(listed):
    assert not any(VAL in name or TEST in name for name in skips(listed))


def test_the_packaged_list_is_fullplus_and_names_the_buildings_that_are_not_on_disk(source):
    assert {split: len(source.scenes(split)) for split in ("train", "val", "test")} == {
        "train": 383,
        "val": 75,
        "test": 79,
    }
    assert source.scenes("train") == official_names("taskonomy")["train"]
    absent = [s for s in skips(source).values() if s.reason == "missing_scene"]
    assert len(absent) == 383 - 2
    details = {s.group: s.detail for s in absent}
    assert details.pop(NO_PICTURES) == f"no rgb/taskonomy/{NO_PICTURES}"
    assert set(details.values()) == {"none of its folders"}
    assert set(details) == set(source.scenes("train")) - {TRAIN, OTHER_TRAIN, NO_PICTURES}


def test_splits_are_those_with_a_whole_building_on_disk(small):
    assert open_tree(small.root).source_splits() == ["train", "val", "test"]
    shutil.rmtree(small.root / "depth_zbuffer" / "taskonomy" / VAL)
    assert open_tree(small.root).source_splits() == ["train", "test"]


def test_the_index_goes_building_by_building_and_opens_no_file(truth, monkeypatch):
    opened, scanned = [], []
    scandir, read_bytes = os.scandir, Path.read_bytes
    monkeypatch.setattr(os, "scandir", lambda path: scanned.append(Path(path)) or scandir(path))
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path) or read_bytes(path))
    views = (item for item in open_tree(truth.root).index(TRAINING) if isinstance(item, FrameRef))
    first = next(views)
    assert first.scene == TRAIN
    assert not opened
    assert not any(OTHER_TRAIN in path.parts for path in scanned)
    assert OTHER_TRAIN in {ref.scene for ref in views}
    assert sum(OTHER_TRAIN in path.parts for path in scanned) == 3
    assert not opened


def test_locators_are_shared_since_views_are_millions(listed):
    assert len({id(ref.locator) for ref in refs(listed).values()}) == 1


# Lists


@pytest.mark.parametrize("name", [CR_LIST, CRLF_LIST, "lf.csv", "bom.csv"])
def test_lists_with_any_line_end_are_read(small, name):
    (small.root / "lf.csv").write_bytes(one_hot_csv(SPLIT_OF, "\n") + b"\n\n")
    (small.root / "bom.csv").write_bytes(b"\xef\xbb\xbf" + one_hot_csv(SPLIT_OF, "\r"))
    source = open_tree(small.root, splits_csv=name)
    for split in ("train", "val", "test"):
        assert source.scenes(split) == sorted(s for s, n in SPLIT_OF.items() if n == split)


def test_the_list_in_the_tree_has_bare_carriage_returns(truth):
    text = (truth.root / CR_LIST).read_bytes()
    assert b"\n" not in text
    assert text.count(b"\r") == len(SPLIT_OF) + 1


def test_a_building_that_the_users_list_leaves_out_is_in_no_split(small):
    (small.root / "tiny.csv").write_bytes(one_hot_csv({TRAIN: "train"}, "\r"))
    found = skips(open_tree(small.root, splits_csv="tiny.csv"))
    assert {s.reason for s in found.values()} == {"not_in_split"}
    assert {n.split("/")[2] for n in found} == {OTHER_TRAIN, VAL, TEST, UNLISTED, NO_PICTURES}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("id,train,val,test\rhanson,1,1,0\r", r"line 2.*train,val,test is 1,1,0: exactly one"),
        ("id,train,val,test\rhanson,0,0,0\r", "exactly one"),
        ("id,train,val,test\rhanson,1\r", "exactly one"),
        ("id,train,val,test\r,1,0,0\r", "scene ''"),
        ("id,train,val,test\rhanson,1,0,0\rhanson,0,1,0\r", "line 3.*hanson is in val and in train"),
        ("hanson,1,0,0\rmerom,1,0,0\r", "no column 'train', only hanson, 1, 0"),
        ("id,train,val\rhanson,1,0\r", "no column 'test'"),
    ],
)
def test_a_list_that_does_not_say_one_split_a_building_is_refused(small, text, why):
    (small.root / "bad.csv").write_bytes(text.encode())
    with pytest.raises(CheckError, match=why) as caught:
        open_tree(small.root, splits_csv="bad.csv")
    assert "bad.csv" in str(caught.value)


def test_a_list_that_is_not_there_or_no_text_is_a_users_mistake(small):
    with pytest.raises(DataMissingError, match=r"no list of splits.*absent\.csv.*relative to the root"):
        open_tree(small.root, splits_csv="absent.csv")
    (small.root / "bad.csv").write_bytes(b"id,train\xff\xfe\r")
    with pytest.raises(CheckError, match="not UTF-8"):
        open_tree(small.root, splits_csv="bad.csv")


# What a view holds


@pytest.mark.parametrize("name", [PLAIN, SPOILT, WIDE])
def test_intrinsics_follow_from_the_views_own_field_of_view(truth, source, name):
    camera = read(source, name).camera
    found = (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px)
    assert found == pytest.approx(truth.views[name].intrinsics, abs=1e-12)
    assert (camera.width, camera.height) == (SIZE, SIZE)
    assert len({truth.views[n].intrinsics[0] for n in (PLAIN, SPOILT, WIDE)}) == 3


@pytest.mark.parametrize("name", [PLAIN, SPOILT, WIDE])
def test_depth_is_the_plane_within_half_a_step_and_nothing_where_no_mesh_was_seen(truth, source, name):
    depth, expected_m = read(source, name).depth, truth.views[name].depth_m
    metres = depth.depth_m.reshape(depth.values.shape)
    assert np.array_equal(depth.values == 0, expected_m == 0)
    assert np.abs(metres - expected_m).max() <= HALF_STEP_M + 1e-12


def test_each_code_of_missing_geometry_and_the_mask_are_invalid(source):
    frame = read(source, SPOILT)
    for region in (MASKED, NEVER_SEEN, UNMEASURED, ALMOST_SATURATED):
        assert not frame.depth.values[region].any()
    assert frame.extra["masks"] == ["mask_valid"]
    assert frame.depth.source_png is None


def test_a_file_that_needs_no_cleaning_is_kept_as_it_is(truth, source):
    frame = read(source, PLAIN)
    assert frame.depth.source_png == truth.path("depth_zbuffer", PLAIN).read_bytes()
    assert frame.extra["masks"] == []


@pytest.mark.parametrize("name", [PLAIN, SPOILT, WIDE])
def test_the_picture_is_that_of_the_depth(truth, source, name):
    """Red and green of a pixel name the column and row that the depth pixel claims."""
    frame = read(source, name)
    pixels = np.asarray(frame.picture.decode())
    u, v = frame.depth.source_pixels()
    blue = np.full_like(u, truth.views[name].blue)
    assert np.array_equal(pixels.reshape(-1, 3), np.stack([u, v, blue], axis=-1).astype(np.uint8))
    assert frame.picture.path == f"rgb/taskonomy/{name}_domain_rgb.png"


def test_a_view_of_the_releases_own_size(small):
    """512 px at the field of view of the release's sample view: 256 / tan(fov / 2) px, centre 255.5."""
    name = f"{TRAIN}/point_202_view_5"
    write_view(small, name, 1.180512021910271, np.full((512, 512), 7.54))
    frame = read(open_tree(small.root), name)
    assert frame.camera.fx_px == pytest.approx(382.1315, abs=1e-4)
    assert (frame.camera.cx_px, frame.camera.cy_px) == (255.5, 255.5)
    assert np.unique(frame.depth.values).tolist() == [round(7.54 * 512)]


# Ray distance


@pytest.mark.parametrize("name", [PLAIN, SPOILT, WIDE])
def test_ray_distance_becomes_z_within_a_step_of_the_z_buffer(truth, source, name):
    z, euclidean = read(source, name), read(open_tree(truth.root, depth="euclidean"), name)
    assert euclidean.depth_kind == "z"
    assert euclidean.camera == z.camera
    assert np.array_equal(euclidean.depth.values == 0, z.depth.values == 0)
    difference = euclidean.depth.values.astype(int) - z.depth.values.astype(int)
    assert np.abs(difference).max() <= 1
    stored = np.asarray(Image.open(truth.path("depth_euclidean", name))).astype(int)
    valid = z.depth.values > 0
    assert (stored - z.depth.values)[valid].max() > 20  # the two renderings are not alike


def test_a_frontal_plane_has_one_z_and_many_distances(small):
    name = f"{TRAIN}/point_8_view_8"
    write_view(small, name, 1.9, np.full((SIZE, SIZE), 2.0))
    assert np.unique(read(open_tree(small.root), name).depth.values).tolist() == [1024]
    assert np.unique(read(open_tree(small.root, depth="euclidean"), name).depth.values).tolist() == [1024]
    stored = np.asarray(Image.open(small.path("depth_euclidean", name)))
    assert stored.max() == round(1024 * ray_lengths(intrinsics_of(1.9), SIZE).max())


def test_a_tree_without_the_z_buffer_is_read_by_its_ray_distance_only(small):
    shutil.rmtree(small.root / "depth_zbuffer")
    with pytest.raises(DataMissingError, match="depth_euclidean"):
        open_tree(small.root)
    assert PLAIN in refs(open_tree(small.root, depth="euclidean"))


def test_another_rendering_is_a_users_mistake():
    with pytest.raises(UsageError, match="zbuffer"):
        parse_options(CONVERTER.options_type, ["depth=ray"], "taskonomy")
    assert parse_options(CONVERTER.options_type, ["depth=euclidean"], "taskonomy").depth == "euclidean"


# Invalid pixels are never asked


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return write_taskonomy_tree(tmp_path_factory.mktemp("scratch"), faulty=False)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rendering=st.sampled_from(["zbuffer", "euclidean"]))
def test_no_invalid_code_or_masked_pixel_can_be_asked(scratch, seed, rendering):
    rng, name = np.random.default_rng(seed), f"{TRAIN}/point_9_view_9"
    write_view(scratch, name, 1.0, np.full((SIZE, SIZE), 3.0))
    values = np.array(Image.open(scratch.path(f"depth_{rendering}", name))).astype(np.uint16)
    codes = rng.choice([0, 60_001, NO_MESH], values.shape).astype(np.uint16)
    coded, masked = rng.random(values.shape) < 0.3, rng.random(values.shape) < rng.random()
    put(scratch.path(f"depth_{rendering}", name), png(np.where(coded, codes, values)))
    put(scratch.path("mask_valid", name), png(np.where(masked, 0, 255).astype(np.uint8)))
    source = open_tree(scratch.root, depth=rendering, min_valid_share=0.0)
    usable = scorable(read(source, name).depth, CARD.valid_min_m, CARD.valid_max_m)
    assert np.array_equal(usable.reshape(values.shape), ~(coded | masked))


# What cannot be used


def test_every_faulty_view_says_why_and_where(truth, source):
    assert {reason for reason, _ in truth.faults.values()} == {
        "unreadable",
        "size_mismatch",
        "bad_intrinsics",
        "missing_intrinsics",
        "no_valid_depth",
    }
    for name, (reason, detail) in truth.faults.items():
        with pytest.raises(FrameError) as caught:
            read(source, name).picture.decode()
        assert (caught.value.reason, detail in caught.value.detail) == (reason, True), caught.value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2]", "unreadable"),
        ("", "unreadable"),
        ("[" * 100_000, "unreadable"),
        (info_json(None, 2.0), "missing_intrinsics"),
        (info_json(1.0, 2.0, size=None), "missing_intrinsics"),
        (info_json(3.15, 2.0), "bad_intrinsics"),
        (info_json(-1.0, 2.0), "bad_intrinsics"),
        (info_json(float("nan"), 2.0), "bad_intrinsics"),
        (info_json("1.0", 2.0), "bad_intrinsics"),
        (info_json(True, 2.0), "bad_intrinsics"),
        (info_json(1.0, 2.0, size=48.5), "bad_intrinsics"),
        (info_json(1.0, 2.0, size=0), "bad_intrinsics"),
        (info_json(1.0, 2.0, size=[48, 48]), "bad_intrinsics"),
        (info_json(3.1, 2.0), "bad_intrinsics"),
        (info_json(1.0, 2.0, size=512), "size_mismatch"),
    ],
)
def test_a_camera_file_that_is_none_costs_its_view_only(small, text, reason):
    put(small.path("point_info", PLAIN), text)
    source = open_tree(small.root)
    with pytest.raises(FrameError) as caught:
        read(source, PLAIN)
    assert caught.value.reason == reason
    assert read(source, SPOILT).camera.fx_px == small.views[SPOILT].intrinsics[0]


@pytest.mark.parametrize("domain", ["rgb", "depth_zbuffer", "point_info"])
def test_a_file_that_vanishes_after_the_index_is_named(small, domain):
    source = open_tree(small.root)
    ref = refs(source)[PLAIN]
    path = small.path(domain, PLAIN)
    path.unlink()
    with pytest.raises(FrameError, match=path.name):
        source.read(ref)


def test_depth_in_another_unit_contradicts_the_distance_of_the_point_in_the_centre(small):
    """An eighth of the unit: values eight times as large, as the annotator's demonstration renders have."""
    path = small.path("depth_zbuffer", PLAIN)
    values = np.asarray(Image.open(path)).astype(int)
    put(path, png(np.minimum(values * 8, 60_000).astype(np.uint16)))
    with pytest.raises(FrameError, match=r"bad_intrinsics: .*point_info\.json: the point in the centre is"):
        read(open_tree(small.root), PLAIN)
    assert read(open_tree(small.root, check_fixation=False), PLAIN).depth.depth_m.max() > 8


@pytest.mark.parametrize("distance_m", [None, "far", 0.0, -1.0, float("nan")])
def test_a_camera_file_without_a_distance_is_not_checked_against_it(small, distance_m):
    put(small.path("point_info", PLAIN), info_json(1.18, distance_m))
    assert read(open_tree(small.root), PLAIN).camera.fx_px > 0


@pytest.mark.parametrize(("factor", "taken"), [(0.55, True), (1.9, True), (0.4, False), (2.5, False)])
def test_the_point_in_the_centre_may_lie_off_an_edge(small, factor, taken):
    name = f"{TRAIN}/point_8_view_8"
    write_view(small, name, 1.0, np.full((SIZE, SIZE), 2.0), distance_m=2.0 * factor)
    source = open_tree(small.root)
    if taken:
        assert read(source, name).depth.values.any()
    else:
        with pytest.raises(FrameError, match="bad_intrinsics"):
            read(source, name)


def test_a_view_with_a_hole_in_its_centre_is_taken(small):
    name = f"{TRAIN}/point_8_view_8"
    depth_m = np.full((SIZE, SIZE), 2.0)
    depth_m[15:33, 15:33] = np.inf
    write_view(small, name, 1.0, depth_m, distance_m=9.0)
    assert read(open_tree(small.root), name).depth.values.any()


def test_how_much_of_a_view_must_show_a_mesh_is_an_option(small):
    name = f"{TRAIN}/point_8_view_8"
    depth_m = np.full((SIZE, SIZE), np.inf)
    depth_m[:4, :6] = 2.0  # 24 of 2304 pixels: 1.04 %
    write_view(small, name, 1.0, depth_m, distance_m=None)
    assert read(open_tree(small.root), name).depth.values.astype(bool).sum() == 24
    with pytest.raises(FrameError, match=r"no_valid_depth: .*_zbuffer\.png: a mesh shows in 1\.04% of it"):
        read(open_tree(small.root, min_valid_share=0.02), name)
    with pytest.raises(UsageError, match=r"min_valid_share=1\.5"):
        open_tree(small.root, min_valid_share=1.5)


def test_a_broken_file_changes_its_own_view_only(truth, good):
    before, after = open_tree(good.root), open_tree(truth.root)
    for name in (PLAIN, SPOILT, WIDE):
        a, b = read(before, name), read(after, name)
        assert np.array_equal(a.depth.values, b.depth.values)
        assert (a.camera, a.picture.sha256, a.ref) == (b.camera, b.picture.sha256, b.ref)


# Order, roots, layout


def test_listing_order_does_not_matter(truth, monkeypatch):
    expected = items(open_tree(truth.root, splits_csv=CR_LIST))
    scandir, calls = os.scandir, []

    @contextmanager
    def shuffled(path):
        with scandir(path) as entries:
            found = list(entries)
        random.Random(len(calls)).shuffle(found)
        calls.append(path)
        yield iter(found)

    monkeypatch.setattr(os, "scandir", shuffled)
    assert items(open_tree(truth.root, splits_csv=CR_LIST)) == expected
    assert len(calls) > 8


def test_views_come_in_the_order_of_their_numbers(listed):
    stems = [ref.frame for ref in refs(listed).values() if ref.scene == TRAIN]
    numbers = [tuple(int(part) for part in stem.split("_")[1::2]) for stem in stems]
    assert numbers == sorted(numbers)
    assert numbers[-1] == (10, 2)


@pytest.mark.parametrize("domain", ["rgb", "depth_zbuffer", "point_info"])
def test_a_root_without_a_folder_says_what_is_there_instead(small, domain):
    shutil.rmtree(small.root / domain)
    with pytest.raises(DataMissingError) as caught:
        open_tree(small.root)
    text = str(caught.value)
    assert f"{domain}/taskonomy" in text
    assert "dvbench datasets taskonomy" in text
    assert "depth_euclidean" in text  # among what is there


def test_a_root_that_is_one_level_off_is_told_the_right_one(small):
    for root in (small.root.parent, small.root / "rgb", small.root / "rgb" / "taskonomy"):
        with pytest.raises(DataMissingError, match=f"--root {small.root} has it"):
            open_tree(root)


@pytest.mark.parametrize(
    ("file", "meaning"),
    [
        ("rgb/point_0_view_0_domain_rgb.png", "one building's archive"),
        ("rgb/hanson/point_0_view_0_domain_rgb.png", "buildings right below rgb/"),
        ("hanson/rgb/point_0_view_0_domain_rgb.png", "one folder a building"),
        ("hanson_rgb.tar", "archives that are not unpacked"),
        ("rgb__taskonomy__hanson.tar", "archives that are not unpacked"),
        ("compressed/rgb__taskonomy__hanson.tar", "archives that are not unpacked"),
    ],
)
def test_another_layout_is_named(tmp_path, file, meaning):
    put(tmp_path / file, b"")
    with pytest.raises(DataMissingError, match=meaning) as caught:
        open_tree(tmp_path)
    assert file in str(caught.value)


def test_archives_that_were_kept_beside_the_tree_do_no_harm(small):
    put(small.root / "compressed" / "rgb__taskonomy__hanson.tar", b"")
    assert PLAIN in refs(open_tree(small.root))


def test_another_data_set_below_the_same_root_is_left_alone(small):
    shutil.copytree(small.root / "rgb" / "taskonomy", small.root / "rgb" / "replica")
    assert "replica" not in {s.id.split("/")[2] for s in skips(open_tree(small.root)).values()}


def test_layout_counts_the_buildings_of_each_kind(small):
    found = {item.pattern: (item.found, item.required) for item in open_tree(small.root).layout()}
    assert found == {
        "rgb/taskonomy/*/": (5, True),
        "depth_zbuffer/taskonomy/*/": (6, True),
        "point_info/taskonomy/*/": (6, True),
        "mask_valid/taskonomy/*/": (6, False),
    }


# Records


@pytest.fixture(scope="module")
def records(truth, convert_split, tmp_path_factory):
    options = CONVERTER.options_type(splits_csv=CR_LIST)
    summary = convert_split(
        "taskonomy", truth.root, tmp_path_factory.mktemp("data"), role="train", options=options, shard_rows=4
    )
    rows = {row["id"]: row for row in RecordSet(summary.folder, "train").rows()}
    return summary, {name: rows.get(f"taskonomy/train/{name.replace('/', '/-/')}") for name in truth.views}


def test_the_training_set_holds_the_good_views_and_counts_the_others(truth, records):
    summary, _ = records
    reasons = [
        reason for reason, _ in (*truth.absent.values(), *truth.faults.values(), *truth.scenes.values())
    ]
    assert summary.skips == {reason: reasons.count(reason) for reason in reasons}
    assert summary.images == sum(n.split("/")[0] in (TRAIN, OTHER_TRAIN) for n in truth.views)
    assert summary.settings.source_split == "train"


@pytest.mark.parametrize(("name", "full", "left"), [(PLAIN, 1340, 158), (SPOILT, 966, 0), (WIDE, 3834, 1405)])
def test_canonical_pictures_are_cut_to_1024_around_their_centre(records, name, full, left):
    row = records[1][name]
    assert (row["full_width"], row["full_height"]) == (full, full)
    assert (row["crop_left"], row["crop_top"]) == (left, left)
    assert (row["width"], row["height"]) == (min(full, 1024), min(full, 1024))
    assert row["fx"] == pytest.approx(1000, rel=1e-3)
    assert row["cx"] == pytest.approx((SIZE / 2) * full / SIZE - 0.5 - left, abs=1e-9)


def test_pictures_that_would_grow_are_stored_as_they_came(truth, records):
    for name in (PLAIN, SPOILT, WIDE):
        row = records[1][name]
        assert row["image"] is None
        assert row["source_image"] == truth.path("rgb", name).read_bytes()


def test_the_card_has_a_training_role_only(convert_split, truth, tmp_path):
    assert CARD.roles == ("train",)
    with pytest.raises(UsageError, match="taskonomy has no eval split"):
        convert_split("taskonomy", truth.root, tmp_path, role="eval")


def test_another_split_is_reached_by_its_name(convert_split, small, tmp_path):
    summary = convert_split(
        "taskonomy", small.root, tmp_path / "data", role="train", source_split="val", max_skip_share=1.0
    )
    assert summary.set_name == "taskonomy@val"
    assert summary.images == 3


def test_the_analytic_room_comes_back_from_ray_distance(convert_split, tmp_path):
    truth = write_analytic_tree(tmp_path / "raw")
    options = CONVERTER.options_type(depth="euclidean", splits_csv="scenes.csv")
    source = CONVERTER.open(truth.root, options)
    names = {ref.id: ref for ref in refs(source).values()}
    assert set(names) == set(truth.records)
    for record, seen in truth.records.items():
        depth = source.read(names[record]).depth
        usable = scorable(depth, CARD.valid_min_m, CARD.valid_max_m)
        u, v = depth.source_pixels()
        expected_m = truth.scene.depth_m(seen.intrinsics, seen.world_from_cam, u[usable], v[usable])
        assert np.abs(depth.depth_m[usable] - expected_m).max() <= truth.depth_step_m
