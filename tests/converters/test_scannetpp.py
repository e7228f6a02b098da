import json
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from raw_scannetpp import (
    DEPTH_HEIGHT,
    DEPTH_WIDTH,
    EMPTY,
    GOOD,
    TRAIN,
    UNLISTED,
    VAL,
    VAL_ABSENT,
    VAL_BROKEN_JSON,
    deflated,
    depth_bin,
    intrinsics_entry,
    lz4_block,
    pack_depth,
    plane_depth_m,
    png,
    real_scannetpp_tree,
    write_scannetpp_tree,
)

from depthvlm_bench.errors import CheckError, DataMissingError, DvbenchError, FrameError
from depthvlm_bench.frames import FrameRef, Skip, Split, scorable
from depthvlm_bench.registry import load_converter

CONVERTER = load_converter("scannetpp")
EVAL, TRAINING = Split("eval", "nvs_sem_val"), Split("train", "nvs_sem_train")
FULL_SIZE = (1920, 1440)


def open_tree(root, **options):
    return CONVERTER.open(root, CONVERTER.options_type(**options))


def index(source, split=EVAL, scene=VAL):
    return {
        item.frame: item for item in source.index(split) if isinstance(item, FrameRef) and item.scene == scene
    }


@pytest.fixture(scope="module", params=[FULL_SIZE, (192, 144)], ids=["1920x1440", "192x144"])
def truth(request, tmp_path_factory):
    return write_scannetpp_tree(tmp_path_factory.mktemp("scannetpp"), size=request.param)


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture(scope="module")
def frames(source):
    refs = index(source)
    return {name: source.read(refs[name]) for name in (*GOOD, EMPTY)}


@pytest.fixture
def small(tmp_path):
    return write_scannetpp_tree(tmp_path)


def edit_intrinsics(truth, change):
    path = truth.iphone() / "pose_intrinsic_imu.json"
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))


# Which frames there are


def test_every_sixtieth_frame_that_rgb_or_json_names_is_indexed(truth, source):
    refs = index(source)
    assert set(refs) == {*GOOD, EMPTY, *truth.faults}
    assert {name: ref.id for name, ref in refs.items()} == {n: f"scannetpp/eval/{VAL}/-/{n}" for n in refs}
    assert {name: ref.time for name, ref in refs.items()} == {n: int(n[-6:]) for n in refs}
    assert {ref.group for ref in refs.values()} == {VAL}


def test_the_stride_counts_video_indices_not_places_in_the_list(small):
    assert set(index(open_tree(small.root, every=120))) == {
        n for n in (*GOOD, EMPTY, *small.faults) if int(n[-6:]) % 120 == 0
    }
    assert "frame_000030" in index(open_tree(small.root, every=30))
    assert "frame_000001" in index(open_tree(small.root, every=1))


def test_a_stride_of_zero_is_a_users_mistake_without_a_traceback(small):
    with pytest.raises(DvbenchError):
        list(open_tree(small.root, every=0).index(EVAL))


def test_a_listed_scene_that_is_not_on_disk_is_counted(source):
    skips = [item for item in source.index(EVAL) if isinstance(item, Skip)]
    absent = f"data/{VAL_ABSENT}/iphone"
    assert skips == [Skip(f"scannetpp/eval/{VAL_ABSENT}/-/-", "missing_scene", absent, VAL_ABSENT)]


def test_a_scene_without_any_frame_is_named_and_keeps_its_share(tmp_path):
    tree = write_scannetpp_tree(tmp_path)
    folder = tree.root / "data" / VAL / "iphone"
    shutil.rmtree(folder / "rgb")
    shutil.rmtree(folder / "depth")
    (folder / "pose_intrinsic_imu.json").unlink()
    (folder / "rgb.mkv").write_bytes(b"as it is downloaded")
    skips = {skip.id: skip for skip in open_tree(tmp_path).index(EVAL) if isinstance(skip, Skip)}
    lost = skips[f"scannetpp/eval/{VAL}/-/-"]
    assert (lost.reason, lost.group) == ("missing_scene", VAL)
    assert lost.detail == f"data/{VAL}/iphone: no frame in rgb/ or pose_intrinsic_imu.json"


