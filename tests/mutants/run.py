"""Plant each listed fault in a copy of the package and see that the tests named for it fail."""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ROOMS = ("converters", "baselines", "manifests")
TESTS_FAILED, ALL_PASSED = 1, 0


def copy_package(site: Path) -> None:
    """The package as it is installed, where PYTHONPATH finds it first."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "depthvlm_bench", site / "depthvlm_bench", ignore=skip)
    for room in ROOMS:
        shutil.copytree(ROOT / room, site / "depthvlm_bench" / room, ignore=skip)


def installed(site: Path, file: str) -> Path:
    """Where a file of the repository lies in the copy."""
    return site / file if file.startswith("depthvlm_bench/") else site / "depthvlm_bench" / file


def run_tests(site: Path, tests: list[str]) -> int:
    """Exit status of pytest over the named tests, against the copy (-P keeps the repository off the path)."""
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False).returncode


def verdict(site: Path, mutant: dict) -> str:
    """What became of one mutant; empty if it was caught."""
    path = installed(site, mutant["file"])
    sound = path.read_text(encoding="utf-8")
    if sound.count(mutant["find"]) != 1:
        return f"its text occurs {sound.count(mutant['find'])} times in {mutant['file']}"
    path.write_text(sound.replace(mutant["find"], mutant["replace"]), encoding="utf-8")
    try:
        status = run_tests(site, mutant["caught_by"])
    finally:
        path.write_text(sound, encoding="utf-8")
    return {TESTS_FAILED: "", ALL_PASSED: "survived"}.get(status, f"pytest ended with {status}")


def main(names: list[str]) -> int:
    """Run all mutants of the named lists (default: all); 1 if one was not caught."""
    lists = [HERE / f"{name}.toml" for name in names] or sorted(HERE.glob("*.toml"))
    caught, faults = 0, []
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        copy_package(site)
        for path in lists:
            mutants = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
            tests = sorted({test for mutant in mutants for test in mutant["caught_by"]})
            if run_tests(site, tests) != ALL_PASSED:
                faults.append(f"{path.stem}: its tests do not pass without any mutant")
                continue
            for mutant in mutants:
                problem = verdict(site, mutant)
                caught += not problem
                print(f"{'SURVIVED' if problem else 'caught':<10}{path.stem}: {mutant['name']}", flush=True)
                faults += [f"{path.stem}: {mutant['name']}: {problem}"] if problem else []
    print(*faults, f"{caught} caught, {len(faults)} not", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
