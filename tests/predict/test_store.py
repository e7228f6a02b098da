import json
from dataclasses import asdict, replace

import pytest

from depthvlm_bench.errors import CheckError, DataMissingError
from depthvlm_bench.hashing import sha256_json
from depthvlm_bench.predict.store import RunSpec, RunStore, find_runs, read_run

SPEC = RunSpec(
    model="m",
    model_version=1,
    kind="dense",
    options={"depth_m": 2.0},
    fit={},
    set_name="tiny",
    role="eval",
    manifest_hash="a" * 64,
    input="canonical",
    track="known",
)


def prediction(record, index=0, name="points", value=1.5):
    answered = {"nearest_m": value, "bilinear_m": value, "in_map": True, "outcome": "ok"}
    return {"id": record, "list": name, "point_index": index} | answered


def counts(record, asked=10, hits=4):
    return {"id": record, "asked": asked, "answered": asked, "within": [hits] * 6}


def dense_of(store):
    """The stored sums, as they were given."""
    given = ("id", "asked", "answered", "within")
    return [{name: row[name] for name in given} for row in store.dense().to_pylist()]


@pytest.fixture
def store(tmp_path):
    store = RunStore(tmp_path / "runs", SPEC)
    store.open({"who": "test"})
    return store


def ids(table):
    return table["id"].to_pylist()


def test_a_fresh_run_is_empty_and_readable(store):
    assert store.done() == {}
    assert len(store.predictions()) == len(store.dense()) == 0


def test_parts_are_added_and_read_in_order(store):
    store.append([prediction("b"), prediction("b", 1)], [counts("b")])
    store.append([prediction("a"), prediction("a", name="points_balanced")], [counts("a", hits=7)])
    assert [part.name for part in store.parts()] == ["predictions-00000.parquet", "predictions-00001.parquet"]
    assert ids(store.predictions()) == ["b", "b", "a", "a"]
    assert dense_of(store) == [counts("b"), counts("a", hits=7)]
    assert store.done() == {"points": {"a", "b"}, "points_balanced": {"a"}}


def test_values_that_were_not_given_are_null(store):
    store.append([prediction("a", value=None)], [])
    row = store.predictions().to_pylist()[0]
    assert row["nearest_m"] is None
    assert row["compat_index_m"] is None
    assert row["raw_text"] is None


def test_adding_a_part_changes_no_earlier_file(store):
    store.append([prediction("a")], [counts("a")])
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    store.append([prediction("b")], [counts("b")])
    assert {name: (store.folder / name).read_bytes() for name in before} == before


def test_adding_a_part_never_overwrites_one_after_a_gap(store):
    """A user who deletes a bad part must not lose a good one with the next."""
    for record in "abc":
        store.append([prediction(record)], [counts(record)])
    store.parts()[0].unlink()
    store.append([prediction("d")], [counts("d")])
    assert sorted(ids(store.predictions())) == ["b", "c", "d"]


def test_a_kill_between_the_dense_part_and_the_prediction_part_leaves_nothing(store):
    store.append([prediction("a")], [counts("a")])
    store.append([prediction("b")], [counts("b")])
    store.parts()[-1].unlink()
    assert store.done() == {"points": {"a"}}
    assert ids(store.dense()) == ["a"]
    store.append([prediction("b", value=3.0)], [counts("b", hits=9)])
    assert ids(store.predictions()) == ["a", "b"]
    assert dense_of(store) == [counts("a"), counts("b", hits=9)]


def test_a_kill_while_a_part_is_written_leaves_a_file_that_is_ignored_and_swept(store):
    store.append([prediction("a")], [counts("a")])
    leftovers = [store.folder / f"{name}-00001.parquet.tmp-4711" for name in ("dense", "predictions")]
    for path in leftovers:
        path.write_bytes(b"PAR1 half a fi")
    assert ids(store.predictions()) == ids(store.dense()) == ["a"]
    RunStore(store.folder.parents[1], SPEC).open({})
    assert not any(path.exists() for path in leftovers)
    assert ids(store.predictions()) == ["a"]