def test_a_scene_of_no_list_or_another_list_is_not_indexed(source):
    eval_scenes = {item.scene for item in source.index(EVAL) if isinstance(item, FrameRef)}
    train_scenes = {item.scene for item in source.index(TRAINING) if isinstance(item, FrameRef)}
    assert eval_scenes == {VAL, VAL_BROKEN_JSON}
    assert train_scenes == {TRAIN}
    assert UNLISTED not in eval_scenes | train_scenes


def test_the_role_not_the_source_split_is_in_the_id(source):
    assert [item.id for item in source.index(TRAINING)] == [f"scannetpp/train/{TRAIN}/-/frame_000000"]
    overlap = source.index(Split("eval", "nvs_sem_train"))
    assert [item.id for item in overlap] == [f"scannetpp/eval/{TRAIN}/-/frame_000000"]


def test_lists_with_comments_blank_lines_repeats_and_any_line_end_are_read(source):
    assert list(source.scenes("nvs_sem_val")) == sorted([VAL, VAL_BROKEN_JSON, VAL_ABSENT])
    assert list(source.scenes("nvs_sem_train")) == [TRAIN]
    assert list(source.scenes("nvs_sem_test")) == []


def test_splits_are_those_with_a_scene_on_disk_in_the_cards_order(small):
    assert list(open_tree(small.root).source_splits()) == ["nvs_sem_val", "nvs_sem_train"]
    shutil.rmtree(small.root / "data" / TRAIN)
    assert list(open_tree(small.root).source_splits()) == ["nvs_sem_val"]


@pytest.mark.parametrize("line", ["../../etc", "0A1B2C3D4E", "0a1b2c3d4", "0a1b2c3d4e5", "scene0000_00"])
def test_what_is_no_scene_id_is_an_error_that_names_the_list(small, line):
    (small.root / "splits/nvs_sem_val.txt").write_text(f"{VAL}\n{line}\n")
    with pytest.raises(CheckError, match=r"is not a scene id.*nvs_sem_val\.txt") as caught:
        list(open_tree(small.root).index(EVAL))
    assert line in str(caught.value)


# What a frame holds


@pytest.mark.parametrize("name", [*GOOD, EMPTY])
def test_intrinsics_are_the_frames_own_to_the_last_digit(truth, frames, name):
    camera = frames[name].camera
    assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == truth.cameras[name]
    assert (camera.width, camera.height) == truth.size


def test_intrinsics_differ_between_frames(frames):
    assert len({frame.camera.fx_px for frame in frames.values()}) == len(frames)


@pytest.mark.parametrize("name", GOOD)
def test_depth_is_the_plane_on_its_own_grid_and_zero_stays_invalid(truth, frames, name):
    depth = frames[name].depth
    assert depth.values.shape == (DEPTH_HEIGHT, DEPTH_WIDTH)
    metres = depth.depth_m.reshape(depth.values.shape)
    assert np.abs(metres - truth.depth_m[name]).max() <= 0.0005 + 1e-12
    assert np.array_equal(depth.values == 0, truth.depth_m[name] == 0)


@pytest.mark.parametrize(("column", "row"), [(0, 0), (255, 0), (0, 191), (255, 191), (128, 96), (31, 4)])
def test_probes_lie_where_the_pixel_centre_rule_puts_them(truth, frames, column, row):
    depth = frames[GOOD[1]].depth
    u, v = depth.source_pixels()
    i = row * DEPTH_WIDTH + column
    assert u[i] == (column + 0.5) * truth.size[0] / DEPTH_WIDTH - 0.5
    assert v[i] == (row + 0.5) * truth.size[1] / DEPTH_HEIGHT - 0.5
    assert depth.depth_m[i] == round(float(truth.depth_m[GOOD[1]][row, column]), 3)


