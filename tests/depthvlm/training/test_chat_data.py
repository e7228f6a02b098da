"""Files of chat examples: what is read, and what is said of lines that cannot be."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

pytest.importorskip("torch")

from depthvlm_bench.depthvlm.training.chat_data import PROBED, chat_sources, open_chat
from depthvlm_bench.depthvlm.training.faults import BadSampleError
from depthvlm_bench.errors import DataMissingError, UsageError


def example(number, **more):
    turns = [
        {"role": "user", "content": f"question {number}"},
        {"role": "assistant", "content": f"answer {number}"},
    ]
    return {"messages": turns, **more}


def write_lines(path, lines):
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def all_samples(source):
    return [
        source.sample(raw)
        for group, count in enumerate(source.group_rows)
        for raw in source.read(group, range(count)).values()
    ]


def answers(source):
    return [sample.messages[-1]["content"] for sample in all_samples(source)]


def as_jsonl(folder, examples):
    return write_lines(folder / "talk.jsonl", examples)


def as_json(folder, examples):
    path = folder / "talk.json"
    path.write_text(json.dumps(examples))
    return path


def as_parquet(folder, examples):
    pq.write_table(pa.Table.from_pylist(examples), folder / "talk.parquet", row_group_size=50)
    return folder / "talk.parquet"


def as_saved(folder, examples):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(examples).save_to_disk(str(folder / "talk"))
    return folder / "talk"


FORMS = [as_jsonl, as_json, as_parquet, as_saved]


@pytest.mark.parametrize("write", FORMS)
def test_every_form_gives_the_same_samples(write, tmp_path):
    source = open_chat(write(tmp_path, [example(number) for number in range(75)]))
    assert (len(source), source.name, source.empty) == (75, "talk", 0)
    assert answers(source) == [f"answer {number}" for number in range(75)]
    first = all_samples(source)[0]
    assert first.messages == example(0)["messages"]
    assert (first.dataset, first.pictures) == ("talk", ())


@pytest.mark.parametrize(
    ("write", "place"), [(as_jsonl, ":41"), (as_json, "[40]"), (as_parquet, " row 40"), (as_saved, " row 40")]
)
def test_a_sample_says_where_it_stands(write, place, tmp_path):
    path = write(tmp_path, [example(number) for number in range(60)])
    assert all_samples(open_chat(path))[40].source_id == f"{path}{place}"


@pytest.mark.parametrize("write", FORMS)
def test_some_rows_of_a_group_are_those_rows_in_any_order(write, tmp_path):
    source = open_chat(write(tmp_path, [example(number) for number in range(75)]))
    first = int(source.group_rows[0])
    found = source.read(1, [9, 0, 4])
    assert [source.sample(found[row]).messages[-1]["content"] for row in (9, 0, 4)] == [
        f"answer {first + row}" for row in (9, 0, 4)
    ]


@pytest.mark.parametrize("write", FORMS)
def test_pictures_are_found_beside_the_file(write, tmp_path):
    Image.new("RGB", (6, 4), "red").save(tmp_path / "red.png")
    source = open_chat(write(tmp_path, [example(number, images=["red.png"]) for number in range(3)]))
    for sample in all_samples(source):
        (picture,) = sample.pictures
        assert (picture.size, picture.getpixel((0, 0))) == ((6, 4), (255, 0, 0))


def test_pictures_of_a_saved_dataset_may_be_images_of_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    red = Image.new("RGB", (6, 4), "red")
    features = datasets.Features(
        {
            "messages": datasets.List(
                {"role": datasets.Value("string"), "content": datasets.Value("string")}
            ),
            "images": datasets.List(datasets.Image()),
        }
    )
    rows = [example(0, images=[red]), example(1, images=[red, red])]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(str(tmp_path / "talk"))
    found = all_samples(open_chat(tmp_path / "talk"))
    assert [[picture.size for picture in sample.pictures] for sample in found] == [[(6, 4)], [(6, 4)] * 2]


def test_bytes_in_parquet_are_pictures(tmp_path):
    Image.new("RGB", (5, 3), "blue").save(tmp_path / "blue.png")
    encoded = (tmp_path / "blue.png").read_bytes()
    rows = [example(0, images=[{"bytes": encoded, "path": None}]), example(1, images=[])]
    source = open_chat(as_parquet(tmp_path, rows))
    assert [[picture.size for picture in sample.pictures] for sample in all_samples(source)] == [[(5, 3)], []]


def test_blank_lines_are_counted_and_passed_over(tmp_path):
    lines = ["", *[example(n) for n in range(40)], "   ", "", *[example(n) for n in range(40, 50)], ""]
    path = as_jsonl(tmp_path, lines)
    source = open_chat(path)
    assert (len(source), source.empty) == (50, 4)
    assert answers(source) == [f"answer {number}" for number in range(50)]
    assert [sample.source_id for sample in all_samples(source)][39:41] == [f"{path}:41", f"{path}:44"]


def test_a_last_line_without_a_line_break_counts(tmp_path):
    path = tmp_path / "talk.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(json.dumps(example(n)) for n in range(3)).encode())
    assert answers(open_chat(path)) == ["answer 0", "answer 1", "answer 2"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"messages": [', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('"text"', "an object with `messages` is expected, not str"),
        ("{}", "must be a list of turns, not nothing"),
    ],
)
def test_a_malformed_line_is_named_with_its_file_and_number(tmp_path, line, said):
    path = as_jsonl(tmp_path, [example(0), "", line, example(1)])
    source = open_chat(path)
    found = source.read(0, [0, 1, 2])
    with pytest.raises(BadSampleError) as caught:
        source.sample(found[1])
    assert (caught.value.fault.reason, caught.value.fault.where) == ("malformed", f"{path}:3")
    assert said in caught.value.fault.detail
    assert source.sample(found[2]).messages[-1]["content"] == "answer 1"


def test_a_file_of_another_form_is_refused_by_its_first_example(tmp_path):
    path = as_jsonl(tmp_path, ["", *[{"conversations": [n]} for n in range(300)]])
    with pytest.raises(UsageError, match="cannot be used") as caught:
        open_chat(path)
    assert caught.value.where == f"{path}:2"
    assert f"the first of {PROBED}" in caught.value.why


def test_one_good_example_among_the_first_is_enough(tmp_path):
    lines = [{"conversations": []}] * (PROBED - 1) + [example(0)] + [{}] * 50
    assert len(open_chat(as_jsonl(tmp_path, lines))) == 150
    with pytest.raises(UsageError):
        open_chat(as_jsonl(tmp_path, [{}, *lines]))


@pytest.mark.parametrize("write", [as_parquet, as_saved])
def test_a_table_without_messages_is_refused_with_its_columns(write, tmp_path):
    with pytest.raises(UsageError, match="no column `messages`") as caught:
        open_chat(write(tmp_path, [{"prompt": "a", "answer": "b"}]))
    assert "prompt, answer" in caught.value.why


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("talk.txt", "text", "unknown form"),
        ("talk.json", "{}", "list of examples"),
        ("talk.json", "[", "not JSON"),
        ("talk.jsonl", json.dumps({}), "cannot be used"),
    ],
)
def test_files_of_no_known_form_are_refused(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=said) as caught:
        open_chat(tmp_path / name)
    assert name in caught.value.where


def test_a_folder_that_datasets_did_not_write_is_refused(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(UsageError, match="not a data set saved by datasets"):
        open_chat(tmp_path)


def test_of_several_splits_one_must_be_named(tmp_path):
    datasets = pytest.importorskip("datasets")
    split = datasets.Dataset.from_list([example(0)])
    datasets.DatasetDict({"train": split, "test": split}).save_to_disk(str(tmp_path / "talk"))
    with pytest.raises(UsageError, match="split must be named") as caught:
        open_chat(tmp_path / "talk")
    assert "train, test" in caught.value.next_step
    assert len(open_chat(tmp_path / "talk" / "train")) == 1


@pytest.mark.parametrize(("name", "content"), [("talk.jsonl", "\n\n"), ("talk.json", "[]")])
def test_a_file_without_examples_is_an_error(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataMissingError, match="no chat example"):
        open_chat(tmp_path / name)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataMissingError, match="no such chat data"):
        chat_sources([tmp_path / "talk.jsonl"])


def test_a_file_that_shrank_since_it_was_opened_is_a_fault(tmp_path):
    path = as_jsonl(tmp_path, [example(number) for number in range(40)])
    source = open_chat(path)
    write_lines(path, [example(0)])
    with pytest.raises(BadSampleError) as caught:
        source.read(1, [3])
    assert caught.value.fault.reason == "unreadable"
    assert "talk.jsonl" in caught.value.fault.where


def test_the_identity_changes_with_the_file(tmp_path):
    one = open_chat(as_jsonl(tmp_path, [example(1)])).identity
    assert one == {"name": "talk.jsonl", "rows": 1, "bytes": (tmp_path / "talk.jsonl").stat().st_size}
    assert open_chat(as_jsonl(tmp_path, [example(12)])).identity != one
