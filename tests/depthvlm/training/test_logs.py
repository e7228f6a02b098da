"""The log of a run: lines that survive a kill, lines that are taken back, means that are weighted."""

import pytest

pytest.importorskip("torch")

from depthvlm_bench.depthvlm.training.logs import LOG_FILE, Means, RunLog, read_log


def test_means_are_weighted_and_come_back_from_their_state():
    means, other = Means(), Means()
    means.add("loss", 6.0, 3.0)
    means.add("loss", 2.0)
    means.add("empty", 0.0, 0.0)
    other.extend(means.state())
    assert other.means() == means.means() == {"loss": 2.0}
    means.clear()
    assert means.means() == {}


def test_lines_after_the_checkpoint_are_taken_back(tmp_path):
    log = RunLog(tmp_path, board=False)
    for step in (1, 2, 3):
        log.write("train", step, {"loss": 1 / step})
        log.replies(step, [{"id": "a", "reply": "yes"}])
    RunLog(tmp_path, step=2, board=False).write("event", 2, {"text": "resumed"})
    assert [(line["kind"], line["step"]) for line in read_log(tmp_path)] == [
        *(("train", 1), ("train", 2), ("event", 2)),
    ]
    assert [line["step"] for line in read_log(tmp_path, name="replies.jsonl")] == [1, 2]


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path):
    log = RunLog(tmp_path, board=False)
    log.write("train", 1, {"loss": 0.5})
    with (tmp_path / LOG_FILE).open("a") as file:
        file.write('{"kind": "train", "step": 2, "lo')
    assert [line["step"] for line in read_log(tmp_path, "train")] == [1]
    RunLog(tmp_path, step=5, board=False).write("train", 6, {"loss": 0.1})
    assert [line["step"] for line in read_log(tmp_path, "train")] == [1, 6]


def test_numbers_go_to_tensorboard_under_their_kind(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path)
    log.write("train", 3, {"loss": 0.25, "valid_share": {"rooms": 0.5}, "text": "not a number"})
    log.close()
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert sorted(read.Tags()["scalars"]) == ["train/loss", "train/valid_share/rooms"]
    (event,) = read.Scalars("train/valid_share/rooms")
    assert (event.step, event.value) == (3, 0.5)
