"""Runs of a tiny model: what each stage trains, what the log tells, and what stops or bends a run."""

import json
from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import torch
from safetensors.torch import load_file
from training_rooms import (
    Notes,
    Rooms,
    Talk,
    assert_same_curve,
    changed,
    request,
    run_on,
    small_probe,
    weights,
)

from depthvlm_bench.depthvlm.chat import DEPTH_ANSWER
from depthvlm_bench.depthvlm.loading import load_depthvlm
from depthvlm_bench.depthvlm.training import checkpoints, watch
from depthvlm_bench.depthvlm.training import run as training
from depthvlm_bench.depthvlm.training.logs import read_log
from depthvlm_bench.depthvlm.training.trainer import DepthTrainer
from depthvlm_bench.errors import CheckError, UsageError

LORA = ("lora_rank=4", "lora_alpha=8", "lora_dropout=0.1")


def test_stage_1_trains_the_head_and_nothing_else(backbone, stage1):
    before, after = weights(backbone), weights(stage1 / "model")
    assert changed(before, after) == set()
    assert {name for name in after if name not in before} == {n for n in after if n.startswith("depth_head.")}
    first = read_log(stage1, "train")[0]
    assert "lm_loss" not in first and "grad_norm_language" not in first
    stored = load_file(stage1 / "checkpoint-6" / "trained.safetensors")
    assert stored and all(name.startswith("depth_head.") for name in stored)


def test_stage_2_trains_language_and_head_and_leaves_the_vision_tower_alone(stage1, stage2):
    moved = changed(weights(stage1 / "model"), weights(stage2 / "model"))
    assert not any(name.startswith("model.visual.") for name in moved)
    assert any(name.startswith("model.language_model.layers.1.") for name in moved)
    assert any(name.startswith("depth_head.") for name in moved)


def test_the_model_opens_as_any_checkpoint_with_its_tokenizer_and_its_provenance(stage2):
    model = load_depthvlm(stage2 / "model", dtype="float32")
    assert model.config.depth_head_features == 8
    assert (stage2 / "model" / "chat_template.jinja").is_file()
    limits = json.loads((stage2 / "model" / "preprocessor_config.json").read_text())["size"]
    assert limits == {"shortest_edge": 65536, "longest_edge": 65536}
    told = json.loads((stage2 / "model" / "training.json").read_text())
    assert told["steps"] == 6 and told["recipe"]["stage"] == 2
    assert set(told["stream"]["sources"]) == {"union of all sets", "chat"}


def test_the_log_tells_losses_by_task_and_set_rates_norms_and_speed(stage2):
    lines = read_log(stage2, "train")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        assert line["loss"] == pytest.approx(line["lm_loss"] + line["depth_loss"])
        assert line["grad_norm"] == pytest.approx(
            (line["grad_norm_head"] ** 2 + line["grad_norm_language"] ** 2) ** 0.5, rel=1e-5
        )
        assert line["valid_share"] == {"rooms": 1.0}
        assert line["depth_loss_by_set"]["rooms"] == pytest.approx(line["depth_loss"], rel=1e-5)
        assert line["samples_per_s"] > 0 and 0 <= line["delta1"] <= 1
    assert {task for line in lines for task in line["lm_loss_by_task"]} == {"chat", "depth"}


def test_the_rate_rises_to_its_peak_and_falls_as_a_cosine(stage1):
    recipe = json.loads((stage1 / "run.json").read_text())["recipe"]
    rates = [line["learning_rate_head"] for line in read_log(stage1, "train")]
    assert rates[0] == 0.0 and rates[1] == recipe["learning_rate"]
    assert rates[-1] == pytest.approx(0.0955 * recipe["learning_rate"], rel=1e-3)  # (1 + cos(4/5 pi)) / 2
    assert sorted(rates[1:], reverse=True) == rates[1:]


def test_the_head_may_learn_at_a_rate_of_its_own(stage1, monkeypatch, tmp_path):
    run_on(monkeypatch, request(2, stage1 / "model", tmp_path / "run", "head_rate_multiplier=0.5", "steps=2"))
    line = read_log(tmp_path / "run", "train")[-1]
    assert line["learning_rate_head"] == 0.5 * line["learning_rate_language"] > 0


def test_how_many_samples_are_run_at_once_does_not_move_the_curve(stage1, stage2, monkeypatch, tmp_path):
    asked = request(2, stage1 / "model", tmp_path / "run", "micro_batch=2")
    run_on(monkeypatch, asked, chat=[Talk()])
    assert_same_curve(tmp_path / "run", stage2)


