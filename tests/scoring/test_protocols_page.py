"""docs/protocols.md has every difference once, and the tests that it names are there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "protocols.md"
ROW = re.compile(r"^\| ([DL]\d+) \| .+ \| .+ \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))
STATES = ("tested", "prevented", "recorded", "needs weights")


def numbers_of(file):
    """Numbers that the names of a file's tests bear: test_d1_d2_some_words -> d1, d2."""
    names = [node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
    heads = [re.match(r"test((?:_[dl]\d+)+)_", name) for name in names]
    return {number for head in heads if head for number in head[1].strip("_").split("_")}


def test_every_difference_has_one_row():
    expected = [f"D{i}" for i in range(1, 27)] + [f"L{i}" for i in range(1, 12)]
    assert [number for number, _ in ROWS] == expected


@pytest.mark.parametrize(("number", "how"), ROWS)
def test_a_row_says_how_it_is_held_and_its_tests_exist(number, how):
    assert how.startswith(STATES)
    for name in re.findall(r"`(test_\w+\.py)`", how):
        assert len(list(TESTS.rglob(name))) >= 1, f"{number} names {name}"
    if how.startswith("tested"):
        scoring = TESTS / "scoring"
        where = numbers_of(scoring / "test_differences.py") | numbers_of(scoring / "test_text.py")
        assert number.lower() in where
