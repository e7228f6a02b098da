import json

import pytest

DESIGN = ("power", "--images", 1000, "--points", 10, "--delta1", 0.9, "--rho", 0.3)


def test_it_says_what_a_design_finds(dvbench):
    done = dvbench(*DESIGN, "--gap", 0.01, "--correlation", 0.7)
    assert done.code == 0, done.text
    assert "0.900 ± 0.0113" in done.out
    assert "smallest gap found with 80%: 0.0156" in done.out
    assert "a gap of 0.01 is found with 44.5%" in done.out
    assert "the worse model scores higher with 3.4%" in done.out


def test_without_a_gap_only_the_smallest_is_said(dvbench):
    done = dvbench(*DESIGN)
    assert "smallest gap" in done.out
    assert "is found with" not in done.out
    assert "none that is below delta1" in dvbench(*DESIGN[:-4], "--delta1", 0.001).out


def test_of_too_few_images_it_says_that_nothing_can_be_found(dvbench):
    done = dvbench("power", "--images", 5, "--points", 100, "--delta1", 0.9, "--gap", 0.8)
    assert done.code == 0, done.text
    assert "smallest gap found with 80%: none, fewer than 6 images give no p < 5 %" in done.out
    assert "a gap of 0.8 is found with 0.0%" in done.out


def test_json_holds_the_design_and_its_power(dvbench):
    told = json.loads(dvbench(*DESIGN, "--gap", 0.024, "--json").out)
    assert told["design"]["correlation"] == 0.0
    assert told["power"]["gap"] == 0.024
    assert told["power"]["found"] == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--images", 1, "--points", 10, "--delta1", 0.9], ["images is 1", "at least 2"]),
        (["--images", 10, "--points", 10, "--delta1", 1.5], ["delta1 is 1.5"]),
        (["--images", 10, "--points", 10, "--delta1", 0.5, "--gap", 0.7], ["gap is 0.7", "below delta1"]),
        (["--images", "ten", "--points", 10, "--delta1", 0.5], ["--images"]),
        (["--points", 10], ["Missing option"]),
    ],
)
def test_a_mistake_is_one_line(dvbench, arguments, words):
    done = dvbench("power", *arguments)
    assert done.code == 2
    for word in words:
        assert word in done.error
