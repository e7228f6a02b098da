import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from converted import TinyImage, constant_depth, write_tiny_set
from predictors import Recorder, dense_model, point_model

from depthvlm_bench.baselines.naive import FitOptions
from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.frames import NoOptions
from depthvlm_bench.predict.contracts import Identity
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.predict.store import find_runs, read_run
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_model
from depthvlm_bench.results.schema import read_result
from depthvlm_bench.scoring.evaluate import evaluate, score_and_write
from depthvlm_bench.scoring.protocol import load_protocol

DVBENCH_1 = load_protocol("dvbench-1")
IMAGES = [TinyImage(name, constant_depth(depth_m)) for name, depth_m in (("a", 2.0), ("b", 2.2), ("c", 9.0))]


@pytest.fixture
def records(tmp_path):
    return write_tiny_set(tmp_path / "data", IMAGES)


@pytest.fixture
def run(tmp_path, records):
    def run(model, *, settings=None, train=(), options=None, of=records, **known):
        options = options or model.options_type()
        settings = settings or RunSettings()
        return evaluate(model, options, train, of, settings, DVBENCH_1, tmp_path / "out", Silent(), **known)

    return run


def two_metres(recorder=None, **known):
    return dense_model(lambda view: [[2.0]], recorder, **known)


def test_a_dense_model_is_scored_sparse_and_dense_from_the_same_predictions(run):
    done = run(two_metres())
    assert [result.mode for result in done.results] == ["sparse", "dense"]
    assert [result.scores["delta1"].value for result in done.results] == [2 / 3, 2 / 3]
    assert len({result.run for result in done.results}) == 1
    assert [result.counts.asked for result in done.results] == [12, 3 * 192]


def test_a_point_model_is_scored_sparse_only(run):
    done = run(point_model(lambda view, point: 2.0))
    assert [result.mode for result in done.results] == ["sparse"]


def test_files_are_written_and_say_what_was_returned(run):
    done = run(two_metres())
    assert [read_result(path) for path in done.paths] == list(done.results)
    rows = pq.read_table(done.paths[0].with_suffix(".images.parquet")).to_pylist()
    assert [row["hits"] for row in rows] == [4, 4, 0]
    assert read_run(done.run).spec.model == "tiny-model"


def test_a_second_call_resumes_and_scores_the_same(run):
    recorder = Recorder()
    first, second = run(two_metres(recorder)), run(two_metres(recorder))
    assert (first.predicted, first.resumed) == (3, 0)
    assert (second.predicted, second.resumed) == (0, 3)
    assert len(recorder.views) == 3
    assert first.paths == second.paths
    assert [r.scores for r in first.results] == [r.scores for r in second.results]


def test_a_limit_is_partial_and_a_later_full_run_completes_it(run):
    recorder = Recorder()
    partial = run(two_metres(recorder), limit=2)
    assert [result.counts.images_missing for result in partial.results] == [1, 1]
    assert not any(result.complete or result.ranked for result in partial.results)
    assert partial.results[0].scores["delta1"].value == 1.0
    full = run(two_metres(recorder))
    assert (full.predicted, full.resumed) == (1, 2)
    assert all(result.complete and result.ranked for result in full.results)
    assert full.paths == partial.paths, "the complete result takes the partial one's place"
    assert len(recorder.views) == 3


def test_a_selection_predicts_only_what_it_selects(tmp_path, run):
    images = [IMAGES[0], replace(IMAGES[1], tags={"light": "night"})]
    held = write_tiny_set(tmp_path / "tagged", images, name="tagged")
    recorder = Recorder()
    done = run(two_metres(recorder), of=held, where="light == 'night'")
    assert recorder.ids == [images[1].id]
    assert done.results[0].where == "light == 'night'"
    assert done.results[0].complete
    everything = run(two_metres(recorder), of=held)
    assert (everything.predicted, everything.resumed) == (1, 1)
    assert everything.paths[0] != done.paths[0]


@pytest.mark.parametrize(
    "other",
    [
        {"settings": RunSettings(input="native")},
        {"settings": RunSettings(input="native", camera_known=False)},
    ],
)
def test_another_input_or_track_is_another_run(tmp_path, run, other):
    run(two_metres())
    done = run(two_metres(), **other)
    assert done.predicted == 3
    assert len(find_runs(tmp_path / "out" / "runs")) == 2


def test_other_options_are_another_run_and_another_label(tmp_path, run):
    constant = load_model("constant")
    near, far = (run(constant, options=constant.options_type(depth_m=d)) for d in (2.0, 9.0))
    assert [done.results[0].scores["delta1"].value for done in (near, far)] == [2 / 3, 1 / 3]
    assert near.results[0].label != far.results[0].label
    assert len(find_runs(tmp_path / "out" / "runs")) == 2


