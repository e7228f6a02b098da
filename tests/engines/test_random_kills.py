"""kill -9 at random moments of a larger conversion: of workers, which it survives, and of whole runs."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from raw_nuscenes import write_nuscenes_tree

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds workers through /proc"),
]

KILLS = 20


def set_files(folder):
    """Every file of a set and its bytes; logs are no part of it."""
    files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith("logs/")}


def start(tree, data, workers):
    command = ["convert", "nuscenes", "--root", tree, "--out", data, "--split", "train"]
    command += ["--shard-rows", 1, "--workers", workers, "--max-skip-share", 1]
    return subprocess.Popen(
        [sys.executable, "-m", "depthvlm_bench.cli.main", *map(str, command)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def workers_of(process):
    """Process numbers of its workers (the tracker of multiprocessing's resources is none)."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [int(n) for n in children if b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes()]
    except OSError:
        return []


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_nuscenes_tree(tmp_path_factory.mktemp("raw")).root


@pytest.fixture(scope="module")
def undisturbed(tree, tmp_path_factory):
    data = tmp_path_factory.mktemp("undisturbed")
    assert start(tree, data, 1).wait() == 0
    return set_files(data / "nuscenes")


def test_workers_killed_at_random(tree, undisturbed, tmp_path):
    """Again and again, until twenty workers have died; each run ends whole by itself or is resumed."""
    rng, killed = random.Random(1), 0
    while killed < KILLS:
        shutil.rmtree(tmp_path / "nuscenes", ignore_errors=True)
        process = start(tree, tmp_path, 2)
        while process.poll() is None:
            time.sleep(rng.uniform(0.05, 0.8))
            if (workers := workers_of(process)) and killed < KILLS:
                os.kill(rng.choice(workers), signal.SIGKILL)
                killed += 1
        _, said = process.communicate()
        assert process.returncode in (0, 1, 4), said  # 1: three in a row died before they began
        assert "Traceback" not in said, said
        assert start(tree, tmp_path, 2).wait() == 0
        assert set_files(tmp_path / "nuscenes") == undisturbed


def test_whole_runs_killed_at_random(tree, undisturbed, tmp_path):
    """The run alone is killed: its workers have to notice, and the next run must not be hurt by them."""
    rng, killed = random.Random(2), 0
    while killed < KILLS:
        process = start(tree, tmp_path, 2)
        time.sleep(rng.uniform(1.0, 5.0))
        if process.poll() is None:
            process.kill()
            killed += 1
        process.communicate()
        if set_files(tmp_path / "nuscenes") == undisturbed:
            shutil.rmtree(tmp_path / "nuscenes")
    assert start(tree, tmp_path, 2).wait() == 0
    assert set_files(tmp_path / "nuscenes") == undisturbed
