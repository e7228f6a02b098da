"""Roots of raw trees: what they must hold, and how a wrong one is told."""

from collections.abc import Mapping
from pathlib import Path

from depthvlm_bench.errors import DataMissingError

# What tells a required file from a required folder in an error: folders are named v1.0-trainval, too.
FILE_SUFFIXES = (".json", ".txt", ".mat", ".csv", ".bin")


def require(path: Path, dataset: str) -> None:
    """DataMissingError where what the tree must have is absent, naming what is there and the likely root."""
    if path.exists():
        return
    parent = next(p for p in path.parents if p.exists())
    found = sorted(child.name for child in parent.iterdir()) if parent.is_dir() else []
    shown = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    nearby = _likely_root(parent, path.relative_to(parent))
    raise DataMissingError(
        f"no {path.name}{'' if path.suffix in FILE_SUFFIXES else '/'} in this {dataset} tree",
        where=path,
        why=f"{parent} holds {shown or 'nothing'}",
        next_step=f"--root {nearby} has it"
        if nearby
        else f"dvbench datasets {dataset} shows the expected tree",
    )


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