def test_another_batch_is_the_same_run(run):
    recorder = Recorder()
    run(two_metres(recorder))
    assert run(two_metres(recorder), settings=RunSettings(batch=2)).predicted == 0


def test_a_fit_is_recorded_and_a_new_fit_is_a_new_run(tmp_path, run):
    model = load_model("best-constant")
    images = [TinyImage("t", constant_depth(2.0))]
    train = [write_tiny_set(tmp_path / "data", images, role="train", name="fitted-on")]
    done = run(model, train=train)
    assert done.results[0].fit == {"fitted-on": train[0].manifest_hash}
    assert done.results[0].scores["delta1"].value == 2 / 3
    assert run(model, train=train).predicted == 0
    again = write_tiny_set(
        tmp_path / "again", [TinyImage("u", constant_depth(9.0))], role="train", name="fitted-on"
    )
    refitted = run(model, train=[again])
    assert refitted.predicted == 3
    assert refitted.results[0].scores["delta1"].value == pytest.approx(1 / 3)


def test_a_fitted_model_without_training_data_leaves_nothing_behind(tmp_path, run):
    with pytest.raises(DataMissingError):
        run(load_model("row-prior"), options=FitOptions())
    assert not (tmp_path / "out").exists()


def test_the_paths_of_a_fit_do_not_identify_it(tmp_path, run):
    """The same workspace elsewhere is the same run."""
    model, images = load_model("best-constant"), [TinyImage("t", constant_depth(2.0))]
    sets = [write_tiny_set(tmp_path / place, images, role="train", name="tr") for place in ("here", "there")]
    run(model, train=sets[:1])
    assert run(model, train=sets[1:]).predicted == 0


def test_predictions_of_an_earlier_version_of_the_set_are_not_scored(tmp_path, run):
    done = run(two_metres())
    changed = write_tiny_set(tmp_path / "changed", [TinyImage("a", constant_depth(3.0))])
    with pytest.raises(CheckError, match="another version of the set") as caught:
        score_and_write(read_run(done.run), two_metres(), changed, DVBENCH_1, tmp_path / "out", None)
    assert "dvbench eval" in caught.value.next_step


def test_a_set_converted_again_is_predicted_again(tmp_path, run):
    run(two_metres())
    changed = write_tiny_set(tmp_path / "changed", [replace(IMAGES[0], asked_px=((5, 5),)), *IMAGES[1:]])
    assert run(two_metres(), of=changed).predicted == 3


def test_settings_that_contradict_themselves_are_refused_before_anything_is_written(tmp_path, run):
    with pytest.raises(UsageError):
        run(two_metres(), settings=RunSettings(camera_known=False))
    assert not (tmp_path / "out").exists()


def test_the_run_records_its_settings(run):
    done = run(two_metres(), settings=RunSettings(batch=2))
    told = json.loads((done.run / "run.json").read_text())
    assert told["spec"]["input"] == "canonical"
    assert told["provenance"]["settings"]["batch"] == 2
    assert told["provenance"]["versions"]["numpy"] == np.__version__


def test_an_unfinished_set_cannot_be_evaluated(records):
    (records.folder / "_SUCCESS-eval").unlink()
    with pytest.raises(DataMissingError):
        RecordSet(records.folder, "eval")


def test_no_options_will_do(run):
    assert run(two_metres(), options=NoOptions()).results


def identified(options, loaded, **machine):
    return replace(two_metres(), identify=lambda _: Identity(options, loaded, machine))


def test_what_identifies_weights_is_in_the_label_the_run_and_the_result(run):
    loaded = {"content_sha256": "a" * 64, "dtype": "float32", "prompt_hash": "p" * 64}
    done = run(identified({"checkpoint": "mine@aaaaaaaa"}, loaded, device="cpu"))
    assert done.model == "tiny-model (checkpoint=mine@aaaaaaaa)"
    assert done.results[0].options == {"checkpoint": "mine@aaaaaaaa"}
    assert done.results[0].prompt_hash == "p" * 64
    made = read_result(done.paths[0]).provenance["run"]
    assert (made["loaded"], made["machine"]) == (loaded, {"device": "cpu"})


def test_other_weights_are_another_run_and_another_machine_is_not(run):
    first, same, other = (
        run(identified({}, {"content_sha256": digest}, device=device))
        for digest, device in (("a", "cpu"), ("a", "cuda"), ("b", "cpu"))
    )
    assert first.run == same.run != other.run
    assert (same.predicted, other.predicted) == (0, 3)


def test_a_model_without_weights_records_none(run):
    done = run(two_metres())
    assert done.results[0].prompt_hash is None
    assert "loaded" not in done.results[0].provenance["run"]
