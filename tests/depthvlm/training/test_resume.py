"""Resumption: a run that was killed anywhere goes on as if it had not been."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from safetensors.torch import load_file
from training_rooms import Notes, Rooms, Talk, assert_same_curve, changed, curve, request, run_on, weights

from depthvlm_bench.depthvlm.training import checkpoints, watch
from depthvlm_bench.depthvlm.training.trainer import DepthTrainer
from depthvlm_bench.errors import DataMissingError, UsageError

LORA = ("lora_rank=4", "lora_alpha=8", "lora_dropout=0.1")


class Killed(BaseException):
    """Stands for a kill: nothing of the program catches it."""


def kill_after(patch, step):
    """Kill the run right after a step was logged, before what comes next."""
    line = watch.Watch._line

    def kill(self, at):
        line(self, at)
        if at == step:
            raise Killed

    patch.setattr(watch.Watch, "_line", kill)


@pytest.mark.parametrize("step", [1, 4, 5])
def test_a_killed_run_resumed_gives_the_curve_of_the_undisturbed_one(
    stage1, stage2, monkeypatch, tmp_path, step
):
    asked = request(2, stage1 / "model", tmp_path / "run")
    with monkeypatch.context() as patch:
        kill_after(patch, step)
        with pytest.raises(Killed):
            run_on(patch, asked, chat=[Talk()])
    notes = Notes()
    summary = run_on(monkeypatch, replace(asked, resume=True), chat=[Talk()], screen=notes)
    # Checkpoints are written at steps 2, 4 and 6, after the line of the log.
    assert summary.resumed_from == {1: 0, 4: 2, 5: 4}[step]
    told = f"resumed from checkpoint-{summary.resumed_from}" if summary.resumed_from else "no checkpoint yet"
    assert told in notes.lines[0]
    assert_same_curve(tmp_path / "run", stage2)
    assert changed(weights(stage2 / "model"), weights(tmp_path / "run" / "model")) == set()


def test_lines_of_the_log_that_span_a_checkpoint_are_the_undisturbed_ones(stage1, monkeypatch, tmp_path):
    whole, cut = (request(2, stage1 / "model", tmp_path / name, "log_every=4") for name in ("whole", "cut"))
    run_on(monkeypatch, whole)
    with monkeypatch.context() as patch:
        save = DepthTrainer._save_checkpoint

        def kill(self, *arguments):
            save(self, *arguments)
            raise Killed

        patch.setattr(DepthTrainer, "_save_checkpoint", kill)
        with pytest.raises(Killed):
            run_on(patch, cut)
    run_on(monkeypatch, replace(cut, resume=True))
    assert_same_curve(cut.out, whole.out, "loss", "lm_loss", "depth_loss", "samples")


def test_adapters_resume_exactly_dropout_included_and_are_merged_at_the_end(stage1, monkeypatch, tmp_path):
    pytest.importorskip("peft")
    whole, cut = (request(2, stage1 / "model", tmp_path / name, *LORA) for name in ("whole", "cut"))
    run_on(monkeypatch, whole)
    with monkeypatch.context() as patch:
        kill_after(patch, 5)
        with pytest.raises(Killed):
            run_on(patch, cut)
    stored = load_file(cut.out / "checkpoint-4" / "trained.safetensors")
    assert all("lora_" in name or name.startswith("depth_head.") for name in stored)
    run_on(monkeypatch, replace(cut, resume=True))
    assert_same_curve(cut.out, whole.out)
    moved = changed(weights(stage1 / "model"), weights(cut.out / "model"))
    language = {name for name in moved if not name.startswith("depth_head.")}
    assert language and all(name.startswith("model.language_model.layers.") for name in language)
    assert not any("norm" in name for name in language)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(stage1, stage2, monkeypatch, tmp_path):
    asked = request(2, stage1 / "model", tmp_path / "run")
    with monkeypatch.context() as patch:
        write, written = checkpoints.flush_tree, []

        def kill(folder):
            written.append(folder)
            if len(written) == 2:
                raise Killed
            write(folder)

        patch.setattr(checkpoints, "flush_tree", kill)
        with pytest.raises(Killed):
            run_on(patch, asked, chat=[Talk()])
    assert [path.name for path in checkpoints.checkpoints(asked.out)] == ["checkpoint-2"]
    assert run_on(monkeypatch, replace(asked, resume=True), chat=[Talk()]).resumed_from == 2
    assert_same_curve(asked.out, stage2)


def test_a_finished_run_resumed_writes_its_model_again_and_trains_no_more(stage1, monkeypatch, tmp_path):
    asked = request(2, stage1 / "model", tmp_path / "run", "steps=2")
    run_on(monkeypatch, asked)
    before, lines = weights(asked.out / "model"), curve(asked.out, "loss")
    (asked.out / "model" / "model.safetensors").unlink()
    summary = run_on(monkeypatch, replace(asked, resume=True))
    assert (summary.steps, summary.resumed_from) == (2, 2)
    assert changed(before, weights(asked.out / "model")) == set()
    assert curve(asked.out, "loss") == lines


def test_a_run_that_failed_before_its_first_step_is_no_run_yet(backbone, monkeypatch, tmp_path):
    asked = request(1, backbone, tmp_path / "run", "steps=1")
    with pytest.raises(DataMissingError, match="no tokenizer"):
        run_on(monkeypatch, replace(asked, base=tmp_path))
    assert (asked.out / "run.json").is_file()
    assert run_on(monkeypatch, request(1, backbone, asked.out, "steps=1", "seed=7")).steps == 1


def test_a_run_is_not_begun_over_another(stage1, backbone, monkeypatch):
    with pytest.raises(UsageError, match=r"there is a run already.*--resume"):
        run_on(monkeypatch, request(1, backbone, stage1))


def test_a_resumed_run_keeps_its_figures_and_its_data(stage1, backbone, monkeypatch):
    with pytest.raises(UsageError, match="seed was 42, is 1"):
        run_on(monkeypatch, request(1, backbone, stage1, "seed=1", resume=True))
    with pytest.raises(UsageError, match="training data are not those of the checkpoint"):
        run_on(monkeypatch, request(1, backbone, stage1, resume=True), sets=[Rooms(11)])
