"""Checkpoints: whole or absent after a kill at any moment, the last few kept, damage named."""

import shutil

import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch
from safetensors.torch import save_file

from depthvlm_bench.depthvlm.training import checkpoints as module
from depthvlm_bench.depthvlm.training.checkpoints import (
    Progress,
    begin_writing,
    checkpoints,
    latest,
    load_trained,
    publish,
    read_progress,
    replace_folder,
    write_progress,
)
from depthvlm_bench.errors import CheckError


class Killed(BaseException):
    """Stands for a kill: nothing of the program catches it."""


def grow(out, step):
    folder = begin_writing(out) / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "state").write_text(str(step))
    return folder


def names(out):
    return [path.name for path in checkpoints(out)]


def test_only_the_last_few_are_kept(tmp_path):
    for step in (5, 10, 15, 100):
        publish(grow(tmp_path, step), tmp_path, keep=2)
    assert names(tmp_path) == ["checkpoint-15", "checkpoint-100"]
    assert latest(tmp_path).name == "checkpoint-100"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".old")] == []


def test_without_any_there_is_no_latest(tmp_path):
    assert latest(tmp_path) is None
    (tmp_path / "checkpoint-later").mkdir()
    assert latest(tmp_path) is None


@pytest.mark.parametrize("moment", ["flush_tree", "_flush", "_remove"])
def test_a_kill_at_any_moment_leaves_whole_checkpoints_only(tmp_path, monkeypatch, moment):
    for step in (1, 2):
        publish(grow(tmp_path, step), tmp_path, keep=2)
    grown = grow(tmp_path, 3)

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, moment, kill)
        with pytest.raises(Killed):
            publish(grown, tmp_path, keep=2)
    assert all((path / "state").is_file() for path in checkpoints(tmp_path))
    assert {"checkpoint-2"} <= set(names(tmp_path))
    publish(grow(tmp_path, 3), tmp_path, keep=2)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-3"]


def test_a_kill_amid_a_removal_leaves_nothing_that_looks_like_a_checkpoint(tmp_path, monkeypatch):
    publish(grow(tmp_path, 1), tmp_path, keep=1)
    whole_removal = shutil.rmtree

    def half(path, **options):
        if path.name == ".old-checkpoint-1" and path.exists():
            (path / "state").unlink()
            raise Killed
        whole_removal(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", half)
        with pytest.raises(Killed):
            publish(grow(tmp_path, 2), tmp_path, keep=1)
    assert names(tmp_path) == ["checkpoint-2"]


def test_what_a_killed_run_was_writing_is_removed_by_the_next(tmp_path):
    leftover = grow(tmp_path, 7)
    begin_writing(tmp_path)
    assert not leftover.exists()
    assert names(tmp_path) == []


def test_a_folder_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch):
    target, grown = tmp_path / "model", tmp_path / ".model"
    for folder, text in ((target, "old"), (grown, "new")):
        folder.mkdir()
        (folder / "weights").write_text(text)

    def kill(_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, "flush_tree", kill)
        with pytest.raises(Killed):
            replace_folder(grown, target)
    assert (target / "weights").read_text() == "old"
    replace_folder(grown, target)
    assert (target / "weights").read_text() == "new"
    assert not grown.exists()


def test_progress_comes_back_to_the_last_bit(tmp_path):
    progress = Progress(3, 18, 2, {"slot": 18}, {"loss": [0.1 + 0.2, 3.0]}, {"out_of_memory": 1})
    write_progress(tmp_path, progress)
    assert read_progress(tmp_path) == progress


def test_damaged_progress_is_named(tmp_path):
    (tmp_path / "progress.json").write_text('{"step": 3')
    with pytest.raises(CheckError, match=r"progress\.json.*resume from the one before"):
        read_progress(tmp_path)


def test_trained_parameters_are_exactly_those_that_are_asked_for(tmp_path):
    save_file(
        {"depth_head.a": torch.ones(2), "depth_head.b": torch.zeros(1)}, tmp_path / "trained.safetensors"
    )
    assert load_trained(tmp_path, ["depth_head.b", "depth_head.a"])["depth_head.a"].tolist() == [1, 1]
    with pytest.raises(CheckError, match=r"1 of them, such as depth_head\.c"):
        load_trained(tmp_path, ["depth_head.a", "depth_head.b", "depth_head.c"])
    with pytest.raises(CheckError, match=r"such as depth_head\.b"):
        load_trained(tmp_path, ["depth_head.a"])


def test_a_truncated_file_of_parameters_is_named(tmp_path):
    path = tmp_path / "trained.safetensors"
    save_file({"depth_head.a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckError, match=r"cannot be read.*trained\.safetensors"):
        load_trained(tmp_path, ["depth_head.a"])
