"""The table: every figure keeps its origin, and numbers can be compared at a glance."""

import pytest

from depthvlm_bench.depthvlm.cost.measure import Measured
from depthvlm_bench.depthvlm.cost.pictures import Picture
from depthvlm_bench.depthvlm.cost.rows import (
    HEADERS,
    as_json,
    cells,
    computed_row,
    counted,
    duration,
    markdown,
    measured_row,
    short,
)
from depthvlm_bench.depthvlm.cost.sheets import load_cost_model, load_device
from depthvlm_bench.depthvlm.cost.watch import Watched
from depthvlm_bench.depthvlm.cost.ways import map_costs


def measured(**changes):
    known = {
        "kind": "dense",
        "device": "cpu",
        "device_name": "a processor",
        "runs_s": (2.0, 1.0, 3.0),
        "asked": 1,
        "questions": 1,
        "seconds": 2.0,
        "watched": Watched(3e12, 135.0, 0.0),
        "peak_bytes": 5 * 10**8,
        "peak_of": "process",
    }
    return Measured(**(known | changes))


@pytest.fixture(scope="module")
def computed():
    cost = map_costs(load_cost_model("depthvlm-4b"), Picture())[0]
    return computed_row(cost, load_device("h100"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (12.0, "12"),
        (999, "999"),
        (1350, "1,350"),
        (59_784_321, "59,800,000"),
        (18.0834, "18.1"),
        (0.05167, "0.0517"),
        (0.99951, "1.00"),
        (7.53e-6, "0.00000753"),
    ],
)
def test_numbers_have_three_digits_and_no_exponent(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(1348, "1,348"), (758_524, "758,524"), (8_343_764, "8,340,000"), (1347.5, "1,350")],
)
def test_countable_numbers_are_told_to_the_last_digit(number, text):
    assert counted(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (119, ""), (142, " (2.37 min)"), (12_000, " (3.33 h)"), (179_000, " (2.07 d)")],
)
def test_long_times_are_told_in_minutes_hours_or_days(seconds, text):
    assert duration(seconds) == text


def test_computed_figures_are_told_from_estimates(computed):
    (row,) = as_json([computed])
    assert {row[name]["origin"] for name in ("flops", "prefill_tokens", "decode_steps", "peak_bytes")} == {
        "computed"
    }
    assert row["seconds"]["origin"] == "estimate"
    (line,) = cells([computed])
    assert line[HEADERS.index("seconds")].startswith("~")
    assert line[-1] == "computed"


def test_measured_figures_are_marked_with_their_machine():
    row = measured_row(measured(), "tiny")
    assert {figure["origin"] for figure in as_json([row])[0].values() if isinstance(figure, dict)} == {
        "measured"
    }
    (line,) = cells([row])
    assert line[:2] == ("tiny", "a map a call")
    assert line[-1] == "measured: a processor, 3 runs; GB of process"
    assert "~" not in "".join(line)


def test_a_row_scaled_from_fewer_questions_says_so():
    row = measured_row(measured(kind="point", asked=8, questions=100), "tiny")
    assert row.way == "a question a pixel"
    assert "3 runs of 8 questions" in row.remark


def test_what_is_not_known_is_a_dash_and_no_base_of_the_ratio(computed):
    unknown = measured_row(measured(watched=Watched()), "no-torch")
    first, second = cells([unknown, computed])
    assert first[3:7] == ("-", "-", "-", "-")
    assert second[HEADERS.index("x")] == "1"


def test_the_ratio_is_of_operations_to_the_first_row(computed):
    lines = cells([computed, measured_row(measured(watched=Watched(computed.flops.value * 2)), "twice")])
    assert [line[HEADERS.index("x")] for line in lines] == ["1", "2"]


def test_markdown_has_one_line_a_row_and_numbers_to_the_right(computed):
    head, rule, line = markdown(HEADERS, cells([computed])).splitlines()
    assert head.startswith("| model | way | questions |")
    assert rule == "| --- | --- |" + " ---: |" * (len(HEADERS) - 3) + " --- |"
    assert line.count("|") == len(HEADERS) + 1
