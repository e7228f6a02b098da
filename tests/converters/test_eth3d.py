import shutil
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from raw_eth3d import (
    EMPTY,
    KINDS,
    LAYOUTS,
    NAMES,
    NORMAL,
    ORIGINAL,
    OUTDOOR_SCENE,
    SCENE,
    UNDISTORTED,
    UNITS_PER_M,
    UNKNOWN_SCENE,
    UNLISTED,
    RawCamera,
    Writer,
    nikon,
    original_rays,
    plane_depth_m,
    write_eth3d_tree,
    write_nikon_tree,
)

from depthvlm_bench.cards import official_names
from depthvlm_bench.config import parse_options
from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.converters._colmap import ColmapModel, pixels_met
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.errors import CheckError, DataMissingError, FrameError, UsageError
from depthvlm_bench.frames import FrameRef, Skip, Split, scorable
from depthvlm_bench.geometry.grids import PixelAffine, native_grid
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.codec import canonical_grid, decode_depth
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter
from depthvlm_bench.sampling.quota import points_asked

CONVERTER = load_converter("eth3d")
CARD = CONVERTER.card
SPLIT = Split("eval", "dslr")
HALF_STEP_M = 0.5 / UNITS_PER_M
OTHER_SCENES = 11


def open_tree(root, **options):
    return CONVERTER.open(root, CONVERTER.options_type(**options))


def index(source):
    return {f"{ref.scene}/{ref.frame}": ref for ref in source.index(SPLIT) if isinstance(ref, FrameRef)}


def skips(source):
    return {item.id: item for item in source.index(SPLIT) if isinstance(item, Skip)}


def read_all(root, names, **options):
    source = open_tree(root, **options)
    refs = index(source)
    return {name: source.read(refs[name]) for name in names}


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_eth3d_tree(tmp_path_factory.mktemp("eth3d"))


@pytest.fixture(scope="module")
def source(truth):
    return open_tree(truth.root)


@pytest.fixture(scope="module")
def frames(truth):
    return read_all(truth.root, truth.frames)


@pytest.fixture
def tree(tmp_path):
    return write_eth3d_tree(tmp_path)


# Which frames there are


def test_the_official_frames_of_the_scenes_on_disk_are_indexed(source):
    names = official_names("eth3d")["dslr"]
    on_disk = {name for name in names if name.split("/")[0] in (SCENE, OUTDOOR_SCENE)}
    refs = index(source)
    assert set(refs) == on_disk
    assert len(on_disk) == 14 + 15
    assert {ref.id for ref in refs.values()} == {
        f"eth3d/eval/{scene}/-/{frame}" for scene, frame in (name.split("/") for name in on_disk)
    }


def test_scenes_are_indoor_or_outdoor_as_the_official_lists_say(source):
    environments = {ref.scene: ref.tags.environment for ref in index(source).values()}
    assert environments == {SCENE: "indoor", OUTDOOR_SCENE: "outdoor"}


def test_scenes_and_depth_maps_of_no_list_are_counted_not_taken(source):
    found = {name: (skip.reason, skip.detail) for name, skip in skips(source).items()}
    assert found[f"eth3d/eval/{UNKNOWN_SCENE}/-/-"] == ("not_in_split", "terrace_2 is no training scene")
    assert found[f"eth3d/eval/{SCENE}/-/{UNLISTED}"] == ("not_in_split", f"{UNLISTED} is not in the list")
    assert Counter(reason for reason, _ in found.values()) == {
        "missing_scene": OTHER_SCENES,
        "not_in_split": 2,
    }


def test_a_scene_that_is_not_on_disk_is_counted(source):
    assert skips(source)["eth3d/eval/courtyard/-/-"].detail == "no courtyard/"


@pytest.mark.parametrize("kind", ["pictures", "undistorted", "original", "depth"])
def test_a_scene_without_one_of_its_folders_is_missing_and_says_what_it_lacks(tree, kind):
    shutil.rmtree(tree.folders[OUTDOOR_SCENE, kind])
    source = open_tree(tree.root)
    skip = skips(source)[f"eth3d/eval/{OUTDOOR_SCENE}/-/-"]
    assert (skip.reason, skip.detail) == ("missing_scene", f"{OUTDOOR_SCENE} lacks {KINDS[kind]}")
    assert {ref.scene for ref in index(source).values()} == {SCENE}


