import json

import pytest


def scores(done):
    return {
        (entry["set"], result["mode"]): result["scores"]["delta1"]["value"]
        for entry in json.loads(done.out)
        for result in entry["results"]
    }


def test_a_model_is_all_that_has_to_be_named(workspace, dvbench):
    done = dvbench("eval", "--model", "constant-2m")
    assert done.code == 0, done.text
    assert "constant-2m on ibims1: 2 images predicted" in done.out
    assert "constant-2m on nuscenes: 6 images predicted" in done.out
    assert done.out.count("  sparse δ1 ") == done.out.count("  dense  δ1 ") == 2
    assert "200/200 answered, 2 images" in done.out
    assert sorted(path.name for path in (workspace / "runs").iterdir()) == ["ibims1", "nuscenes"]
    assert len(list((workspace / "results").rglob("*.json"))) == 4


def test_a_second_call_resumes_and_says_so(workspace, dvbench):
    dvbench("eval", "--model", "constant-2m", "--set", "ibims1")
    again = dvbench("eval", "--model", "constant-2m", "--set", "ibims1")
    assert "2 resumed from an earlier run" in again.out
    assert "predicted" not in again.out


def test_the_same_numbers_as_the_demo(workspace, demo, dvbench):
    done = dvbench("eval", "--model", "row-prior", "--json")
    stored = {}
    for path in (demo.workspace / "results").rglob("row-prior--*.json"):
        told = json.loads(path.read_text())
        stored[told["set_name"], told["mode"]] = told["scores"]["delta1"]["value"]
    assert scores(done) == stored
    assert len(stored) == 4


def test_json_says_what_was_done_and_where(workspace, dvbench):
    done = dvbench("eval", "--model", "constant", "-o", "depth_m=5", "--set", "ibims1", "--json")
    (entry,) = json.loads(done.out)
    assert (entry["set"], entry["predicted"], entry["resumed"]) == ("ibims1", 2, 0)
    assert entry["results"][0]["options"] == {"depth_m": 5.0}
    assert len(entry["files"]) == 2
    assert all(str(workspace) in path for path in (entry["run"], *entry["files"]))


def test_a_limit_is_partial_and_unranked_and_a_full_run_completes_it(workspace, dvbench):
    partial = dvbench("eval", "--model", "constant-2m", "--set", "nuscenes", "--limit", "2")
    assert partial.code == 0
    assert partial.out.count("partial: 4 images missing, unranked") == 2
    full = dvbench("eval", "--model", "constant-2m", "--set", "nuscenes")
    assert "4 images predicted, 2 resumed from an earlier run" in full.out
    assert "partial" not in full.out


def test_another_out_folder_leaves_the_workspace_alone(workspace, dvbench, tmp_path):
    out = tmp_path / "elsewhere"
    assert dvbench("eval", "--model", "constant-2m", "--set", "ibims1", "--out", out).code == 0
    assert {path.name for path in out.iterdir()} == {"runs", "results"}
    assert {path.name for path in workspace.iterdir()} == {"data"}


def test_a_dry_run_writes_nothing(workspace, dvbench):
    done = dvbench("eval", "--model", "constant-2m", "--dry-run")
    assert "would ask constant-2m for 2 images of ibims1 (input canonical, camera known)" in done.out
    assert {path.name for path in workspace.iterdir()} == {"data"}


def test_the_oracle_is_right_and_stands_in_no_leaderboard(workspace, dvbench):
    folder = workspace / "data" / "ibims1"
    done = dvbench("eval", "--model", "oracle", "-o", f"set_folder={folder}", "--set", "ibims1", "--json")
    assert scores(done) == {("ibims1", "sparse"): 1.0}
    assert dvbench("leaderboard").code == 3


def test_without_a_camera_the_native_picture_is_shown(workspace, dvbench):
    done = dvbench("eval", "--model", "constant-2m", "--set", "ibims1", "--camera", "unknown", "--json")
    result = json.loads(done.out)[0]["results"][0]
    assert (result["input"], result["track"]) == ("native", "unknown")


def test_a_selection_over_all_sets_scores_the_sets_that_have_such_records(workspace, dvbench):
    """Rooms and streets lie in one workspace: --where is how one asks for the rooms."""
    done = dvbench("eval", "--model", "constant-2m", "--where", "indoor", "--json")
    assert done.code == 0, done.text
    assert {name for name, _ in scores(done)} == {"ibims1"}


