import os
from pathlib import Path

import pytest

from depthvlm_bench.converters import _roots


@pytest.fixture
def close(monkeypatch):
    """Take the rights of a folder away, for root as well, whom a real file system lets in."""
    closed = []

    def take_rights(folder: Path):
        folder.chmod(0)
        closed.append(folder)

    may = os.access
    monkeypatch.setattr(_roots.os, "access", lambda path, mode: Path(path) not in closed and may(path, mode))
    yield take_rights
    for folder in closed:
        folder.chmod(0o755)