def test_there_is_one_split_of_thirteen_scenes(source):
    assert list(source.source_splits()) == ["dslr"]
    assert len(source.scenes("dslr")) == 13
    assert {SCENE, OUTDOOR_SCENE} < set(source.scenes("dslr"))


def test_a_tree_of_test_scenes_only_has_no_split(tree):
    for scene in (SCENE, OUTDOOR_SCENE):
        shutil.rmtree(tree.root / scene)
    for name in NAMES[OUTDOOR_SCENE]:
        tree.file(UNKNOWN_SCENE, "pictures", f"{name}.JPG").write_bytes(b"")
    assert list(open_tree(tree.root).source_splits()) == []


def test_the_whole_set_is_asked_ten_thousand_points():
    names = [name.split("/") for name in official_names("eth3d")["dslr"]]
    asked = Counter(points_asked(CARD, scene, frame) for scene, frame in names)
    assert asked == {23: 12, 22: 442}
    assert (CARD.images, CARD.points_total) == (454, 10_000)


# Where the archives were unpacked


@pytest.mark.parametrize("layout", LAYOUTS)
def test_archives_may_be_unpacked_together_or_apart(layout, frames, tmp_path):
    truth = write_eth3d_tree(tmp_path, layout=layout)
    again = read_all(truth.root, truth.frames)
    for name, frame in frames.items():
        assert np.array_equal(again[name].depth.values, frame.depth.values)
        assert again[name].camera == frame.camera
        scene, stem = name.split("/")
        assert truth.root / again[name].picture.path == truth.file(scene, "pictures", f"{stem}.JPG")


def test_decoys_of_archives_are_no_scenes(tree):
    for hidden in ("__MACOSX", ".trash"):
        shutil.copytree(tree.root / SCENE, tree.root / hidden / SCENE)
    assert set(index(open_tree(tree.root))) == {
        name for name in official_names("eth3d")["dslr"] if name.split("/")[0] in (SCENE, OUTDOOR_SCENE)
    }


def test_a_scene_that_is_there_twice_is_an_error_that_names_both(tree):
    shutil.copytree(tree.root / SCENE, tree.root / "copy" / SCENE)
    with pytest.raises(CheckError, match=r"scene pipes is there twice.*copy/pipes/.* and pipes/"):
        open_tree(tree.root)


def test_a_link_to_a_scene_is_no_second_one(tree):
    (tree.root / "linked").mkdir()
    (tree.root / "linked" / SCENE).symlink_to(tree.root / SCENE, target_is_directory=True)
    assert {ref.scene for ref in index(open_tree(tree.root)).values()} == {SCENE, OUTDOOR_SCENE}


@pytest.mark.parametrize("kind", ["pictures", "undistorted", "original", "depth"])
def test_a_tree_without_an_archive_names_the_archive(tree, kind):
    for (_, of), folder in tree.folders.items():
        if of == kind:
            shutil.rmtree(folder)
    with pytest.raises(DataMissingError) as caught:
        open_tree(tree.root)
    text = str(caught.value)
    assert f"no scene of this eth3d tree has {KINDS[kind]}/" in text
    assert "3 scenes found, with" in text
    assert {"depth": "SCENE_dslr_depth.7z", "original": "multi_view_training_dslr_jpg.7z"}.get(
        kind, "multi_view_training_dslr_undistorted.7z"
    ) in text


def test_an_archives_folder_that_may_not_be_read_is_no_archive_that_is_missing(tmp_path, close):
    root = write_eth3d_tree(tmp_path).root
    for depth in root.glob("*/ground_truth_depth"):
        shutil.rmtree(depth)
        depth.mkdir()
        close(depth)
    with pytest.raises(DataMissingError, match="no right to read a folder of this eth3d tree") as caught:
        open_tree(root)
    assert caught.value.where.endswith("ground_truth_depth")


def test_a_scenes_own_folder_as_root_is_told_to_go_up(tree):
    with pytest.raises(DataMissingError) as caught:
        open_tree(tree.root / SCENE)
    assert "holds dslr_calibration_jpg" in str(caught.value)
    assert f"--root {tree.root} has it" in str(caught.value)