def test_a_right_edge_depth_pixel_is_at_the_right_edge_of_the_picture(truth, frames):
    width = truth.size[0]
    u, _ = frames[GOOD[0]].depth.source_pixels()
    right = u.reshape(DEPTH_HEIGHT, DEPTH_WIDTH)[:, -1]
    assert ((right >= 1900 * width / 1920) & (right < width)).all()


def test_depth_and_picture_show_the_same_place(truth, frames):
    """The block colours of the picture at a depth pixel's source coordinate name that coordinate."""
    for i, name in enumerate(GOOD):
        pixels = np.asarray(frames[name].picture.decode(), dtype=int)
        u, v = frames[name].depth.source_pixels()
        columns, rows = np.floor(u + 0.5).astype(int), np.floor(v + 0.5).astype(int)
        expected = np.stack(
            [2 * (columns // 16), 2 * (rows // 16), np.full_like(rows, 20 * (i + 1))], axis=-1
        )
        assert np.abs(pixels[rows, columns] - expected).max() <= 4


@pytest.mark.parametrize("name", GOOD)
def test_the_depth_file_is_kept_as_it_is(truth, frames, name):
    assert frames[name].depth.source_png == (truth.iphone() / f"depth/{name}.png").read_bytes()


def test_a_frame_without_valid_depth_is_read_and_nothing_of_it_can_be_asked(frames):
    card = CONVERTER.card
    assert not scorable(frames[EMPTY].depth, card.valid_min_m, card.valid_max_m).any()


# What cannot be used


@pytest.mark.parametrize("number", [180, 240, 300, 360, 420, 540, 600, 660])
def test_a_frame_that_cannot_be_used_says_why_and_where(truth, source, number):
    name = f"frame_{number:06d}"
    reason, detail = truth.faults[name]
    with pytest.raises(FrameError) as caught:
        source.read(index(source)[name]).picture.decode()
    assert caught.value.reason == reason
    assert detail in caught.value.detail


def test_a_scene_whose_json_is_broken_has_its_frames_counted(source):
    (ref,) = index(source, scene=VAL_BROKEN_JSON).values()
    with pytest.raises(
        FrameError, match=rf"missing_intrinsics: .*{VAL_BROKEN_JSON}/iphone/pose_intrinsic_imu\.json"
    ):
        source.read(ref)


def test_a_scene_without_json_has_its_frames_counted(small):
    (small.iphone() / "pose_intrinsic_imu.json").unlink()
    source = open_tree(small.root)
    with pytest.raises(FrameError, match=r"missing_intrinsics: .*pose_intrinsic_imu\.json"):
        source.read(index(source)[GOOD[0]])


@pytest.mark.parametrize(
    "matrix",
    [
        [[140.0, 0.0, 96.0]],
        [["a", 0.0, 96.0], [0.0, 140.0, 72.0], [0.0, 0.0, 1.0]],
        [[float("nan"), 0.0, 96.0], [0.0, 140.0, 72.0], [0.0, 0.0, 1.0]],
        [[140.0, 0.0, 96.0], [0.0, -140.0, 72.0], [0.0, 0.0, 1.0]],
        [[1400.0, 0.0, 960.0], [0.0, 1400.0, 720.0], [0.0, 0.0, 1.0]],
        {"fx": 140.0},
        140.0,
    ],
    ids=["one_row", "text", "nan", "negative", "other_size", "object", "number"],
)
def test_a_matrix_that_no_camera_of_this_size_has_is_refused(small, matrix):
    edit_intrinsics(small, lambda entries: entries[GOOD[0]].update(intrinsic=matrix))
    source = open_tree(small.root)
    with pytest.raises(FrameError) as caught:
        source.read(index(source)[GOOD[0]])
    assert caught.value.reason == "bad_intrinsics"


@pytest.mark.parametrize(("fx_share", "cx_share"), [(0.5, 0.5), (1.5, 0.5), (0.75, 0.48), (0.75, 0.52)])
def test_intrinsics_of_any_phone_are_taken(small, fx_share, cx_share):
    camera = (fx_share * 192, 140.0, cx_share * 192, 72.0)
    edit_intrinsics(small, lambda entries: entries.update({GOOD[0]: intrinsics_entry(camera)}))
    source = open_tree(small.root)
    assert source.read(index(source)[GOOD[0]]).camera.fx_px == camera[0]


@pytest.mark.parametrize("entry", [None, [], "", {}], ids=["null", "list", "text", "no_key"])
def test_one_odd_json_entry_costs_its_own_frame_only(small, entry):
    edit_intrinsics(small, lambda entries: entries.update({GOOD[1]: entry}))
    source = open_tree(small.root)
    refs = index(source)
    assert source.read(refs[GOOD[0]]).camera.fx_px == small.cameras[GOOD[0]][0]
    with pytest.raises(FrameError, match="intrinsics"):
        source.read(refs[GOOD[1]])


def test_a_broken_frame_changes_no_other(small):
    expected = open_tree(small.root).read(index(open_tree(small.root))[GOOD[0]])
    (small.iphone() / f"depth/{GOOD[1]}.png").write_bytes(b"broken")
    source = open_tree(small.root)
    found = source.read(index(source)[GOOD[0]])
    assert np.array_equal(found.depth.values, expected.depth.values)
    assert found.camera == expected.camera


# depth.bin, where depth/ was not extracted

ENCODINGS = ["stream", "deflate", "lz4", "turns"]


def packed_source(truth, maps_m, encoding):
    (truth.iphone() / "depth.bin").write_bytes(depth_bin(maps_m, encoding))
    return open_tree(truth.root)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_depth_bin_gives_the_maps_of_the_png_files(small, encoding):
    unpacked = {name: open_tree(small.root).read(index(open_tree(small.root))[name]) for name in GOOD}
    pack_depth(small, encoding)
    source = open_tree(small.root)
    refs = index(source)
    for name in GOOD:
        found, expected = source.read(refs[name]), unpacked[name]
        metres = found.depth.depth_m.reshape(DEPTH_HEIGHT, DEPTH_WIDTH)
        assert np.abs(metres - small.depth_m[name]).max() <= 0.001 + 1e-6
        assert np.array_equal(found.depth.values == 0, small.depth_m[name] == 0)
        assert found.depth.source_png is None
        assert found.depth.source_from_depth == expected.depth.source_from_depth
        # A PNG of the fixture rounds, float32 is truncated as in the dataset's own extraction.
        assert np.abs(found.depth.values.astype(int) - expected.depth.values).max() <= (encoding != "lz4")
    source.close()


@pytest.mark.parametrize("encoding", ["stream", "deflate"])
def test_float_metres_become_the_millimetres_of_the_official_extraction(small, encoding):
    depth_m = np.full((DEPTH_HEIGHT, DEPTH_WIDTH), 1.2345678, np.float32)
    odd = [np.nan, np.inf, -1.0, 0.0, 0.0009, 65.535, 65.536, 70.0, 0.001, 3.9996]
    depth_m[0, : len(odd)] = odd
    (small.iphone() / f"depth/{GOOD[0]}.png").unlink()
    source = packed_source(small, [depth_m], encoding)
    values = source.read(index(source)[GOOD[0]]).depth.values
    assert values[0, : len(odd)].tolist() == [0, 0, 0, 0, 0, 65535, 0, 0, 1, 3999]
    assert (values.ravel()[len(odd) :] == 1234).all()
    source.close()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_frames_of_depth_bin_are_alike_in_any_order(small, encoding):
    pack_depth(small, encoding)
    source = open_tree(small.root)
    refs = index(source)
    in_order = {name: source.read(refs[name]).depth.values for name in GOOD}
    assert len({values.tobytes() for values in in_order.values()}) == len(GOOD)
    for name in (GOOD[2], GOOD[2], GOOD[0], GOOD[1], GOOD[0]):
        assert np.array_equal(source.read(refs[name]).depth.values, in_order[name])
    source.close()


def test_each_scene_has_a_depth_bin_of_its_own(small):
    pack_depth(small, "turns")
    other = small.iphone(UNLISTED)
    (other / "depth/frame_000000.png").unlink()
    (other / "depth.bin").write_bytes(depth_bin([plane_depth_m(3.0, 0.0, 0.0)], "stream"))
    (small.root / "splits/nvs_sem_val.txt").write_text(f"{VAL}\n{UNLISTED}\n")
    source = open_tree(small.root)
    first, second = index(source)[GOOD[0]], index(source, scene=UNLISTED)["frame_000000"]
    values = [source.read(ref).depth.values for ref in (first, second, first)]
    assert (values[1] == 3000).all()
    assert np.array_equal(values[0], values[2])
    assert not np.array_equal(values[0], values[1])
    source.close()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_frame_beyond_depth_bin_has_no_depth(small, encoding):
    pack_depth(small, encoding, length=61)
    source = open_tree(small.root)
    refs = index(source)
    with pytest.raises(FrameError, match=r"missing_depth: .*iphone/depth\.bin: has no frame 120"):
        source.read(refs[GOOD[2]])
    assert source.read(refs[GOOD[1]]).depth.values.any()
    source.close()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_depth_bin_that_is_cut_off_costs_the_frames_behind_the_cut(small, encoding):
    data = pack_depth(small, encoding, length=121)
    (small.iphone() / "depth.bin").write_bytes(data[:-5])
    source = open_tree(small.root)
    refs = index(source)
    assert source.read(refs[GOOD[0]]).depth.values.any()
    for _ in range(2):
        with pytest.raises(FrameError, match=r"unreadable: .*iphone/depth\.bin: .*(cut off|damaged)"):
            source.read(refs[GOOD[2]])
    assert source.read(refs[GOOD[1]]).depth.values.any()
    source.close()


def records(*payloads):
    return b"".join(struct.pack("<I", len(payload)) + payload for payload in payloads)


def small_rows(count):
    return [struct.pack("<256H", *range(i, i + 256)) for i in range(count)]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff" * 40,
        lz4_block(small_rows(DEPTH_HEIGHT - 1)),
        lz4_block(small_rows(DEPTH_HEIGHT + 1)),
        deflated(b"\0" * (4 * DEPTH_WIDTH * DEPTH_HEIGHT - 4)),
        deflated(b"\0" * (4 * DEPTH_WIDTH * DEPTH_HEIGHT + 4)),
        lz4_block(small_rows(DEPTH_HEIGHT))[:-1],
    ],
    ids=["empty", "noise", "lz4_short", "lz4_long", "deflate_short", "deflate_long", "lz4_cut"],
)
def test_a_record_that_is_no_map_costs_its_own_frame_only(small, payload):
    good = lz4_block(small_rows(DEPTH_HEIGHT))
    for name in GOOD:
        (small.iphone() / f"depth/{name}.png").unlink()
    data = records(*[good] * 60, payload, *[b"never decoded"] * 59, good)
    (small.iphone() / "depth.bin").write_bytes(data)
    source = open_tree(small.root)
    refs = index(source)
    with pytest.raises(FrameError, match=r"unreadable: .*depth\.bin: record 60 is no 256x192 depth map"):
        source.read(refs[GOOD[1]])
    for name in (GOOD[0], GOOD[2]):
        assert source.read(refs[name]).depth.values[5, 7] == 12
    source.close()


