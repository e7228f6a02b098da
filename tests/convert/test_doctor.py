import re
import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from raw_ibims1 import UNITS_PER_M, real_ibims1_tree, write_ibims1_tree
from raw_nuscenes import real_nuscenes_tree
from raw_scannetpp import real_scannetpp_tree, write_scannetpp_tree

from depthvlm_bench.convert import doctor
from depthvlm_bench.convert.doctor import Check, Diagnosis, examine
from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.errors import DataMissingError
from depthvlm_bench.progress import Silent
from depthvlm_bench.registry import load_converter


def look(name, root, sample=100, *, converter=None, options=None, workspace=None):
    converter = converter or load_converter(name)
    diagnosis = examine(converter, root, options, sample, Silent(), workspace=workspace or root)
    return diagnosis, {check.name: check for check in diagnosis.checks}


def statuses(checks):
    return {name: check.status for name, check in checks.items()}


def with_card(name, **changes):
    converter = load_converter(name)
    return replace(converter, card=replace(converter.card, **changes))


@pytest.fixture
def good_ibims1(tmp_path):
    """An iBims-1 tree of three good frames."""
    truth = write_ibims1_tree(tmp_path / "raw")
    (truth.root / "imagelist.txt").write_text("\n".join(truth.cameras.keys() - {"restroom_01"}))
    return truth


def test_a_good_tree_warns_of_nothing_but_its_size(good_ibims1):
    diagnosis, checks = look("ibims1", good_ibims1.root)
    assert [name for name, status in statuses(checks).items() if status != "ok"] == ["test: frames"]
    assert checks["test: frames"].found == "3 in the index, 100 in the full set"
    assert "subset" in checks["test: frames"].advice
    assert diagnosis.status == "warn"
    complete = with_card("ibims1", source_split_images={"test": 3})
    assert look("ibims1", good_ibims1.root, converter=complete)[0].status == "ok"


def test_figures_are_those_of_the_frames(good_ibims1):
    _, checks = look("ibims1", good_ibims1.root)
    assert checks["test: sample"].found == "3 of 3 read"
    fx = [good_ibims1.cameras[name][0] for name in ("office_03", "corridor_02")]
    assert checks["test: pictures"].found == f"64x48, fx {fx[0]:.1f}-{fx[1]:.1f} px"
    names = good_ibims1.cameras.keys() - {"restroom_01"}
    depths = {n: good_ibims1.depth_m[n][good_ibims1.valid[n]] for n in names}
    low, median, high = np.median([np.percentile(d, (5, 50, 95)) for d in depths.values()], axis=0)
    assert checks["test: depth"].found == f"p5 {low:.2f}, p50 {median:.2f}, p95 {high:.2f} m"
    share = np.mean([good_ibims1.valid[name].mean() for name in names])
    assert checks["test: valid depth"].found.startswith(f"{share:.2%} of the pixels")
    constant = np.mean([np.mean((d > 1.6) & (d < 2.5)) for d in depths.values()])
    assert checks["test: constant 2.0 m"].found.startswith(f"right at {constant:.3f} ±")
    assert checks["test: constant 2.0 m"].found.endswith("the paper's table has 0.269")


def test_what_cannot_be_read_is_counted_by_reason(tmp_path):
    truth = write_ibims1_tree(tmp_path)
    _, checks = look("ibims1", tmp_path)
    check = checks["test: sample"]
    assert (check.status, check.found.split("; ")[0]) == ("warn", f"4 of {len(truth.listed)} read")
    for reason in ("unreadable", "missing_depth", "size_mismatch", "missing_intrinsics", "bad_intrinsics"):
        count = sum(found == reason for found, _ in truth.faults.values())
        assert f"{count} {reason}" in check.found
    assert check.advice.startswith("the first: ibims1/eval/-/-/kitchen_01: depth/kitchen_01.png")
    assert checks["test: valid depth"].status == "warn"
    assert "1 of 4 pictures have none" in checks["test: valid depth"].advice


def test_the_sample_is_as_large_as_asked_and_always_the_same(good_ibims1):
    assert look("ibims1", good_ibims1.root, 2)[1]["test: sample"].found == "2 of 2 read"
    assert look("ibims1", good_ibims1.root, 2) == look("ibims1", good_ibims1.root, 2)


def test_a_tree_that_lacks_files_fails(good_ibims1):
    shutil.rmtree(good_ibims1.core / "mask_transp")
    diagnosis, checks = look("ibims1", good_ibims1.root)
    assert checks["tree: mask_transp/*.png"].status == "fail"
    assert checks["test: sample"].status == "fail"
    assert "3 missing_depth" in checks["test: sample"].found
    assert diagnosis.status == "fail"


