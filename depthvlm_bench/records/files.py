"""Files that are either whole or absent: written aside, flushed to disk, then renamed."""

import glob
import os
import platform
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from filelock import FileLock, Timeout

from depthvlm_bench.errors import CheckError, FrameError, UsageError
from depthvlm_bench.hashing import canonical_json

# Part of temporary names: jobs of several machines may share a folder, and a process number.
HOST = f"{zlib.crc32(platform.node().encode()):08x}"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed and renamed, on failure removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{HOST}-{os.getpid()}")
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
def only_one(folder: Path, what: str, *, part: str = "", wait: bool = False) -> Iterator[None]:
    """Hold a folder, or a named part of it, against other processes.

    Args:
        folder: what is held.
        what: the error, as a user reads it.
        part: only this part; the folder and its parts do not know of each other, see `held_parts`.
        wait: wait for whoever holds it.

    Raises:
        CheckError: another process holds it.
    """
    lock = _lock(folder, part)
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=-1 if wait else 0):
            yield
    except Timeout as error:
        raise CheckError(what, where=folder, next_step="wait for it, or end it") from error


def held_parts(folder: Path) -> list[str]:
    """Parts of a folder that are held by a process at this moment."""
    held = []
    start, end = f"{folder.name}.part-", ".lock"
    for path in sorted(_lock(folder, "").parent.glob(f"{glob.escape(start)}*{end}")):
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            held.append(path.name.removeprefix(start).removesuffix(end))
    return held


def _lock(folder: Path, part: str) -> Path:
    return folder.parent / ".locks" / f"{folder.name}{f'.part-{part}' if part else ''}.lock"


def sweep_temporaries(folder: Path, *, of: Collection[str] | None = None, running_too: bool = False) -> None:
    """Remove what a killed run left half-written; a process that still runs keeps its own.

    Args:
        folder: searched with all below it.
        of: only those of files with these stems; None: all.
        running_too: whoever holds the folder's lock knows that nobody else may write in it.
    """
    for leftover in folder.rglob("*.tmp-*"):
        if of is not None and leftover.name.split(".")[0] not in of:
            continue
        if running_too or not _is_running(leftover.name.rpartition("-")[2]):
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
