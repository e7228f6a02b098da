"""Roots of raw trees: what they must hold, and how a wrong one is told."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from depthvlm_bench.errors import DataMissingError

# What tells a required file from a required folder in an error: folders are named v1.0-trainval, too.
FILE_SUFFIXES = (".json", ".txt", ".mat", ".csv", ".bin")


def require(path: Path, dataset: str, root: Path | None = None) -> None:
    """DataMissingError where what the tree must have is absent, naming what is there and the likely root.

    Args:
        path: the required file or folder.
        dataset: its name.
        root: the tree's root, where it is not the deepest folder of the path that exists.
    """
    there = next(p for p in (path, *path.parents) if os.path.exists(p))  # noqa: PTH110 - Path raises
    check_rights(there, dataset, below=0)
    if there == path:
        return
    top = root or there
    check_rights(top, dataset)
    found = sorted(child.name for child in there.iterdir()) if there.is_dir() else []
    shown = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    nearby = _likely_root(top, path.relative_to(top))
    raise DataMissingError(
        f"no {path.name}{'' if path.suffix in FILE_SUFFIXES else '/'} in this {dataset} tree",
        where=path,
        why=f"{there} holds {shown or 'nothing'}",
        next_step=f"--root {nearby} has it"
        if nearby
        else f"dvbench datasets {dataset} shows the expected tree",
    )


def check_rights(folder: Path, dataset: str, *, below: int = 2) -> None:
    """DataMissingError for a folder, or one some levels below, that may not be listed.

    Patterns find nothing in such a folder and say nothing of it: its files would seem to be missing.
    """
    for inner in _folders(folder, below):
        if not os.access(inner, os.R_OK | os.X_OK):
            raise DataMissingError(
                f"no right to read a folder of this {dataset} tree",
                where=inner,
                next_step="let its owner give you the rights to read and enter it",
            )


def _folders(folder: Path, below: int) -> Iterator[Path]:
    """A folder and those below it; none of a file."""
    if not folder.is_dir():
        return
    yield folder
    if below:
        for inner in sorted(folder.iterdir()):
            yield from _folders(inner, below - 1)


def _likely_root(root: Path, relative: Path) -> Path | None:
    """A folder above or below that has what is missing: archives are often unpacked one level off."""
    if not root.is_dir():
        return None
    below = sorted(path for depth in ("*", "*/*") for path in root.glob(f"{depth}/{relative}"))
    if below:
        return below[0].parents[len(relative.parts) - 1]
    return next((path for path in root.parents[:2] if (path / relative).exists()), None)


def refuse(root: Path, dataset: str, foreign: Mapping[str, str]) -> None:
    """DataMissingError where a tree is of another release than the one that is read.

    Args:
        foreign: glob pattern below the root -> what a match means, as 'Waymo v1 tfrecords'.
    """
    for pattern, meaning in foreign.items():
        match = next((path for path in root.glob(pattern) if not path.name.startswith(".")), None)
        if match is not None:
            raise DataMissingError(
                f"this tree holds {meaning}, which {dataset} is not read from",
                where=match,
                next_step=f"dvbench datasets {dataset} says which release to get and shows its tree",
            )
