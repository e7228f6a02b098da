import json
import shutil
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
    intrinsics_entry,
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
