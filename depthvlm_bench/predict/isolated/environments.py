"""Environments of models whose dependencies clash: what goes into each, how it is made, where it lies."""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from json import loads
from pathlib import Path

from depthvlm_bench.config import from_mapping, load_toml
from depthvlm_bench.errors import CheckError, DataMissingError, UsageError, unknown_name
from depthvlm_bench.hashing import sha256_hex, sha256_json
from depthvlm_bench.records.files import reading, write_json

ASK_VERSION = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
CODE = "code"
# In every folder made here: none without it is ever removed.
MARK = ".dvbench-environment"

Run = Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class CodeSource:
    """Code that no package index has.

    Attributes:
        repository: cloned with git.
        commit: of it.
        paths: folders in it that go on the worker's search path.
    """

    repository: str
    commit: str
    paths: tuple[str, ...] = (".",)


@dataclass(frozen=True)
class EnvironmentSpec:
    """One `manifests/environments/NAME.toml`.

    Beside it, `NAME.txt` has the pinned packages with their dependencies, and `NAME.no-deps.txt`, where it is
    there, what is installed without (because what it declares clashes, or is not needed to predict).

    Attributes:
        summary: one line for listings.
        python_min, python_max: versions its packages are made for, inclusive.
        size: of the installed environment.
        imports: modules that must import when it is made.
        code: cloned into it.
        note: what has to be known before it is made.
    """

    name: str
    summary: str
    python_min: str
    python_max: str
    size: str
    imports: tuple[str, ...] = ()
    code: CodeSource | None = None
    note: str = ""


@dataclass(frozen=True)
class Environment:
    """An environment that was made.

    Attributes:
        folder: where it lies.
        python_version: of its interpreter.
        content_sha256: of what went into it, see `content_of`.
    """

    name: str
    folder: Path
    python_version: str
    content_sha256: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def code(self) -> tuple[Path, ...]:
        """Folders of its cloned code, for the search path."""
        source = load_spec(self.name).code
        return () if source is None else tuple((self.folder / CODE / path).resolve() for path in source.paths)

    @property
    def is_current(self) -> bool:
        """Whether it was made of what this version of the package asks for."""
        return self.content_sha256 == content_of(load_spec(self.name))


def names() -> list[str]:
    """Names of all environments there can be, sorted."""
    return sorted(
        item.name.removesuffix(".toml") for item in _shelf().iterdir() if item.name.endswith(".toml")
    )


def load_spec(name: str) -> EnvironmentSpec:
    """What goes into an environment; UsageError with a hint for an unknown name."""
    if name not in names():
        raise unknown_name("environment", name, names(), next_step="dvbench env list")
    return load_toml(EnvironmentSpec, _shelf() / f"{name}.toml")


def content_of(spec: EnvironmentSpec) -> str:
    """Hash of what decides what is installed: the requirement files and the commit of its code."""
    texts = {item.name: sha256_hex(item.read_bytes()) for item in requirement_files(spec)}
    return sha256_json({"requirements": texts, "code": None if spec.code is None else asdict(spec.code)})


def requirement_files(spec: EnvironmentSpec) -> list[Traversable]:
    """Its requirement files: with dependencies first, then those without."""
    wanted = (_shelf() / f"{spec.name}.txt", _shelf() / f"{spec.name}.no-deps.txt")
    return [item for item in wanted if item.is_file()]


def home() -> Path:
    """Where environments lie unless told otherwise, and where is recorded which there are."""
    return Path.home() / ".cache" / "depthvlm-bench" / "environments"