def test_a_root_that_is_too_high_says_what_it_holds(tmp_path):
    write_eth3d_tree(tmp_path / "data" / "depth" / "eth3d" / "high-res")
    with pytest.raises(DataMissingError) as caught:
        open_tree(tmp_path)
    assert "in this eth3d tree" in str(caught.value)
    assert f"{tmp_path} holds data" in str(caught.value)
    assert "dvbench datasets eth3d" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "meaning"),
    [
        ("delivery_area/images/rig_images_undistorted/x.png", "low-resolution many-view"),
        ("multi_view_training_rig/delivery_area/images/rig_images/x.png", "low-resolution many-view"),
        ("two_view_training/delivery_area_1l/disp0GT.pfm", "two-view"),
        ("courtyard_dslr_depth.7z", "archives that are not unpacked"),
        ("multi_view_training_dslr_jpg.7z", "archives that are not unpacked"),
    ],
)
def test_another_release_is_named(tmp_path, path, meaning):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_bytes(b"")
    with pytest.raises(DataMissingError, match=meaning):
        open_tree(tmp_path)


# What a frame holds


def test_every_readable_frame_is_read(truth, frames):
    assert len(frames) == 4 + 2
    assert set(frames) == set(truth.frames)


def test_intrinsics_are_the_undistorted_cameras_moved_to_our_pixel_centres(truth, frames):
    for name, frame in frames.items():
        raw, camera = truth.frames[name].undistorted, frame.camera
        assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == raw.intrinsics
        assert (camera.width, camera.height) == (raw.width, raw.height)
    assert frames[f"{SCENE}/DSC_0635"].camera != frames[f"{SCENE}/DSC_0634"].camera


def test_depth_is_a_grid_on_the_canonical_picture(frames):
    for frame in frames.values():
        grid = canonical_grid(frame, CARD)
        assert frame.depth.values.shape == (grid.height, grid.width)
        sizes = (grid.width, grid.height), (frame.camera.width, frame.camera.height)
        assert frame.depth.source_from_depth == PixelAffine.resize(*sizes)
        assert frame.depth.depth_scale == UNITS_PER_M
        assert (frame.lens, frame.depth_kind) == (None, "z")


def test_each_pixel_has_the_value_of_the_distorted_pixel_that_its_ray_meets(truth, frames):
    for name, frame in frames.items():
        assert np.array_equal(frame.depth.values, truth.frames[name].expected_raw()), name


def test_coded_and_masked_depths_are_never_valid_and_far_ones_never_asked(truth, frames):
    good, depth = truth.frames[f"{SCENE}/DSC_0634"], frames[f"{SCENE}/DSC_0634"].depth
    column, row, inside = good.original.sample(*good.view_rays())
    value, mask = (array[row * inside, column * inside] for array in (good.distorted_m, good.mask))
    usable = scorable(depth, CARD.valid_min_m, CARD.valid_max_m).reshape(depth.values.shape)
    for code in (value == np.inf, np.isnan(value), value <= 0, value == 70, mask == 1, mask == 2, ~inside):
        assert code.sum() > 100
        assert not depth.values[code].any()
    assert (depth.values[(value == 60) & inside] == 60_000).all()
    assert not usable[value == 60].any()
    assert usable.mean() > 0.5


def test_masks_are_optional_and_recorded(frames):
    assert frames[f"{SCENE}/DSC_0634"].extra == {"masks": [KINDS["masks"]], "distorted_size": [121, 81]}
    assert frames[f"{SCENE}/DSC_0636"].extra["masks"] == []
    assert frames[f"{OUTDOOR_SCENE}/DSC_6535"].extra == {"masks": [], "distorted_size": [111, 75]}


def test_a_frame_without_valid_depth_is_read_and_nothing_of_it_can_be_asked(frames):
    assert not scorable(frames[f"{SCENE}/{EMPTY}"].depth, CARD.valid_min_m, CARD.valid_max_m).any()


def test_the_picture_is_the_frames_own(frames):
    for i, name in enumerate(NAMES[SCENE][:4]):
        frame = frames[f"{SCENE}/{name}"]
        pixels = np.asarray(frame.picture.decode(), dtype=int)
        assert np.abs(pixels[40, 72] - [64, 32, 16 * i]).max() <= 4
        assert frame.picture.path == f"{SCENE}/{KINDS['pictures']}/{name}.JPG"


