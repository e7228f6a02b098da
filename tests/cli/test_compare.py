import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from made_results import made_result

from depthvlm_bench.results.schema import result_path, write_result
from depthvlm_bench.scoring.paired import ImageScores, benchmark_difference, paired_difference
from depthvlm_bench.scoring.protocol import load_protocol

PROTOCOL = load_protocol("dvbench-1")
COUNT = 60


def hits_of(model, set_name):
    """Of 10 points an image; `good` and `fair` are alike, `poor` is not."""
    shared = np.random.default_rng(len(set_name)).uniform(0.6, 1, COUNT)
    level = {"good": 0.0, "fair": 0.005, "poor": 0.2}[model]
    return np.random.default_rng([ord(model[0]), len(set_name)]).binomial(10, shared - level)


def write(home, model, set_name="ibims1", hits=None, rows=True, scenes=None, **known):
    """A result and its rows in a workspace; the path of its JSON."""
    hits = hits_of(model, set_name) if hits is None else hits
    known = {"protocol_hash": PROTOCOL.hash, "images": COUNT, "run": f"{model} {set_name}"} | known
    result = made_result(model, float(np.mean(hits / 10)), set_name, **known)
    ids = [f"{set_name}/{index:03d}" for index in range(len(hits))]
    table = pa.table(
        {"id": ids, "scene": scenes or ["-"] * len(ids), "asked": [10] * len(ids), "hits": hits.tolist()}
    )
    path = write_result(home / "results", result, table)
    if not rows:
        path.with_suffix(".images.parquet").unlink()
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DVBENCH_HOME", str(tmp_path))
    for model in ("good", "fair", "poor"):
        for set_name in ("ibims1", "nuscenes"):
            write(tmp_path, model, set_name)
    return tmp_path


def scores(model, set_name):
    hits = hits_of(model, set_name)
    return ImageScores.of({f"{set_name}/{index:03d}": hit / 10 for index, hit in enumerate(hits)})


def told(dvbench, *arguments):
    done = dvbench("compare", *arguments, "--json")
    assert done.code == 0, done.text
    return {line["set_name"]: line for line in json.loads(done.out)["comparisons"]}


def test_it_says_who_is_better_set_by_set_and_in_the_mean(home, dvbench):
    done = dvbench("compare", "good", "poor")
    assert done.code == 0, done.text
    assert "first: good" in done.out
    lines = [line.split() for line in done.out.splitlines()]
    rows = {line[0]: line for line in lines if line and line[0] in ("ibims1", "nuscenes", "mean")}
    assert [row[-3:] for row in rows.values()] == [["first", "is", "better"]] * 3
    assert rows["mean"][1:3] == ["120", "120"]


def test_the_numbers_are_those_of_the_paired_tests(home, dvbench):
    lines = told(dvbench, "good", "fair")
    sides = [[scores(model, s) for s in ("ibims1", "nuscenes")] for model in ("good", "fair")]
    found = {
        "ibims1": paired_difference(sides[0][0], sides[1][0], PROTOCOL.bootstrap),
        "nuscenes": paired_difference(sides[0][1], sides[1][1], PROTOCOL.bootstrap),
        "mean": benchmark_difference(*sides, PROTOCOL.bootstrap),
    }
    for name, expected in found.items():
        line = lines[name]
        assert (line["low"], line["high"], line["p"]) == (expected.low, expected.high, expected.p)
        assert line["difference"] == expected.value
        assert line["verdict"] == "tie"
    smallest = min(found["ibims1"].p, found["nuscenes"].p)
    assert min(lines[name]["p_holm"] for name in ("ibims1", "nuscenes")) == min(1, 2 * smallest)
    assert lines["mean"]["p_holm"] == lines["mean"]["p"]


def test_the_other_way_round_the_other_is_better(home, dvbench):
    there, back = told(dvbench, "good", "poor"), told(dvbench, "poor", "good")
    for name in ("ibims1", "nuscenes", "mean"):
        assert (there[name]["verdict"], back[name]["verdict"]) == ("first", "second")
        assert back[name]["difference"] == -there[name]["difference"]


def test_one_set_has_no_mean(home, dvbench):
    assert list(told(dvbench, "good", "poor", "--set", "nuscenes")) == ["nuscenes"]


def test_overlap_sets_do_not_count_in_the_mean(home, dvbench):
    for model in ("good", "poor"):
        write(home, model, "ddad@train", set_kind="overlap")
    lines = told(dvbench, "good", "poor")
    assert list(lines) == ["ddad@train", "ibims1", "nuscenes", "mean"]
    assert lines["mean"]["images"] == 2 * COUNT


