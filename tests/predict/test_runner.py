from dataclasses import fields, replace

import numpy as np
import pytest
from converted import CANONICAL_SIZE, SOURCE_SIZE, TinyImage, constant_depth, ramp_depth, write_tiny_set
from predictors import Recorder, dense_model, map_model, point_model, true_maps

from depthvlm_bench.errors import CheckError, PartialError, UsageError
from depthvlm_bench.frames import NoOptions
from depthvlm_bench.geometry.camera import estimated_camera
from depthvlm_bench.predict import runner
from depthvlm_bench.predict.contracts import DenseMap, PointAnswer, View
from depthvlm_bench.predict.runner import RunSettings, check_settings, predict
from depthvlm_bench.predict.store import RunSpec, RunStore
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet

BOTH = ("points", "points_balanced")
NATIVE = RunSettings(input="native")
CAMERA_UNKNOWN = RunSettings(input="native", camera_known=False)


@pytest.fixture
def records(tmp_path):
    return write_tiny_set(tmp_path / "data", [TinyImage(name, ramp_depth()) for name in "abcde"])


class Run:
    """One run in a folder of its own; every call of `now` is a new process as far as the store can tell."""

    def __init__(self, folder, model, records):
        self.folder, self.model, self.records = folder, model, records

    @property
    def store(self):
        model = self.model.card
        identity = (model.id, model.version, model.kind, {}, {}, self.records.name, "eval")
        spec = RunSpec(*identity, self.records.manifest_hash, "canonical", "known")
        store = RunStore(self.folder, spec)
        store.open({})
        return store

    def now(self, settings=None, wanted=None, **change):
        settings = replace(settings or RunSettings(), **change)
        wanted = self.ids if wanted is None else wanted
        return predict(self.model, NoOptions(), self.records, set(wanted), settings, self.store, Silent())

    @property
    def ids(self):
        return self.records.points(["id"])["id"].to_pylist()

    def rows(self, name="points"):
        return [row for row in self.store.predictions().to_pylist() if row["list"] == name]

    def dense(self):
        return {row["id"]: row for row in self.store.dense().to_pylist()}


@pytest.fixture
def run(tmp_path, records):
    return lambda model, of=records: Run(tmp_path / "runs", model, of)


def test_a_dense_and_a_point_model_go_through_the_same_runner(run):
    recorders = Recorder(), Recorder()
    dense = run(dense_model(lambda view: np.full((2, 2), 3.0), recorders[0], name="dense"))
    point = run(point_model(lambda view, point: 3.0, recorders[1], name="point"))
    assert dense.now() == point.now() == 5
    keys = ("id", "list", "point_index", "nearest_m", "bilinear_m", "outcome")
    assert [[row[key] for key in keys] for row in dense.rows()] == [
        [row[key] for key in keys] for row in point.rows()
    ]
    assert len(dense.rows()) == 20
    assert recorders[0].ids == recorders[1].ids == dense.ids


def test_only_a_dense_model_has_dense_counts(run):
    dense, point = run(dense_model(lambda view: [[2.0]])), run(point_model(lambda view, point: 2.0))
    dense.now(), point.now()
    assert sorted(dense.dense()) == dense.ids
    assert point.dense() == {}


def test_nothing_is_predicted_twice(run):
    recorder = Recorder()
    again = run(dense_model(lambda view: [[2.0]], recorder))
    assert again.now(wanted=again.ids[:2]) == 2
    assert again.now() == 3
    assert recorder.ids == again.ids
    assert again.now() == 0
    assert recorder.loads == 2, "a finished run does not load the model"
    assert len(again.store.predictions()) == 20


def test_a_model_that_breaks_keeps_its_finished_parts_and_the_rest_is_done_next(run, monkeypatch):
    monkeypatch.setattr(runner, "PART_IMAGES", 2)
    recorder = Recorder()
    broken = run(dense_model(lambda view: [[2.0]], recorder))
    recorder.fails_at = broken.ids[4]
    with pytest.raises(RuntimeError, match="the model broke"):
        broken.now()
    assert broken.store.done() == {"points": set(broken.ids[:4])}
    recorder.fails_at, recorder.views = None, []
    assert broken.now() == 1
    assert recorder.ids == broken.ids[4:]
    assert len(broken.store.predictions()) == 20
    assert sorted(broken.dense()) == broken.ids


def test_what_was_answered_before_a_model_breaks_is_kept(run):
    """An hour of paid answers must not go because the part was not full yet."""
    recorder = Recorder()
    broken = run(point_model(lambda view, point: 2.0, recorder))
    recorder.fails_at = broken.ids[3]
    with pytest.raises(RuntimeError, match="the model broke"):
        broken.now()
    assert broken.store.done() == {"points": set(broken.ids[:3])}


