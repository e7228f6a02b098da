from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthvlm_bench.demo.ibims1_tree import ibims1_name, ibims1_truth, write_ibims1

IMAGES = 7


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("ibims1")
    write_ibims1(root, images=IMAGES)
    return root


def read(root: Path, folder: str, index: int):
    return Image.open(root / "ibims1_core_raw" / folder / f"{ibims1_name(index)}.png")


def test_tree_is_complete_and_nothing_else(root):
    names = [ibims1_name(i) for i in range(IMAGES)]
    folders = {"rgb": "png", "depth": "png", "calib": "txt", "mask_invalid": "png", "mask_transp": "png"}
    expected = {f"ibims1_core_raw/{f}/{n}.{e}" for f, e in folders.items() for n in names} | {"imagelist.txt"}
    assert {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()} == expected
    assert (root / "imagelist.txt").read_text() == "".join(f"{n}\n" for n in sorted(names))
    assert names[0] == "corridor_01"
    assert names[6] == "corridor_02"


def test_file_types_are_those_of_the_real_set(root):
    for index in range(IMAGES):
        assert read(root, "rgb", index).mode == "RGB"
        assert read(root, "depth", index).mode.startswith("I;16")
        for mask in ("mask_invalid", "mask_transp"):
            assert read(root, mask, index).mode == "1"
        assert {read(root, f, index).size for f in ("rgb", "depth", "mask_invalid", "mask_transp")} == {
            (640, 480)
        }


def test_calibration_line_is_exact_off_centre_and_of_two_cameras(root):
    lines = set()
    for index in range(IMAGES):
        line = (root / "ibims1_core_raw/calib" / f"{ibims1_name(index)}.txt").read_text()
        fx, fy, cx, _ = values = tuple(map(float, line.strip().split(",")))
        assert line.endswith("\n")
        assert values == ibims1_truth(index)[0]
        assert fx != fy
        assert abs(cx - 319.5) > 10
        lines.add(line)
    assert len(lines) == 2


def test_depth_is_the_truth_within_half_a_step_where_the_masks_are_good(root):
    for index in range(IMAGES):
        _, truth_m = ibims1_truth(index)
        assert np.isfinite(truth_m).all()
        stored = np.asarray(read(root, "depth", index)).astype(np.float64)
        good = np.asarray(read(root, "mask_invalid", index)) & np.asarray(read(root, "mask_transp", index))
        good &= stored > 0
        assert good.mean() > 0.7
        assert np.abs(stored * 50 / 65535 - truth_m)[good].max() <= 25 / 65535 + 1e-9


def test_masked_pixels_hold_plausible_but_wrong_depth(root):
    for index in range(IMAGES):
        _, truth_m = ibims1_truth(index)
        depth_m = np.asarray(read(root, "depth", index)).astype(np.float64) * 50 / 65535
        transparent = ~np.asarray(read(root, "mask_transp", index)) & (depth_m > 0)
        invalid = ~np.asarray(read(root, "mask_invalid", index)) & (depth_m > 0)
        for masked in (transparent, invalid & ~transparent):
            assert 30 < masked.sum() < 0.25 * masked.size
            assert (np.abs(depth_m / truth_m - 1) > 0.2)[masked & (transparent ^ invalid)].all()
        assert depth_m.max() < 25
        assert 0.001 < (depth_m == 0).mean() < 0.1


def test_rooms_have_the_size_of_rooms_and_differ(root):
    pictures = [np.asarray(read(root, "rgb", i)).astype(float) for i in range(IMAGES)]
    for index in range(IMAGES):
        _, truth_m = ibims1_truth(index)
        assert 0.3 < truth_m.min() < truth_m.max() < 9.5
        assert 1.5 < np.median(truth_m) < 7
        for other in range(index):
            assert np.abs(pictures[index] - pictures[other]).mean() > 12


def test_two_runs_give_the_same_bytes_and_a_seed_changes_them(root, tmp_path):
    write_ibims1(tmp_path / "again", images=2)
    write_ibims1(tmp_path / "other", images=2, seed=1)
    for index in range(2):
        for folder, ending in (("rgb", "png"), ("depth", "png"), ("mask_invalid", "png"), ("calib", "txt")):
            file = f"ibims1_core_raw/{folder}/{ibims1_name(index)}.{ending}"
            assert (tmp_path / "again" / file).read_bytes() == (root / file).read_bytes()
            if ending == "png":
                assert (tmp_path / "other" / file).read_bytes() != (root / file).read_bytes()