def test_two_partial_results_are_marked_and_count_in_no_mean(home, dvbench):
    for model in ("good", "poor"):
        write(home, model, "nuscenes", hits=hits_of(model, "nuscenes")[:-10], images=COUNT, missing=10)
    lines = told(dvbench, "good", "poor")
    assert {name: (line["complete"], line["ranked"]) for name, line in lines.items()} == {
        "ibims1": (True, True),
        "nuscenes": (False, False),
    }
    assert lines["nuscenes"]["images"] == COUNT - 10
    done = dvbench("compare", "good", "poor")
    assert done.code == 0, done.text
    assert "nuscenes°" in done.out
    assert "° partial: predictions are missing, unranked" in done.out
    for model in ("good", "poor"):
        write(home, model, "eth3d")
    assert told(dvbench, "good", "poor")["mean"]["images"] == 2 * COUNT


def test_the_mean_is_that_of_the_leaderboard(home, dvbench):
    for model in ("good", "poor"):
        for set_name in ("eth3d", "ddad"):
            write(home, model, set_name)
    mean = told(dvbench, "good", "poor")["mean"]
    board = json.loads(dvbench("leaderboard", "--json").out)
    means = {row["label"]: row["mean"] for row in board["rows"]}
    assert (means["good"], means["poor"]) == (mean["first"], mean["second"])


