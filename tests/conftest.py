"""Sets that many tests read, each converted once a session from a tiny raw tree in the real format."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from raw_ibims1 import write_ibims1_tree
from raw_nuscenes import write_nuscenes_tree
from raw_scannetpp import write_scannetpp_tree

from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.progress import Silent
from depthvlm_bench.registry import load_converter


@dataclass(frozen=True)
class ConvertedSet:
    """A set and the raw tree it was made from."""

    name: str
    root: Path
    truth: Any
    folder: Path

    @property
    def data(self):
        return self.folder.parent


def _convert_split(name, root, data, **request):
    """Convert one split; a test names only what it cares about."""
    request = {"max_skip_share": 1.0} | request
    return convert(load_converter(name), ConvertRequest(root=root, data=data, **request), Silent())


def _make(name, write_tree, base, roles, **request):
    root, data = base / "raw", base / "data"
    truth = write_tree(root)
    for role in roles:
        _convert_split(name, root, data, role=role, **request)
    return ConvertedSet(name, root, truth, data / name)


@pytest.fixture(scope="session")
def convert_split():
    return _convert_split


@pytest.fixture(scope="session")
def scannetpp_set(tmp_path_factory):
    """Depth grids; pictures of real size, so that canonical pictures shrink; both splits."""
    base = tmp_path_factory.mktemp("scannetpp")
    return _make(
        "scannetpp", lambda root: write_scannetpp_tree(root, size=(1920, 1440)), base, ("eval", "train")
    )


@pytest.fixture(scope="session")
def nuscenes_set(tmp_path_factory):
    """LiDAR points; tiny pictures, so that canonical pictures grow; both splits, several shards."""
    base = tmp_path_factory.mktemp("nuscenes")
    return _make("nuscenes", write_nuscenes_tree, base, ("eval", "train"), shard_rows=5)


@pytest.fixture(scope="session")
def ibims1_set(tmp_path_factory):
    """Depth grids as large as the pictures, with masks; evaluation only, one row a shard."""
    return _make("ibims1", write_ibims1_tree, tmp_path_factory.mktemp("ibims1"), ("eval",), shard_rows=1)


@pytest.fixture
def copy_of(tmp_path):
    """A set's folder, copied so that a test may damage it."""

    def copy(converted):
        return Path(shutil.copytree(converted.folder, tmp_path / "copied" / converted.folder.name))

    return copy


@pytest.fixture(scope="session")
def hf_cache(tmp_path_factory):
    """A cache of its own for `datasets`, so that no earlier build of a set is ever read."""
    return str(tmp_path_factory.mktemp("hf"))