def test_no_converted_set_is_one_clear_error(dvbench, tmp_path):
    done = dvbench("eval", "--model", "constant-2m", "--workspace", tmp_path)
    assert done.code == 3
    assert "no converted eval set" in done.error
    assert str(tmp_path) in done.error
    assert "dvbench convert" in done.error


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "constant-2n"], 2, ["unknown model", "did you mean 'constant-2m'", "dvbench models"]),
        (["--model", "zzz"], 2, ["unknown model 'zzz'", "best-constant"]),
        (["--model", "constant-2m", "--set", "ibims2"], 3, ["no converted set", "did you mean 'ibims1'"]),
        (["--model", "row-prior", "--fit-on", "nuscene"], 3, ["no converted set", "did you mean 'nuscenes'"]),
        (["--model", "row-prior", "--fit-on", "ibims1"], 3, ["no train split", "ibims1"]),
        (["--model", "constant-2m", "--protocol", "dvbench-2"], 2, ["unknown protocol", "'dvbench-1'"]),
        (["--model", "constant", "-o", "depth=3"], 2, ["unknown key 'depth'", "did you mean 'depth_m'"]),
        (["--model", "constant", "-o", "depth_m=far"], 2, ["'far' is not a number", "depth_m"]),
        (["--model", "constant", "-o", "depth_m"], 2, ["not KEY=VALUE"]),
        (["--model", "constant", "-o", "depth_m=nan"], 2, ["depth_m"]),
        (["--model", "constant", "-o", "depth_m=inf"], 2, ["depth_m"]),
        (["--model", "constant-2m", "--camera", "unknown", "--input", "canonical"], 2, ["--input native"]),
        (["--model", "constant-2m", "--input", "preferred"], 2, ["no preferred focal length"]),
        (["--model", "constant-2m", "--where", "indoor &"], 2, ["cannot read --where", "indoor & real"]),
        (["--model", "constant-2m", "--where", "underwater"], 2, ["selects no image"]),
        (["--model", "constant-2m", "--limit", "0"], 2, ["--limit"]),
        (["--model", "oracle"], 2, ["set_folder"]),
        ([], 2, ["--model"]),
    ],
)
def test_a_mistake_is_one_line_with_the_right_exit_code(workspace, dvbench, arguments, code, words):
    done = dvbench("eval", *arguments)
    assert done.code == code
    for word in words:
        assert word in done.error
    assert not done.out
    assert {path.name for path in workspace.iterdir()} <= {"data", "runs"}
    assert not (workspace / "results").exists()


@pytest.mark.parametrize("model", ["best-constant", "row-prior"])
def test_a_fitted_model_without_a_training_split_is_one_clear_error(rooms_only, dvbench, model):
    done = dvbench("eval", "--model", model)
    assert done.code == 3
    assert "there is no converted training split" in done.error
    assert "never fitted on evaluation data" in done.error
    assert "--split train" in done.error
    assert {path.name for path in rooms_only.iterdir()} == {"data"}


def test_a_plain_model_needs_no_training_split(rooms_only, dvbench):
    assert dvbench("eval", "--model", "constant-2m").code == 0


def test_kept_maps_are_named_and_score_the_same(workspace, dvbench):
    done = dvbench("eval", "--model", "constant-2m", "--set", "ibims1", "--keep-maps")
    (folder,) = (workspace / "runs" / "ibims1").glob("constant-2m--*/maps")
    assert f"  maps of 2 of 2 images in {folder}\n" in done.out
    again = dvbench("score", "--predictions", folder, "--set", "ibims1")
    assert again.code == 0, again.text
    assert [line for line in again.out.splitlines() if "δ1" in line] == [
        line for line in done.out.splitlines() if "δ1" in line
    ]


def test_what_was_predicted_without_maps_and_metrics_is_said(workspace, dvbench):
    dvbench("eval", "--model", "constant-2m", "--set", "ibims1", "--limit", "1")
    done = dvbench("eval", "--model", "constant-2m", "--set", "ibims1", "--keep-maps", "--extra-metrics")
    assert "maps of 1 of 2 images in " in done.out
    assert "; 1 predicted earlier without: --out NEW makes all" in done.out
    assert "no extra metrics: only 1 of 2 images have them" in done.out


def test_extra_metrics_are_shown_where_there_is_a_grid(workspace, dvbench):
    done = dvbench("eval", "--model", "constant-2m", "--extra-metrics")
    assert "  extra  f_score 0." in done.out
    assert "boundary_f1 0.000" in done.out
    assert "  extra  none: nuscenes has no dense depth grid" in done.out


def test_json_counts_the_kept_maps(workspace, dvbench):
    done = dvbench("eval", "--model", "constant-2m", "--set", "ibims1", "--keep-maps", "--json")
    (entry,) = json.loads(done.out)
    assert (entry["maps"], entry["measured"]) == (2, None)