def test_a_depth_edge_stays_an_edge_and_a_hole_does_not_close(tmp_path):
    writer, cameras = Writer(tmp_path), (ORIGINAL["0"], UNDISTORTED["0"])
    writer.scene(SCENE)
    for kind, camera in zip(("original", "undistorted"), cameras, strict=True):
        writer.model(SCENE, kind, {"0": camera}, {"DSC_0634": "0"})
    step_m = np.full((81, 121), 2.0)
    step_m[:, 60:], step_m[:, 30] = 8.0, np.inf
    writer.frame(SCENE, "DSC_0634", cameras, step_m)
    frame = read_all(tmp_path, [f"{SCENE}/DSC_0634"])[f"{SCENE}/DSC_0634"]
    assert set(np.unique(frame.depth.values)) == {0, 2000, 8000}
    x, y = writer.truth.frames[f"{SCENE}/DSC_0634"].view_rays()
    u, v = cameras[0].colmap_pixels(x, y)
    seen = (u >= 0) & (u < 121) & (v >= 0) & (v < 81)
    assert np.array_equal(frame.depth.values == 8000, seen & (u >= 60))
    assert np.array_equal(seen & (frame.depth.values == 0), seen & (u >= 30) & (u < 31))


# The two geometries


@pytest.mark.parametrize("camera_id", ["0", "4"])
def test_a_lens_camera_is_the_model_with_our_pixel_centres(truth, camera_id):
    name = {"0": "DSC_0634.JPG", "4": "DSC_0635.JPG"}[camera_id]
    camera = ColmapModel(RawTree(truth.root), f"{SCENE}/{KINDS['original']}").camera(name)
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(-0.17, 0.17, 9), np.linspace(-0.11, 0.11, 7)))
    u, v, seen = camera.project(x, y)
    expected_u, expected_v = ORIGINAL[camera_id].colmap_pixels(x, y)
    assert seen.all()
    assert np.abs(u - (expected_u - 0.5)).max() < 1e-9
    assert np.abs(v - (expected_v - 0.5)).max() < 1e-9


def test_rays_of_the_distorted_pixels_come_back_to_them(truth):
    camera = ColmapModel(RawTree(truth.root), f"{SCENE}/{KINDS['original']}").camera("DSC_0634.JPG")
    u, v, seen = camera.project(*original_rays(ORIGINAL["0"]))
    row, column = np.mgrid[:81, :121]
    assert seen.all()
    assert np.hypot(u - column, v - row).max() < 1e-6


def test_a_ray_beyond_the_lenss_field_of_view_meets_nothing(tmp_path):
    """A polynomial folds back: it would put a ray at 56 degrees near the middle of the picture."""
    folding = RawCamera(200, 200, 100.0, 100.0, 100.0, 100.0, (-0.9, 0, 0, 0, 0, 0, 0, 0))
    writer = Writer(tmp_path)
    writer.scene(SCENE)
    writer.model(SCENE, "original", {"0": folding}, {"DSC_0634": "0"})
    camera = ColmapModel(RawTree(tmp_path), f"{SCENE}/{KINDS['original']}").camera("DSC_0634.JPG")
    x = np.array([0.1, 0.5, 1.5])
    assert (np.abs(folding.colmap_pixels(x, 0 * x)[0] - 100) < 50).all()
    assert camera.project(x, 0 * x)[2].tolist() == [True, True, False]
    wide = replace(camera.pinhole, fx_px=50.0, fy_px=50.0)
    met = pixels_met(wide, native_grid(200, 200), camera)
    assert (met[100, :40] == -1).all()
    assert (met[100, 90:110] >= 0).all()


def relative_errors(frame, good):
    """|z / plane - 1| (h, w) of the stored depth, at the undistorted rays; and where there is depth."""
    x, y = good.view_rays()
    true_m = plane_depth_m(x, y, good.offset_m)
    return np.abs(frame.depth.depth_m.reshape(true_m.shape) / true_m - 1), frame.depth.values > 0