def test_a_part_is_also_closed_by_time(run, monkeypatch):
    monkeypatch.setattr(runner, "PART_SECONDS", 0.0)
    timed = run(dense_model(lambda view: [[2.0]]))
    timed.now()
    assert len(timed.store.parts()) == 5


def test_pictures_come_in_batches_of_the_card_or_of_the_settings(run):
    recorder = Recorder()
    batched = run(dense_model(lambda view: [[2.0]], recorder, max_batch=2))
    batched.now()
    assert recorder.batches == [2, 2, 1]
    recorder.batches = []
    run(dense_model(lambda view: [[2.0]], recorder, max_batch=2, name="other")).now(batch=4)
    assert recorder.batches == [4, 1]


def test_a_point_model_is_asked_points_only_and_later_only_the_other_list(run):
    recorder = Recorder()
    asked = run(point_model(lambda view, point: 2.0, recorder))
    asked.now()
    assert [len(points) for points in recorder.points_px] == [4] * 5
    assert set(asked.store.done()) == {"points"}
    recorder.points_px = []
    assert asked.now(lists=BOTH) == 5
    assert [len(points) for points in recorder.points_px] == [2] * 5
    assert [len(asked.rows(name)) for name in BOTH] == [20, 10]
    assert asked.now(lists=BOTH) == 0


@pytest.mark.parametrize(
    ("settings", "names"),
    [(RunSettings(), ("u", "v")), (NATIVE, ("u_src", "v_src"))],
    ids=["canonical", "native"],
)
def test_points_are_asked_in_the_view_s_own_pixels(run, records, settings, names):
    """The stored coordinates exactly: no rounding on the way."""
    recorder = Recorder()
    run(point_model(lambda view, point: 2.0, recorder)).now(settings)
    stored = records.points(["points"])["points"].to_pylist()
    expected = [[[point[name] for name in names] for point in points] for points in stored]
    assert [points.tolist() for points in recorder.points_px] == expected
    assert all(points.dtype == np.float64 for points in recorder.points_px)


def test_points_follow_the_preferred_focal_length(run, records):
    recorder = Recorder()
    model = point_model(lambda view, point: 2.0, recorder, preferred_focal_px=250.0)
    run(model).now(input="preferred")
    point = records.points(["points"])["points"].to_pylist()[0][2]
    assert recorder.views[0].picture.size == (8, 6)
    assert recorder.points_px[0][2].tolist() == [
        (point["u_src"] + 0.5) / 2 - 0.5,
        (point["v_src"] + 0.5) / 2 - 0.5,
    ]


@pytest.mark.parametrize("name", ["scannetpp_set", "nuscenes_set", "ibims1_set"])
def test_converted_sets_are_asked_at_their_stored_canonical_points(run, request, name):
    records, recorder = RecordSet(request.getfixturevalue(name).folder, "eval"), Recorder()
    run(point_model(lambda view, point: 2.0, recorder), records).now(lists=BOTH)
    rows = records.points(["points", "points_balanced"]).to_pylist()
    stored = [[[p["u"], p["v"]] for p in row[name]] for row in rows for name in BOTH]
    assert [points.tolist() for points in recorder.points_px] == stored


def test_a_view_is_a_picture_and_its_camera_and_nothing_else(run, records):
    recorder = Recorder()
    run(dense_model(lambda view: [[2.0]], recorder)).now()
    assert [field.name for field in fields(View)] == ["id", "picture", "camera"]
    for view in recorder.views:
        assert set(vars(view)) == {"id", "picture", "camera"}
        assert view.picture.mode == "RGB"
        assert view.picture.info == {}


@pytest.mark.parametrize(("settings", "size"), [(RunSettings(), CANONICAL_SIZE), (NATIVE, SOURCE_SIZE)])
def test_the_known_camera_is_that_of_the_shown_picture(run, records, settings, size):
    recorder = Recorder()
    run(dense_model(lambda view: [[2.0]], recorder)).now(settings)
    camera, row = recorder.views[0].camera, next(records.rows())
    assert (camera.width, camera.height) == recorder.views[0].picture.size == size
    prefix = "" if settings.input == "canonical" else "source_"
    stored = tuple(row[f"{prefix}{name}"] for name in ("fx", "fy", "cx", "cy"))
    assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == stored


