import subprocess
import sys
from dataclasses import replace

import pytest

from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.predict.isolated import environments
from depthvlm_bench.predict.isolated.environments import (
    CodeSource,
    EnvironmentSpec,
    content_of,
    create,
    find,
    load_spec,
    names,
    plan,
    python_version,
    recorded,
    remove,
    requirement_files,
)

HERE = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A shelf with one environment without packages, and records of its own."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "bare.toml").write_text(
        f'name = "bare"\nsummary = "for tests"\npython_min = "{HERE}"\npython_max = "{HERE}"\nsize = "none"\n'
        'imports = ["json"]\n'
    )
    monkeypatch.setattr(environments, "_shelf", lambda: folder)
    monkeypatch.setattr(environments, "home", lambda: tmp_path / "records")
    return folder


class Runs:
    """Remembers commands; the one that holds `fails` fails, `really` runs them."""

    def __init__(self, fails="", really=False):
        self.lines, self.fails, self.really = [], fails, really

    def __call__(self, line):
        self.lines.append(list(line))
        if self.fails and self.fails in line:
            return 9
        return subprocess.run(line, check=False).returncode if self.really else 0


@pytest.mark.parametrize("name", names())
def test_every_requirement_is_pinned(name):
    for item in requirement_files(load_spec(name)):
        for line in item.read_text().splitlines():
            wanted = line.partition("#")[0].strip()
            assert not wanted or "==" in wanted or ("git+" in wanted and "@" in wanted), (item.name, line)


@pytest.mark.parametrize("name", names())
def test_every_environment_brings_what_the_worker_needs(name):
    spec = load_spec(name)
    assert {"numpy", "PIL"} <= set(spec.imports)
    assert requirement_files(spec)
    assert spec.code is None or len(spec.code.commit) == 40


def test_an_unknown_name_has_a_hint():
    with pytest.raises(UsageError, match="did you mean 'unidepth'"):
        load_spec("unidepht")


def test_the_plan_is_a_venv_its_packages_its_code_and_a_trial(shelf, tmp_path):
    (shelf / "bare.txt").write_text("numpy==2.0.0\n")
    (shelf / "bare.no-deps.txt").write_text("odd==1.0\n")
    source = CodeSource("https://example.org/code", "0" * 40)
    lines = plan(replace(load_spec("bare"), code=source), tmp_path / "env", "python3.11")
    inside = str(tmp_path / "env" / "bin" / "python")
    assert lines == [
        ["python3.11", "-m", "venv", str(tmp_path / "env")],
        [inside, "-m", "pip", "install", "--requirement", str(shelf / "bare.txt")],
        [inside, "-m", "pip", "install", "--no-deps", "--requirement", str(shelf / "bare.no-deps.txt")],
        ["git", "clone", "--quiet", "--no-checkout", source.repository, str(tmp_path / "env" / "code")],
        ["git", "-C", str(tmp_path / "env" / "code"), "checkout", "--quiet", source.commit],
        [inside, "-I", "-c", "import json"],
    ]


def test_it_is_made_found_and_removed(shelf, tmp_path):
    with pytest.raises(DataMissingError, match="dvbench env create bare"):
        find("bare")
    made = create(load_spec("bare"), tmp_path / "elsewhere" / "env", sys.executable, Runs(really=True))
    assert find("bare") == made
    assert made.folder == tmp_path / "elsewhere" / "env"
    assert python_version(str(made.python)) == made.python_version == python_version(sys.executable)
    assert made.is_current
    assert remove("bare") == made.folder
    assert not made.folder.exists()
    assert recorded("bare") is None


def test_a_command_that_fails_leaves_no_environment_and_the_next_call_begins_anew(shelf, tmp_path):
    with pytest.raises(CheckError, match="exit status 9") as caught:
        create(load_spec("bare"), tmp_path / "env", sys.executable, Runs(fails="venv"))
    assert "-m venv" in caught.value.where
    assert recorded("bare") is None
    runs = Runs()
    create(load_spec("bare"), tmp_path / "env", sys.executable, runs)
    assert runs.lines == plan(load_spec("bare"), tmp_path / "env", sys.executable)


def test_what_lies_in_the_folder_is_never_removed_unless_it_was_made_here(shelf, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "pyvenv.cfg").write_text("a user's own environment")
    with pytest.raises(UsageError, match="something else"):
        create(load_spec("bare"), mine, sys.executable, Runs())
    assert (mine / "pyvenv.cfg").is_file()


def test_it_is_not_made_twice(shelf, tmp_path):
    create(load_spec("bare"), tmp_path / "env", sys.executable, Runs(really=True))
    with pytest.raises(UsageError, match="there already"):
        create(load_spec("bare"), tmp_path / "other", sys.executable, Runs())


def test_one_whose_folder_is_gone_is_not_found(shelf, tmp_path):
    create(load_spec("bare"), tmp_path / "env", sys.executable, Runs())
    with pytest.raises(DataMissingError, match="not there") as caught:
        find("bare")
    assert caught.value.where == str(tmp_path / "env")


@pytest.mark.parametrize(("python_min", "python_max"), [("3.1", "3.4"), ("3.90", "3.99")])
def test_an_interpreter_that_does_not_fit_is_refused(shelf, tmp_path, python_min, python_max):
    spec = replace(load_spec("bare"), python_min=python_min, python_max=python_max)
    with pytest.raises(UsageError, match=f"needs Python {python_min} to {python_max}"):
        create(spec, tmp_path / "env", sys.executable, Runs())
    assert not (tmp_path / "env").exists()


def test_what_is_no_interpreter_is_refused(shelf, tmp_path):
    for python in (str(tmp_path / "none"), "/bin/false"):
        with pytest.raises(UsageError, match="not a Python interpreter"):
            create(load_spec("bare"), tmp_path / "env", python, Runs())


def test_its_content_is_its_packages_and_its_code(shelf):
    spec = load_spec("bare")
    before = content_of(spec)
    assert content_of(replace(spec, summary="told otherwise", size="more")) == before
    assert content_of(replace(spec, code=CodeSource("https://example.org/code", "0" * 40))) != before
    (shelf / "bare.txt").write_text("numpy==2.0.0\n")
    assert content_of(spec) != before


def test_it_knows_that_it_is_of_older_requirements(shelf, tmp_path):
    made = create(load_spec("bare"), tmp_path / "env", sys.executable, Runs())
    (shelf / "bare.txt").write_text("numpy==2.0.0\n")
    assert not made.is_current


def test_its_code_goes_on_the_search_path(shelf, tmp_path):
    (shelf / "bare.toml").write_text(
        (shelf / "bare.toml").read_text()
        + f'[code]\nrepository = "https://example.org/code"\ncommit = "{"0" * 40}"\npaths = [".", "sub"]\n'
    )
    made = create(load_spec("bare"), tmp_path / "env", sys.executable, Runs())
    assert made.code == (tmp_path / "env" / "code", tmp_path / "env" / "code" / "sub")


def test_a_spec_is_data():
    assert isinstance(load_spec("metric3d"), EnvironmentSpec)