def test_what_is_not_required_may_be_absent(tmp_path):
    write_ibims1_tree(tmp_path, with_list=False)
    _, checks = look("ibims1", tmp_path, 1)
    assert checks["tree: imagelist.txt"] == Check("tree: imagelist.txt", "ok", "absent, not required")


def rescale(truth, factor):
    for name in truth.cameras:
        path = truth.core / f"depth/{name}.png"
        with Image.open(path) as image:
            values = np.array(image)
        Image.fromarray((values * factor).clip(0, 65534).astype(np.uint16)).save(path)


def test_depth_in_another_unit_fails(good_ibims1):
    """Millimetres read as 1/1310.7 m are still plausible; decimetres and micrometres are not."""
    rescale(good_ibims1, 1e-3)
    diagnosis, checks = look("ibims1", good_ibims1.root)
    assert checks["test: depth"].status == "fail"
    assert "another unit" in checks["test: depth"].advice
    assert diagnosis.status == "fail"


def test_depth_partly_out_of_range_warns(good_ibims1):
    _, checks = look("ibims1", good_ibims1.root, converter=with_card("ibims1", valid_max_m=3.2))
    assert checks["test: depth"].status == "warn"
    assert "will not be asked" in checks["test: depth"].advice


def test_other_data_than_the_paper_s_warns_on_its_constant(good_ibims1):
    same = (good_ibims1.core / "depth/corridor_02.png").read_bytes()
    for name in ("lab_01", "office_03"):
        (good_ibims1.core / f"depth/{name}.png").write_bytes(same)

    def constant_check(paper):
        converter = with_card("ibims1", paper_constant_2m=paper)
        return look("ibims1", good_ibims1.root, converter=converter)[1]["test: constant 2.0 m"]

    share = float(constant_check(None).found.split()[-1])
    assert constant_check(None).status == constant_check(share).status == "ok"
    assert "paper" not in constant_check(None).found
    assert constant_check(share + 0.2).status == "warn"
    assert "more than chance" in constant_check(share - 0.2).advice


@pytest.fixture
def scannetpp(tmp_path):
    return write_scannetpp_tree(tmp_path / "raw")


def test_splits_say_what_would_be_taken(scannetpp):
    _, checks = look("scannetpp", scannetpp.root)
    assert checks["split for eval"].found == "nvs_sem_val (present: nvs_sem_val, nvs_sem_train)"
    assert checks["split for train"].found.startswith("nvs_sem_train")
    assert checks["nvs_sem_train: frames"].found == "1 in the index"
    assert checks["nvs_sem_val: left out"] == Check(
        "nvs_sem_val: left out",
        "warn",
        "1 missing_scene",
        "the first: scannetpp/eval/2222222222/-/-: data/2222222222/iphone",
    )


def test_a_tree_for_evaluation_alone_is_a_good_tree(scannetpp):
    (scannetpp.root / "splits/nvs_sem_train.txt").unlink()
    _, checks = look("scannetpp", scannetpp.root)
    assert (checks["split for train"].status, checks["split for eval"].status) == ("ok", "ok")


def test_a_tree_without_any_split_fails(scannetpp):
    for path in (scannetpp.root / "splits").iterdir():
        path.write_text("# nothing\n")
    diagnosis, checks = look("scannetpp", scannetpp.root)
    assert checks["split for eval"].status == checks["split for train"].status == "fail"
    assert diagnosis.status == "fail"


def test_scenes_in_both_splits_fail_by_name(scannetpp):
    splits = scannetpp.root / "splits"
    (splits / "nvs_sem_train.txt").write_text((splits / "nvs_sem_val.txt").read_text())
    diagnosis, checks = look("scannetpp", scannetpp.root)
    assert checks["split for eval"].status == "fail"
    assert "0a1b2c3d4e" in checks["split for eval"].found
    assert diagnosis.status == "fail"


def test_reader_options_count(scannetpp):
    options = load_converter("scannetpp").options_type(every=120)
    _, checks = look("scannetpp", scannetpp.root, options=options)
    default = look("scannetpp", scannetpp.root)[1]
    frames = [int(c["nvs_sem_val: frames"].found.split()[0]) for c in (checks, default)]
    assert frames[0] < frames[1]