def test_merged_adapters_say_what_the_adapters_said(stage1, monkeypatch, tmp_path):
    pytest.importorskip("peft")
    asked = request(2, stage1 / "model", tmp_path / "run", *LORA[:2], "learning_rate=1e-2")
    run_on(monkeypatch, asked)
    adapted = training.prepare_model(asked)
    stored = load_file(asked.out / "checkpoint-6" / "trained.safetensors")
    adapted.load_state_dict(stored, strict=False)
    merged = load_depthvlm(asked.out / "model", dtype="float32")
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        expected, found = (model.eval()(input_ids=ids).logits for model in (adapted, merged))
        plain = load_depthvlm(stage1 / "model", dtype="float32")(input_ids=ids).logits
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(plain, expected, atol=1e-2)


def test_checkpoints_hold_a_model_where_that_is_asked(stage1, monkeypatch, tmp_path):
    run_on(monkeypatch, request(2, stage1 / "model", tmp_path / "run", "save_models=true", "steps=2"))
    inside = tmp_path / "run" / "checkpoint-2" / "model"
    assert changed(weights(inside), weights(tmp_path / "run" / "model")) == set()
    load_depthvlm(inside)


def test_conversations_in_stage_1_are_refused(backbone, monkeypatch, tmp_path):
    asked = replace(request(1, backbone, tmp_path / "run"), chat=(tmp_path / "chat.jsonl",))
    with pytest.raises(UsageError, match="stage 1 trains on depth alone"):
        run_on(monkeypatch, asked)


def test_a_loss_that_is_no_number_stops_before_the_step_and_names_the_samples(
    backbone, monkeypatch, tmp_path
):
    prepare = training.prepare_model

    def broken(asked):
        model = prepare(asked)
        with torch.no_grad():
            model.depth_head.scratch.output_conv2[2].bias.fill_(float("nan"))
        return model

    monkeypatch.setattr(training, "prepare_model", broken)
    with pytest.raises(CheckError, match=r"the loss is not finite \[step 1, samples rooms/\d+\]"):
        run_on(monkeypatch, request(1, backbone, tmp_path / "run"))
    assert checkpoints.checkpoints(tmp_path / "run") == []
    assert not (tmp_path / "run" / "model").exists()


def test_a_gradient_that_is_no_number_stops_before_the_step(backbone, monkeypatch, tmp_path):
    piece, runs = DepthTrainer._run_piece, []

    def infinite(self, model, batch):
        loss = piece(self, model, batch)
        runs.append(loss)
        if len(runs) == 7:  # the first of the fourth step
            next(p for p in model.parameters() if p.grad is not None).grad.fill_(float("inf"))
        return loss

    monkeypatch.setattr(DepthTrainer, "_run_piece", infinite)
    with pytest.raises(CheckError, match=r"the gradient is not finite \[step 4"):
        run_on(monkeypatch, request(1, backbone, tmp_path / "run"))
    assert [path.name for path in checkpoints.checkpoints(tmp_path / "run")] == ["checkpoint-2"]