@pytest.mark.parametrize(
    ("protocol", "units", "over"),
    [("dvbench-1", COUNT // 4, "scenes where they repeat"), ("depthvlm-compat-1", COUNT, "units: images\n")],
)
def test_the_protocol_says_what_is_drawn(home, dvbench, protocol, units, over):
    known = {"protocol": protocol, "protocol_hash": load_protocol(protocol).hash}
    known |= {"ranked": False, "set_kind": "compat"} if protocol != "dvbench-1" else {}
    for model in ("good", "poor"):
        write(home, model, "eth3d", scenes=[f"room{index // 4}" for index in range(COUNT)], **known)
    selected = ("good", "poor", "--set", "eth3d", "--protocol", protocol)
    assert told(dvbench, *selected)["eth3d"]["units"] == units
    done = dvbench("compare", *selected)
    assert over in done.out
    assert f"δ1 under {protocol}, sparse, input canonical, camera known" in done.out


def test_unranked_sets_are_marked(home, dvbench):
    for model in ("good", "poor"):
        write(home, model, "ddad@train", set_kind="overlap")
    out = dvbench("compare", "good", "poor").out
    assert "ddad@train‡" in out
    assert "‡ not ranked" in out
    assert "‡" not in dvbench("compare", "good", "poor", "--set", "ibims1").out


def test_means_over_points_are_not_compared_image_by_image(home, dvbench):
    known = {"protocol": "depthlm-compat-1", "protocol_hash": load_protocol("depthlm-compat-1").hash}
    for model in ("good", "poor"):
        write(home, model, "eth3d", **known)
    done = dvbench("compare", "good", "poor", "--protocol", "depthlm-compat-1")
    assert done.code == 2
    assert "depthlm-compat-1 averages over points" in done.error


def test_a_model_s_name_is_hinted_at_too(home, dvbench):
    write(home, "fair", "eth3d", options={"far_m": 1.5}, run="far")
    shutil.rmtree(home / "results" / "ibims1")
    shutil.rmtree(home / "results" / "nuscenes")
    write(home, "good", "eth3d")
    done = dvbench("compare", "good", "fairr")
    assert done.code == 3
    assert "did you mean 'fair'" in done.error
    assert dvbench("compare", "good", "fair").code == 0


def test_results_of_another_table_are_counted_where_there_is_none(home, dvbench):
    done = dvbench("compare", "good", "poor", "--protocol", "depthvlm-compat-1")
    assert done.code == 3
    assert "no result to compare" in done.error
    assert "6 results are of another protocol, input, camera or selection" in done.error


def test_a_set_that_only_one_has_is_told(home, dvbench):
    write(home, "good", "eth3d")
    done = dvbench("compare", "poor", "good")
    assert done.code == 0
    assert "left out: only good has a result on eth3d" in done.err
    assert dvbench("compare", "poor", "good", "--set", "eth3d").code == 3


def test_result_files_will_do(home, dvbench, tmp_path):
    other = tmp_path / "elsewhere"
    files = [write(other, model, "ibims1") for model in ("good", "poor")]
    assert told(dvbench, *files) == told(dvbench, "good", "poor", "--set", "ibims1")
    assert list(told(dvbench, files[0], "poor")) == ["ibims1"]


def test_labels_with_options_are_names(home, dvbench):
    for far in (1, 2):
        write(home, "fair", "eth3d", options={"far_m": far}, run=f"far {far}")
    assert list(told(dvbench, "fair (far_m=1)", "fair (far_m=2)")) == ["eth3d"]
    done = dvbench("compare", "good", "fair (far_m=3)")
    assert done.code == 3
    assert "did you mean" in done.error


def test_a_model_of_several_rows_must_be_named_in_full(home, dvbench):
    shutil.rmtree(home / "results")
    write(home, "good")
    for far in (1, 2):
        write(home, "poor", options={"far_m": far}, run=f"far {far}")
    done = dvbench("compare", "good", "poor")
    assert done.code == 2
    assert "'poor' is several rows" in done.error
    shutil.rmtree(home / "results" / "ibims1")
    write(home, "good")
    write(home, "poor", options={"far_m": 1})
    assert dvbench("compare", "good", "poor").code == 0


def test_scenes_that_repeat_are_the_units(home, dvbench):
    scenes = [f"room{index // 4}" for index in range(COUNT)]
    for model in ("good", "poor"):
        write(home, model, "eth3d", scenes=scenes)
    line = told(dvbench, "good", "poor")["eth3d"]
    assert (line["images"], line["units"]) == (COUNT, COUNT // 4)


def test_too_few_units_are_no_tie(home, dvbench):
    for model, hits in (("good", 9), ("poor", 1)):
        write(home, model, "eth3d", hits=np.full(5, hits), images=5)
    done = dvbench("compare", "good", "poor", "--set", "eth3d")
    assert "too few units" in done.out


def test_different_images_are_one_error(home, dvbench):
    write(home, "poor", hits=hits_of("poor", "ibims1")[:-2], missing=2, run="partial", created="2027-01-01")
    done = dvbench("compare", "good", "poor")
    assert done.code == 1
    for word in ("good and poor on ibims1 are not of the same images", "2 only in the first", "ibims1/058"):
        assert word in done.error


def test_different_manifests_are_one_error(home, dvbench):
    files = [write(home, "good"), write(home, "poor", manifest_hash="e" * 64, run="other")]
    done = dvbench("compare", *files)
    assert done.code == 1
    assert "results on ibims1 cannot be compared" in done.error
    assert "manifest_hash" in done.error
    assert "eeeeeeeeeeee" in done.error


@pytest.mark.parametrize("change", [{"mode": "dense"}, {"where": "indoor"}, {"protocol_hash": "8" * 64}])
def test_other_modes_selections_and_protocols_are_one_error(home, dvbench, change):
    files = [write(home, "good"), write(home, "poor", run="other", **change)]
    done = dvbench("compare", *files)
    assert done.code == 1
    assert next(iter(change)) in done.error


def test_missing_and_foreign_rows_are_one_error(home, dvbench):
    write(home, "fair", rows=False)
    done = dvbench("compare", "good", "fair")
    assert done.code == 3
    assert "no per-image rows of fair on ibims1" in done.error
    path = write(home, "fair")
    result = replace(made_result("fair", 0.1), protocol_hash=PROTOCOL.hash, run="fair ibims1")
    assert result_path(home / "results", result) == path
    write_result(
        home / "results", result, pa.table({"id": ["a"], "scene": ["-"], "asked": [10], "hits": [9]})
    )
    done = dvbench("compare", "good", "fair")
    assert done.code == 1
    assert "per-image rows are not those of their result" in done.error


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["good", "por"], 3, ["'por'", "did you mean 'poor'"]),
        (["good"], 2, ["SECOND"]),
        (["good", "no/such.json"], 3, ["no such result file", "no/such.json"]),
        (["good", "poor", "--set", "ibims"], 3, ["no result on ibims"]),
        (["good", "poor", "--mode", "dense"], 3, ["no result to compare"]),
        (["good", "poor", "--protocol", "dvbench1"], 2, ["did you mean 'dvbench-1'"]),
        (["good", "poor", "--where", "indoor"], 3, ["no result to compare"]),
    ],
)
def test_a_mistake_is_one_line(home, dvbench, arguments, code, words):
    done = dvbench("compare", *arguments)
    assert done.code == code, done.text
    for word in words:
        assert word in done.error


def test_real_results_of_a_demo_can_be_compared(demo, dvbench):
    done = dvbench("compare", "constant-2m", "row-prior", "--workspace", demo.workspace)
    assert done.code == 0, done.text
    assert "ibims1" in done.out
    assert "mean" in done.out
    assert "too few units" in done.out
    assert (
        dvbench("compare", "constant-2m", "row-prior", "--mode", "dense", "--workspace", demo.workspace).code
        == 0
    )