def test_the_plane_is_met_where_lookups_that_ignore_the_lens_are_wrong(tmp_path):
    """The real cameras at a tenth of their size: a sample is half a pixel of 605x403 off its ray at most."""
    truth = write_nikon_tree(tmp_path, 0.1)
    name = f"{SCENE}/DSC_0634"
    good, frame = truth.frames[name], read_all(tmp_path, [name])[name]
    error, valid = relative_errors(frame, good)
    assert valid.mean() > 0.999
    x, y = good.view_rays()
    u, v = good.undistorted.colmap_pixels(x, y)
    height, width = good.distorted_m.shape
    same = np.floor(v).clip(0, height - 1).astype(int), np.floor(u).clip(0, width - 1).astype(int)
    stretched = (
        np.floor(v * height / good.undistorted.height).astype(int),
        np.floor(u * width / good.undistorted.width).astype(int),
    )
    true_m = plane_depth_m(x, y, good.offset_m)
    both = valid & (u < width) & (v < height)
    same_error = np.abs(good.distorted_m[same] / true_m - 1)[both]
    stretch_error = np.abs(good.distorted_m[stretched] / true_m - 1)[valid]
    assert np.median(same_error) == pytest.approx(0.0055, abs=0.001)
    assert np.median(stretch_error) == pytest.approx(0.0013, abs=0.0004)
    assert np.median(error[valid]) < min(np.median(same_error) / 10, np.median(stretch_error) / 4)
    # 1/z is linear in the ray, and half a pixel is at most 7 % more of it than without the lens.
    reach = 1.07 * 0.5 * (abs(NORMAL[0]) / good.original.fx + abs(NORMAL[1]) / good.original.fy)
    bound = reach * true_m / good.offset_m + HALF_STEP_M / true_m
    assert (error <= bound)[valid].all()


@pytest.mark.slow
def test_a_full_size_frame_meets_the_plane_to_a_ten_thousandth_in_little_memory(tmp_path):
    """6048x4032 float32 and 24 MP of picture; depth in bands, each pixel's ray inverted by the fixture."""
    original, undistorted = nikon(1.0)
    writer, name, offset_m = Writer(tmp_path), f"{SCENE}/DSC_0634", 20.0
    writer.scene(SCENE)
    for kind, camera in (("original", original), ("undistorted", undistorted)):
        writer.model(SCENE, kind, {"0": camera}, {"DSC_0634": "0"})
    distorted_m = np.full((original.height, original.width), np.inf, dtype=np.float32)
    for top in range(16, original.height, 160):
        band = replace(original, height=8, cy=original.cy - top)
        distorted_m[top : top + 8] = plane_depth_m(*band.rays(), offset_m)
    writer.frame(SCENE, "DSC_0634", (original, undistorted), distorted_m, offset_m=offset_m)
    assert writer.truth.file(SCENE, "depth", "DSC_0634.JPG").stat().st_size == 97_542_144
    source = open_tree(tmp_path)
    ref = index(source)[name]
    tracemalloc.start()
    frame = source.read(ref)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 300e6
    error, valid = relative_errors(frame, writer.truth.frames[name])
    assert 0.03 < valid.mean() < 0.07
    assert np.median(error[valid]) < 1e-4
    assert error[valid].max() < 2e-4


# What cannot be used


@pytest.mark.parametrize("name", NAMES[SCENE][4:])
def test_a_frame_that_cannot_be_used_says_why_and_where(truth, source, name):
    reason, detail = truth.faults[f"{SCENE}/{name}"]
    with pytest.raises(FrameError) as caught:
        source.read(index(source)[f"{SCENE}/{name}"]).picture.decode()
    assert caught.value.reason == reason
    assert detail in caught.value.detail
    assert "0x" not in caught.value.detail


def test_all_faults_of_the_tree_are_tried(truth):
    assert set(truth.faults) == {f"{SCENE}/{name}" for name in NAMES[SCENE][4:]}


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("", "has no camera 0"),
        ("0 PINHOLE 128 86 343.0 341.5 63.25", "PINHOLE has 4 parameters, found 3"),
        ("0 PINHOLE 128 86 343.0 341.5 63.25 43.5 0.1", "PINHOLE has 4 parameters, found 5"),
        ("0 THIN_PRISM_FISHEYE 128 86 343.0 341.5 63.25 43.5 0.1", "has 12 parameters, found 5"),
        ("0 SIMPLE_PINHOLE 128 86 343.0 63.25 43.5", "model SIMPLE_PINHOLE is not read"),
        ("0 PINHOLE 128 86 -343.0 341.5 63.25 43.5", "focal lengths"),
        ("0 PINHOLE 128 86 fx fy cx cy", "could not convert"),
        ("0 PINHOLE", "camera 0"),
        ("0 THIN_PRISM_FISHEYE 128 86 343 341.5 63 43 0 0 0 0 0 0 0 0", "DSC_0634.JPG has a lens"),
        ("0 PINHOLE 128 86 0.01 0.01 63.25 43.5", "no camera has"),
    ],
)
def test_cameras_that_are_none_cost_their_own_frames_and_no_memory(tree, frames, line, detail):
    path = tree.file(SCENE, "undistorted", "cameras.txt")
    path.write_text("\n".join([line, UNDISTORTED["4"].line("4")]))
    source = open_tree(tree.root)
    with pytest.raises(FrameError, match="_intrinsics") as caught:
        source.read(index(source)[f"{SCENE}/DSC_0634"])
    assert detail in caught.value.detail
    other = source.read(index(source)[f"{SCENE}/DSC_0635"])
    assert np.array_equal(other.depth.values, frames[f"{SCENE}/DSC_0635"].depth.values)