@pytest.mark.parametrize("blocks", range(8))
def test_records_are_not_taken_for_a_stream_whatever_their_first_size_reads_as(small, blocks):
    """The low bits of a stream's first byte are its kind of block; here they are those of a size."""
    stored_empty = b"\0\0\0\xff\xff"  # five bytes each, so that the sizes meet all eight kinds
    payload = stored_empty * blocks + deflated(b"\0\0\0\x40" * (DEPTH_WIDTH * DEPTH_HEIGHT))
    (small.iphone() / f"depth/{GOOD[0]}.png").unlink()
    (small.iphone() / "depth.bin").write_bytes(records(payload, b"never decoded"))
    source = open_tree(small.root)
    assert (source.read(index(source)[GOOD[0]]).depth.values == 2000).all()
    source.close()


def test_lz4_blocks_of_the_official_library_are_read(small):
    block = pytest.importorskip("lz4.block", reason="the LZ4 binding is not installed")
    millimetres = (small.depth_m[GOOD[0]] * 1000).astype("<u2")
    (small.iphone() / f"depth/{GOOD[0]}.png").unlink()
    packed = block.compress(millimetres.tobytes(), store_size=False)
    (small.iphone() / "depth.bin").write_bytes(records(packed))
    source = open_tree(small.root)
    assert np.array_equal(source.read(index(source)[GOOD[0]]).depth.values, millimetres)
    source.close()


