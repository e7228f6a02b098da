"""Where a number comes from: code revision, library versions, hardware."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import depthvlm_bench

LIBRARIES = ("numpy", "scipy", "pillow", "pyarrow", "torch", "transformers")


@cache
def git_revision() -> dict[str, Any] | None:
    """Commit and dirty state of the package's own checkout, or None where it is installed without one."""
    folder = Path(depthvlm_bench.__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {
            "commit": commit,
            "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()


def installed_versions() -> dict[str, str]:
    """Versions of the libraries that numbers can depend on, as far as they are installed."""
    found = {"python": platform.python_version(), "depthvlm_bench": depthvlm_bench.__version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def collect() -> dict[str, Any]:
    """What a run or result records of its making; no host name, user or path."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_revision(),
        "versions": installed_versions(),
        "hardware": {"machine": platform.machine(), "system": platform.system(), "cpus": os.cpu_count()},
    }
