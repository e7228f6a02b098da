import csv
import json
from pathlib import Path

import numpy as np
import pytest

from depthvlm_bench.frames import scorable
from depthvlm_bench.records.reader import RecordSet, depth_of

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "published_annotations"


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A workspace that holds nothing."""
    monkeypatch.setenv("DVBENCH_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def samples(tmp_path_factory, dvbench):
    """The published samples, converted and answered with the paper's first row."""
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published examples are not here: {PUBLISHED}")
    home = tmp_path_factory.mktemp("published")
    common = ("--workspace", home)
    lines = ("--annotations", PUBLISHED / "examples.jsonl", "--root", PUBLISHED)
    assert dvbench("convert", "scannetpp", *lines, *common).code == 0
    done = dvbench("eval", "--model", "constant-2m", "--protocol", "depthvlm-compat-1", *common)
    assert done.code == 0, done.text
    return home


def test_the_first_row_of_the_paper_is_reproduced_on_its_samples(samples, dvbench):
    done = dvbench("reproduce", "table1", "--workspace", samples)
    assert done.code == 0, done.text
    first, head, line = done.out.splitlines()[:3]
    assert first.startswith("Table 1: vision-language models, sparse points (arXiv:2605.15876)")
    assert head.split()[:4] == ["published", "as", "ours", "is"]
    for text in ("Always Output 2.0m", "constant-2m", "scannetpp", "0.261", "0.227", "-0.034"):
        assert text in line
    assert "30* of 1,000  consistent (subset)" in line
    assert "[0.1" in line
    assert "without a result (159 values)" in done.out


def test_the_files_say_the_same(samples, dvbench, tmp_path):
    done = dvbench("reproduce", "table1", "--workspace", samples, "--out", tmp_path)
    rows = list(csv.DictReader((tmp_path / "table1.csv").open(encoding="utf-8")))
    assert len(rows) == 160
    (run,) = (row for row in rows if row["ours"])
    assert (run["published"], run["model"], run["verdict"]) == ("0.261", "constant-2m", "consistent")
    assert float(run["ours"]) == pytest.approx(68 / 300)
    assert float(run["low"]) < 0.227 < float(run["high"])
    assert (run["images"], run["full_images"]) == ("30", "1000")
    assert {row["verdict"] for row in rows if row is not run} == {"not run"}
    text = (tmp_path / "table1.md").read_text(encoding="utf-8")
    assert text.startswith("Table 1:")
    assert "| 0.261 | 0.227 |" in text
    for kind in ("md", "csv"):
        assert f"wrote {tmp_path / 'table1'}.{kind}" in done.out


def test_a_model_shows_all_that_is_published_of_it(samples, dvbench):
    done = dvbench("reproduce", "constant-2m", "--workspace", samples)
    assert done.out.startswith("constant-2m: 17 values as published in 2 sources")
    for text in ("table1", "depthlm-points-figure", "sets of the kind", "consistent"):
        assert text in done.out


def test_another_folder_of_results_will_do(samples, dvbench, empty):
    done = dvbench("reproduce", "table1", "--results", samples / "results" / "scannetpp@published")
    assert "0.227" in done.out
    assert (empty / "reproduction" / "table1.md").is_file()


def test_json_is_the_table(samples, dvbench):
    told = json.loads(dvbench("reproduce", "table1", "--json", "--workspace", samples).out)
    (run,) = (line for line in told["lines"] if line["ours"])
    assert run["published"]["id"] == "table1/Always Output 2.0m/scannetpp/delta1"
    assert (run["verdict"], run["ours"]["images"]) == ("consistent", 30)
    assert len(told["lines"]) == 160


def test_without_results_everything_says_what_it_needs(empty, dvbench):
    done = dvbench("reproduce", "table2-full")
    assert done.code == 0, done.text
    assert "none of it has a result here" in done.out
    assert "without a result (66 values)" in done.out
    text = (empty / "reproduction" / "table2-full.md").read_text(encoding="utf-8")
    assert "JonnyYu828/DepthVLM-4B" in text
    assert "exactly 0.096 above the sparse table" in text