def test_an_extracted_map_goes_before_depth_bin(small):
    expected = open_tree(small.root).read(index(open_tree(small.root))[GOOD[0]]).depth
    source = packed_source(small, [plane_depth_m(5.0, 0.0, 0.0)], "stream")
    assert source.read(index(source)[GOOD[0]]).depth.source_png == expected.source_png


def test_a_long_video_is_never_whole_in_memory(small):
    maps = 130
    pack_depth(small, "stream", length=maps)
    source = open_tree(small.root)
    refs = index(source)
    tracemalloc.start()
    source.read(refs[GOOD[2]])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    source.close()
    assert peak < maps * DEPTH_WIDTH * DEPTH_HEIGHT * 4 / 8


def test_a_tree_with_packed_depth_alone_is_whole(small):
    pack_depth(small, "turns")
    layout = {item.pattern: item for item in open_tree(small.root).layout()}
    maps, packed = (layout[f"data/*/iphone/{name}"] for name in ("depth/frame_*.png", "depth.bin"))
    assert (packed.found, maps.required) == (1, False)
    shutil.rmtree(small.iphone() / "depth")
    for scene in (VAL_BROKEN_JSON, TRAIN, UNLISTED):
        shutil.rmtree(small.iphone(scene) / "depth")
    (small.iphone() / "rgb.mkv").write_bytes(b"video")
    layout = {item.pattern: item for item in open_tree(small.root).layout()}
    maps, packed, videos = (
        layout[f"data/*/iphone/{n}"] for n in ("depth/frame_*.png", "depth.bin", "rgb.m*")
    )
    assert (maps.found, maps.required, packed.found, packed.required) == (0, False, 1, True)
    assert videos.found == 1
    assert not videos.required
    assert "extracted" in videos.note


