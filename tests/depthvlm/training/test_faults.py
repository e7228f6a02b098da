"""Counting samples that cannot be used, and ending a run that has too many."""

import pytest

from depthvlm_bench.depthvlm.training.faults import FEWEST_JUDGED, BadSampleError, Fault, FaultCounts
from depthvlm_bench.errors import CheckError


def fault(number, reason="no_valid_depth"):
    return Fault(reason, f"set/train/s/-/{number}", "no depth")


def test_faults_are_counted_by_reason_with_the_first_of_each():
    counts = FaultCounts(0.5)
    counts.add(3, [fault(1), fault(2), fault(3, "unreadable")])
    assert counts.text() == (
        "2 no_valid_depth (set/train/s/-/1: no depth), 1 unreadable (set/train/s/-/3: no depth)"
    )
    assert (counts.given, dict(counts.bad)) == (3, {"no_valid_depth": 2, "unreadable": 1})


def test_nothing_bad_is_said_so():
    assert FaultCounts(0.0).text() == "none"


def test_a_run_ends_beyond_the_share_and_says_why():
    counts = FaultCounts(0.01)
    counts.add(5000, [fault(number) for number in range(50)])
    with pytest.raises(CheckError, match=r"51 of 5051 training samples") as caught:
        counts.add(0, [fault(99)])
    assert "no_valid_depth (set/train/s/-/0: no depth)" in caught.value.why
    assert "dvbench verify" in caught.value.next_step


def test_a_share_is_judged_over_many_samples():
    counts = FaultCounts(0.01)
    counts.add(1, [fault(number) for number in range(FEWEST_JUDGED // 100)])
    with pytest.raises(CheckError):
        counts.add(1, [fault(11)])


def test_a_share_of_zero_ends_at_the_first_fault():
    with pytest.raises(CheckError):
        FaultCounts(0.0).add(4000, [fault(1)])


def test_counting_goes_on_from_a_checkpoint():
    counts, resumed = FaultCounts(0.01), FaultCounts(0.01)
    counts.add(10, [fault(1), fault(2)])
    resumed.load_state_dict(counts.state_dict())
    resumed.add(5, [fault(3)])
    assert resumed.state_dict() == {
        "given": 15,
        "bad": {"no_valid_depth": 3},
        "first": {"no_valid_depth": "set/train/s/-/1: no depth"},
    }
    assert counts.given == 10


def test_what_an_error_says_is_one_line():
    assert BadSampleError("malformed", "f:3", "not\n  JSON").fault == Fault("malformed", "f:3", "not JSON")
