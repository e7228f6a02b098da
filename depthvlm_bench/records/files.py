"""Files that are either whole or absent: written aside, flushed to disk, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from filelock import FileLock, Timeout

from depthvlm_bench.errors import CheckError, FrameError, UsageError
from depthvlm_bench.hashing import canonical_json


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed and renamed, on failure removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write canonical JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(canonical_json(value) + "\n", encoding="utf-8")


@contextmanager
def reading(where: object, next_step: str = "dvbench verify names all that is damaged") -> Iterator[None]:
    """Turn the faults of a damaged file or record of ours into one CheckError that names it."""
    try:
        yield
    except FrameError as error:
        raise CheckError(
            "a stored record is damaged", where=where, why=error.detail, next_step=next_step
        ) from error
    except UsageError as error:
        raise CheckError(
            "a stored file is damaged", where=error.where, why=error.what, next_step=next_step
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException) as error:
        said = getattr(error, "strerror", None) or str(error)
        why = said.splitlines()[0] if said else type(error).__name__
        raise CheckError("a stored file cannot be read", where=where, why=why, next_step=next_step) from error


@contextmanager
def only_one(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder against other processes; CheckError at once where one of them holds it."""
    lock = folder.parent / ".locks" / f"{folder.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise CheckError(what, where=folder, next_step="wait for it, or end it") from error


def sweep_temporaries(folder: Path) -> None:
    """Remove what a killed run left half-written; a process that still runs keeps its own."""
    for leftover in folder.rglob("*.tmp-*"):
        if not _is_running(leftover.name.rpartition("-")[2]):
            leftover.unlink(missing_ok=True)


def _is_running(process: str) -> bool:
    if os.name != "posix" or not process.isdecimal() or int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return  # a platform without directory handles has no such flush
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
