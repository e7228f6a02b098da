import json
from pathlib import Path

import pytest
from raw_ibims1 import write_ibims1_tree
from raw_nuscenes import real_nuscenes_tree, write_nuscenes_tree

from depthvlm_bench.cli.main import main


@pytest.fixture
def dvbench(capsys, tmp_path, monkeypatch):
    """Run a command line that has to succeed; returns its stdout."""
    monkeypatch.setenv("DVBENCH_HOME", str(tmp_path / "home"))

    def run(*arguments, code=0):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert int(stopped.value.code or 0) == code, captured.err
        return captured.out

    return run


@pytest.fixture
def tree(tmp_path):
    return write_ibims1_tree(tmp_path / "raw").root


def test_a_set_goes_to_the_workspace_of_the_environment(dvbench, tmp_path, tree):
    out = dvbench("convert", "ibims1", "--root", tree)
    assert (tmp_path / "home/data/ibims1/_SUCCESS-eval").is_file()
    assert out.startswith("ibims1 (eval from test): 3 images")
    assert "left out: " in out
    assert "a subset (3 of 100 images)" in out
    assert str(tmp_path / "home/data/ibims1") in out


@pytest.mark.parametrize(("flag", "place"), [("--workspace", "other/data"), ("--out", "other")])
def test_workspace_and_out_say_where(dvbench, tmp_path, tree, flag, place):
    dvbench("convert", "ibims1", "--root", tree, flag, tmp_path / "other")
    assert (tmp_path / place / "ibims1/_SUCCESS-eval").is_file()
    assert not (tmp_path / "home").exists()


def test_without_any_of_them_the_workspace_is_dvbench_here(dvbench, tmp_path, tree, monkeypatch):
    monkeypatch.delenv("DVBENCH_HOME")
    monkeypatch.chdir(tmp_path)
    dvbench("convert", "ibims1", "--root", tree)
    assert (tmp_path / "dvbench/data/ibims1/_SUCCESS-eval").is_file()


def test_the_same_command_resumes_and_says_so(dvbench, tmp_path, tree):
    command = ("convert", "ibims1", "--root", tree)
    dvbench(*command, "--shard-rows", "2")
    assert "nothing was left to do" in dvbench(*command)
    (tmp_path / "home/data/ibims1/data/eval-00001-of-00002.parquet").unlink()
    assert "1 of 2 shards" in dvbench(*command)


def test_json_tells_all_of_it(dvbench, tmp_path, tree):
    found = json.loads(dvbench("convert", "ibims1", "--root", tree, "--json", "--shard-rows", 2))
    assert (found["set_name"], found["images"], found["shards"]) == ("ibims1", 3, 2)
    assert found["skips"]["unreadable"] == 3
    assert found["settings"]["source_split"] == "test"
    described = json.loads((tmp_path / "home/data/ibims1/dataset.json").read_text())
    assert found["manifest_hash"] == described["splits"]["eval"]["manifest_hash"]


def test_a_dry_run_writes_nothing_and_says_what_it_would(dvbench, tmp_path, tree):
    out = dvbench("convert", "ibims1", "--root", tree, "--dry-run", "--shard-rows", 2)
    assert f"would write {tmp_path / 'home/data/ibims1'}" in out
    assert "3 images in 2 shards of 2" in out
    assert "3 unreadable" in out
    assert not (tmp_path / "home").exists()


def test_options_reach_the_set(dvbench, tmp_path, tree):
    dvbench("convert", "ibims1", "--root", tree, "--limit", 1, "--no-source-image")
    found = json.loads((tmp_path / "home/data/ibims1/dataset.json").read_text())["splits"]["eval"]
    assert found["images"] == 1
    assert dvbench("convert", "ibims1", "--root", tree, code=2) == ""
    dvbench("convert", "ibims1", "--root", tree, "--replan")
    found = json.loads((tmp_path / "home/data/ibims1/dataset.json").read_text())["splits"]["eval"]
    assert found["images"] == 3


def test_reader_options_reach_the_reader(dvbench, tmp_path, scannetpp_set):
    command = ("convert", "scannetpp", "--root", scannetpp_set.root, "-o", "every=120", "--json")
    found = json.loads(dvbench(*command))
    assert found["settings"]["options"] == {"every": 120, "masks": False}
    assert found["images"] == 2


def test_both_splits_of_a_tree_go_into_one_set(dvbench, tmp_path):
    write_nuscenes_tree(tmp_path / "raw")
    assert "eval from val" in dvbench("convert", "nuscenes", "--root", tmp_path / "raw", "--limit", 2)
    out = dvbench("convert", "nuscenes", "--root", tmp_path / "raw", "--split", "train", "--limit", 2)
    assert "train from train" in out
    assert "subset" not in out
    names = sorted(path.name for path in (tmp_path / "home/data/nuscenes/data").iterdir())
    assert names == ["eval-00000-of-00001.parquet", "train-00000-of-00001.parquet"]


def test_the_real_keyframe_converts_as_overlap_and_says_that_it_is_unranked(dvbench, tmp_path):
    options = ("--source-split", "mini_train", "--allow-overlap")
    out = dvbench("convert", "nuscenes", "--root", real_nuscenes_tree(), *options)
    assert out.startswith("nuscenes@mini_train (eval from mini_train): 6 images")
    assert "marked `overlap`, shown unranked" in out
    found = json.loads((tmp_path / "home/data/nuscenes@mini_train/dataset.json").read_text())
    assert found["splits"]["eval"]["set_kind"] == "overlap"


@pytest.fixture
def published():
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "published_annotations"
    if not folder.is_dir():
        pytest.skip(f"the published sample is not at {folder}")
    return ("convert", "scannetpp", "--annotations", folder / "examples.jsonl", "--root", folder)


def test_a_published_list_can_be_tried_without_writing(dvbench, tmp_path, published):
    assert "30 images" in dvbench(*published, "--dry-run")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "flags",
    [("--split", "train"), ("--sampling", "compat"), ("--limit", 3), ("--source-split", "nvs_sem_val")],
)
def test_a_published_list_leaves_nothing_to_choose(dvbench, published, flags):
    dvbench(*published, *flags, code=2)


def test_the_summary_counts_points_and_area(dvbench, tree):
    out = dvbench("convert", "ibims1", "--root", tree)
    assert "  300 points; picture area without ground truth: " in out
