"""dvbench train: what it says before and after, what it refuses, and the tiny recipe from end to end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

from depthvlm_bench.cli import train as module
from depthvlm_bench.cli.train import parse_weights
from depthvlm_bench.errors import UsageError

needs_torch = pytest.mark.skipif(
    not all(map(find_spec, ("torch", "transformers", "accelerate"))), reason="needs the extra `train`"
)
QUICK = ("-o", "steps=1", "-o", "global_batch=1", "-o", "micro_batch=1", "-o", "head_features=8")
NARROW = ("-o", "head_channels=8,8,8,8")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    from depthvlm_bench.depthvlm.tiny import make_tiny

    return make_tiny(tmp_path_factory.mktemp("backbone") / "tiny", kind="qwen3vl", hidden=32)


def stage_1(backbone, out, *more):
    return (
        "train",
        "--cpu",
        "--stage",
        1,
        "--recipe",
        "tiny-stage1",
        "--backbone",
        backbone,
        "--out",
        out,
        *more,
    )


def test_shares_of_sets_are_read_and_faults_named():
    assert parse_weights("nuscenes=2, scannetpp=1.5") == {"nuscenes": 2.0, "scannetpp": 1.5}
    assert parse_weights(None) is None
    for text in ("nuscenes", "nuscenes=", "=2", "a=1,a=2", "a=0", "a=-1", "a=inf", "a=nan", "a=x"):
        with pytest.raises(UsageError, match="is no share of a set"):
            parse_weights(text)


def test_what_is_trained_has_to_be_named_once(dvbench, tmp_path):
    for named in ((), ("--backbone", "a", "--model", "b")):
        done = dvbench("train", "--stage", 1, "--recipe", "tiny-stage1", "--out", tmp_path, *named)
        assert done.code == 2
        assert "name what is trained: --backbone or --model" in done.error


def test_stage_2_is_not_begun_without_a_head(dvbench, tmp_path):
    done = dvbench("train", "--stage", 2, "--recipe", "tiny-stage2", "--backbone", "a", "--out", tmp_path)
    assert done.code == 2
    assert "stage 2 begins with a trained head" in done.error


def test_a_recipe_of_the_other_stage_is_refused(dvbench, tmp_path):
    done = dvbench("train", "--stage", 2, "--recipe", "tiny-stage1", "--model", "a", "--out", tmp_path)
    assert done.code == 2
    assert "--recipe tiny-stage2" in done.error


def test_an_unknown_figure_says_which_was_meant(dvbench, tmp_path):
    done = dvbench(*stage_1("a", tmp_path, "-o", "learning_rat=1"))
    assert done.code == 2
    assert "did you mean 'learning_rate'" in done.error


def test_without_torch_it_says_what_to_install(dvbench, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    done = dvbench(*stage_1("a", tmp_path))
    assert done.code == 2
    assert "training needs torch, transformers, accelerate" in done.error
    assert "depthvlm-bench[train]" in done.error


@needs_torch
def test_a_dry_run_says_steps_samples_parameters_and_memory_and_writes_nothing(
    dvbench, workspace, backbone, tmp_path
):
    out = tmp_path / "run"
    done = dvbench(*stage_1(backbone, out, "--dry-run"))
    assert done.code == 0, done.text
    assert "6 an epoch: union of all sets 100.0%" in done.out
    assert "150 of 6: 1 processes x 3 at once x 2 accumulated" in done.out
    assert re.search(r"trained +head [\d,]+, language model 0; frozen [\d,]+", done.out)
    assert re.search(r"about \d+\.\d+ GiB a process", done.out)
    assert not out.exists()


@needs_torch
def test_the_numbers_of_a_dry_run_are_those_of_the_model(dvbench, workspace, backbone, tmp_path):
    from safetensors.torch import load_file

    frozen = sum(t.numel() for t in load_file(backbone / "model.safetensors").values())
    done = dvbench(
        *stage_1(backbone, tmp_path / "run", "--dry-run", "--json", "-o", "epochs=3", "-o", "steps=none")
    )
    said = json.loads(done.out)
    assert (said["steps"], said["samples"], said["samples_an_epoch"]) == (3, 18, 6)
    assert (said["frozen"], said["trained_language"]) == (frozen, 0)
    assert said["memory_gib"]["total"] >= said["memory_gib"]["activations"] > 0


@needs_torch
def test_no_training_set_is_told_with_what_makes_one(dvbench, rooms_only, backbone, tmp_path):
    done = dvbench(*stage_1(backbone, tmp_path / "run"))
    assert done.code == 3
    assert "no training split is converted here" in done.error
    assert "dvbench convert" in done.error


@needs_torch
def test_a_set_that_is_not_there_says_which_was_meant(dvbench, workspace, backbone, tmp_path):
    done = dvbench(*stage_1(backbone, tmp_path / "run", "--set", "nuscene"))
    assert done.code == 2
    assert "did you mean 'nuscenes'" in done.error


@needs_torch
def test_it_trains_on_converted_sets_tells_where_the_model_is_and_refuses_a_second_run(
    dvbench, workspace, backbone, tmp_path
):
    out = tmp_path / "run"
    done = dvbench(*stage_1(backbone, out, *QUICK, *NARROW))
    assert done.code == 0, done.text
    assert "1 steps; samples replaced: none" in done.out
    assert f"dvbench eval --model {out / 'model'}" in done.out
    again = dvbench(*stage_1(backbone, out, *QUICK, *NARROW))
    assert again.code == 2
    assert "there is a run already" in again.error
    resumed = dvbench(*stage_1(backbone, out, *QUICK, *NARROW, "--resume", "--json"))
    assert resumed.code == 0
    assert json.loads(resumed.out)["resumed_from"] == 1


@needs_torch
def test_a_batch_that_does_not_divide_names_one_that_does(dvbench, workspace, backbone, tmp_path):
    done = dvbench(*stage_1(backbone, tmp_path / "run", "-o", "micro_batch=4"))
    assert done.code == 2
    assert "next: -o micro_batch=3" in done.error


def figures(out, kind="train"):
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def mean(lines, name):
    return sum(line[name] for line in lines) / len(lines)


def killed_once(arguments, log, lines):
    """Run dvbench in a process of its own, and kill it once its log has so many lines."""
    command = [sys.executable, "-m", "depthvlm_bench.cli.main", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    while process.poll() is None:
        if log.is_file() and log.read_bytes().count(b"\n") >= lines:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.05)
    return process.wait()


@pytest.mark.slow
@needs_torch
def test_the_tiny_recipe_from_demo_to_leaderboard(dvbench, tmp_path):
    """What `tiny` promises, on data that `dvbench demo` converted, on a CPU in minutes."""
    assert dvbench("demo", "--out", tmp_path / "demo").code == 0
    space, base = tmp_path / "demo" / "procedural", tmp_path / "backbone"
    data = ("--data", space / "data")
    assert dvbench("models", "make-tiny", "qwen3vl", base).code == 0

    done = dvbench(*stage_1(base, tmp_path / "s1", *data))
    assert done.code == 0, done.text
    first = figures(tmp_path / "s1")
    assert mean(first[-3:], "depth_loss") * 5 < first[0]["depth_loss"]

    second = ("train", "--cpu", "--stage", 2, "--recipe", "tiny-stage2", "--model", tmp_path / "s1" / "model")
    done = dvbench(*second, "--out", tmp_path / "s2", *data)
    assert done.code == 0, done.text
    lines = figures(tmp_path / "s2")
    assert mean(lines[-3:], "lm_loss") < 0.25 * lines[0]["lm_loss"]
    assert mean(lines[-3:], "depth_loss") < mean(lines[:3], "depth_loss")

    cut = tmp_path / "cut"
    assert killed_once((*second, "--out", cut, *data), cut / "log.jsonl", 8) == -signal.SIGKILL
    assert dvbench(*second, "--out", cut, *data, "--resume").code == 0
    for line, wanted in zip(figures(cut), lines, strict=True):
        for name in ("step", "loss", "lm_loss", "depth_loss", "delta1", "grad_norm"):
            assert line[name] == pytest.approx(wanted[name], rel=1e-5, abs=1e-5)

    overlap = ("--source-split", "mini_train", "--allow-overlap", "--out", space / "data")
    done = dvbench("convert", "nuscenes", "--root", space / "raw" / "nuscenes", "--split", "eval", *overlap)
    assert done.code == 0, done.text
    where = ("--set", "nuscenes@mini_train", *data, "--out", tmp_path / "scored", "--json")
    scores = {}
    for model, *options in (
        *(("constant-2m",), ("best-constant",)),
        (tmp_path / "s2" / "model", "-o", "dtype=float32", "-o", "device=cpu"),
    ):
        done = dvbench("eval", "--model", model, *where, *options)
        assert done.code == 0, done.text
        (evaluation,) = json.loads(done.out)
        for result in evaluation["results"]:
            assert result["set_kind"] == "overlap"
            scores.setdefault(result["mode"], []).append(result["scores"]["delta1"]["value"])
    for constant, best, own in scores.values():
        assert own > best > constant
    assert set(scores) == {"sparse", "dense"}
