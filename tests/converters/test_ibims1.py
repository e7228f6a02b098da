import json
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from raw_ibims1 import (
    CAMERAS,
    HALF_STEP_M,
    HEIGHT,
    UNITS_PER_M,
    WIDTH,
    mat_fields,
    png,
    real_ibims1_tree,
    write_ibims1_marks,
    write_ibims1_tree,
    write_mat_image,
    write_mat_twin,
)
from scipy.io import savemat

from depthvlm_bench.errors import DataMissingError, FrameError
from depthvlm_bench.frames import FrameRef, Split, scorable
from depthvlm_bench.geometry.grids import PixelAffine
from depthvlm_bench.records.marks import marks_of
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter

CONVERTER = load_converter("ibims1")
SPLIT = Split("eval", "test")


def open_tree(root):
    return CONVERTER.open(root, CONVERTER.options_type())


def index(source):
    return {ref.frame: ref for ref in source.index(SPLIT)}


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_ibims1_tree(tmp_path_factory.mktemp("ibims1"))


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture(scope="module")
def frames(truth, source):
    refs = index(source)
    return {name: source.read(refs[name]) for name in truth.cameras}


def test_the_names_of_the_list_are_the_frames(truth, source):
    refs = list(source.index(SPLIT))
    assert all(isinstance(ref, FrameRef) for ref in refs)
    assert sorted(ref.frame for ref in refs) == sorted(truth.listed)
    assert {ref.id for ref in refs} == {f"ibims1/eval/-/-/{name}" for name in truth.listed}
    assert {ref.group for ref in refs} == {""}


def test_without_a_list_every_picture_is_a_frame_and_decoys_are_none(tmp_path):
    truth = write_ibims1_tree(tmp_path, with_list=False)
    expected = {*truth.listed, "storageroom_02"} - {"kitchen_10"}
    assert set(index(open_tree(truth.root))) == expected


def test_a_list_inside_the_core_folder_is_found(tmp_path):
    truth = write_ibims1_tree(tmp_path, with_list=False)
    (truth.core / "imagelist.txt").write_text("lab_01\noffice_03")
    assert sorted(index(open_tree(truth.root))) == ["lab_01", "office_03"]


def test_the_core_folder_itself_can_be_the_root(truth):
    source = open_tree(truth.core)
    refs = index(source)
    assert set(refs) == set(truth.listed)
    assert source.read(refs["lab_01"]).picture.path == "rgb/lab_01.png"


def test_there_is_one_split_without_scenes(source):
    assert list(source.source_splits()) == ["test"]
    assert list(source.scenes("test")) == []


@pytest.mark.parametrize("name", [*CAMERAS, "restroom_01"])
def test_intrinsics_are_the_frames_own_to_the_last_digit(truth, frames, name):
    camera = frames[name].camera
    assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == truth.cameras[name]
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("name", [*CAMERAS, "restroom_01"])
def test_valid_depth_is_the_plane_and_all_else_is_zero(truth, frames, name):
    depth = frames[name].depth
    valid = depth.values > 0
    assert np.array_equal(valid, truth.valid[name])
    metres = depth.depth_m.reshape(valid.shape)
    assert np.abs(metres - truth.depth_m[name])[valid].max(initial=0) <= HALF_STEP_M + 1e-12


def test_probes_have_their_depth_at_their_source_coordinate(truth, frames):
    depth = frames["lab_01"].depth
    assert depth.source_from_depth == PixelAffine.identity()
    u, v = depth.source_pixels()
    for column, row in [(12, 20), (63, 47), (39, 3)]:
        i = row * WIDTH + column
        assert (u[i], v[i]) == (column, row)
        assert depth.depth_m[i] == pytest.approx(truth.depth_m["lab_01"][row, column], abs=HALF_STEP_M)
    assert depth.depth_m[20 * WIDTH + 12] == 1311 / UNITS_PER_M


@pytest.mark.parametrize(
    ("column", "row", "why"),
    [(3, 2, "mask_invalid"), (45, 5, "mask_transp"), (10, 20, "zero"), (11, 21, "saturated")],
)
def test_masked_and_coded_pixels_are_never_valid(frames, column, row, why):
    assert frames["lab_01"].depth.values[row, column] == 0, why


