"""Whole conversions by one and two workers: benchmarks/bench_workers.py [--raw FOLDER] [--frames N,M]

Wall seconds of `dvbench convert --split train` and the peak memory of its largest process, medians over
rounds in which one and two workers take turns. Two sizes of set show whether memory grows with it. FOLDER
holds raw trees (scannetpp/, argoverse2/) whose frames are repeated under other scene names, as hard links;
without it ScanNet++ photographs are made.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path

from raw_trees import copy_argoverse2, write_scannetpp

from depthvlm_bench.cards import official_names

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Run:
    """One conversion; `peak_mb` is the resident peak of the process that had the largest."""

    wall_s: float
    peak_mb: float


def repeat_scannetpp(source: Path, root: Path, frames: int) -> int:
    """A training tree of so many frames at least: scenes of `source`, again and again. Returns the frames."""
    scenes = [path.parent for path in sorted(source.glob("data/*/iphone"))]
    (root / "splits").mkdir(parents=True)
    names, there = [], 0
    for number, scene in enumerate(cycle(scenes)):
        if there >= frames:
            break
        names.append(f"{number:010x}")
        _link(scene, root / "data" / names[-1])
        there += len(list(scene.glob("iphone/rgb/*.jpg")))
    (root / "splits" / "nvs_sem_train.txt").write_text("".join(f"{name}\n" for name in names))
    return there


def repeat_argoverse2(source: Path, root: Path, frames: int) -> int:
    """A training tree of so many frames at least: logs of `source`, again and again. Returns the frames."""
    logs = sorted(path.parent for path in source.glob("*/*/calibration"))
    per_log = len(list(logs[0].glob("sensors/cameras/*/*.jpg")))
    names = official_names("argoverse2")["train"][: -(-frames // per_log)]
    for name, log in zip(names, cycle(logs), strict=False):
        _link(log, root / "train" / name)
    return len(names) * per_log


def _link(folder: Path, target: Path) -> None:
    shutil.copytree(folder, target, copy_function=os.link)


def convert(dataset: str, root: Path, out: Path, workers: int) -> Run:
    """One run of the command, its output thrown away afterwards."""
    command = ["convert", dataset, "--root", root, "--out", out, "--split", "train", "--workers", workers]
    command += ["-o", "every=1", "--shard-rows", 64, "--json"]
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "depthvlm_bench.cli.main", *map(str, command)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)  # of the process and the workers that it has waited for
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - begun
    if process.returncode:
        raise SystemExit(f"dvbench convert {dataset} ended with {process.returncode}")
    shutil.rmtree(out)
    return Run(wall_s, usage.ru_maxrss / 1024)


def measure(
    title: str, dataset: str, make: Callable[[Path, int], int], sizes: list[int], rounds: int, work: Path
) -> None:
    """Print one line a set size and number of workers."""
    heads = ("frames", "workers", "wall s", "frames/s", "speed-up", "peak MB")
    print(f"\n{title}\n" + "".join(f"{head:>10}" for head in heads))
    for size in sizes:
        root = work / f"{dataset}-{size}"
        frames = make(root, size)
        runs: dict[int, list[Run]] = {1: [], 2: []}
        for _ in range(rounds):
            for workers, taken in runs.items():
                taken.append(convert(dataset, root, work / "out", workers))
        base_s = statistics.median(run.wall_s for run in runs[1])
        for workers, taken in runs.items():
            wall_s = statistics.median(run.wall_s for run in taken)
            peak_mb = max(run.peak_mb for run in taken)
            rate, gain = frames / wall_s, base_s / wall_s
            print(f"{frames:10}{workers:10}{wall_s:10.2f}{rate:10.1f}{gain:10.2f}{peak_mb:10.0f}")


def main() -> None:
    """Print a table a tree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--raw", type=Path, default=REAL if REAL.is_dir() else None)
    parser.add_argument("--frames", default="300,1200", help="sizes of set")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["scannetpp", "argoverse2"])
    options = parser.parse_args()
    sizes = [int(size) for size in options.frames.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scannetpp, argoverse2 = work / "scannetpp", work / "argoverse2"
        if options.raw is None:
            print("no --raw FOLDER: made photographs, and no Argoverse 2")
            write_scannetpp(scannetpp)
        else:
            shutil.copytree(options.raw / "scannetpp", scannetpp)  # links do not reach across disks
            copy_argoverse2(options.raw / "argoverse2", argoverse2)
        trees: list[tuple[str, str, Callable[[Path, int], int]]] = [
            ("ScanNet++, 1920x1440", "scannetpp", partial(repeat_scannetpp, scannetpp)),
            ("Argoverse 2, made photographs", "argoverse2", partial(repeat_argoverse2, argoverse2)),
        ]
        for title, dataset, make in trees[: 1 if options.raw is None else 2]:
            if options.only in (None, dataset):
                measure(title, dataset, make, sizes, options.rounds, work)


if __name__ == "__main__":
    main()