@pytest.mark.parametrize("kind", ["undistorted", "original"])
def test_a_list_from_which_blank_lines_were_removed_is_refused_not_mispaired(tree, kind):
    path = tree.file(SCENE, kind, "images.txt")
    path.write_text("\n".join(line for line in path.read_text().split("\n") if line))
    source = open_tree(tree.root)
    with pytest.raises(FrameError, match=r"bad_intrinsics.*images\.txt.*were blank lines removed"):
        source.read(index(source)[f"{SCENE}/DSC_0636"])


@pytest.mark.parametrize("file", ["cameras.txt", "images.txt"])
def test_a_calibration_without_one_of_its_files_is_missing(tree, file):
    tree.file(SCENE, "original", file).unlink()
    source = open_tree(tree.root)
    with pytest.raises(FrameError, match=rf"missing_intrinsics: .*dslr_calibration_jpg/{file}"):
        source.read(index(source)[f"{SCENE}/DSC_0634"])


def test_names_with_blanks_and_windows_line_ends_are_read(frames, tmp_path):
    truth = write_eth3d_tree(tmp_path, newline="\r\n")
    again = read_all(truth.root, truth.frames)
    assert all(np.array_equal(again[n].depth.values, frames[n].depth.values) for n in frames)
    path = truth.file(SCENE, "undistorted", "images.txt")
    path.write_text(path.read_text().replace("undistorted/DSC_0634.JPG", "undistorted/a folder/DSC_0634.JPG"))
    name = f"{SCENE}/DSC_0634"
    assert read_all(truth.root, [name])[name].camera == frames[name].camera


@pytest.mark.parametrize("found", ["the picture", "a map of the undistorted picture's size", "nothing"])
def test_a_file_that_is_no_map_of_the_distorted_size_is_no_depth(tree, found):
    undistorted = UNDISTORTED["0"]
    encoded = {
        "the picture": tree.file(SCENE, "pictures", "DSC_0634.JPG").read_bytes(),
        "nothing": b"",
    }.get(found, np.full((undistorted.height, undistorted.width), 2, dtype="<f4").tobytes())
    tree.file(SCENE, "depth", "DSC_0634.JPG").write_bytes(encoded)
    source = open_tree(tree.root)
    with pytest.raises(FrameError, match=rf"size_mismatch: .*{len(encoded)} bytes, 121x81 float32 are 39204"):
        source.read(index(source)[f"{SCENE}/DSC_0634"])


# Order and independence


def test_a_broken_frame_changes_no_other(tree, frames):
    tree.file(SCENE, "depth", "DSC_0635.JPG").write_bytes(b"")
    source = open_tree(tree.root)
    refs = index(source)
    with pytest.raises(FrameError, match="size_mismatch"):
        source.read(refs[f"{SCENE}/DSC_0635"])
    for name in set(frames) - {f"{SCENE}/DSC_0635"}:
        assert np.array_equal(source.read(refs[name]).depth.values, frames[name].depth.values)


def test_frames_are_read_alike_in_any_order_and_after_closing(truth, source, frames):
    refs = index(source)
    for name in sorted(frames, key=lambda name: name[::-1], reverse=True):
        assert np.array_equal(source.read(refs[name]).depth.values, frames[name].depth.values)
        source.close()


def test_listing_order_does_not_matter(truth, source, monkeypatch):
    expected, in_order, calls = list(source.index(SPLIT)), Path.glob, []

    def reversed_glob(self, pattern):
        calls.append(pattern)
        return iter(sorted(in_order(self, pattern), reverse=True))

    monkeypatch.setattr(Path, "glob", reversed_glob)
    assert list(open_tree(truth.root).index(SPLIT)) == expected
    assert calls