# Masks of what was anonymised


def write_mask(truth, frame, values):
    (truth.iphone() / f"rgb_masks/{frame}.png").write_bytes(png(np.asarray(values, np.uint8)))


def test_masks_are_left_alone_unless_asked_for(small):
    write_mask(small, GOOD[0], np.zeros((144, 192)))
    source = open_tree(small.root)
    frame = source.read(index(source)[GOOD[0]])
    assert (frame.depth.values > 0).all()
    assert "masked_share" not in frame.extra


def test_depth_under_a_mask_is_no_depth(small):
    mask = np.full((144, 192), 255)
    mask[40:60, 96:] = 0
    write_mask(small, GOOD[0], mask)
    source = open_tree(small.root, masks=True)
    frame = source.read(index(source)[GOOD[0]])
    u, v = (np.floor(axis + 0.5).astype(int) for axis in frame.depth.source_pixels())
    hidden = mask[v, u] == 0
    assert np.array_equal(frame.depth.values.ravel() == 0, hidden)
    assert 0.06 < hidden.mean() < 0.08
    assert frame.extra["masked_share"] == pytest.approx(hidden.mean(), abs=1e-6)
    assert frame.depth.source_png is None


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (None, "missing_depth"),
        (np.full((72, 96), 255), "size_mismatch"),
        (np.zeros((144, 192)), "no_valid_depth"),
    ],
    ids=["absent", "other_size", "other_polarity"],
)
def test_a_mask_that_cannot_be_applied_says_why(small, mask, reason):
    if mask is not None:
        write_mask(small, GOOD[0], mask)
    source = open_tree(small.root, masks=True)
    with pytest.raises(FrameError, match=rf"{reason}: .*rgb_masks/{GOOD[0]}\.png"):
        source.read(index(source)[GOOD[0]])


