"""The published list as a source: what is read, what is assumed, and what a bad line gets."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.convert.annotations import PUBLISHED, annotation_converter
from depthvlm_bench.convert.run import ConvertRequest, convert, open_source
from depthvlm_bench.convert.verify import verify
from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.frames import Split
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter

# Lists of this test are in millimetres.
CARD = replace(builtin_card("ibims1"), published_depth_scale=1000.0)
SIZE = (64, 48)
FX = 56.0
CANONICAL = [round(SIZE[0] * 1000 / FX), round(SIZE[1] * 1000 / FX)]


def record(name, **changed):
    known = {
        "scene": "room",
        "image": f"{name}.png",
        "depth_path": f"{name}.png",
        "depth_scale": 1000.0,
        "original_rgb_size": list(SIZE),
        "original_fx": FX,
        "canonical_size": CANONICAL,
        "pixel_coords": [[1, 2], [60, 40]],
        "depth": [2.5, 3.5],
    }
    return known | changed


@pytest.fixture
def published(tmp_path):
    """Two pictures; in the first, a mask says that the second listed point is not to be trusted."""
    for folder in ("rgb", "depth"):
        (tmp_path / folder).mkdir()
    raw = np.full((SIZE[1], SIZE[0]), 2500, np.uint16)
    raw[36:44, 56:64] = 3500
    mask = np.full(raw.shape, 255, np.uint8)
    mask[36:44, 56:64] = 0
    for name in ("a", "b"):
        Image.fromarray(raw).save(tmp_path / "depth" / f"{name}.png")
        Image.new("RGB", SIZE, (9, 99, 199)).save(tmp_path / "rgb" / f"{name}.png")
    Image.fromarray(mask).save(tmp_path / "depth" / "mask.png")
    write(tmp_path, [record("a", mask_valid_path="mask.png"), record("b", camera="left")])
    return tmp_path


def write(root, records):
    (root / "list.jsonl").write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records))


def converted(root, data):
    request = ConvertRequest(root, data, annotations=root / "list.jsonl")
    return convert(replace(load_converter("ibims1"), card=CARD), request, Silent())


def test_a_published_set_holds_the_list_and_verifies(published, tmp_path):
    summary = converted(published, tmp_path / "data")
    assert (summary.set_name, summary.images, summary.settings.set_kind) == (
        "ibims1@published",
        2,
        "published",
    )
    rows = list(RecordSet(summary.folder, "eval").rows())
    assert [row["id"] for row in rows] == ["ibims1/eval/room/-/a", "ibims1/eval/room/left/b"]
    assert [row["listed_row"] for row in rows] == [0, 1]
    assert json.loads(rows[1]["listed_record"]) == record("b", camera="left")
    assert verify(summary.folder, ["eval"], Silent()) == []


def test_what_the_list_does_not_say_is_marked_as_assumed(published, tmp_path):
    row = next(RecordSet(converted(published, tmp_path / "data").folder, "eval").rows())
    assert row["camera_assumed"]
    assert (row["source_fx"], row["source_fy"]) == (FX, FX)
    assert (row["source_cx"], row["source_cy"]) == ((SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2)
    assert [point["ray_factor"] for point in row["points"]] == [None]
    assert [row["width"], row["height"]] == CANONICAL


def test_masks_hold_for_the_stored_depth_and_not_for_the_listed_truth(published, tmp_path):
    """As in the paper's code: dense truth is masked, the truth read again at a listed point is not."""
    masked, whole = RecordSet(converted(published, tmp_path / "data").folder, "eval").rows()
    assert len(masked["points"]) == 1
    assert len(whole["points"]) == 2
    assert masked["compat_gt_m"] == whole["compat_gt_m"] == [2.5, 3.5]


