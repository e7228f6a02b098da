import json
import sys

import pytest

from depthvlm_bench.cli.main import COMMANDS
from depthvlm_bench.predict.isolated import environments

HERE = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture
def env(dvbench, tmp_path, monkeypatch):
    """`dvbench env` with records of its own."""
    monkeypatch.setitem(COMMANDS, "env", "environments of models")
    monkeypatch.setattr(environments, "home", lambda: tmp_path / "records")
    return lambda *arguments: dvbench("env", *arguments)


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """One environment without packages, on a shelf of its own."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "bare.toml").write_text(
        f'name = "bare"\nsummary = "a model for tests"\npython_min = "{HERE}"\npython_max = "{HERE}"\n'
        'size = "nothing"\nimports = ["json"]\n'
    )
    monkeypatch.setattr(environments, "_shelf", lambda: shelf)
    return "bare"


def test_every_environment_is_listed_with_its_state(env):
    done = env("list")
    assert done.code == 0
    for name in environments.names():
        assert any(line.split()[:1] == [name] and "not made" in line for line in done.out.splitlines())
    rows = {row["name"]: row for row in json.loads(env("list", "--json").out)}
    assert rows["metric3d"]["code"]["commit"]
    assert rows["metric3d"]["folder"] is None


def test_a_dry_run_prints_commands_to_copy_and_does_nothing(env, tmp_path):
    done = env("create", "metric3d", "--python", "python3.11", "--dry-run")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == f"python3.11 -m venv {tmp_path / 'records' / 'metric3d'}"
    assert any("pip install --requirement" in line for line in lines)
    assert any("git" in line and "checkout" in line for line in lines)
    assert not (tmp_path / "records").exists()


def test_it_is_made_listed_and_removed(env, bare, tmp_path):
    folder = tmp_path / "elsewhere"
    made = env("create", bare, "--folder", folder)
    assert made.code == 0, made.err
    assert made.out == f"made {folder} (Python {'.'.join(map(str, sys.version_info[:3]))})\n"
    assert f"made: {folder}" in env("list").out
    assert env("create", bare).code == 2
    assert env("remove", bare).out == f"removed {folder}\n"
    assert not folder.exists()
    assert "dvbench env list" in env("remove", bare).error


def test_a_command_that_fails_is_named(env, bare, tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "plan", lambda *of: [[sys.executable, "-c", "import sys; sys.exit(5)"]])
    done = env("create", bare)
    assert done.code == 1
    assert "exit status 5" in done.err.splitlines()[-1]
    assert "Traceback" not in done.text


@pytest.mark.parametrize("action", ["create", "remove"])
def test_an_unknown_name_has_a_hint(env, action):
    done = env(action, "metric3")
    assert done.code == 2
    assert "did you mean 'metric3d'" in done.error