def test_layout_counts_the_files_of_all_scenes(truth, source):
    found = {item.pattern: (item.found, item.required) for item in source.layout()}
    depth = sum(
        path.suffix == ".JPG" and not path.name.startswith(".")
        for (_, kind), folder in truth.folders.items()
        if kind == "depth"
        for path in folder.iterdir()
    )
    assert found[f"SCENE/{KINDS['depth']}/*.JPG"] == (depth, True)
    assert found[f"SCENE/{KINDS['original']}/*.txt"] == (9, True)
    assert found[f"SCENE/{KINDS['masks']}/*.png"][1] is False
    assert len(found) == 5


# Sets


def convert_to_rows(truth, folder, sampling):
    request = ConvertRequest(truth.root, folder, "eval", None, sampling=sampling)
    summary = convert(CONVERTER, request, Silent())
    return summary, {row["id"]: row for row in RecordSet(summary.folder, "eval").rows()}


def test_a_converted_tree_holds_its_good_frames_and_counts_the_rest(truth, tmp_path):
    summary, rows = convert_to_rows(truth, tmp_path, "strict")
    good = set(truth.frames) - {f"{SCENE}/{EMPTY}"}
    assert set(rows) == {f"eth3d/eval/{name.replace('/', '/-/')}" for name in good}
    assert summary.skips["no_valid_depth"] == 1
    assert summary.skips["missing_scene"] == OTHER_SCENES
    for row in rows.values():
        assert len(row["points"]) in (22, 23)
        assert decode_depth(row).values.shape == (row["height"], row["width"])
        assert row["tags"]["environment"] == ("outdoor" if row["scene"] == OUTDOOR_SCENE else "indoor")


def test_compat_depth_is_the_distorted_map_stretched_over_the_picture(truth):
    for name, frame in read_all(truth.root, truth.frames, joined="ratio").items():
        good, depth = truth.frames[name], frame.depth
        assert depth.values.dtype == np.float32
        finite = np.isfinite(good.distorted_m)
        assert np.array_equal(depth.values, np.where(finite, good.distorted_m, 0))
        sizes = (good.original.width, good.original.height), (frame.camera.width, frame.camera.height)
        assert depth.source_from_depth == PixelAffine.resize(*sizes)
        assert (depth.depth_scale, frame.unmasked) == (1.0, None)


def test_a_compat_set_draws_the_papers_pixels_from_the_distorted_maps(truth, tmp_path):
    """Its scripts draw with RandomState(42 + row) over what is finite and in range, row-major, 4 decimals."""
    _, rows = convert_to_rows(truth, tmp_path, "compat")
    assert len(rows) == len(truth.frames) - 1 + len({"DSC_0646", "DSC_0647"})  # masks are not looked at
    counts = sorted((row["listed_row"], len(row["xy_listed"])) for row in rows.values())
    base, more = divmod(10_000, len(rows))
    assert counts == [(i, base + (i < more)) for i in range(len(rows))]
    for name in sorted(set(truth.frames) - {f"{SCENE}/{EMPTY}"}):
        row, depth_m = rows[f"eth3d/eval/{name.replace('/', '/-/')}"], truth.frames[name].distorted_m
        valid = np.argwhere(np.isfinite(depth_m) & (depth_m >= 0.01) & (depth_m <= 50))
        drawn = valid[
            np.random.RandomState(42 + row["listed_row"]).choice(
                len(valid), len(row["xy_listed"]), replace=False
            )
        ]
        assert row["xy_listed"] == drawn[:, ::-1].tolist()
        assert row["listed_depth_m"] == [round(float(depth_m[r, c]), 4) for r, c in drawn]
        assert (row["depth_kind"], row["depth_scale"], row["set_kind"]) == ("z", 1.0, "compat")


@pytest.mark.parametrize(("text", "joined"), [("joined=ratio", "ratio"), ("joined=lens", "lens")])
def test_how_depth_and_picture_are_joined_is_an_option(text, joined):
    assert parse_options(CONVERTER.options_type, (text,), "eth3d").joined == joined
    with pytest.raises(UsageError, match=r"'lens' \| 'ratio'"):
        parse_options(CONVERTER.options_type, ("joined=nearest",), "eth3d")


def test_sets_are_joined_by_the_lens_and_compat_sets_by_the_ratio():
    assert (CONVERTER.options_type().joined, CONVERTER.compat.joined) == ("lens", "ratio")
