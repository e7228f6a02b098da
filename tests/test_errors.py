import pytest

from depthvlm_bench.errors import (
    SKIP_REASONS,
    CheckError,
    DataMissingError,
    DvbenchError,
    FrameError,
    PartialError,
    UsageError,
    unknown_name,
)


def test_an_error_is_one_line_that_says_what_where_why_and_what_next():
    error = DvbenchError(
        "no such\nsplit", where="/data/x", why="found:\n  train,\tval", next_step="dvbench\ndatasets"
    )
    assert str(error) == "no such split [/data/x] — found: train, val — next: dvbench datasets"


def test_parts_that_are_not_given_leave_no_trace():
    assert str(DvbenchError("broken")) == "broken"
    assert str(DvbenchError("broken", next_step="mend it")) == "broken — next: mend it"


@pytest.mark.parametrize(
    ("kind", "code"),
    [(DvbenchError, 1), (CheckError, 1), (UsageError, 2), (DataMissingError, 3), (PartialError, 4)],
)
def test_exit_codes(kind, code):
    error = kind("x")
    assert isinstance(error, DvbenchError)
    assert error.exit_code == code


def test_a_near_name_is_offered():
    error = unknown_name("dataset", "scanetpp", ["ibims1", "scannetpp"], next_step="dvbench datasets")
    assert isinstance(error, UsageError)
    expected = "unknown dataset 'scanetpp' — did you mean 'scannetpp'? — next: dvbench datasets"
    assert str(error) == expected


def test_where_no_name_is_near_all_are_listed():
    assert "known: a, b" in str(unknown_name("model", "zzzzzz", ["b", "a"]))
    assert "known: none" in str(unknown_name("model", "zzzzzz", []))
    many = str(unknown_name("model", "zzzzzz", [f"m{number:02}" for number in range(23)]))
    assert many.endswith("m18, m19, and 3 more")


def test_a_frame_error_keeps_its_reason_and_one_line_of_detail():
    error = FrameError("unreadable", "a.png:\n broken")
    assert (error.reason, error.detail) == ("unreadable", "a.png: broken")
    assert not isinstance(error, DvbenchError)


def test_the_closed_list_of_skip_reasons():
    listed = """missing_image missing_depth missing_intrinsics bad_intrinsics missing_scene unreadable
        size_mismatch no_valid_depth not_in_split time_gap quarantined"""
    assert list(SKIP_REASONS) == listed.split()