def plan(spec: EnvironmentSpec, folder: Path, python: str) -> list[list[str]]:
    """The commands that make an environment, in order."""
    inside = str(folder / "bin" / "python")
    commands = [[python, "-m", "venv", *([] if requirement_files(spec) else ["--without-pip"]), str(folder)]]
    for item in requirement_files(spec):
        without = ["--no-deps"] if item.name.endswith(".no-deps.txt") else []
        commands.append([inside, "-m", "pip", "install", *without, "--requirement", str(item)])
    if spec.code is not None:
        clone = str(folder / CODE)
        commands.append(["git", "clone", "--quiet", "--no-checkout", spec.code.repository, clone])
        commands.append(["git", "-C", clone, "checkout", "--quiet", spec.code.commit])
    if spec.imports:
        commands.append([inside, "-I", "-c", f"import {', '.join(spec.imports)}"])
    return commands


def create(
    spec: EnvironmentSpec, folder: Path, python: str, run: Run, records: Path | None = None
) -> Environment:
    """Make an environment and record it; a half-made one has no record and is made anew.

    Args:
        spec: what goes in.
        folder: where; what lies there must not be anything else.
        python: an interpreter that the environment is made from.
        run: runs a command and gives its exit status.
        records: where environments are recorded; None: `home`.

    Raises:
        UsageError: there is one already, the folder is in use, or the interpreter does not fit.
        CheckError: a command fails.
    """
    known = recorded(spec.name, records)
    if known is not None and known.python.exists():
        raise UsageError(
            f"environment {spec.name!r} is there already",
            where=known.folder,
            next_step=f"dvbench env remove {spec.name}, to make it anew",
        )
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise UsageError("the folder holds something else", where=folder, next_step="name another: --folder")
    version = python_version(python)
    _check_version(spec, python, version)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    for command in plan(spec, folder, python):
        status = run(command)
        if status:
            raise CheckError(
                f"environment {spec.name!r} could not be made",
                where=" ".join(command),
                why=f"exit status {status}; what it said is above",
                next_step="the same command begins anew",
            )
    made = Environment(spec.name, folder.resolve(), version, content_of(spec))
    write_json(_record(spec.name, records), {"schema": 1, **asdict(made)})
    return made


def recorded(name: str, records: Path | None = None) -> Environment | None:
    """The environment of a name, as it was recorded; None: none was made."""
    path = _record(name, records)
    if not path.is_file():
        return None
    with reading(path, f"dvbench env remove {name}, then create it again"):
        content = loads(path.read_text(encoding="utf-8"))
        content.pop("schema")
        return from_mapping(Environment, content, path)


def find(name: str, records: Path | None = None) -> Environment:
    """The environment of a name; DataMissingError with the command that makes it."""
    found = recorded(name, records)
    if found is None or not found.python.exists():
        where = "" if found is None else found.folder
        raise DataMissingError(
            f"environment {name!r} is not there", where=where, next_step=f"dvbench env create {name}"
        )
    return found


def remove(name: str, records: Path | None = None) -> Path:
    """Remove an environment and its record; the folder it was in. DataMissingError where there is none."""
    found = recorded(name, records)
    if found is None:
        raise DataMissingError(f"environment {name!r} is not there", next_step="dvbench env list")
    if (found.folder / MARK).is_file():
        shutil.rmtree(found.folder, ignore_errors=True)
    _record(name, records).unlink()
    return found.folder


def python_version(python: str) -> str:
    """Version of an interpreter, `3.11.7`; UsageError where it does not run."""
    try:
        asked = [python, "-I", "-c", ASK_VERSION]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError("not a Python interpreter", where=python, next_step="name one: --python") from error


def _check_version(spec: EnvironmentSpec, python: str, version: str) -> None:
    if not _minor(spec.python_min) <= _minor(version) <= _minor(spec.python_max):
        raise UsageError(
            f"environment {spec.name!r} needs Python {spec.python_min} to {spec.python_max}",
            where=python,
            why=f"this is {version}",
            next_step="name another interpreter: --python",
        )


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _record(name: str, records: Path | None) -> Path:
    return (records or home()) / f"{name}.json"


def _shelf() -> Traversable:
    return files("depthvlm_bench.manifests") / "environments"