def test_the_depth_file_is_kept_only_where_cleaning_changed_nothing(truth, frames):
    assert frames["lab_01"].depth.source_png is None
    for name in ("corridor_02", "office_03"):
        assert frames[name].depth.source_png == (truth.core / f"depth/{name}.png").read_bytes()


def test_a_frame_without_valid_depth_is_read_and_nothing_of_it_can_be_asked(frames):
    card = CONVERTER.card
    assert not scorable(frames["restroom_01"].depth, card.valid_min_m, card.valid_max_m).any()


@pytest.mark.parametrize(("name", "blue"), [("lab_01", 1), ("corridor_02", 2), ("office_03", 3)])
def test_the_picture_is_the_frames_own_upright_and_whole(frames, name, blue):
    pixels = np.asarray(frames[name].picture.decode())
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    assert np.array_equal(pixels, np.stack([u, v, np.full_like(u, blue)], axis=-1))


def test_the_share_that_masks_took_is_recorded(frames):
    extra = frames["lab_01"].extra
    assert extra["masks"] == ["mask_invalid", "mask_transp"]
    assert extra["masked_share"] == pytest.approx((5 * 7 + 6 * 10) / (WIDTH * HEIGHT), abs=1e-6)
    assert frames["corridor_02"].extra["masked_share"] == 0


@pytest.mark.parametrize("name", CAMERAS)
def test_the_depth_before_the_masks_is_kept_for_the_papers_truth(truth, frames, name):
    with Image.open(truth.core / f"depth/{name}.png") as image:
        assert np.array_equal(frames[name].unmasked, np.asarray(image))
    assert CONVERTER.compat is None


def test_marked_edges_and_planes_are_kept(tmp_path):
    truth = write_ibims1_tree(tmp_path)
    random = np.random.default_rng(0)
    edges = random.random((HEIGHT, WIDTH)) < 0.1
    wall, floor = random.integers(0, 4, (2, HEIGHT, WIDTH), dtype=np.uint8)
    write_ibims1_marks(truth.core, "lab_01", edges, {"mask_wall": wall, "mask_floor": floor})
    source = open_tree(truth.root)
    refs = index(source)
    found = marks_of(json.dumps(source.read(refs["lab_01"]).extra), "lab_01")
    assert np.array_equal(found.edges, edges)
    assert [labels.tolist() for labels in found.planes] == [wall.tolist(), floor.tolist()]
    assert set(source.read(refs["corridor_02"]).extra) == {"masks", "masked_share"}
    found = {item.pattern: (item.found, item.required) for item in source.layout()}
    assert found["edges/*.png"] == found["mask_floor/*.png"] == (1, False)
    assert found["mask_table/*.png"] == (0, False)


def test_marks_of_another_size_are_not_kept(tmp_path):
    truth = write_ibims1_tree(tmp_path)
    write_ibims1_marks(truth.core, "lab_01", np.zeros((3, 4)), {})
    source = open_tree(truth.root)
    with pytest.raises(FrameError, match=r"size_mismatch: edges/lab_01\.png is \(4, 3\), depth \(64, 48\)"):
        source.read(index(source)["lab_01"])


@pytest.mark.parametrize("number", range(1, 12))
def test_a_frame_that_cannot_be_used_says_why_and_where(truth, source, number):
    name = f"kitchen_{number:02d}"
    reason, detail = truth.faults[name]
    with pytest.raises(FrameError) as caught:
        source.read(index(source)[name]).picture.decode()
    assert caught.value.reason == reason
    assert detail in caught.value.detail


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("56.0, 56.5, 33.5, 24.5", None),
        ("56.0,56.5,33.5,24.5\r\n", None),
        ("", "bad_intrinsics"),
        ("56.0 56.5 33.5 24.5", "bad_intrinsics"),
        ("-56.0,56.5,33.5,24.5", "bad_intrinsics"),
        ("56.0,0,33.5,24.5", "bad_intrinsics"),
        ("56.0,inf,33.5,24.5", "bad_intrinsics"),
        ("fx,fy,cx,cy", "bad_intrinsics"),
        ("56.0,56.5,33.5,24.5,0.0", "bad_intrinsics"),
        ("\xff\xfe", "bad_intrinsics"),
    ],
)
def test_calibration_lines(tmp_path, text, reason):
    truth = write_ibims1_tree(tmp_path)
    (truth.core / "calib/lab_01.txt").write_bytes(text.encode("latin-1"))
    source = open_tree(truth.root)
    if reason is None:
        camera = source.read(index(source)["lab_01"]).camera
        assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == (56.0, 56.5, 33.5, 24.5)
    else:
        with pytest.raises(FrameError, match=f"{reason}: calib/lab_01.txt"):
            source.read(index(source)["lab_01"])


