import csv
import json
import shutil

import pyarrow.parquet as pq
import pytest

MODELS = [
    "constant-2m",
    "constant (depth_m=5.0)",
    "best-constant (fit: nuscenes)",
    "row-prior (fit: nuscenes)",
]


@pytest.fixture
def scored(workspace, demo):
    shutil.copytree(demo.workspace / "results", workspace / "results")
    return workspace


def test_it_prints_the_table_and_names_the_files(scored, dvbench):
    done = dvbench("leaderboard")
    assert done.code == 0, done.text
    for text in (*MODELS, "ibims1*", "nuscenes*", "mean", "δ1 under dvbench-1, sparse", "†"):
        assert text in done.out
    files = [scored / "leaderboard" / f"dvbench-1-sparse.{kind}" for kind in ("md", "tex", "csv")]
    for path in files:
        assert path.is_file()
        assert f"wrote {path}" in done.out


def test_the_files_agree_with_the_results(scored, dvbench):
    dvbench("leaderboard", "--mode", "dense")
    rows = list(csv.DictReader((scored / "leaderboard" / "dvbench-1-dense.csv").open(encoding="utf-8")))
    stored = {}
    for path in (scored / "results").rglob("*--dense--*.json"):
        told = json.loads(path.read_text())
        stored[told["run"]] = told["scores"]["delta1"]["value"]
    assert {row["run"]: float(row["delta1"]) for row in rows} == stored
    assert len(rows) == 8
    assert "\\toprule" in (scored / "leaderboard" / "dvbench-1-dense.tex").read_text(encoding="utf-8")
    assert (
        (scored / "leaderboard" / "dvbench-1-dense.md")
        .read_text(encoding="utf-8")
        .startswith("| # | model |")
    )


def test_json_is_the_table(scored, dvbench):
    board = json.loads(dvbench("leaderboard", "--json").out)
    assert sorted(row["label"] for row in board["rows"]) == sorted(MODELS)
    assert [row["rank"] for row in board["rows"]] == [1, 2, 3, 4]
    assert [column["title"] for column in board["columns"]] == ["ibims1", "nuscenes"]


def test_intervals_can_be_left_out(scored, dvbench):
    assert "[0." in dvbench("leaderboard").out
    assert "[0." not in dvbench("leaderboard", "--no-intervals").out
    assert "[0." not in (scored / "leaderboard" / "dvbench-1-sparse.md").read_text(encoding="utf-8")


def test_any_folder_of_results_will_do(scored, dvbench, tmp_path, monkeypatch):
    monkeypatch.setenv("DVBENCH_HOME", str(tmp_path / "empty"))
    out = tmp_path / "tables"
    done = dvbench("leaderboard", scored / "results" / "ibims1", "--out", out)
    assert done.code == 0
    assert "nuscenes*" not in done.out
    assert len(list(out.iterdir())) == 3
    assert not (tmp_path / "empty").exists()


def test_the_camera_unknown_track_has_a_table_of_its_own(workspace, dvbench):
    dvbench("eval", "--model", "constant-2m", "--set", "ibims1", "--camera", "unknown")
    done = dvbench("leaderboard", "--input", "native", "--camera", "unknown")
    assert done.code == 0, done.text
    assert "input native, camera unknown" in done.out
    assert (workspace / "leaderboard" / "dvbench-1-sparse-native-camera-unknown.md").is_file()


def test_asking_for_the_camera_unknown_track_never_shows_the_other(scored, dvbench):
    """As in `eval`, --camera unknown alone means the native picture."""
    assert dvbench("leaderboard", "--camera", "unknown").code == 3
    dvbench("eval", "--model", "constant-2m", "--set", "ibims1", "--camera", "unknown")
    assert "camera unknown" in dvbench("leaderboard", "--camera", "unknown").out


def test_a_partial_result_is_shown_unranked(scored, dvbench):
    dvbench("eval", "--model", "constant", "-o", "depth_m=9", "--set", "nuscenes", "--limit", "1")
    done = dvbench("leaderboard")
    (line,) = (line for line in done.out.splitlines() if "constant (depth_m=9.0)" in line)
    assert line.startswith("-")
    assert "°" in line
    assert "° partial: predictions are missing, unranked" in done.out


def test_a_selection_has_a_table_of_its_own(scored, dvbench):
    dvbench("eval", "--model", "constant-2m", "--set", "ibims1", "--where", "indoor")
    done = dvbench("leaderboard", "--where", "indoor")
    assert "where indoor" in done.out
    assert "row-prior" not in done.out
    assert (scored / "leaderboard" / "dvbench-1-sparse-where-indoor.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--input", "native"], 3, ["no result for this table", "of another protocol, mode, input"]),
        (["--where", "outdoor"], 3, ["no result for this table"]),
        (["--protocol", "dvbench1"], 2, ["unknown protocol", "did you mean 'dvbench-1'"]),
        (["--mode", "foggy"], 2, ["--mode"]),
    ],
)
def test_a_mistake_is_one_line(scored, dvbench, arguments, code, words):
    done = dvbench("leaderboard", *arguments)
    assert done.code == code
    for word in words:
        assert word in done.error
    assert not (scored / "leaderboard").exists()


def test_without_results_it_says_what_to_do(workspace, dvbench):
    done = dvbench("leaderboard")
    assert done.code == 3
    assert "the folder holds no result" in done.error
    assert "dvbench eval --model" in done.error


@pytest.mark.parametrize("content", ["{", '{"schema_version": 99}'])
def test_a_file_that_is_no_result_is_named(scored, dvbench, content):
    (scored / "results" / "odd.json").write_text(content)
    done = dvbench("leaderboard")
    assert done.code == 0, done.text
    assert "left out" in done.err
    assert "odd.json" in done.err


def test_ties_are_found_in_the_rows_beside_the_results(scored, dvbench):
    """Two pictures tell no models apart: all stand in one group, and the mean has its interval."""
    board = json.loads(dvbench("leaderboard", "--json").out)
    assert board["untested"] == []
    assert [row["group"] for row in board["rows"]] == [1, 1, 1, 1]
    assert all(cell["tied"] for row in board["rows"] for cell in row["cells"])
    assert all(low <= row["mean"] <= high for row in board["rows"] for low, high in [row["interval"]])
    assert "tie groups of the mean: (1)" in dvbench("leaderboard").out


@pytest.mark.parametrize("damage", ["gone", "broken", "foreign"])
def test_rows_that_cannot_be_used_leave_their_column_untested(scored, dvbench, damage):
    path, other = sorted((scored / "results" / "ibims1").glob("*--sparse--*.images.parquet"))[:2]
    if damage == "gone":
        path.unlink()
    elif damage == "broken":
        path.write_bytes(b"PAR1")
    else:
        table = pq.read_table(other)
        pq.write_table(
            table.set_column(table.column_names.index("score"), "score", [[0.123] * len(table)]), path
        )
    done = dvbench("leaderboard")
    assert done.code == 0, done.text
    assert "not tested for ties, per-image rows are missing: ibims1" in done.out
    assert (path.name in done.err) is (damage != "gone")
