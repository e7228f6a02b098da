"""One small procedural workspace a session, made by `dvbench demo` itself, and a way to run commands."""

import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path

import pytest

from depthvlm_bench.cli.main import main
from depthvlm_bench.demo import ibims1_tree, nuscenes_tree


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def text(self):
        return self.out + self.err

    @property
    def error(self):
        """The one line of a failed command."""
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line


def run(*arguments):
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return Outcome(int(caught.value.code or 0), out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Demo:
    """A finished demo: its --out folder, its workspace, and how the first call ended."""

    out: Path
    workspace: Path
    first: Outcome


@pytest.fixture(scope="session")
def dvbench():
    return run


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """Two rooms and one sample a street; all else is what a user gets."""
    out = tmp_path_factory.mktemp("demo") / "dvbench-demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ibims1_tree, "write_ibims1", partial(ibims1_tree.write_ibims1, images=2))
        patch.setattr(nuscenes_tree, "write_nuscenes", partial(nuscenes_tree.write_nuscenes, samples=1))
        first = run("demo", "--out", out)
    return Demo(out, out / "procedural", first)


@pytest.fixture
def workspace(demo, tmp_path, monkeypatch):
    """A workspace of its own, at $DVBENCH_HOME, over the demo's converted sets."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "data").symlink_to(demo.workspace / "data", target_is_directory=True)
    monkeypatch.setenv("DVBENCH_HOME", os.fspath(home))
    return home


@pytest.fixture
def rooms_only(demo, tmp_path, monkeypatch):
    """A workspace with one evaluation set and no training split."""
    home = tmp_path / "rooms"
    (home / "data").mkdir(parents=True)
    (home / "data" / "ibims1").symlink_to(demo.workspace / "data" / "ibims1", target_is_directory=True)
    monkeypatch.setenv("DVBENCH_HOME", os.fspath(home))
    return home