def out_of_memory(patch, most):
    """As a card on which no more than `most` samples fit; the failure comes after the backward pass."""
    piece = DepthTrainer._run_piece

    def tight(self, model, batch):
        loss = piece(self, model, batch)
        if len(batch["input_ids"]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return loss

    patch.setattr(DepthTrainer, "_run_piece", tight)


def test_out_of_memory_halves_what_is_run_at_once_says_so_and_loses_nothing(
    stage1, stage2, monkeypatch, tmp_path
):
    notes, asked = Notes(), request(2, stage1 / "model", tmp_path / "run", "micro_batch=2")
    with monkeypatch.context() as patch:
        out_of_memory(patch, 1)
        run_on(patch, asked, chat=[Talk()], screen=notes)
    assert_same_curve(asked.out, stage2)
    told = [line for line in notes.lines if line.startswith("out of memory")]
    assert len(told) == 1
    assert "out of memory at step 1: from here on 1 samples at once, not 2" in told[0]
    last = read_log(asked.out, "train")[-1]
    assert (last["micro_batch"], last["out_of_memory"]) == (1, 1)
    assert checkpoints.read_progress(asked.out / "checkpoint-6").micro_batch == 1


def test_one_sample_that_does_not_fit_ends_the_run(backbone, monkeypatch, tmp_path):
    out_of_memory(monkeypatch, 0)
    with pytest.raises(CheckError, match="out of memory with one sample at once"):
        run_on(monkeypatch, request(1, backbone, tmp_path / "run"))


def test_images_without_depth_are_passed_over_counted_and_told(backbone, monkeypatch, tmp_path):
    notes = Notes()
    run_on(
        monkeypatch, request(1, backbone, tmp_path / "run"), sets=[Rooms(12, blank=range(6))], screen=notes
    )
    last = read_log(tmp_path / "run", "train")[-1]
    assert last["images_without_depth"] == 6  # 12 samples are an epoch
    assert sum("without valid depth" in line for line in notes.lines) == 1


def test_samples_that_cannot_be_used_are_replaced_counted_and_the_first_is_told(
    backbone, monkeypatch, tmp_path
):
    notes, rooms = Notes(), [Rooms(12, bad=(2, 7))]
    summary = run_on(monkeypatch, request(1, backbone, tmp_path / "run"), sets=rooms, screen=notes)
    assert summary.bad_samples["unreadable"] >= 2
    assert read_log(tmp_path / "run", "train")[-1]["bad_samples"] == summary.bad_samples
    (told,) = [line for line in notes.lines if "was replaced" in line]
    assert "unreadable: rooms/" in told and "cut short" in told


def test_a_step_without_any_depth_moves_nothing(backbone, monkeypatch, tmp_path):
    notes, asked = Notes(), request(1, backbone, tmp_path / "run", "steps=2")
    run_on(monkeypatch, asked, sets=[Rooms(4, blank=range(4))], screen=notes)
    fresh = training.prepare_model(asked).state_dict()
    after = weights(asked.out / "model")
    assert {name for name in after if not torch.equal(after[name], fresh[name])} == set()
    assert any("without anything to learn from" in line for line in notes.lines)


def test_the_probe_is_asked_before_the_first_step_and_as_often_as_said(stage1, monkeypatch, tmp_path):
    asked = request(
        2,
        stage1 / "model",
        tmp_path / "run",
        "probe_every=4",
        "probe_tokens=4",
        f"probe={small_probe(tmp_path)}",
    )
    notes = Notes()
    run_on(monkeypatch, asked, screen=notes)
    lines = read_log(asked.out, "probe")
    assert [line["step"] for line in lines] == [0, 4, 6]
    assert (lines[0]["unchanged_share"], lines[0]["likelihood_drift"]) == (1.0, 0.0)
    assert len(read_log(asked.out, name="replies.jsonl")) == 3 * 3
    assert sum("probe: " in line for line in notes.lines) == 3


def collapsed(patch):
    """Every reply after the first step is the depth answer."""
    ask = watch.Prober.replies

    def replies(self, model):
        found = ask(self, model)
        return [replace(one, text=DEPTH_ANSWER) for one in found] if model.training else found

    patch.setattr(watch.Prober, "replies", replies)


@pytest.mark.parametrize("gate", ["warn", "stop"])
def test_the_gate_warns_or_stops_where_every_reply_is_the_depth_answer(stage1, monkeypatch, tmp_path, gate):
    options = ("probe_every=3", "probe_tokens=4", f"probe={small_probe(tmp_path)}")
    notes, asked = Notes(), request(2, stage1 / "model", tmp_path / "run", *options, f"gate={gate}")
    collapsed(monkeypatch)
    if gate == "stop":
        with pytest.raises(CheckError, match=r"gate stopped the run.*--mix-chat"):
            run_on(monkeypatch, asked, screen=notes)
        assert checkpoints.latest(asked.out).name == "checkpoint-3"
        assert not (asked.out / "model").exists()
        resumed = request(2, stage1 / "model", asked.out, *options, "gate=warn", resume=True)
        assert run_on(monkeypatch, resumed).resumed_from == 3
    else:
        run_on(monkeypatch, asked, screen=notes)
    assert any("step 3: language is being lost: 100%" in line for line in notes.lines)
    assert read_log(asked.out, "event")[0]["step"] == 3
    assert read_log(asked.out, "probe")[-1]["constant_share"] == 1.0


@pytest.mark.parametrize("stage", [1, 2])
def test_half_precision_keeps_what_is_trained_in_float32(backbone, stage1, monkeypatch, tmp_path, stage):
    base = backbone if stage == 1 else stage1 / "model"
    half = ("autocast=true", "weights=bfloat16", "save_dtype=bfloat16", "steps=2")
    asked = request(stage, base, tmp_path / "run", *half)
    run_on(monkeypatch, asked)
    stored = load_file(asked.out / "checkpoint-2" / "trained.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    saved = weights(asked.out / "model")
    assert {t.dtype for name, t in saved.items() if name.startswith("depth_head.")} == {torch.float32}
    assert {t.dtype for name, t in saved.items() if name.startswith("model.")} == {torch.bfloat16}
