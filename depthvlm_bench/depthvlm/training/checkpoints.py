"""Checkpoints that are there whole or not at all: written aside, flushed to disk, renamed; the last few stay.

A checkpoint holds what a run goes on from: the trained parameters, the optimiser, the schedule, the random
states and the place in the data. The model for use is written by itself, once the run is over.
"""

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from depthvlm_bench.errors import CheckError
from depthvlm_bench.records.files import reading, write_json

TRAINED_FILE = "trained.safetensors"
PROGRESS_FILE = "progress.json"
WRITING_FOLDER = ".writing"
MODEL_FOLDER = "model"
_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Progress:
    """Where a run stands, beside what torch saves.

    Attributes:
        step: optimiser steps done.
        samples: samples taken from the stream, over all processes.
        micro_batch: samples at once on a process; smaller than the recipe's after an out-of-memory.
        stream: state of the data stream.
        means: sums of the log that no line has told yet.
        counts: events since the start, such as images without depth.
    """

    step: int
    samples: int
    micro_batch: int
    stream: dict[str, Any] = field(default_factory=dict)
    means: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def checkpoints(out: Path) -> list[Path]:
    """Whole checkpoints of a run, oldest first."""
    found = [
        (int(match[1]), path) for path in out.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def latest(out: Path) -> Path | None:
    """The checkpoint to go on from; None where there is none yet."""
    return next(reversed(checkpoints(out)), None)


def begin_writing(out: Path) -> Path:
    """The folder in which a checkpoint grows; what a killed run left there is removed."""
    folder = out / WRITING_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def publish(grown: Path, out: Path, keep: int) -> Path:
    """Flush a grown checkpoint to disk, give it its name, and remove all but the last `keep`.

    Args:
        grown: `<out>/.writing/checkpoint-N`, complete.
        out: folder of the run.
        keep: how many stay.
    """
    flush_tree(grown)
    target = out / grown.name
    if target.exists():
        _remove(target)
    grown.rename(target)
    _flush(out)
    for old in checkpoints(out)[:-keep]:
        _remove(old)
    return target


def replace_folder(grown: Path, target: Path) -> None:
    """Put a folder that is written to the end in the place of another, which goes only then."""
    flush_tree(grown)
    if target.exists():
        _remove(target)
    grown.rename(target)
    _flush(target.parent)


def write_progress(folder: Path, progress: Progress) -> None:
    """Write a checkpoint's `progress.json`."""
    write_json(folder / PROGRESS_FILE, asdict(progress))


def read_progress(folder: Path) -> Progress:
    """Read a checkpoint's `progress.json`.

    Raises:
        CheckError: it is damaged.
    """
    path = folder / PROGRESS_FILE
    with reading(path, "remove that checkpoint and resume from the one before"):
        return Progress(**json.loads(path.read_text(encoding="utf-8")))


def flush_tree(folder: Path) -> None:
    """Flush every file below a folder, and the folders themselves, to disk."""
    for path in sorted(folder.rglob("*"), reverse=True):
        _flush(path)
    _flush(folder)


def _remove(folder: Path) -> None:
    # Renamed first: a kill amid the removal leaves nothing that looks like a checkpoint.
    doomed = folder.with_name(f".old-{folder.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _flush(path: Path) -> None:
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # a platform without directory handles has no such flush
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_trained(folder: Path, names: list[str]) -> dict[str, Any]:
    """The trained parameters of a checkpoint, exactly those of `names`.

    Raises:
        CheckError: it holds others, or the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / TRAINED_FILE
    try:
        tensors: dict[str, Any] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckError("a checkpoint cannot be read", where=path, why=str(error)) from error
    foreign = sorted(set(names) ^ set(tensors))
    if foreign:
        raise CheckError(
            "the checkpoint trained other parameters than this run does",
            where=path,
            why=f"{len(foreign)} of them, such as {foreign[0]}",
            next_step="resume with the recipe and the model the run began with",
        )
    return tensors