def test_a_line_whose_files_are_gone_is_counted_and_the_others_stay(published, tmp_path):
    (published / "rgb" / "a.png").unlink()
    summary = converted(published, tmp_path / "data")
    assert (summary.images, summary.skips, summary.dropped) == (1, {"missing_image": 1}, 1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", ["no JSON record", "list.jsonl:2"]),
        ("[]", ["no annotation", "it lacks"]),
        ({"image": "b.png"}, ["it lacks depth_path", "list.jsonl:2"]),
        (record("b", image=None), ["must be paths", "list.jsonl:2"]),
        (record("b", original_rgb_size=[64]), ["original_rgb_size", "list.jsonl:2"]),
        (record("b", canonical_size=[0, 9]), ["canonical_size", "list.jsonl:2"]),
        (record("b", depth_scale="mm"), ["depth_scale", "list.jsonl:2"]),
        (record("b", pixel_coords=[["a", 1], [2, 3]]), ["whole pixels", "list.jsonl:2"]),
        (record("b", pixel_coords=[[1.5, 1], [2, 3]]), ["whole pixels", "list.jsonl:2"]),
        (record("b", depth=[2.5]), ["depth must be 2 numbers", "list.jsonl:2"]),
        (record("b", depth=[2.5, float("nan")]), ["depth must be 2 numbers", "list.jsonl:2"]),
    ],
)
def test_a_line_that_is_no_record_is_named(published, tmp_path, line, words):
    write(published, [record("a"), line])
    with pytest.raises(CheckError) as caught:
        converted(published, tmp_path / "data")
    assert all(word in caught.value.one_line() for word in words)


def test_empty_lines_count_where_a_line_is_named_and_not_as_rows(published, tmp_path):
    write(published, ["", record("a"), "", record("b")])
    rows = (
        RecordSet(converted(published, tmp_path / "data").folder, "eval").points(["listed_row"]).to_pylist()
    )
    assert [row["listed_row"] for row in rows] == [0, 1]
    write(published, ["", record("a"), "", "{"])
    with pytest.raises(CheckError) as caught:
        converted(published, tmp_path / "again")
    assert caught.value.where.endswith("list.jsonl:4")


@pytest.mark.parametrize(("content", "words"), [(b"\xff\xd8 a picture", "UTF-8"), (b'{"image": ', "JSON")])
def test_a_file_that_is_no_list_is_one_line(published, tmp_path, content, words):
    (published / "list.jsonl").write_bytes(content)
    with pytest.raises(CheckError, match=words):
        converted(published, tmp_path / "data")


def test_a_byte_order_mark_and_a_line_separator_in_a_string_end_no_record(published, tmp_path):
    line = json.dumps(record("a", prompt="one\u2028two"), ensure_ascii=False)
    (published / "list.jsonl").write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n")
    assert converted(published, tmp_path / "data").images == 1


@pytest.mark.parametrize("lines", [[], [record("x"), record("y")]], ids=["no line", "no file"])
def test_a_list_of_which_nothing_can_be_used_says_what_root_must_be(published, tmp_path, lines):
    write(published, lines)
    with pytest.raises(DataMissingError, match="no image of the list") as caught:
        converted(published, tmp_path / "data")
    assert "--root must be the folder" in caught.value.next_step
    assert ("2 missing_image" in caught.value.why) == bool(lines)


def test_pictures_of_one_name_in_two_folders_have_their_path_as_name(published, tmp_path):
    """SUN RGB-D's files are numbered anew in each of its folders, and its records name no scene."""
    for folder in ("kv2", "xtion"):
        (published / "rgb" / folder).mkdir()
        shutil.copy(published / "rgb" / "a.png", published / "rgb" / folder / "1.png")
    lines = [record("a", scene=None, image=f"{folder}/1.png") for folder in ("kv2", "xtion")]
    write(published, [*lines, record("b", scene=None)])
    records = RecordSet(converted(published, tmp_path / "data").folder, "eval")
    assert [row["id"] for row in records.rows()] == [
        "ibims1/eval/-/-/kv2_1",
        "ibims1/eval/-/-/xtion_1",
        "ibims1/eval/-/-/b",
    ]