def test_a_run_is_readable_while_it_is_written(store):
    reader = read_run(store.folder)
    store.append([prediction("a")], [counts("a")])
    assert ids(reader.predictions()) == ["a"]
    (store.folder / "dense-00001.parquet").write_bytes(b"being written by another process")
    assert ids(reader.dense()) == ["a"]
    (store.folder / "dense-00001.parquet").unlink()
    store.append([prediction("b")], [counts("b")])
    assert ids(reader.predictions()) == ["a", "b"]


def test_the_same_prediction_twice_is_an_error(store):
    store.append([prediction("a"), prediction("a", 1)], [])
    store.append([prediction("a", 1)], [])
    with pytest.raises(CheckError, match="same prediction twice") as caught:
        store.predictions()
    assert str(store.folder) in str(caught.value)


def test_the_same_image_counted_twice_is_an_error(store):
    store.append([prediction("a")], [counts("a")])
    store.append([prediction("b")], [counts("a")])
    with pytest.raises(CheckError, match="twice"):
        store.dense()


def test_the_two_lists_of_an_image_are_no_double(store):
    store.append([prediction("a")], [])
    store.append([prediction("a", name="points_balanced")], [])
    assert len(store.predictions()) == 2


def test_a_run_is_found_again_with_all_that_identifies_it(store):
    assert read_run(store.folder).spec == SPEC
    assert read_run(store.folder).folder == store.folder
    other = RunStore(store.folder.parents[1], replace(SPEC, set_name="another"))
    other.open({})
    assert [run.spec.set_name for run in find_runs(store.folder.parents[1])] == ["another", "tiny"]


def test_opening_again_keeps_the_first_record_of_the_run(store):
    first = (store.folder / "run.json").read_bytes()
    RunStore(store.folder.parents[1], SPEC).open({"who": "somebody else"})
    assert (store.folder / "run.json").read_bytes() == first


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"model_version": 2},
        {"options": {"depth_m": 3.0}},
        {"fit": {"nuscenes": "b" * 64}},
        {"set_name": "other"},
        {"manifest_hash": "c" * 64},
        {"input": "native"},
        {"track": "unknown"},
    ],
)
def test_whatever_identifies_a_run_makes_another_folder(tmp_path, change):
    assert RunStore(tmp_path, replace(SPEC, **change)).folder != RunStore(tmp_path, SPEC).folder


def test_no_run_is_a_clear_error(tmp_path):
    with pytest.raises(DataMissingError, match="no run here"):
        read_run(tmp_path)
    assert find_runs(tmp_path / "absent") == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 1, "spec": null}'])
def test_a_damaged_run_is_a_clear_error(store, text):
    (store.folder / "run.json").write_text(text)
    with pytest.raises(CheckError) as caught:
        read_run(store.folder)
    assert "run.json" in str(caught.value)


def test_what_was_loaded_identifies_a_run(store):
    """Two trainings of one name and options are not the same model."""
    loaded = replace(SPEC, loaded={"content_sha256": "1" * 64, "dtype": "float32"})
    other = replace(SPEC, loaded={"content_sha256": "2" * 64, "dtype": "float32"})
    assert len({SPEC.hash, loaded.hash, other.hash}) == 3
    kept = RunStore(store.folder.parent.parent, loaded)
    kept.open({})
    assert read_run(kept.folder).spec == loaded


def test_a_run_of_a_model_without_weights_keeps_the_identity_it_had_before_there_were_any(store):
    """Run folders on users' disks bear this hash."""
    plain = {name: value for name, value in asdict(SPEC).items() if name != "loaded"}
    assert SPEC.hash == sha256_json(plain)
    described = json.loads((store.folder / "run.json").read_text())
    del described["spec"]["loaded"]
    (store.folder / "run.json").write_text(json.dumps(described))
    assert read_run(store.folder).folder == store.folder
