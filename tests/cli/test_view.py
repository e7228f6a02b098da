import json

import numpy as np
import pytest
from PIL import Image

from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.viz.lookup import evenly, find_record, record_ids, rows_of
from depthvlm_bench.viz.marks import MISS_RGB
from depthvlm_bench.viz.sheet import sheet_size
from depthvlm_bench.viz.shown import shown_of


@pytest.fixture(scope="module")
def rooms(demo):
    return RecordSet(demo.workspace / "data" / "ibims1", "eval")


@pytest.fixture
def seen(demo, dvbench):
    """`dvbench view` in the demo's own workspace, which has runs."""
    return lambda *arguments: dvbench("view", *arguments, "--workspace", demo.workspace)


def test_a_record_in_plain_text(seen, rooms):
    record = record_ids(rooms)[0]
    done = seen(record.split("/")[-1])
    assert done.code == 0, done.text
    lines = done.out.splitlines()
    assert lines[0] == record
    assert "depth grid" in lines[1]
    assert "\x1b" not in done.out
    assert any(line.startswith("@ ") for line in lines)


def test_a_record_as_png_with_a_prediction(seen, rooms, tmp_path):
    out = tmp_path / "new" / "panel.png"
    plain = seen(record_ids(rooms)[0], "--out", out)
    assert plain.code == 0, plain.text
    with Image.open(out) as picture:
        size = picture.size
    assert f"({size[0]} x {size[1]})" in plain.out
    assert seen(record_ids(rooms)[0], "--prediction", "constant", "--out", out).code == 0
    with Image.open(out) as picture:
        assert picture.size[0] == size[0] and picture.size[1] > size[1]


def test_the_answers_are_those_of_the_run(seen, rooms):
    done = seen(record_ids(rooms)[0], "--prediction", "constant (depth_m=5.0)")
    (row,) = rows_of(rooms, [record_ids(rooms)[0]], ["points"])
    truth = np.array([point["depth_m"] for point in row["points"]])
    hits = int((np.maximum(5 / truth, truth / 5) < 1.25).sum())
    assert f"constant (depth_m=5.0): delta1 {hits / 100:.2f} ({hits} of 100 points)" in done.out


def test_a_record_as_ply(seen, rooms, tmp_path):
    done = seen(record_ids(rooms)[0], "--out", tmp_path / "cloud.ply")
    assert done.code == 0, done.text
    assert (tmp_path / "cloud.ply").read_bytes().startswith(b"ply\n")


def test_a_set_may_be_named_as_everywhere_else(seen):
    assert seen("--set", "ibims1").out == seen("ibims1").out


def test_a_set_in_the_terminal_and_as_contact_sheet(seen, tmp_path):
    done = seen("nuscenes")
    assert done.code == 0, done.text
    assert done.out.startswith("nuscenes: eval split, strict, 6 images")
    assert len(done.out.splitlines()) == 8
    done = seen("nuscenes", "--images", "4", "--out", tmp_path / "sheet.PNG")
    assert done.code == 0, done.text
    with Image.open(tmp_path / "sheet.PNG") as picture:
        assert picture.format == "PNG"


def test_a_sheet_with_a_prediction_marks_the_asked_points(seen, tmp_path):
    pictures = []
    for name, more in (("plain", ()), ("marked", ("--prediction", "constant-2m"))):
        done = seen("nuscenes", "--out", tmp_path / f"{name}.png", *more)
        assert done.code == 0, done.text
        with Image.open(tmp_path / f"{name}.png") as picture:
            pictures.append(np.asarray(picture))
    red = [(picture == MISS_RGB).all(axis=-1).sum() for picture in pictures]
    assert red[0] == 0 < red[1]


def test_the_worst_samples_of_a_run_as_a_sheet(seen, rooms, tmp_path):
    command = ("--run", "constant-2m", "--set", "ibims1")
    done = seen(*command, "--out", tmp_path / "worst.png", "--images", "1")
    assert done.code == 0, done.text
    (worst,) = json.loads(seen(*command, "--images", "1", "--json").out)["ibims1"]["worst"]
    (shown,) = (shown_of(row) for row in rows_of(rooms, [worst["name"]]))
    with Image.open(tmp_path / "worst.png") as picture:
        assert picture.size == sheet_size([shown.picture.size])


def test_a_set_as_json_lists_its_records(seen, rooms):
    told = json.loads(seen("ibims1", "--json").out)
    assert told["records"] == record_ids(rooms)
    assert told["manifest_hash"] == rooms.manifest_hash


def test_a_record_as_json_agrees_with_the_terminal(seen, rooms):
    record = record_ids(rooms)[0]
    told = json.loads(seen(record, "--prediction", "constant-2m", "--json").out)
    hits = sum(point["hit"] for point in told["points"])
    line = seen(record, "--prediction", "constant-2m").out.splitlines()[2]
    assert line.endswith(f"({hits} of {len(told['points'])} points)")
    assert told["delta1"] == hits / len(told["points"])
    assert {point["prediction_m"] for point in told["points"]} == {2.0}
    assert set(json.loads(seen(record, "--json").out)["points"][0]) == {"u", "v", "depth_m"}


def test_a_cloud_of_a_prediction_needs_its_map(seen, rooms, tmp_path):
    done = seen(record_ids(rooms)[0], "--prediction", "constant", "--out", tmp_path / "a.ply")
    assert done.code == 3
    assert "kept no map" in done.error and "--keep-maps" in done.error
    assert not (tmp_path / "a.ply").exists()


