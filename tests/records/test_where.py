import pytest

from depthvlm_bench.errors import UsageError
from depthvlm_bench.records.where import parse_where

NOTHING = {"environment": None, "real": None, "view": None, "light": None, "weather": None, "density": None}
ROOM = NOTHING | {"environment": "indoor", "real": True, "view": "handheld", "density": "dense"}
GAME = NOTHING | {"environment": "outdoor", "real": False, "light": "night"}


def selects(expression):
    """Which of ROOM, GAME and NOTHING an expression selects."""
    chosen = parse_where(expression)
    return "".join(name for name, tags in (("R", ROOM), ("G", GAME), ("N", NOTHING)) if chosen(tags))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (None, "RGN"),
        ("indoor", "R"),
        ("real", "R"),
        ("~real", "GN"),
        ("not real", "GN"),
        ("indoor & real", "R"),
        ("indoor and real", "R"),
        ("indoor & night", ""),
        ("indoor | night", "RG"),
        ("indoor or night", "RG"),
        ("~(indoor | night)", "N"),
        ("outdoor & ~real", "G"),
        ("light == 'night'", "G"),
        ('light == "day"', ""),
        ("outdoor & light == 'night'", "G"),
        ("light == 'night' | view == 'handheld'", "RG"),
        ("real == True", "R"),
        ("real == False", "G"),
        ("indoor & night | handheld", "R"),
        ("indoor & (night | handheld)", "R"),
        ("  indoor  ", "R"),
        ("underwater", ""),
    ],
)
def test_what_an_expression_selects(expression, expected):
    assert selects(expression) == expected


def test_a_bare_word_is_a_value_and_not_a_tag_that_happens_to_be_set():
    assert selects("environment") == ""
    assert selects("view") == ""


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "   ",
        "indoor &",
        "& indoor",
        "indoor real",
        "(indoor",
        "indoor == 'x'",
        "'night'",
        "light != 'night'",
        "light == night",
        "1 < 2",
        "f(indoor)",
        "tags.light",
        "light[0]",
        "indoor; real",
        "lambda: real",
        "__import__('os').getcwd()",
        "\0",
    ],
)
def test_what_cannot_be_read_is_refused_with_an_example(expression):
    with pytest.raises(UsageError, match="cannot read --where") as caught:
        parse_where(expression)
    assert "indoor & real" in caught.value.next_step
    assert caught.value.exit_code == 2


def test_a_value_may_hold_the_signs_of_operators():
    """`&` in a quoted value is not an operator."""
    chosen = parse_where("weather == 'rain & fog'")
    assert chosen(NOTHING | {"weather": "rain & fog"})
    assert not chosen(NOTHING | {"weather": "rain"})
