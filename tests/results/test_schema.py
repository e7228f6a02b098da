import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_results import made_result

from depthvlm_bench.errors import CheckError
from depthvlm_bench.results.schema import (
    PER_IMAGE_SCHEMA,
    RESULT_VERSION,
    Counts,
    Score,
    read_result,
    read_results,
    result_path,
    write_result,
)

RESULT = made_result(value=1 / 3, options={"depth_m": 2.0}, fit={"nuscenes": "f" * 64}, missing=3)
TAGS = {"environment": "indoor", "real": True, "view": None, "light": None, "weather": None, "density": None}
ROW = {"id": "x", "scene": "s", "camera": "c", "tags": TAGS, "asked": 4, "answered": 3}
ROW |= {"hits": 2, "score": 0.5}
PER_IMAGE = pa.Table.from_pylist([ROW], PER_IMAGE_SCHEMA)


@pytest.fixture
def written(tmp_path):
    return write_result(tmp_path / "results", RESULT, PER_IMAGE)


def rewrite(path, **change):
    told = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not ...}))
    return path


def test_a_result_comes_back_as_it_was(written):
    assert read_result(written) == RESULT
    assert isinstance(read_result(written).scores["delta1"], Score)
    assert isinstance(read_result(written).counts, Counts)


def test_its_rows_lie_beside_it(written):
    beside = written.with_suffix(".images.parquet")
    assert pq.read_table(beside).to_pylist() == [ROW]
    assert sorted(path.name for path in written.parent.iterdir()) == sorted([beside.name, written.name])


def test_its_name_says_what_it_is(written, tmp_path):
    assert written == result_path(tmp_path / "results", RESULT)
    assert written.parent.name == "ibims1"
    assert written.name.startswith("m--sparse--dvbench-1--")


def test_the_file_is_plain_finite_json_with_its_version(written):
    def refuse(word):
        raise AssertionError(word)

    told = json.loads(written.read_text(), parse_constant=refuse)
    assert told["schema_version"] == RESULT_VERSION
    assert told["counts"]["images_missing"] == 3


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_json_cannot_hold_is_not_written(tmp_path, odd):
    broken = replace(RESULT, scores={"delta1": Score(odd, 0.0, 1.0)})
    with pytest.raises(ValueError, match="JSON"):
        write_result(tmp_path, broken, PER_IMAGE)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("version", [0, RESULT_VERSION + 1, None, "1", ...])
def test_another_schema_version_is_a_clear_error(written, version):
    rewrite(written, schema_version=version)
    with pytest.raises(CheckError, match="another schema version") as caught:
        read_result(written)
    assert written.name in caught.value.where
    assert "dvbench score" in caught.value.next_step


@pytest.mark.parametrize("content", [b"", b"{", b"not json", b"[]", b"3", b"\xff\xfe\x00", b"\x89PNG\r\n"])
def test_a_damaged_file_is_a_clear_error(written, content):
    written.write_bytes(content)
    with pytest.raises(CheckError) as caught:
        read_result(written)
    assert written.name in str(caught.value)


DAMAGES = [
    {"model": ...},
    {"scores": {"delta1": {"value": 1.0}}},
    {"counts": None},
    {"mode": "foggy"},
    {"colour": 1},
]


@pytest.mark.parametrize("change", DAMAGES)
def test_missing_wrong_and_unknown_keys_are_a_clear_error(written, change):
    with pytest.raises(CheckError, match="damaged result") as caught:
        read_result(rewrite(written, **change))
    assert written.name in caught.value.where
    assert "dvbench score" in caught.value.next_step


@pytest.mark.parametrize("change", DAMAGES)
def test_the_error_names_the_key(written, change):
    (key,) = change
    with pytest.raises(CheckError) as caught:
        read_result(rewrite(written, **change))
    assert key in str(caught.value).replace(str(written), "")


def test_all_results_below_a_folder_are_read(tmp_path):
    results = [made_result("b", set_name="nuscenes"), made_result("a"), made_result("a", mode="dense")]
    for result in results:
        write_result(tmp_path, result, PER_IMAGE)
    assert [(r.set_name, r.model, r.mode) for r in read_results(tmp_path, pytest.fail)] == [
        ("ibims1", "a", "dense"),
        ("ibims1", "a", "sparse"),
        ("nuscenes", "b", "sparse"),
    ]
    assert list(read_results(tmp_path / "absent", pytest.fail)) == []


@pytest.mark.parametrize(
    "change", [{"run": "another"}, {"protocol_hash": "8" * 64}, {"mode": "dense"}, {"where": "indoor"}]
)
def test_whatever_makes_it_another_result_makes_another_file(tmp_path, change):
    assert result_path(tmp_path, replace(RESULT, **change)) != result_path(tmp_path, RESULT)


def test_scoring_the_same_run_again_takes_its_place(tmp_path):
    later = replace(RESULT, provenance={"created": "later"}, complete=True)
    assert result_path(tmp_path, later) == result_path(tmp_path, RESULT)


@pytest.mark.parametrize(
    ("known", "label"),
    [
        ({}, "m"),
        ({"options": {"depth_m": 2.0, "a": 1}}, "m (a=1; depth_m=2.0)"),
        ({"fit": {"nuscenes": "f", "ddad": "e"}}, "m (fit: ddad, nuscenes)"),
        ({"options": {"k": 3}, "fit": {"ddad": "e"}}, "m (k=3; fit: ddad)"),
    ],
)
def test_the_label_says_options_and_fit(known, label):
    assert made_result(**known).label == label


@pytest.mark.parametrize(
    ("known", "subset"),
    [
        ({"images": 100}, False),
        ({"images": 99}, True),
        ({"images": 100, "missing": 5}, False),
        ({"images": 5, "images_of_the_full_set": None}, False),
        ({"images": 5, "where": "indoor"}, False),
    ],
)
def test_a_subset_holds_fewer_images_than_the_full_set(known, subset):
    assert made_result(**known).subset is subset