def test_a_kept_map_is_written_as_a_cloud(workspace, dvbench, rooms, tmp_path):
    dvbench("eval", "--model", "constant-2m", "--set", "ibims1", "--keep-maps", "--limit", "1")
    record = record_ids(rooms)[0]
    done = dvbench("view", record, "--prediction", "constant-2m", "--out", tmp_path / "a.ply")
    assert done.code == 0, done.text
    (row,) = rows_of(rooms, [record], ["width", "height"])
    assert f"({row['width'] * row['height']} points, camera frame, m)" in done.out


def test_an_unknown_record_is_one_clear_line(seen, rooms):
    last = record_ids(rooms)[0].split("/")[-1]
    done = seen(last + "x")
    assert done.code == 3
    assert f"did you mean {last!r}?" in done.error
    assert "ids look like 'ibims1/eval/" in seen("zzzzzz").error
    assert "did you mean 'nuscenes'?" in seen("nuscene").error or "fits" in seen("nuscene").error


def test_a_start_that_several_records_have_is_not_enough(seen):
    done = seen("nuscenes/eval/")
    assert done.code == 2
    assert "fits 6 records" in done.error and "write more of the id" in done.error


@pytest.mark.parametrize("length", [1.0, 0.6])
def test_a_unique_start_or_end_is_enough(nuscenes_set, length):
    records = RecordSet(nuscenes_set.folder, "eval")
    for record in record_ids(records):
        assert find_record([records], record)[1] == record
        assert find_record([records], record[-int(len(record) * length) :])[1] == record


def test_training_records_are_found_too(nuscenes_set):
    sets = [RecordSet(nuscenes_set.folder, role) for role in ("eval", "train")]
    record = record_ids(sets[1])[-1]
    assert find_record(sets, record) == (sets[1], record)
    assert [row["id"] for row in rows_of(sets[1], [record], ["id"])] == [record]


def test_a_run_that_is_not_there_names_those_that_are(seen, rooms):
    done = seen(record_ids(rooms)[0], "--prediction", "nonesuch")
    assert done.code == 3
    assert "constant-2m" in done.error and "dvbench eval" in done.error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "view takes a record, a set or --run"),
        (("ibims1", "--run", "constant"), "view takes a record, a set or --run"),
        (("ibims1", "--out", "a.jpg"), "--out ends in .png or .ply"),
        (("ibims1", "--out", "a.ply"), "a cloud is of one record"),
        (("ibims1", "--cloud"), "a cloud is of one record"),
        (("ibims1", "--prediction", "constant-2m"), "a prediction of a whole set is drawn as a sheet"),
        (("ibims1", "--json", "--out", "a.png"), "--json prints and does not draw"),
        (("--run", "constant-2m", "--cloud"), "--cloud and --prediction go with a record"),
        (("--run", "constant-2m", "--prediction", "constant"), "--cloud and --prediction go with a record"),
        (("--run", "constant-2m", "--out", "a.png"), "the worst samples of one set"),
        (("--run", "constant-2m", "--set", "ibims1", "--out", "a.ply"), "the worst samples of one set"),
    ],
)
def test_what_makes_no_sense_is_one_line(seen, arguments, said):
    done = seen(*arguments)
    assert done.code == 2
    assert said in done.error


def test_an_unknown_set_has_a_hint(seen):
    done = seen("--run", "constant", "--set", "ibims2")
    assert done.code == 3
    assert "did you mean 'ibims1'?" in done.error


def test_where_a_run_errs(seen, rooms):
    done = seen("--run", "constant-2m", "--set", "ibims1")
    assert done.code == 0, done.text
    for title in ("by true distance", "by place in the picture", "worst samples"):
        assert title in done.out
    assert "\x1b" not in done.out
    command = done.out.splitlines()[-1].removeprefix("next: dvbench view ").split()
    assert command[0] in record_ids(rooms)
    assert seen(*command[:3]).code == 0


def test_diagnostics_as_json_agree_with_the_score(seen, demo):
    done = seen("--run", "constant-2m", "--json")
    told = json.loads(done.out)
    assert set(told) == {"ibims1", "nuscenes"}
    for name, found in told.items():
        scored = demo.workspace / "results"
        results = [json.loads(path.read_text()) for path in scored.rglob("*.json")]
        (result,) = (
            r for r in results if (r["model"], r["set_name"], r["mode"]) == ("constant-2m", name, "sparse")
        )
        for count in ("asked", "answered", "hits"):
            assert found["overall"][count] == result["counts"][count]
        assert found["overall"]["delta1"] == result["metrics"]["delta1_pooled"]
    assert "NaN" not in done.out


def test_a_run_that_no_set_has(seen):
    done = seen("--run", "nonesuch")
    assert done.code == 3
    assert done.err.splitlines()[-1].startswith("error: no run of 'nonesuch'")


def test_evenly():
    ids = [str(number) for number in range(10)]
    assert evenly(ids, 20) == ids
    assert evenly(ids, 4) == ["0", "3", "6", "9"]
    assert evenly(ids, 1) == ["0"]


def test_a_kept_map_is_drawn_below_the_answers(workspace, dvbench, rooms, tmp_path):
    """Of a run that kept one map of two: the other record's panel is as before."""
    dvbench("eval", "--model", "constant-2m", "--set", "ibims1", "--keep-maps", "--limit", "1")
    dvbench("eval", "--model", "constant-2m", "--set", "ibims1")
    heights = []
    for index, record in enumerate(record_ids(rooms)):
        out = tmp_path / f"{index}.png"
        done = dvbench("view", record, "--prediction", "constant-2m", "--out", out)
        assert done.code == 0, done.text
        with Image.open(out) as picture:
            heights.append(picture.height)
    assert heights[0] > heights[1]
