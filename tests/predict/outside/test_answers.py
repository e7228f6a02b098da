import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from depthvlm_bench.errors import CheckError
from depthvlm_bench.predict.outside.answers import read_answers
from depthvlm_bench.predict.outside.declared import Declaration

ROWS = [
    {"id": "a/b", "point_index": 0, "value": 1500.0, "raw_text": "1.5 m, I think"},
    {"id": "a/b", "point_index": 1, "value": None, "raw_text": "no idea"},
    {"id": "../../etc", "point_index": 0, "value": -1.0, "raw_text": None},
]


def write(folder, suffix, rows=ROWS):
    path = folder / f"answers{suffix}"
    if suffix == ".csv":
        lines = [",".join(rows[0])]
        for row in rows:
            lines.append(",".join("" if value is None else f'"{value}"' for value in row.values()))
        path.write_text("\n".join(lines) + "\n")
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_form_gives_the_same_answers(tmp_path, suffix):
    answers = read_answers([write(tmp_path, suffix)], Declaration(unit="mm"))
    told = {
        (record, index): (answer.value_m, answer.raw_text)
        for record, by_index in answers.by_list["points"].items()
        for index, answer in by_index.items()
    }
    assert told == {
        ("a/b", 0): (1.5, "1.5 m, I think"),
        ("a/b", 1): (None, "no idea"),
        ("../../etc", 0): (-0.001, None),
    }


def test_value_m_is_metres_whatever_the_unit(tmp_path):
    path = write(tmp_path, ".jsonl", [{"id": "a", "point_index": 0, "value_m": 2.5}])
    assert read_answers([path], Declaration(unit="mm")).by_list["points"]["a"][0].value_m == 2.5


def test_lists_are_kept_apart(tmp_path):
    row = {"id": "a", "point_index": 0, "value": 1}
    path = write(tmp_path, ".jsonl", [row, row | {"list": "points_balanced", "value": 2}])
    answers = read_answers([path], Declaration())
    assert answers.by_list["points"]["a"][0].value_m == 1
    assert answers.by_list["points_balanced"]["a"][0].value_m == 2


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_point_answered_twice_names_both_places(tmp_path, suffix):
    rows = [{"id": "a", "point_index": 3, "value": 1.0}, {"id": "a", "point_index": 3, "value": 1.0}]
    with pytest.raises(CheckError, match=r"point 3 of a is answered twice.*answers.*answers"):
        read_answers([write(tmp_path, suffix, rows)], Declaration())


def test_a_point_answered_in_two_files_names_both(tmp_path):
    row = {"id": "a", "point_index": 3, "value": 1.0}
    paths = [write(tmp_path, ".csv", [row]), write(tmp_path, ".jsonl", [row])]
    with pytest.raises(CheckError, match=r"answers\.jsonl:1.*answers\.csv:2"):
        read_answers(paths, Declaration())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": "a", "point_index": 0, "value": "2-3 m"}, "must be a number.*raw_text"),
        ({"id": "a", "point_index": 0, "value": "1_0"}, "must be a number"),
        ({"id": "a", "point_index": 0, "value": True}, "must be a number"),
        ({"id": "a", "point_index": 0.5, "value": 1}, "0, 1, 2"),
        ({"id": "a", "point_index": -1, "value": 1}, "0, 1, 2"),
        ({"id": "a", "point_index": None, "value": 1}, "0, 1, 2"),
        ({"id": None, "point_index": 0, "value": 1}, "without the id"),
        ({"id": "a", "point_index": 0, "value": 1, "list": "mine"}, "unknown list"),
        ({"id": "a", "point_index": 0}, "missing: value"),
        ({"id": "a", "index": 0, "value": 1}, "missing: point_index; unknown: index"),
        ({"id": "a", "point_index": 0, "value": 1, "value_m": 1}, "both value and value_m"),
    ],
)
def test_a_bad_row_is_one_line_with_its_place(tmp_path, row, words):
    with pytest.raises(CheckError, match=words) as caught:
        read_answers([write(tmp_path, ".jsonl", [row])], Declaration())
    assert caught.value.where.endswith("answers.jsonl:1")


def test_nan_and_infinity_are_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,point_index,value\na,0,nan\na,1,inf\n")
    given = read_answers([path], Declaration()).by_list["points"]["a"]
    assert str(given[0].value_m) == "nan" and given[1].value_m == float("inf")


@pytest.mark.parametrize(
    "content", [b"id,point_index,value\na,0\n", b"", b"\xff\xfe\x00", b"id,point_index\n"]
)
def test_damaged_csv(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(CheckError, match=r"a\.csv"):
        read_answers([tmp_path / "a.csv"], Declaration())


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_damaged_files(tmp_path, name):
    (tmp_path / name).write_bytes(b'{"id": "a", "poi')
    with pytest.raises(CheckError, match=name):
        read_answers([tmp_path / name], Declaration())


def test_answers_under_the_ids_of_records(tmp_path):
    answers = read_answers([write(tmp_path, ".csv")], Declaration())
    assert answers.places() == {
        "a/b": f"{tmp_path}/answers.csv:2",
        "../../etc": f"{tmp_path}/answers.csv:4",
    }
    moved = answers.under({"a/b": "set/b"})
    assert moved.ids("points") == {"set/b", "../../etc"}
    assert moved.by_list["points"]["set/b"] == answers.by_list["points"]["a/b"]


def test_a_point_answered_under_two_names_of_its_record_names_both_places(tmp_path):
    rows = [{"id": name, "point_index": 0, "value": 1.0} for name in ("b", "a/b")]
    answers = read_answers([write(tmp_path, ".csv", rows)], Declaration())
    with pytest.raises(CheckError, match=r"point 0 of a/b is answered twice.*answers\.csv:3.*answers\.csv:2"):
        answers.under({"b": "a/b"})


def test_an_index_beyond_the_records_points_is_named(tmp_path):
    answers = read_answers([write(tmp_path, ".csv")], Declaration())
    answers.check_sizes({"points": {"a/b": 2}})
    with pytest.raises(CheckError, match=r"point_index 1 of a/b.*answers\.csv:3.*1 points"):
        answers.check_sizes({"points": {"a/b": 1}})
