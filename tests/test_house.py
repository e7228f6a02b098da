"""The house itself: what is installed, what importing costs, and that no module reaches upstream."""

import ast
import configparser
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = ("converters", "baselines", "manifests")


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_the_listed_packages_are_the_folders(setup_cfg: configparser.ConfigParser) -> None:
    listed = set(setup_cfg["options"]["packages"].split())
    inside = {
        ".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "depthvlm_bench").rglob("__init__.py")
    }
    assert listed == inside | {f"depthvlm_bench.{name}" for name in TOP_LEVEL}
    for name in TOP_LEVEL:
        assert (ROOT / name / "__init__.py").is_file()


def test_every_folder_with_code_is_a_package() -> None:
    for path in (ROOT / "depthvlm_bench").rglob("*.py"):
        assert (path.parent / "__init__.py").is_file(), path


def test_package_data_cover_all_that_lies_in_manifests(setup_cfg: configparser.ConfigParser) -> None:
    patterns = setup_cfg["options.package_data"]["depthvlm_bench.manifests"].replace(",", " ").split()
    covered = {path for pattern in patterns for path in (ROOT / "manifests").glob(pattern)}
    there = {p for p in (ROOT / "manifests").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert covered == there


def test_manifests_hold_no_code() -> None:
    assert [p.name for p in (ROOT / "manifests").rglob("*.py")] == ["__init__.py"]
    assert len(ast.parse((ROOT / "manifests" / "__init__.py").read_text()).body) == 1


def test_the_installed_entry_points_are_those_of_setup_cfg(setup_cfg: configparser.ConfigParser) -> None:
    installed = distribution("depthvlm-bench").entry_points
    for group in ("depthvlm_bench.converters", "depthvlm_bench.models"):
        listed = [
            line.partition("=") for line in setup_cfg["options.entry_points"][group].strip().splitlines()
        ]
        expected = {name.strip(): target.strip() for name, _, target in listed}
        assert {p.name: p.value for p in installed if p.group == group} == expected


@pytest.mark.parametrize(
    "statement",
    [
        "import depthvlm_bench",
        "import depthvlm_bench.scoring.scorer",
        "from depthvlm_bench import registry as r; list(r.each(r.CONVERTERS)), list(r.each(r.MODELS))",
    ],
)
def test_the_core_imports_neither_torch_nor_datasets(statement: str) -> None:
    code = f"{statement}; import sys; print([m for m in ('torch', 'datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"


def test_help_is_light() -> None:
    code = (
        "import sys\nfrom depthvlm_bench.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'datasets', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.splitlines()[-1] == "[]"


# A room may use those above it in this list, never those below: data flows one way.
ORDER = (
    *("errors", "hashing", "conventions", "config", "cards", "geometry", "frames", "progress"),
    *("sampling.draw", "sampling.quota", "sampling.coverage", "sampling.pick", "sampling.compat"),
    *("records", "sampling.manifest", "scoring.metrics", "engines", "convert"),
    *("scoring.statistics", "scoring.bulk", "scoring.aligned", "scoring.clouds", "scoring.edges"),
    *("scoring.structure", "predict", "results", "scoring", "leaderboard"),
)


def _rank(module: str) -> int | None:
    names = [name for name in ORDER if module == name or module.startswith(f"{name}.")]
    return ORDER.index(max(names, key=len)) if names else None


def test_no_module_reaches_upstream() -> None:
    faults = []
    for path in (ROOT / "depthvlm_bench").rglob("*.py"):
        own = ".".join(path.relative_to(ROOT / "depthvlm_bench").with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("depthvlm_bench."):
                used = (node.module or "").removeprefix("depthvlm_bench.")
                mine, theirs = _rank(own), _rank(used)
                if mine is not None and (theirs is None or theirs > mine):
                    faults.append(f"{own} imports {used}")
    assert not faults


def test_converters_and_models_are_never_imported_by_the_core() -> None:
    for path in (ROOT / "depthvlm_bench").rglob("*.py"):
        assert "depthvlm_bench.converters" not in path.read_text().replace(
            '"depthvlm_bench.converters"', ""
        ), path
        assert "depthvlm_bench.baselines" not in path.read_text(), path


def test_no_two_converters_repeat_a_block_of_six_lines() -> None:
    seen: dict[tuple[str, ...], str] = {}
    for path in sorted((ROOT / "converters").glob("*.py")):
        lines = [
            s
            for s in (line.strip() for line in path.read_text().splitlines())
            if s and not s.startswith(("from ", "import "))
        ]
        for start in range(len(lines) - 5):
            block = tuple(lines[start : start + 6])
            assert seen.setdefault(block, path.name) == path.name, (
                f"{path.name} repeats {seen[block]}: {block[0]}"
            )


def test_converter_modules_are_short() -> None:
    for path in (ROOT / "converters").glob("[a-z]*.py"):
        assert 35 <= len(path.read_text().splitlines()) <= 120, path.name