def test_an_empty_scene_list_leaves_no_frame_to_sample(scannetpp):
    shutil.rmtree(scannetpp.iphone() / "rgb")
    shutil.rmtree(scannetpp.iphone("1111111111"))
    (scannetpp.iphone() / "pose_intrinsic_imu.json").write_text("{}")
    _, checks = look("scannetpp", scannetpp.root)
    assert checks["nvs_sem_val: frames"].status == "fail"
    assert "nvs_sem_val: sample" not in checks


def test_bytes_and_time_are_measured_on_real_frames(tmp_path):
    root = real_scannetpp_tree()
    _, checks = look("scannetpp", root, sample=30)
    (megabytes,) = re.findall(r"eval about ([\d.]+) MB", checks["disk"].found)
    summary = convert(load_converter("scannetpp"), ConvertRequest(root, tmp_path), Silent())
    assert float(megabytes) * 1e6 == pytest.approx(summary.bytes, rel=0.02)
    assert checks["time"].status == "ok"
    assert re.match(r"eval about .+ on one core of this machine", checks["time"].found)


def test_a_full_disk_fails(good_ibims1, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: usage(10, 9, 1000))
    _, checks = look("ibims1", good_ibims1.root)
    assert checks["disk"].status == "fail"
    assert "--out" in checks["disk"].advice


def test_the_workspace_need_not_exist(good_ibims1, tmp_path):
    _, checks = look("ibims1", good_ibims1.root, workspace=tmp_path / "not" / "yet")
    assert checks["disk"].found.endswith(f"free at {tmp_path}")
    assert not (tmp_path / "not").exists()


def test_no_tree_at_all_is_data_missing(tmp_path):
    with pytest.raises(DataMissingError, match="does not exist"):
        look("ibims1", tmp_path / "absent")
    (tmp_path / "other").mkdir()
    with pytest.raises(DataMissingError, match="in this ibims1 tree"):
        look("ibims1", tmp_path / "other")


@pytest.mark.parametrize(
    ("given", "worst"), [((), "ok"), (("ok", "warn"), "warn"), (("warn", "fail", "ok"), "fail")]
)
def test_a_diagnosis_is_as_bad_as_its_worst_check(tmp_path, given, worst):
    checks = tuple(Check(str(i), status, "") for i, status in enumerate(given))
    assert Diagnosis("d", tmp_path, checks).status == worst


def test_the_source_is_closed(good_ibims1):
    closed = []
    converter = load_converter("ibims1")

    def opened(root, options):
        source = converter.open(root, options)
        source.close = lambda: closed.append(True)
        return source

    look("ibims1", good_ibims1.root, converter=replace(converter, open=opened))
    assert closed == [True]


def test_the_real_ibims1_sample_looks_like_the_paper_s():
    """All 40 frames: the share of (1.6, 2.5) m, image by image, is the figure of the issue, 0.2520."""
    diagnosis, checks = look("ibims1", real_ibims1_tree(), 40)
    assert diagnosis.status == "warn"
    assert checks["test: constant 2.0 m"].found.startswith("right at 0.252 ±")
    assert checks["test: constant 2.0 m"].status == "ok"
    assert UNITS_PER_M == 1310.7


def test_the_real_scannetpp_sample_looks_like_the_paper_s():
    _, checks = look("scannetpp", real_scannetpp_tree(), 30)
    assert checks["nvs_sem_val: constant 2.0 m"].found.startswith("right at 0.289 ±")
    assert checks["nvs_sem_val: pictures"].found.startswith("1920x1440, fx 14")
    assert checks["nvs_sem_val: depth"].status == "ok"


def test_the_real_keyframe_lacks_an_evaluation_split():
    diagnosis, checks = look("nuscenes", real_nuscenes_tree())
    assert checks["split for eval"].status == "warn"
    assert "mini_train --allow-overlap" in checks["split for eval"].advice
    assert checks["split for train"].found == "mini_train (present: mini_train)"
    assert checks["mini_train: frames"].found == "6 in the index"
    assert "points a picture" in checks["mini_train: valid depth"].found
    assert diagnosis.status == "warn"


def test_inverted_masks_are_suspected(good_ibims1):
    assert look("ibims1", good_ibims1.root)[1]["test: masks"].status == "ok"
    path = good_ibims1.core / "mask_invalid/corridor_02.png"
    good = np.asarray(Image.open(path))
    Image.fromarray(~good).save(path)
    found = look("ibims1", good_ibims1.root)[1]["test: masks"]
    assert found.status == "warn"
    assert "-100% a picture" in found.found
