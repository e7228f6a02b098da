import json
import shutil

import pytest


@pytest.fixture
def evaluated(workspace, dvbench):
    assert dvbench("eval", "--model", "constant", "-o", "depth_m=5").code == 0
    return workspace


def results_of(workspace):
    """Everything but when it was made."""
    told = {
        path.name: json.loads(path.read_text()) for path in sorted((workspace / "results").rglob("*.json"))
    }
    for result in told.values():
        del result["provenance"]
    return told


def test_the_same_predictions_give_the_same_results(evaluated, dvbench):
    before = results_of(evaluated)
    shutil.rmtree(evaluated / "results")
    done = dvbench("score")
    assert done.code == 0, done.text
    assert results_of(evaluated) == before
    assert "constant (depth_m=5.0) on ibims1" in done.out
    assert done.out.count("  sparse δ1 ") == 2


def test_no_picture_and_no_model_is_needed(evaluated, demo, dvbench, tmp_path):
    """Sparse and dense scoring read points and predictions only."""
    light = tmp_path / "light"
    for name in ("ibims1", "nuscenes"):
        ignore = shutil.ignore_patterns("data", "receipts", "plan-*")
        shutil.copytree(demo.workspace / "data" / name, light / name, ignore=ignore)
    before = results_of(evaluated)
    shutil.rmtree(evaluated / "results")
    assert dvbench("score", "--data", light).code == 0
    assert results_of(evaluated) == before


def test_runs_are_chosen_by_set_and_model(evaluated, dvbench):
    dvbench("eval", "--model", "constant-2m", "--set", "ibims1")
    by_set = json.loads(dvbench("score", "--set", "nuscenes", "--json").out)
    assert {(r["set_name"], r["model"]) for r in by_set} == {("nuscenes", "constant")}
    by_model = json.loads(dvbench("score", "--model", "constant-2m", "--json").out)
    assert {(r["set_name"], r["model"]) for r in by_model} == {("ibims1", "constant-2m")}


def test_a_selection_is_scored_beside_the_whole(evaluated, dvbench):
    done = dvbench("score", "--set", "ibims1", "--where", "indoor & ~real | indoor", "--json")
    assert {r["where"] for r in json.loads(done.out)} == {"indoor & (~real) | indoor"}
    assert len(list((evaluated / "results" / "ibims1").glob("*.json"))) == 4


def test_a_selection_over_all_runs_scores_the_sets_that_have_such_records(evaluated, dvbench):
    done = dvbench("score", "--where", "outdoor", "--json")
    assert done.code == 0, done.text
    assert {r["set_name"] for r in json.loads(done.out)} == {"nuscenes"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--set", "nothing"], 3, ["no run to score", "dvbench eval"]),
        (["--model", "nothing"], 3, ["no run to score", "dvbench eval"]),
        (["--protocol", "dvbench2"], 2, ["unknown protocol", "did you mean"]),
        (["--where", "indoor &"], 2, ["cannot read --where"]),
    ],
)
def test_a_mistake_is_one_line(evaluated, dvbench, arguments, code, words):
    done = dvbench("score", *arguments)
    assert done.code == code
    for word in words:
        assert word in done.err.splitlines()[-1]
    assert "Traceback" not in done.text


def test_without_any_run_it_says_what_to_do(workspace, dvbench):
    done = dvbench("score")
    assert done.code == 3
    assert "no run to score" in done.error
    assert "dvbench eval --model" in done.error


def test_a_run_on_a_set_that_is_gone_is_a_clear_error(evaluated, dvbench, tmp_path):
    done = dvbench("score", "--data", tmp_path / "gone")
    assert done.code == 3
    assert "dvbench convert" in done.err.splitlines()[-1]


def test_a_damaged_run_is_a_clear_error(evaluated, dvbench):
    next((evaluated / "runs").rglob("run.json")).write_text("{")
    done = dvbench("score")
    assert done.code in (1, 3)
    assert "run.json" in done.err.splitlines()[-1]
