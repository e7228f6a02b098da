import numpy as np
import pytest
from converted import TinyImage, ramp_depth, write_tiny_set
from predictors import Recorder, dense_model, point_model

from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.frames import NoOptions
from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.predict.keep import keep_map, kept_map, kept_of, map_path
from depthvlm_bench.predict.outside.declared import read_declaration
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.progress import Silent
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.outside import open_predictions, score_predictions
from depthvlm_bench.scoring.protocol import load_protocol

DVBENCH_1 = load_protocol("dvbench-1")
KEEP = RunSettings(keep_maps=True)


def speckled(view):
    """Another map for each view, smaller than it, with holes and values on both sides of the threshold."""
    noise = np.random.default_rng(list(view.id.encode()))
    depth_m = noise.uniform(1, 6, (9, 13)).astype(np.float32)
    depth_m[noise.random((9, 13)) < 0.1] = np.nan
    return depth_m


@pytest.fixture
def records(tmp_path):
    return write_tiny_set(tmp_path / "data", [TinyImage(name, ramp_depth()) for name in "abc"])


@pytest.fixture
def run(tmp_path, records):
    def run(model, settings=KEEP, out="out", **known):
        arguments = (model, NoOptions(), (), records, settings, DVBENCH_1, tmp_path / out, Silent())
        return evaluate(*arguments, **known)

    return run


@pytest.fixture
def score(tmp_path, records):
    def score(folder):
        outside = open_predictions(folder, read_declaration(folder), [records])
        return score_predictions(outside, records, DVBENCH_1, tmp_path / "again", Silent())

    return score


def counts(done):
    return [(r.mode, r.counts.asked, r.counts.answered, r.counts.hits) for r in done.results]


@pytest.mark.parametrize("crop", [None, (3, 2, 20, 10)])
@pytest.mark.parametrize("resize", ["bilinear", "nearest"])
def test_a_kept_map_is_the_map_as_the_model_gave_it(tmp_path, crop, resize):
    depth_m = np.array([[1.25, np.nan], [0.0, np.inf], [-1.0, 3.0]], np.float32)
    keep_map(tmp_path, "set/eval/-/x", DenseMap(depth_m, crop, resize))
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["set__eval__-__x.npz"]
    kept = kept_map(tmp_path, "set/eval/-/x")
    np.testing.assert_array_equal(kept.depth_m, depth_m)
    assert (kept.depth_m.dtype, kept.crop, kept.resize) == (np.float32, crop, resize)
    assert kept_map(tmp_path, "set/eval/-/y") is None
    assert kept_of(tmp_path, ["set/eval/-/x", "set/eval/-/y"]) == 1


def test_a_damaged_map_is_named(tmp_path):
    path = map_path(tmp_path, "x")
    path.parent.mkdir()
    path.write_bytes(b"PK nothing")
    with pytest.raises(CheckError, match=r"x\.npz"):
        kept_map(tmp_path, "x")


def test_keeping_maps_changes_neither_the_run_nor_its_scores(run):
    plain = run(dense_model(speckled), RunSettings(), out="plain")
    kept = run(dense_model(speckled))
    assert plain.run.name == kept.run.name
    assert [r.run for r in plain.results] == [r.run for r in kept.results]
    assert counts(plain) == counts(kept)
    assert [r.metrics for r in plain.results] == [r.metrics for r in kept.results]
    assert not (plain.run / "maps").exists()
    assert (plain.maps, kept.maps) == (None, 3)


@pytest.mark.parametrize("resize", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    "shown", [{}, {"input": "native"}, {"input": "native", "camera_known": False}], ids=str
)
def test_kept_maps_score_as_the_run_did(run, score, resize, shown):
    model = dense_model(lambda view: DenseMap(speckled(view), resize=resize))
    done = run(model, RunSettings(keep_maps=True, **shown))
    again = score(done.run / "maps")
    assert counts(again) == counts(done)
    assert 0 < done.results[1].counts.hits < done.results[1].counts.answered < done.results[1].counts.asked
    told, said = again.results[0], done.results[0]
    assert (told.model, told.input, told.track) == (said.model, said.input, said.track)


def test_a_kept_map_of_a_part_or_of_a_preferred_picture_is_not_scored_as_if_it_were_the_whole(run, score):
    cropped = run(dense_model(lambda view: DenseMap(speckled(view), (0, 0, 9, 9)), name="cropped"))
    with pytest.raises(CheckError, match="a map of a part of the picture"):
        score(cropped.run / "maps")
    preferred = dense_model(speckled, name="preferred", preferred_focal_px=250.0)
    done = run(preferred, RunSettings(input="preferred", keep_maps=True))
    with pytest.raises(UsageError, match="preferred"):
        score(done.run / "maps")


def test_a_resumed_run_keeps_the_maps_of_what_it_predicts_now(run):
    recorder = Recorder()
    run(dense_model(speckled, recorder), RunSettings(), limit=1)
    done = run(dense_model(speckled, recorder))
    assert (done.predicted, done.resumed, done.maps) == (2, 1, 2)
    assert len(recorder.ids) == 3, "nothing is predicted twice"
    before = {path: path.stat().st_mtime_ns for path in (done.run / "maps").iterdir()}
    again = run(dense_model(speckled, recorder))
    assert (again.predicted, again.maps) == (0, 2)
    assert {path: path.stat().st_mtime_ns for path in (done.run / "maps").iterdir()} == before


def test_a_map_lies_there_before_its_image_counts_as_predicted(run, tmp_path):
    """Else a kill between the two would leave an image that is never asked again, without its map."""
    recorder = Recorder(fails_at="tiny/eval/-/-/c")
    with pytest.raises(RuntimeError, match="the model broke"):
        run(dense_model(speckled, recorder))
    recorder.fails_at = None
    done = run(dense_model(speckled, recorder))
    assert (done.predicted, done.resumed, done.maps) == (1, 2, 3)
    assert not list(tmp_path.rglob("*.tmp-*"))


@pytest.mark.parametrize(
    ("settings", "flag"), [(KEEP, "--keep-maps"), (RunSettings(extra_metrics=True), "--extra-metrics")]
)
def test_a_point_model_has_no_maps(run, settings, flag):
    with pytest.raises(UsageError, match=f"{flag} needs a dense model"):
        run(point_model(lambda view, point: 2.0), settings)