@pytest.mark.parametrize("takes", ["optional", "ignored", "unsupported"])
def test_on_the_unknown_track_no_camera_is_shown(run, takes):
    recorder = Recorder()
    run(dense_model(lambda view: [[2.0]], recorder, camera=takes)).now(CAMERA_UNKNOWN)
    assert [view.camera for view in recorder.views] == [None] * 5
    assert recorder.views[0].picture.size == SOURCE_SIZE


def test_a_model_that_needs_a_camera_gets_the_one_declared_estimate(run, records):
    recorder = Recorder()
    run(dense_model(lambda view: [[2.0]], recorder, camera="required")).now(CAMERA_UNKNOWN)
    assert {view.camera for view in recorder.views} == {estimated_camera(*SOURCE_SIZE)}
    assert recorder.views[0].camera.fx_px != next(records.rows())["source_fx"]


@pytest.mark.parametrize("shown", ["canonical", "preferred"])
def test_the_unknown_track_demands_the_native_picture(shown):
    card = dense_model(lambda view: [[2.0]], preferred_focal_px=500.0).card
    with pytest.raises(UsageError, match="native"):
        check_settings(card, RunSettings(input=shown, camera_known=False))
    check_settings(card, CAMERA_UNKNOWN)


def test_the_preferred_picture_needs_a_declared_focal_length():
    with pytest.raises(UsageError, match="no preferred focal length"):
        check_settings(dense_model(lambda view: [[2.0]]).card, RunSettings(input="preferred"))


def test_the_wrong_number_of_maps_or_answers_is_refused(run):
    two_maps = dense_model(lambda view: [[2.0]], name="two")
    predictor = two_maps.build()
    predictor.predict = lambda views: [DenseMap(np.ones((1, 1), np.float32))] * (len(views) + 1)
    with pytest.raises(CheckError, match="2 maps for 1 pictures"):
        run(replace(two_maps, build=lambda: predictor)).now()
    silent = point_model(lambda view, point: 2.0, name="silent")
    mute = silent.build()
    mute.ask = lambda view, points: []
    with pytest.raises(CheckError, match="0 answers to 4 points"):
        run(replace(silent, build=lambda: mute)).now()


@pytest.mark.parametrize(
    ("value", "stored", "outcome"),
    [
        (2.5, 2.5, "ok"),
        (0.0, 0.0, "nonpositive"),
        (-1.0, -1.0, "nonpositive"),
        (np.inf, np.inf, "nonfinite"),
        (np.nan, None, "nonfinite"),
    ],
)
@pytest.mark.parametrize("kind", ["dense", "point"])
def test_every_answer_is_kept_with_its_outcome(run, kind, value, stored, outcome):
    model = (
        dense_model(lambda view: [[value]])
        if kind == "dense"
        else point_model(lambda view, point: float(value))
    )
    odd = run(model)
    odd.now()
    assert {(row["nearest_m"], row["outcome"]) for row in odd.rows()} == {(stored, outcome)}


def test_no_answer_is_never_called_ok(run):
    silent = run(point_model(lambda view, point: PointAnswer(None)))
    silent.now()
    assert "ok" not in {row["outcome"] for row in silent.rows()}


def test_what_a_point_model_said_is_kept(run):
    said = PointAnswer(None, "refused", raw_text="I cannot", usage={"tokens": 3, "a": 1})
    polite = run(point_model(lambda view, point: said))
    polite.now()
    row = polite.rows()[0]
    assert (row["outcome"], row["raw_text"], row["usage"]) == ("refused", "I cannot", '{"a": 1, "tokens": 3}')


def test_both_read_outs_of_a_map_are_kept(run, records):
    """A ramp in source pixels: nearest and bilinear differ between pixel centres of the canonical view."""
    u = np.tile(np.arange(CANONICAL_SIZE[0], dtype=np.float32) + 1, (CANONICAL_SIZE[1], 1))
    ramp = run(dense_model(lambda view: u))
    ramp.now()
    asked = [point["u"] for point in records.points(["points"])["points"].to_pylist()[0]]
    rows = ramp.rows()[: len(asked)]
    assert [row["nearest_m"] for row in rows] == [np.floor(u + 0.5) + 1 for u in asked]
    inner = [
        (row["bilinear_m"], u + 1) for row, u in zip(rows, asked, strict=True) if u < CANONICAL_SIZE[0] - 1
    ]
    assert inner
    assert all(value == pytest.approx(expected) for value, expected in inner)


