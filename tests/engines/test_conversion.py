"""A conversion by workers, in parts, beside others and against faults: the set is the undisturbed one."""

import ctypes
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from deadly_source import open_deadly
from raw_nuscenes import write_nuscenes_tree

from depthvlm_bench.convert.execution import Execution
from depthvlm_bench.convert.request import ConvertRequest
from depthvlm_bench.convert.run import convert
from depthvlm_bench.errors import CheckError, ExitCode, PartialError, UsageError
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.files import only_one
from depthvlm_bench.registry import load_converter

SHARD_ROWS = 2


def set_files(folder):
    """Every file of a set and its bytes; logs are no part of it."""
    files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith("logs/")}


def log_of(folder, name="convert-train"):
    return [json.loads(line) for line in (folder / "logs" / f"{name}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_nuscenes_tree(tmp_path_factory.mktemp("raw")).root


def request_of(tree, data, role="train", **more):
    return ConvertRequest(tree, data, role=role, shard_rows=SHARD_ROWS, max_skip_share=1.0, **more)


@pytest.fixture(scope="module")
def undisturbed(tree, tmp_path_factory):
    """Both splits by one worker in this process."""
    data = tmp_path_factory.mktemp("undisturbed")
    for role in ("eval", "train"):
        convert(load_converter("nuscenes"), request_of(tree, data, role), Silent())
    return data / "nuscenes"


def of_role(files, role):
    return {name: data for name, data in files.items() if re.search(rf"\b{role}\b", name)}


def command(tree, data, *more):
    arguments = ["convert", "nuscenes", "--root", tree, "--out", data, "--split", "train"]
    arguments += ["--shard-rows", SHARD_ROWS, "--max-skip-share", 1, *more]
    return [sys.executable, "-m", "depthvlm_bench.cli.main", *map(str, arguments)]


# ---- same bytes


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_change_no_byte(tree, undisturbed, tmp_path, workers):
    for role in ("eval", "train"):
        summary = convert(
            load_converter("nuscenes"), request_of(tree, tmp_path, role), Silent(), Execution(workers)
        )
        assert summary.finished
    assert set_files(tmp_path / "nuscenes") == set_files(undisturbed)


def test_workers_take_up_what_one_left(tree, undisturbed, tmp_path):
    folder = Path(shutil.copytree(undisturbed, tmp_path / "nuscenes"))
    for number in (1, 3, 4):
        next((folder / "receipts").glob(f"train-0000{number}-*")).unlink()
    summary = convert(load_converter("nuscenes"), request_of(tree, tmp_path), Silent(), Execution(2))
    assert summary.shards_resumed == summary.shards - 3
    assert set_files(folder) == set_files(undisturbed)


def test_a_relative_root_and_out_mean_the_same_to_workers(tree, undisturbed, tmp_path, monkeypatch):
    monkeypatch.chdir(tree.parent)
    here = Path(os.path.relpath(tmp_path, tree.parent))
    convert(load_converter("nuscenes"), request_of(Path(tree.name), here), Silent(), Execution(2))
    assert of_role(set_files(tmp_path / "nuscenes"), "train") == of_role(set_files(undisturbed), "train")


def test_the_run_log_tells_of_every_shard(tree, tmp_path):
    convert(load_converter("nuscenes"), request_of(tree, tmp_path), Silent(), Execution(2))
    start, *shards, end = log_of(tmp_path / "nuscenes")
    assert (start["event"], start["engine"], start["there"]) == ("start", "local", 0)
    assert {line["event"] for line in shards} == {"shard"}
    assert len({line["file"] for line in shards}) == start["shards"] == 6
    assert sum(line["rows"] for line in shards) <= start["frames"] == 12
    assert (end["event"], end["how"]) == ("end", "done")


def test_progress_tells_rates_and_reasons_and_ends_at_the_total(tree, tmp_path):
    class Told(Silent):
        def __init__(self):
            self.done, self.total, self.details = 0, 0, []

        def stage(self, title, total, unit):
            told = self

            class Stage:
                def __enter__(self):
                    told.done, told.total, told.unit = 0, total, unit
                    return told.advance

                def __exit__(self, *_error):
                    return None

            return Stage()

        def advance(self, more, detail=""):
            self.done += more
            self.details.append(detail)

    picture = next((tree / "samples").glob("CAM_FRONT/*.jpg"))
    broken = Path(shutil.copytree(tree, tmp_path / "raw"))
    for path in (broken / "samples").rglob("*.jpg"):
        if path.stat().st_size and path.parent.name == picture.parent.name:
            path.write_bytes(path.read_bytes()[:300])
    for execution in (Execution(), Execution(2)):
        told = Told()
        data = tmp_path / f"data{execution.workers}"
        convert(load_converter("nuscenes"), request_of(broken, data), told, execution)
        assert (told.done, told.total, told.unit) == (12, 12, "frame")
        assert re.fullmatch(r"\d+\.\d MB/s, left out: \d+ unreadable", told.details[-1])


# ---- an array of jobs


def test_jobs_of_an_array_make_the_set_and_the_last_one_finishes_it(tree, undisturbed, tmp_path):
    converter, folder = load_converter("nuscenes"), tmp_path / "nuscenes"
    for shards, there in [((4, 9), 2), ((0, 1), 4), ((1, 1), 4)]:
        summary = convert(converter, request_of(tree, tmp_path), Silent(), Execution(shards=shards))
        assert (summary.shards_there, summary.finished, summary.manifest_hash) == (there, False, "")
        assert not (folder / "_SUCCESS-train").exists()
    last = convert(converter, request_of(tree, tmp_path), Silent(), Execution(2, shards=(2, 3)))
    assert last.finished
    assert of_role(set_files(folder), "train") == of_role(set_files(undisturbed), "train")
    assert log_of(folder, "convert-train-shards-2-3")[0]["shards"] == 2


def test_jobs_of_an_array_at_once_plan_once_and_finish_once(tree, undisturbed, tmp_path):
    jobs = [
        subprocess.Popen(command(tree, tmp_path, "--shards", part), stdout=subprocess.PIPE, text=True)
        for part in ("0-1", "2-3", "4-5")
    ]
    said = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0]
    assert sum("manifest" in text for text in said) >= 1
    files = set_files(tmp_path / "nuscenes")
    assert of_role(files, "train") == of_role(set_files(undisturbed), "train")
    assert not [name for name in files if ".tmp-" in name]


def test_a_job_of_an_array_leaves_what_the_others_are_writing(tree, tmp_path):
    convert(load_converter("nuscenes"), request_of(tree, tmp_path), Silent(), Execution(shards=(0, 0)))
    others = tmp_path / "nuscenes/data/train-00003-of-00006.parquet.tmp-00000000-1"
    own = tmp_path / "nuscenes/data/train-00001-of-00006.parquet.tmp-00000000-1"
    others.touch(), own.touch()
    convert(load_converter("nuscenes"), request_of(tree, tmp_path), Silent(), Execution(shards=(1, 2)))
    assert (others.exists(), own.exists()) == (True, False)


def test_a_whole_run_waits_for_no_job_of_an_array_and_says_so(tree, tmp_path):
    with (
        only_one(tmp_path / "nuscenes", "busy", part="train-0-3"),
        pytest.raises(CheckError, match="jobs of an array hold train-0-3"),
    ):
        convert(load_converter("nuscenes"), request_of(tree, tmp_path), Silent())


@pytest.mark.parametrize(
    ("execution", "more", "said"),
    [
        (Execution(shards=(0, 1)), {"replan": True}, "--replan goes with no --shards"),
        (Execution(address="auto"), {}, "--address goes with --engine ray"),
        (Execution(engine="ray", shards=(0, 1)), {}, "--shards goes with no --engine ray"),
        (Execution(2, engine="ray", address="auto"), {}, "--workers goes with no --address"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tree, tmp_path, execution, more, said):
    with pytest.raises(UsageError, match=said):
        convert(load_converter("nuscenes"), request_of(tree, tmp_path, **more), Silent(), execution)
    assert not (tmp_path / "nuscenes").exists()


# ---- faults


def run(tree, data, *more, **popen):
    return subprocess.run(
        command(tree, data, *more), capture_output=True, text=True, check=False, timeout=120, **popen
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_line_and_nothing_half_written_counts(tree, undisturbed, tmp_path, workers):
    """No file may grow to the size of a shard, as if there the disk were full."""
    done = run(
        tree, tmp_path, "--workers", workers,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
    )  # fmt: skip
    assert done.returncode == ExitCode.CHECK_FAILED, done.stderr
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("error:")]
    assert re.search(r"File too large \[.*train-0000\d-of-00006\.parquet\] — next: .*free disk", line)
    assert "Traceback" not in done.stderr
    assert not [name for name in set_files(tmp_path) if ".tmp-" in name or "_SUCCESS" in name]
    assert run(tree, tmp_path, "--workers", workers).returncode == ExitCode.OK
    files = set_files(tmp_path / "nuscenes")
    assert of_role(files, "train") == of_role(set_files(undisturbed), "train")


def test_an_output_that_cannot_be_written_is_one_line(tree, tmp_path):
    (tmp_path / "file").touch()
    done = run(tree, tmp_path / "file" / "data")
    assert done.returncode == ExitCode.CHECK_FAILED
    assert done.stderr.startswith("error: Not a directory")


def heed_permissions():
    """Take from root what lets it write anywhere; other users have nothing to lose."""
    if os.geteuid() == 0:
        cap_dac_override, cap_dac_read_search, pr_capbset_drop = 1, 2, 24
        for capability in (cap_dac_override, cap_dac_read_search):
            assert ctypes.CDLL(None).prctl(pr_capbset_drop, capability, 0, 0, 0) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_read_only_output_is_one_line_and_is_left_as_it_was(tree, undisturbed, tmp_path, workers):
    """A folder that was finished, one of its shards lost, then closed to writing."""
    folder = Path(shutil.copytree(undisturbed, tmp_path / "nuscenes"))
    next((folder / "receipts").glob("train-00001-*")).unlink()
    before = set_files(folder)
    folders = [folder, *(path for path in folder.iterdir() if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    done = run(tree, tmp_path, "--workers", workers, preexec_fn=heed_permissions)
    for path in folders:
        path.chmod(0o755)
    assert done.returncode == ExitCode.CHECK_FAILED, done.stderr
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("error:")]
    assert re.match(r"error: Permission denied \[", line)
    assert "Traceback" not in done.stderr
    assert set_files(folder) == before


def test_a_frame_that_vanishes_under_workers_is_one_error_and_mending_resumes(tree, undisturbed, tmp_path):
    broken = Path(shutil.copytree(tree, tmp_path / "raw"))
    converter, request = load_converter("nuscenes"), request_of(broken, tmp_path, "eval")
    convert(converter, request, Silent(), Execution(shards=(0, 0)))
    pictures = sorted((broken / "samples").rglob("CAM_*/*.jpg"))
    kept = {path: path.read_bytes() for path in pictures}
    for path in pictures:
        path.unlink()
    with pytest.raises(PartialError, match="can no longer be read"):
        convert(converter, request, Silent(), Execution(2))
    for path, data in kept.items():
        path.write_bytes(data)
    convert(converter, request, Silent(), Execution(2))
    assert of_role(set_files(tmp_path / "nuscenes"), "eval") == of_role(set_files(undisturbed), "eval")


def test_two_runs_in_one_folder_are_refused(tree, tmp_path):
    errors = []

    class Second(Silent):
        def stage(self, title, total, unit):
            def other():
                try:
                    convert(load_converter("nuscenes"), request_of(tree, tmp_path), Silent())
                except CheckError as error:
                    errors.append(error)

            thread = threading.Thread(target=other)
            thread.start(), thread.join()
            return super().stage(title, total, unit)

    summary = convert(load_converter("nuscenes"), request_of(tree, tmp_path), Second(), Execution(2))
    assert summary.finished
    assert errors
    assert {error.what for error in errors} == {"another process converts this set"}


def test_a_shard_that_kills_its_workers_is_left_out_and_the_rest_is_finished(tree, tmp_path):
    converter = load_converter("nuscenes")
    deadly = replace(converter, open=open_deadly)
    with pytest.raises(PartialError, match="1 shards killed their workers") as caught:
        convert(deadly, request_of(tree, tmp_path), Silent(), Execution(2))
    assert caught.value.exit_code == ExitCode.PARTIAL
    assert "2 quarantined; 5 of 6 shards are there" in caught.value.why
    events = [line["event"] for line in log_of(tmp_path / "nuscenes")]
    assert (events.count("retry"), events.count("quarantined"), events.count("shard")) == (2, 1, 5)
    assert not (tmp_path / "nuscenes/_SUCCESS-train").exists()
    assert convert(converter, request_of(tree, tmp_path), Silent(), Execution(2)).shards_resumed == 5


# ---- stopping


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_finishes_the_shards_in_hand_and_says_how_to_resume(tree, undisturbed, tmp_path, workers):
    process = subprocess.Popen(
        command(tree, tmp_path, "--workers", workers, "--shard-rows", 1), stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    receipts = tmp_path / "nuscenes" / "receipts"
    while not receipts.is_dir() or not list(receipts.iterdir()):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == ExitCode.PARTIAL, said
    assert "stopping: the shards in hand are finished first" in said
    assert "the same command resumes" in said
    assert "Traceback" not in said
    files = set_files(tmp_path / "nuscenes")
    assert not [name for name in files if ".tmp-" in name]
    shards, kept = ({Path(n).stem for n in files if n.startswith(f"{d}/")} for d in ("data", "receipts"))
    assert shards == kept
    assert log_of(tmp_path / "nuscenes")[-1]["how"].startswith("PartialError: stopped")