# Order, roots, layout


def test_listing_order_does_not_matter(tmp_path, monkeypatch):
    source = open_tree(write_scannetpp_tree(tmp_path / "a").root)
    expected = [item if isinstance(item, Skip) else item.order_key for item in source.index(EVAL)]
    values = {name: source.read(ref).depth.values for name, ref in index(source).items() if name in GOOD}
    in_order, calls = Path.glob, []

    def reversed_glob(self, pattern):
        calls.append(pattern)
        return iter(sorted(in_order(self, pattern), reverse=True))

    monkeypatch.setattr(Path, "glob", reversed_glob)
    turned = open_tree(write_scannetpp_tree(tmp_path / "b", reverse=True).root)
    assert [item if isinstance(item, Skip) else item.order_key for item in turned.index(EVAL)] == expected
    assert calls
    for name, ref in index(turned).items():
        assert name not in GOOD or np.array_equal(turned.read(ref).depth.values, values[name])


@pytest.mark.parametrize("folder", ["data", "splits"])
def test_a_root_without_a_folder_says_what_is_there_instead(small, folder):
    shutil.rmtree(small.root / folder)
    with pytest.raises(DataMissingError) as caught:
        open_tree(small.root)
    text = str(caught.value)
    other = {"data": "splits", "splits": "data"}[folder]
    assert f"no {folder}/ in this scannetpp tree [{small.root / folder}]" in text
    assert f"holds {other}" in text
    assert "dvbench datasets scannetpp" in text


def test_a_tree_of_scannet_is_named_as_what_it_is(tmp_path):
    (tmp_path / "scans/scene0000_00").mkdir(parents=True)
    with pytest.raises(DataMissingError, match=r"holds ScanNet v2, which scannetpp is not read from"):
        open_tree(tmp_path)


def test_a_tree_one_level_off_is_pointed_at(tmp_path):
    truth = write_scannetpp_tree(tmp_path / "scannetpp")
    for root in (tmp_path, truth.root / "data"):
        with pytest.raises(DataMissingError) as caught:
            open_tree(root)
        assert f"--root {truth.root} has it" in str(caught.value)


def test_layout_counts_lists_and_files_on_disk(small):
    found = {item.pattern: item.found for item in open_tree(small.root).layout()}
    frames = {scene: small.iphone(scene) for scene in (VAL, VAL_BROKEN_JSON, TRAIN, UNLISTED)}
    assert found["splits/nvs_sem_*.txt"] == 2
    assert found["data/*/iphone/pose_intrinsic_imu.json"] == 4
    depth_files = sum(len([p for p in (f / "depth").iterdir() if p.name[0] != "."]) for f in frames.values())
    assert found["data/*/iphone/depth/frame_*.png"] == depth_files


# The real sample: 30 frames of 18 scenes.


@pytest.fixture(scope="module")
def real_frames():
    source = open_tree(real_scannetpp_tree())
    items = [item for split in source.source_splits() for item in source.index(Split("eval", split))]
    return [source.read(item) for item in items if isinstance(item, FrameRef)]


def test_the_real_sample_has_thirty_frames_of_eighteen_scenes(real_frames):
    assert len(real_frames) == 30
    assert len({frame.ref.scene for frame in real_frames}) == 18
    assert {frame.picture.size for frame in real_frames} == {FULL_SIZE}
    assert {frame.depth.values.shape for frame in real_frames} == {(192, 256)}
    assert len({frame.camera.fx_px for frame in real_frames}) > 18
    assert all(frame.depth.source_png is not None for frame in real_frames)


def test_two_metres_everywhere_score_the_known_share_on_the_real_sample(real_frames):
    card, shares = CONVERTER.card, []
    for frame in real_frames:
        depth_m = frame.depth.depth_m[scorable(frame.depth, card.valid_min_m, card.valid_max_m)]
        shares.append(((depth_m > 1.6) & (depth_m < 2.5)).mean())
    assert round(float(np.mean(shares)), 6) == 0.289247