def test_copies_and_contradictions_are_marked(empty, dvbench):
    done = dvbench("reproduce", "ZoeDepth")
    assert "0.952‡" in done.out
    assert "0.867†" in done.out
    assert "† depthlm-vision-figure repeats the value of unidepth-readme" in done.out
    assert "‡ ZoeDepth nyuv2 delta1: 0.951 in depth-anything-readme, 0.952 in unidepth-readme" in done.out
    assert "protocol unknown" in done.out


def test_a_result_under_another_protocol_is_shown_as_not_comparable(samples, empty, dvbench):
    (path,) = (samples / "results").rglob("*--sparse--*.json")
    (empty / "results").mkdir()
    told = json.loads(path.read_text()) | {"protocol": "dvbench-1"}
    (empty / "results" / "other.json").write_text(json.dumps(told))
    done = dvbench("reproduce", "table1")
    (line,) = (line for line in done.out.splitlines() if "constant-2m  scannetpp" in line)
    assert "not comparable: ours is under dvbench-1" in line


def test_a_csv_line_says_how_the_published_value_was_made(empty, dvbench):
    dvbench("reproduce", "depth-pro", "--out", empty)
    rows = list(csv.DictReader((empty / "depth-pro.csv").open(encoding="utf-8")))
    (line,) = (row for row in rows if (row["source"], row["dataset"]) == ("plumbline", "eth3d"))
    assert (line["split"], line["valid_m"], line["read_as"]) == (
        "DSLR training, 454 images",
        "0.1-200",
        "transcription",
    )
    assert (line["by_authors"], line["protocol"]) == ("True", "eth3d-dslr-dense-1")
    dvbench("reproduce", "metric3d-v2-l", "--out", empty)
    rows = list(csv.DictReader((empty / "metric3d-v2-l.csv").open(encoding="utf-8")))
    (line,) = (row for row in rows if (row["source"], row["dataset"]) == ("unidepth-readme", "kitti"))
    assert "fine-tuned and zero-shot" in line["note"]


def test_a_models_own_maps_stand_beside_its_dense_values(workspace, demo, dvbench, tmp_path):
    """Maps made elsewhere under the model's name, scored by the dense protocol of its published values."""
    maps = tmp_path / "maps"
    maps.mkdir()
    truth_m = {}
    for row in RecordSet(demo.workspace / "data" / "ibims1", "eval").rows():
        depth = depth_of(row)
        truth_m[row["id"]] = depth.depth_m[scorable(depth, 0.005, 25.0)]
        np.save(maps / f"{row['frame']}.npy", np.full((480, 640), 3.0, np.float32))
    chosen = ("--predictions", maps, "--name", "depth-pro", "--set", "ibims1")
    done = dvbench("score", *chosen, "--protocol", "ibims-dense-1")
    assert done.code == 0, done.text
    told = json.loads(dvbench("reproduce", "depth-pro", "--json").out)
    (line,) = (
        line for line in told["lines"] if line["published"]["id"] == "unidepth-readme/DepthPro/ibims1/delta1"
    )
    shares = [np.mean(np.maximum(3.0 / metres, metres / 3.0) < 1.25) for metres in truth_m.values()]
    assert line["ours"]["value"] == pytest.approx(np.mean(shares), abs=1e-12)
    assert (line["ours"]["images"], line["ours"]["full_images"]) == (2, 100)
    assert line["verdict"] in ("differs", "consistent")
    assert "* ours is of fewer images" in dvbench("reproduce", "depth-pro").out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["table3"], 2, ["unknown table or model 'table3'", "did you mean 'table"]),
        (["iDsic"], 2, ["did you mean 'iDisc'?"]),
        ([], 2, ["Missing argument"]),
        (["table1", "--results", "nowhere"], 3, ["no folder of results", "nowhere"]),
    ],
)
def test_a_mistake_is_one_line(empty, dvbench, arguments, code, words):
    done = dvbench("reproduce", *arguments)
    assert done.code == code
    for word in words:
        assert word in done.error
    assert not (empty / "reproduction").exists()