def test_dense_counts_are_those_of_the_valid_depth(run, tmp_path):
    depth_m = constant_depth(2.0)
    depth_m[:3], depth_m[3, :4], depth_m[4, :5] = 0, 30.0, 10.0
    held = write_tiny_set(tmp_path / "holes", [TinyImage("x", depth_m, asked_px=((0, 11),))])
    model = run(dense_model(lambda view: [[2.2]]), held)
    model.now()
    valid = (depth_m >= 0.01) & (depth_m <= 25.0)
    (counts,) = model.dense().values()
    assert counts["asked"] == counts["answered"] == valid.sum()
    assert counts["within"][3] == (valid & (depth_m == 2.0)).sum()


@pytest.mark.parametrize("name", ["scannetpp_set", "ibims1_set"])
@pytest.mark.parametrize(("factor", "expected"), [(1.0, 1.0), (1.2, 1.0), (1 / 1.2, 1.0), (1.3, 0.0)])
def test_the_true_depth_on_its_grid_scores_1_and_too_far_scores_0(run, request, name, factor, expected):
    records = RecordSet(request.getfixturevalue(name).folder, "eval")
    oracle = run(map_model(true_maps(records), lambda depth_m: depth_m * factor), records)
    oracle.now()
    for counts in oracle.dense().values():
        assert counts["asked"] > 0
        assert counts["within"][3] == expected * counts["asked"]
    truth = {row["id"]: row["points"] for row in records.points(["id", "points"]).to_pylist()}
    for row in oracle.rows():
        assert row["nearest_m"] == pytest.approx(
            truth[row["id"]][row["point_index"]]["depth_m"] * factor, rel=1e-6
        )


def test_an_image_without_a_balanced_list_is_predicted_once(run, tmp_path):
    """Compat and published sets have no balanced list: resuming must not predict them again."""
    recorder = Recorder()
    images = [TinyImage(name, ramp_depth(), balanced_px=None) for name in "ab"]
    once = run(dense_model(lambda view: [[2.0]], recorder), write_tiny_set(tmp_path / "plain", images))
    once.now(lists=BOTH)
    assert once.now(lists=BOTH) == 0
    assert recorder.ids == once.ids
    assert sorted(once.dense()) == once.ids


def test_what_a_dense_model_wrote_stands_beside_its_values(run):
    said = run(dense_model(lambda view: DenseMap(np.full((2, 2), 3.0, np.float32), text=f"of {view.id}")))
    said.now(lists=BOTH)
    assert {row["raw_text"] for row in said.rows()} == {f"of {name}" for name in said.ids}
    assert all(row["raw_text"] == f"of {row['id']}" for name in BOTH for row in said.rows(name))
    silent = run(dense_model(lambda view: [[3.0]], name="silent"))
    silent.now()
    assert {row["raw_text"] for row in silent.rows()} == {None}


class Scarce:
    """Memory for `most` pictures at once."""

    def __init__(self, recorder, most):
        self.recorder, self.most = recorder, most

    def load(self, options):
        pass

    def predict(self, views):
        self.recorder.batches.append(len(views))
        if len(views) > self.most:
            raise MemoryError("3 GB more than there is")
        self.recorder.see(views)
        return [DenseMap(np.full((2, 2), 3.0, np.float32))] * len(views)


def scarce(recorder, most):
    return replace(dense_model(lambda view: [[3.0]], max_batch=4), build=lambda: Scarce(recorder, most))


def test_a_batch_that_does_not_fit_is_halved_for_good_and_said(run):
    recorder, notes = Recorder(), []

    class Telling(Silent):
        def note(self, text):
            notes.append(text)

    halved = run(scarce(recorder, 2))
    store = halved.store
    assert predict(
        halved.model, NoOptions(), halved.records, set(halved.ids), RunSettings(), store, Telling()
    )
    assert recorder.batches == [4, 2, 2, 1]
    assert recorder.ids == halved.ids
    assert notes == ["out of memory with 4 pictures at once: 2 from here on (3 GB more than there is)"]
    assert len(halved.rows()) == 20


def test_a_picture_that_fits_in_no_batch_ends_the_run_with_all_before_it_kept(run):
    recorder = Recorder()
    ended = run(scarce(recorder, 2))
    bad = ended.ids[3]
    normal = Scarce.predict

    class Picky(Scarce):
        def predict(self, views):
            if bad in [view.id for view in views]:
                raise MemoryError
            return normal(self, views)

    model = replace(ended.model, build=lambda: Picky(recorder, 2))
    with pytest.raises(PartialError, match=f"single picture.*{bad}.*same command resumes"):
        Run(ended.folder, model, ended.records).now()
    assert ended.store.done()["points"] == set(ended.ids[:3])
    assert ended.now() == 2
