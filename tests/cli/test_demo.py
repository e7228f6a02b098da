import re
from pathlib import Path

import pytest

from depthvlm_bench.hashing import sha256_file

LABELS = (
    "constant-2m",
    "constant (depth_m=5.0)",
    "best-constant (fit: nuscenes)",
    "row-prior (fit: nuscenes)",
)


def files_below(folder):
    return {path: sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def table_labels(text):
    """Models of the leaderboards, in the order of their lines: rank, name, scores."""
    return re.findall(r"^\d  (.+?) {2,}\d\.\d{3}", text, flags=re.M)


def written(text):
    """The paths a demo names at its end."""
    lines = text.split("\nwritten\n")[1].split("\nnext\n")[0].splitlines()
    return [Path(re.split(r"\s{2,}|(?<=predictions) ", line.strip(), maxsplit=1)[1]) for line in lines]


def test_the_demo_goes_from_raw_trees_to_two_leaderboards(demo):
    assert demo.first.code == 0, demo.first.text
    assert sorted(table_labels(demo.first.out)) == sorted(LABELS * 2)
    assert demo.first.out.count("δ1 under dvbench-1, sparse") == 1
    assert demo.first.out.count("δ1 under dvbench-1, dense") == 1
    assert "2 images predicted" in demo.first.out


def test_every_file_it_names_exists(demo):
    named = written(demo.first.out)
    assert [path for path in named if not path.exists()] == []
    tables = {path.name for path in named if path.suffix}
    assert tables == {
        f"dvbench-1-{mode}.{kind}" for mode in ("sparse", "dense") for kind in ("md", "tex", "csv")
    }
    assert {"raw", "data", "runs", "results"} <= {path.name for path in named}


def test_everything_it_wrote_lies_below_its_folder_and_is_named(demo):
    kept = {path.relative_to(demo.workspace).parts[0] for path in demo.workspace.rglob("*") if path.is_file()}
    assert kept == {path.relative_to(demo.workspace).parts[0] for path in written(demo.first.out)}


def test_it_says_that_its_sets_are_subsets_and_what_was_trained_on(demo):
    assert "* ibims1: 2 of the full set's 100 images" in demo.first.out
    assert "† the model was trained or fitted on this dataset's training split" in demo.first.out


def test_a_second_demo_resumes_says_so_and_changes_nothing_else(demo, dvbench):
    kept = [demo.workspace / name for name in ("raw", "data", "runs")]
    before = [files_below(folder) for folder in kept]
    second = dvbench("demo", "--out", demo.out)
    assert second.code == 0
    assert [files_below(folder) for folder in kept] == before
    assert "resumed: ray-cast scenes are there already" in second.out
    assert second.out.count("resumed: nothing was left to do") == 3
    assert second.out.count("resumed from an earlier run") == 2 * len(LABELS)
    assert "images predicted" not in second.out
    tables = [text.split("3. leaderboards")[1] for text in (demo.first.out, second.out)]
    assert tables[0] == tables[1]


def test_what_it_says_to_type_next_works(demo, dvbench):
    (command,) = re.findall(r"^  \S+ (verify .*)$", demo.first.out, flags=re.M)
    assert dvbench(*command.split()).code == 0


def test_it_converts_samples_of_a_user_and_shows_training_scenes_unranked(demo, dvbench, tmp_path):
    done = dvbench("demo", "--data", demo.workspace / "raw", "--out", tmp_path / "mine")
    assert done.code == 0, done.text
    assert "--source-split mini_train --allow-overlap" in done.out
    assert re.search(r"nuscenes@mini_train\*?‡", done.out)
    assert "‡ nuscenes@mini_train: made from a training split, unranked" in done.out
    assert "unranked (overlap)" in done.out
    named = written(done.out)
    assert [path for path in named if not path.exists()] == []
    assert not any("raw" in path.parts for path in named if tmp_path in path.parents)


@pytest.mark.parametrize("made", [True, False])
def test_samples_that_are_not_there_are_one_clear_error(dvbench, tmp_path, made):
    data = tmp_path / "samples"
    if made:
        data.mkdir()
    done = dvbench("demo", "--data", data, "--out", tmp_path / "mine")
    assert done.code == 3
    last = done.err.splitlines()[-1]
    assert "no sample tree" in last
    assert str(data) in last
    assert "ibims1, nuscenes, scannetpp" in last
    assert not (tmp_path / "mine").exists()
