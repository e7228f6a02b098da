"""dvbench efficiency and dvbench models NAME --cost: computed rows, and naive models that run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthvlm_bench.cli.efficiency import COMPARED
from depthvlm_bench.depthvlm.cost.rows import HEADERS

PAGE = Path(__file__).parents[2] / "docs" / "efficiency.md"


@pytest.fixture
def photo(tmp_path):
    """A portrait that is stored lying on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(path, exif=exif)
    return path


def rows(done):
    return json.loads(done.out)["rows"]


def test_the_models_of_the_papers_comparison_are_shown(dvbench):
    done = dvbench("efficiency")
    assert done.code == 0, done.text
    for name in COMPARED:
        assert any(line.startswith(name) for line in done.out.splitlines()), name
    assert "seconds estimated for H100 SXM 80 GB, 350 TFLOP/s in bfloat16 (assumed)" in done.out


def test_json_says_of_every_figure_where_it_is_from(dvbench):
    found = rows(dvbench("efficiency", "depthvlm-4b", "--profile", "reference_v1", "--json"))
    depth = found[0]
    assert depth["prefill_tokens"] == {"value": 1390, "origin": "computed"}
    assert depth["flops"]["value"] / 1e12 == pytest.approx(18.8, abs=0.05)
    assert depth["seconds"]["origin"] == "estimate"


def test_the_one_pass_is_far_below_the_others(dvbench):
    flops = {}
    for row in rows(dvbench("efficiency", "depthvlm-4b", "youtu-vl-4b", "depthlm-12b", "--json")):
        flops.setdefault(row["model"], row["flops"]["value"])
    assert flops["youtu-vl-4b"] > 5 * flops["depthvlm-4b"]
    assert flops["depthlm-12b"] > 1e6 * flops["depthvlm-4b"]


def test_the_page_holds_the_table_that_the_command_prints(dvbench):
    assert dvbench("efficiency", "--markdown").out.strip() in PAGE.read_text(encoding="utf-8")


def test_another_picture_device_and_reply_change_the_figures(dvbench):
    plain = rows(dvbench("efficiency", "qwen3-vl-4b", "--size", "64x64", "--json"))[0]
    asked = (
        "efficiency",
        "qwen3-vl-4b",
        "--size",
        "64x64",
        "--answer-tokens",
        7,
        "--device",
        "cpu16",
        "--json",
    )
    other = rows(dvbench(*asked))[0]
    assert plain["questions"] == other["questions"] == 64 * 64
    assert other["decode_steps"]["value"] == 6 * 64 * 64
    assert other["seconds"]["value"] > plain["seconds"]["value"]


def test_a_picture_is_taken_as_it_is_meant_to_be_seen(dvbench, photo):
    told = json.loads(dvbench("efficiency", "qwen3-vl-4b", "--picture", photo, "--json").out)
    assert told["picture"] == {"size": [60, 80], "focal_px": 1000.0}


def test_a_model_that_runs_is_measured_beside_the_computed_ones(dvbench, photo):
    asked = ("efficiency", "depthvlm-4b", "--measure", "constant", "-o", "depth_m=3", "--picture", photo)
    *computed, measured = rows(dvbench(*asked, "--runs", 2, "--json"))
    assert [row["model"] for row in computed] == ["depthvlm-4b"] * 2
    assert measured["model"] == "constant"
    assert measured["seconds"]["origin"] == measured["peak_bytes"]["origin"] == "measured"
    assert measured["flops"]["value"] is None
    assert "2 runs" in measured["remark"]


def test_only_what_is_measured_is_shown_where_no_name_is_given(dvbench):
    found = rows(dvbench("efficiency", "--measure", "constant-2m", "--size", "8x8", "--runs", 1, "--json"))
    assert [row["model"] for row in found] == ["constant-2m"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["depthvlm-4"], 2, ["did you mean 'depthvlm-4b'"]),
        (["--device", "h10"], 2, ["did you mean 'h100'"]),
        (["--size", "1342"], 2, ["not WIDTHxHEIGHT", "--size 1342x1006"]),
        (["--size", "0x5"], 2, ["no picture is 0x5 px"]),
        (["-o", "depth_m=3"], 2, ["-o goes with one --measure"]),
        (["--measure", "row-prior"], 2, ["cannot be measured", "fitted"]),
        (["--measure", "no-such-model"], 2, ["unknown model"]),
        (["."], 3, ["no checkpoint here"]),
    ],
)
def test_a_mistake_is_one_line(dvbench, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    done = dvbench("efficiency", *arguments)
    assert done.code == code
    for word in words:
        assert word in done.error


def test_a_picture_and_a_size_exclude_each_other(dvbench, photo):
    assert "exclude each other" in dvbench("efficiency", "--picture", photo, "--size", "4x4").error


def test_neither_torch_nor_transformers_is_imported():
    code = (
        "import sys\nfrom depthvlm_bench.cli.main import main\n"
        "try:\n    main(['efficiency'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'transformers', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.splitlines()[-1] == "[]"


def test_one_model_taken_apart(dvbench):
    told = dvbench("models", "depthvlm-4b", "--cost", "--profile", "reference_v1").out
    assert "1 x 1,390 prompt tokens, 1,344 of them the picture's 1344x1024 px" in told
    for words in (
        "parameters [computed]",
        "35,145,921",
        "TFLOP",
        "device [estimate]",
        "RTX 4090",
        "(assumed)",
    ):
        assert words in told, words
    assert "\nsource: " in told
    assert "\nfrom memory: " in told


def test_a_models_cost_as_json(dvbench):
    told = json.loads(dvbench("models", "depthlm-12b", "--cost", "--size", "64x48", "--json").out)
    computed = dict.fromkeys(("parameters", "flops", "memory"), "computed")
    assert told["origin"] == computed | {"seconds": "estimate"}
    assert told["questions"] == 48 * 36
    assert "queries_together" in told["estimated"]
    assert told["peak"]["float32"]["weights"] == 2 * told["peak"]["bfloat16"]["weights"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["depthvlm-8b"], ["nothing is asked of depthvlm-8b", "dvbench models depthvlm-8b --cost"]),
        (["depthvlm-8"], ["did you mean 'depthvlm-8b'"]),
        (["depthvlm-8", "--cost"], ["did you mean 'depthvlm-8b'"]),
        (["depthvlm-8b", "--cost", "--size", "4"], ["not WIDTHxHEIGHT"]),
    ],
)
def test_a_mistake_about_one_model_is_one_line(dvbench, arguments, words):
    done = dvbench("models", *arguments)
    assert done.code == 2
    for word in words:
        assert word in done.error


def test_headers_are_as_many_as_cells(dvbench):
    lines = dvbench("efficiency", "depthvlm-4b", "--markdown").out.splitlines()
    assert {line.count(" | ") for line in lines} == {len(HEADERS) - 1}


def test_one_question_costs_more_than_a_whole_map_in_one_pass(dvbench):
    found = rows(dvbench("efficiency", "depthvlm-4b", "depthvlm-8b", "depthlm-12b", "--json"))
    each = {(row["model"], row["way"]): row["flops"]["value"] / row["questions"] for row in found}
    question = each["depthlm-12b", "every question alone"]
    assert question > max(value for (model, _), value in each.items() if model.startswith("depthvlm"))