def test_one_picture_twice_is_an_error(published, tmp_path):
    write(published, [record("a"), record("a")])
    with pytest.raises(CheckError, match="two frames have one name"):
        converted(published, tmp_path / "data")


def test_a_mask_of_another_size_is_brought_to_the_depth_as_the_paper_does(published, tmp_path):
    """16 x 12 for 64 x 48: its last column and row cover four pixels of the depth each."""
    mask = np.full((12, 16), 255, np.uint8)
    mask[-1], mask[:, -1] = 0, 0
    Image.fromarray(mask).save(published / "depth" / "mask.png")
    write(published, [record("a", mask_transp_path="mask.png", pixel_coords=[[59, 43], [60, 43]])])
    row = next(RecordSet(converted(published, tmp_path / "data").folder, "eval").rows())
    assert [(point["u_src"], point["v_src"]) for point in row["points"]] == [(59, 43)]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"original_fx": -1.0}, "bad_intrinsics"),
        ({"original_fx": "wide"}, "bad_intrinsics"),
        ({"original_fx": None}, "missing_intrinsics"),
        ({"canonical_size": None}, "missing_intrinsics"),
        ({"original_rgb_size": [640, 480]}, "size_mismatch"),
        ({"original_depth_size": [640, 480]}, "size_mismatch"),
        ({"depth_path": "../list.jsonl"}, "unreadable"),
        ({"depth_format": "exr"}, "unreadable"),
        ({"depth_format": "binary_float32"}, "size_mismatch"),
        ({"mask_transp_path": "absent.png"}, "missing_depth"),
    ],
)
def test_a_record_that_cannot_be_used_is_a_counted_skip(published, tmp_path, changed, reason):
    write(published, [record("a"), record("b", **changed)])
    assert converted(published, tmp_path / "data").skips == {reason: 1}


def test_another_list_is_not_taken_for_the_one_that_was_converted(published, tmp_path):
    converted(published, tmp_path / "data")
    write(published, [record("a")])
    with pytest.raises(UsageError, match="--annotations"):
        converted(published, tmp_path / "data")


def test_the_index_is_the_list_in_order(published):
    source = open_source(annotation_converter(CARD, published / "list.jsonl"), published)
    refs = list(source.index(Split("eval", "published")))
    assert [(ref.time, ref.frame) for ref in refs] == [(0, "a"), (1, "b")]
    assert list(source.scenes("published")) == ["room"]


def test_raw_floats_are_metres_without_a_scale_and_are_kept_as_they_are(published, tmp_path):
    """ETH3D's depth files: no header, the size from the list, infinity where the laser saw nothing."""
    depth_m = np.full((24, 32), np.inf, "<f4")
    depth_m[5:20, 4:30] = 2.123456
    depth_m.tofile(published / "depth" / "a.raw")
    raw = {"depth_path": "a.raw", "depth_format": "binary_float32", "original_depth_size": [32, 24]}
    points = {"pixel_coords": [[10, 10], [0, 0]], "depth": [2.1235, 1.0]}
    write(published, [record("a", **raw, **points)])
    row = next(RecordSet(converted(published, tmp_path / "data").folder, "eval").rows())
    assert (row["depth_scale"], row["depth_width"], row["depth_height"]) == (1.0, 32, 24)
    assert [point["depth_m"] for point in row["points"]] == [float(np.float32(2.123456))]
    assert np.float32(row["compat_gt_m"]).tolist() == [np.float32(2.123456), 1.0]


def test_a_list_of_another_dataset_is_told_by_its_scale(published):
    card = replace(CARD, published_depth_scale=None)  # as the card of iBims-1 is
    source = open_source(annotation_converter(card, published / "list.jsonl"), published)
    with pytest.raises(CheckError, match=r"no list of ibims1.*depth_scale is 1000, .* have 1310\.7"):
        list(source.index(Split("eval", PUBLISHED)))
