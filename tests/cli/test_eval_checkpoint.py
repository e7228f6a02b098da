"""dvbench eval on a checkpoint: by its folder, or as the weights of a named model."""

import json
import shutil

import pytest

pytest.importorskip("transformers")

from depthvlm_bench.depthvlm.tiny import make_tiny

FLOAT32 = ("-o", "dtype=float32")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint that answers 5 m everywhere."""
    return make_tiny(tmp_path_factory.mktemp("tiny") / "mine", answer_m=5.0)


def result_of(done):
    assert done.code == 0, done.text
    return json.loads(done.out)[0]["results"][0]


def test_a_folder_is_evaluated_as_the_constant_that_it_answers(workspace, tiny, dvbench):
    done = dvbench("eval", "--model", tiny, *FLOAT32, "--limit", "1", "--set", "ibims1", "--json")
    found = result_of(done)
    same = dvbench(
        "eval", "--model", "constant", "-o", "depth_m=5", "--limit", "1", "--set", "ibims1", "--json"
    )
    assert found["scores"] == result_of(same)["scores"]
    assert found["model"] == "depthvlm"
    assert found["exposure"] == "unknown"
    assert found["options"]["checkpoint"].startswith("mine@")
    assert found["provenance"]["run"]["loaded"]["dtype"] == "float32"


def test_all_sets_are_evaluated_with_one_loading(workspace, tiny, dvbench, monkeypatch):
    from depthvlm_bench.depthvlm import identity, inference

    loads, hashed = [], []
    load, sha256 = inference.load_depthvlm, identity.sha256_file
    monkeypatch.setattr(inference, "load_depthvlm", lambda *a, **k: loads.append(1) or load(*a, **k))
    monkeypatch.setattr(identity, "sha256_file", lambda path: hashed.append(path.name) or sha256(path))
    done = dvbench("eval", "--model", tiny, *FLOAT32, "--limit", "1")
    assert done.out.count("1 images predicted") == 2
    assert len(loads) == 1
    assert hashed.count("model.safetensors") == 1


def test_a_second_call_resumes_where_the_weights_are_the_same(workspace, tiny, dvbench, tmp_path):
    asked = (*FLOAT32, "--limit", "1", "--set", "ibims1")
    dvbench("eval", "--model", tiny, *asked)
    copy = shutil.copytree(tiny, tmp_path / "elsewhere" / "mine")
    again = dvbench("eval", "--model", copy, *asked)
    assert "1 resumed from an earlier run" in again.out
    other = make_tiny(tmp_path / "other" / "mine", answer_m=5.0, seed=1)
    assert "1 images predicted" in dvbench("eval", "--model", other, *asked).out


def test_a_named_model_takes_other_weights_and_keeps_its_card(workspace, tiny, dvbench):
    named = ("--model", "depthvlm-4b", "--checkpoint", tiny)
    found = result_of(dvbench("eval", *named, *FLOAT32, "--limit", "1", "--set", "nuscenes", "--json"))
    assert (found["model"], found["exposure"]) == ("depthvlm-4b", "yes")
    assert set(found["options"]) == {"checkpoint", "dtype"}


def test_a_run_of_a_checkpoint_is_scored_again_without_it(workspace, dvbench, tmp_path):
    gone = make_tiny(tmp_path / "gone", answer_m=5.0)
    dvbench("eval", "--model", gone, *FLOAT32, "--limit", "1", "--set", "ibims1")
    shutil.rmtree(gone)
    done = dvbench("score", "--set", "ibims1")
    assert done.code == 0, done.text
    assert "depthvlm (checkpoint=gone@" in done.out


def test_under_the_paper_s_protocol_the_paper_s_way_is_the_default(tiny):
    from depthvlm_bench.cli.chosen_model import choose_model

    _, plain = choose_model(str(tiny), None, [])
    _, paper = choose_model(str(tiny), None, [], as_the_paper=True)
    _, mine = choose_model(str(tiny), None, ["head_dtype=float32"], as_the_paper=True)
    told = [(options.profile, options.head_dtype) for options in (plain, paper, mine)]
    assert told == [("native", "float32"), ("reference_v1", "bfloat16"), ("reference_v1", "float32")]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "constant-2m", "--checkpoint", "x"], 2, ["loads no checkpoint"]),
        (["--model", "depthvlm-4b", "--checkpoint", "./none"], 3, ["no such checkpoint"]),
        (["--model", "depthvlm-8b"], 3, ["no published weights", "--checkpoint DIR"]),
        (["--model", "depthvlm-4b", "-o", "dtype=int8"], 2, ["'int8' is not", "bfloat16"]),
        (["--model", "depthvlm-4b", "-o", "prfile=native"], 2, ["did you mean 'profile'"]),
    ],
)
def test_a_mistake_is_one_line_with_the_right_exit_code(workspace, dvbench, arguments, code, words):
    done = dvbench("eval", *arguments, "--set", "ibims1")
    assert done.code == code
    for word in words:
        assert word in done.error


def test_a_folder_and_other_weights_exclude_each_other(workspace, tiny, dvbench):
    done = dvbench("eval", "--model", tiny, "--checkpoint", tiny)
    assert done.code == 2
    assert "--checkpoint goes with a model's name" in done.error


def test_a_foreign_checkpoint_is_refused(workspace, dvbench, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    done = dvbench("eval", "--model", tmp_path)
    assert done.code == 2
    assert "no model loads this checkpoint" in done.error