@pytest.mark.parametrize("folder", ["mask_invalid", "mask_transp"])
@pytest.mark.parametrize("encoding", ["one bit", "0 and 255", "0 and 1"])
def test_masks_of_any_depth_mean_good_where_they_are_not_zero(tmp_path, folder, encoding):
    truth = write_ibims1_tree(tmp_path)
    good = np.ones((HEIGHT, WIDTH), dtype=bool)
    good[:, 40:] = False
    values = {"one bit": good, "0 and 255": 255 * good.astype(np.uint8), "0 and 1": good.astype(np.uint8)}
    (truth.core / folder / "corridor_02.png").write_bytes(png(Image.fromarray(values[encoding])))
    source = open_tree(truth.root)
    assert np.array_equal(source.read(index(source)["corridor_02"]).depth.values > 0, good)


def test_a_broken_mask_is_unreadable_not_ignored(tmp_path):
    truth = write_ibims1_tree(tmp_path)
    (truth.core / "mask_transp/lab_01.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    source = open_tree(truth.root)
    with pytest.raises(FrameError, match=r"unreadable: mask_transp/lab_01\.png"):
        source.read(index(source)["lab_01"])


def test_a_broken_frame_changes_no_other(truth, frames, tmp_path):
    other = write_ibims1_tree(tmp_path)
    (other.core / "depth/office_03.png").write_bytes(b"")
    source = open_tree(other.root)
    refs = index(source)
    assert np.array_equal(source.read(refs["lab_01"]).depth.values, frames["lab_01"].depth.values)
    with pytest.raises(FrameError, match="unreadable"):
        source.read(refs["office_03"])


def test_names_that_leave_the_tree_are_refused(tmp_path):
    truth = write_ibims1_tree(tmp_path)
    (truth.root / "imagelist.txt").write_text("../../secret\nlab_01\n")
    source = open_tree(truth.root)
    with pytest.raises(FrameError, match="path leaves the raw tree"):
        source.read(index(source)["../../secret"])


def test_listing_order_does_not_matter(tmp_path, monkeypatch):
    truth = write_ibims1_tree(tmp_path, with_list=False)
    expected = list(open_tree(truth.root).index(SPLIT))
    in_order, calls = Path.glob, []

    def reversed_glob(self, pattern):
        calls.append(pattern)
        return iter(sorted(in_order(self, pattern), reverse=True))

    monkeypatch.setattr(Path, "glob", reversed_glob)
    assert list(open_tree(truth.root).index(SPLIT)) == expected
    assert calls


def test_a_root_without_pictures_says_what_is_there_instead(tmp_path):
    (tmp_path / "ibims1_core_mat").mkdir()
    with pytest.raises(DataMissingError) as caught:
        open_tree(tmp_path)
    text = str(caught.value)
    assert "no rgb/ in this ibims1 tree" in text
    assert str(tmp_path) in text
    assert "holds ibims1_core_mat" in text
    assert "dvbench datasets ibims1" in text
    assert caught.value.exit_code == 3


def test_a_root_that_does_not_exist_names_the_nearest_folder(tmp_path):
    with pytest.raises(DataMissingError, match="holds nothing"):
        open_tree(tmp_path / "not" / "there")


def test_layout_counts_the_files_of_each_folder(truth, source):
    found = {item.pattern: item.found for item in source.layout()}
    assert found["calib/*.txt"] == len(list((truth.core / "calib").iterdir()))
    assert found["depth/*.png"] == len(list((truth.core / "depth").iterdir()))
    assert found["imagelist.txt"] == 1
    assert set(found) > {"rgb/*.png", "mask_invalid/*.png", "mask_transp/*.png"}


def test_layout_does_not_count_decoys(truth, source):
    found = {item.pattern: item.found for item in source.layout()}
    pictures = [
        p for p in (truth.core / "rgb").iterdir() if p.suffix == ".png" and not p.name.startswith(".")
    ]
    assert found["rgb/*.png"] == len(pictures)


# core_mat: the same images as MATLAB files


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """A tree of core_raw with marks on one image, and the folder of its twin of core_mat."""
    root = tmp_path_factory.mktemp("twins")
    truth = write_ibims1_tree(root / "raw")
    random = np.random.default_rng(0)
    edges, wall, floor = random.integers(0, 2, (3, HEIGHT, WIDTH), dtype=np.uint8)
    write_ibims1_marks(truth.core, "lab_01", edges, {"mask_wall": 3 * wall, "mask_floor": floor})
    (truth.root / "imagelist.txt").write_text("\n".join(truth.cameras))
    return truth, write_mat_twin(truth, root / "mat")


@pytest.mark.parametrize("name", [*CAMERAS, "restroom_01"])
@pytest.mark.parametrize("level", ["root", "core"])
def test_matlab_files_give_the_frames_of_the_raw_folder(twins, name, level):
    truth, core_mat = twins
    source, twin = open_tree(truth.root), open_tree(core_mat.parent if level == "root" else core_mat)
    expected, found = source.read(index(source)[name]), twin.read(index(twin)[name])
    assert found.ref == expected.ref
    assert found.camera == expected.camera
    assert np.array_equal(found.depth.values, expected.depth.values)
    assert np.array_equal(found.unmasked, expected.unmasked)
    assert found.depth.depth_scale == expected.depth.depth_scale
    assert found.depth.source_from_depth == expected.depth.source_from_depth
    assert np.array_equal(np.asarray(found.picture.decode()), np.asarray(expected.picture.decode()))
    assert found.picture.path == f"{name}.mat"
    extra, expected_extra = (marks_of(json.dumps(f.extra), name) for f in (found, expected))
    assert np.array_equal(extra.edges, expected_extra.edges)
    assert [p.tolist() for p in extra.planes] == [p.tolist() for p in expected_extra.planes]
    assert len(extra.planes) == (2 if name == "lab_01" else 0)
    assert found.extra["masked_share"] == expected.extra["masked_share"]


def test_both_trees_make_the_same_set(twins, tmp_path, convert_split):
    truth, core_mat = twins
    sets = [
        convert_split("ibims1", root, tmp_path / name).folder
        for name, root in (("a", truth.root), ("b", core_mat.parent))
    ]
    raw, mat = ({row["id"]: row for row in RecordSet(folder, "eval").rows()} for folder in sets)
    assert set(raw) == set(mat)
    assert len(raw) == len(CAMERAS)
    for name, row in raw.items():
        for column in ("canonical_sha256", "points", "points_balanced", "fx", "cx", "extra"):
            assert mat[name][column] == row[column], column


def test_of_both_trees_in_one_root_the_raw_one_is_read(twins, tmp_path):
    truth = write_ibims1_tree(tmp_path)
    write_mat_twin(twins[0], tmp_path)
    (tmp_path / "ibims1_core_mat" / "lab_01.mat").write_bytes(b"broken")
    source = open_tree(tmp_path)
    assert source.read(index(source)["lab_01"]).picture.path == "rgb/lab_01.png"
    assert truth.root == tmp_path


def test_without_a_list_every_matlab_file_is_a_frame_and_decoys_are_none(twins, tmp_path):
    core_mat = write_mat_twin(twins[0], tmp_path)
    (tmp_path / "imagelist.txt").unlink()
    source = open_tree(tmp_path)
    assert list(index(source)) == sorted(twins[0].cameras)
    found = {item.pattern: item.found for item in source.layout()}
    assert found == {"*.mat": len(twins[0].cameras), "imagelist.txt": 0}
    assert (core_mat / "._lab_01.mat").is_file()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("rgb", None, "missing_image"),
        ("rgb", np.zeros((HEIGHT, WIDTH, 3)), "unreadable"),
        ("rgb", np.zeros((HEIGHT, WIDTH), np.uint8), "unreadable"),
        ("depth", None, "missing_depth"),
        ("depth", np.ones((HEIGHT // 2, WIDTH // 2)), "size_mismatch"),
        ("depth", "none", "unreadable"),
        ("calib", None, "missing_intrinsics"),
        ("calib", np.array([[56.0, 0, 33.5], [0, 56.0, 24.5], [0, 0, 1]]), "bad_intrinsics"),
        ("calib", np.diag([np.nan, 56.0, 1.0]), "bad_intrinsics"),
        ("calib", np.ones((2, 2)), "bad_intrinsics"),
        ("mask_invalid", None, "missing_depth"),
        ("mask_transp", np.ones((HEIGHT, WIDTH - 1), bool), "size_mismatch"),
        ("edges", np.ones((WIDTH, HEIGHT), bool), "size_mismatch"),
    ],
)
def test_a_matlab_file_that_cannot_be_used_says_why_and_where(twins, tmp_path, field, value, reason):
    core_mat = write_mat_twin(twins[0], tmp_path)
    fields = mat_fields(twins[0].core, "corridor_02") | {field: value}
    write_mat_image(core_mat, "corridor_02", {k: v for k, v in fields.items() if v is not None})
    source = open_tree(tmp_path)
    refs = index(source)
    with pytest.raises(FrameError, match=rf"{reason}: corridor_02\.mat: {field}"):
        source.read(refs["corridor_02"])
    assert source.read(refs["office_03"]).camera.fx_px == CAMERAS["office_03"][0]


def test_a_matlab_file_of_another_version_or_cut_off_is_unreadable(twins, tmp_path):
    core_mat = write_mat_twin(twins[0], tmp_path)
    with h5py.File(core_mat / "lab_01.mat", "w", userblock_size=512) as file:
        file.create_dataset("data/depth", data=np.ones((WIDTH, HEIGHT)))
    with (core_mat / "lab_01.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    whole = (core_mat / "corridor_02.mat").read_bytes()
    (core_mat / "corridor_02.mat").write_bytes(whole[: len(whole) // 2])
    (core_mat / "office_03.mat").unlink()
    source = open_tree(tmp_path)
    refs = index(source)
    for name, message in (
        ("lab_01", r"unreadable: lab_01\.mat: NotImplementedError"),
        ("corridor_02", r"unreadable: corridor_02\.mat"),
        ("office_03", r"missing_image: office_03\.mat"),
    ):
        with pytest.raises(FrameError, match=message):
            source.read(refs[name])


def test_whole_numbers_that_matlab_packs_as_bytes_are_still_metres(twins, tmp_path):
    """MATLAB stores a double array of small whole numbers as bytes; here one made of a uint8 array is."""
    core_mat = write_mat_twin(twins[0], tmp_path)
    fields = mat_fields(twins[0].core, "corridor_02") | {"depth": np.full((HEIGHT, WIDTH), 2, np.uint8)}
    savemat(core_mat / "corridor_02.mat", {"data": fields})
    uint8_class, double_class = (struct.pack("<8I", 6, 8, c, 0, 5, 8, HEIGHT, WIDTH) for c in (9, 6))
    data = (core_mat / "corridor_02.mat").read_bytes()
    assert data.count(uint8_class) == 1
    (core_mat / "corridor_02.mat").write_bytes(data.replace(uint8_class, double_class))
    source = open_tree(tmp_path)
    assert (source.read(index(source)["corridor_02"]).depth.values == 2621).all()


# The real sample: 40 pictures with 100 depths each.


@pytest.fixture(scope="module")
def real_frames():
    source = open_tree(real_ibims1_tree())
    return [source.read(ref) for ref in source.index(SPLIT)]


def test_the_real_sample_has_forty_frames_of_a_hundred_depths(real_frames):
    assert len(real_frames) == 40
    assert {int((frame.depth.values > 0).sum()) for frame in real_frames} == {100}
    assert {frame.picture.size for frame in real_frames} == {(640, 480)}
    known = {550.39, 559.62, 560.78, 626.16}
    assert {frame.camera.fx_px for frame in real_frames} <= known


def test_two_metres_everywhere_score_the_known_share_on_the_real_sample(real_frames):
    shares = []
    for frame in real_frames:
        depth_m = frame.depth.depth_m[frame.depth.depth_m > 0]
        shares.append(((depth_m > 1.6) & (depth_m < 2.5)).mean())
    assert round(float(np.mean(shares)), 4) == 0.2520
