"""The folder as a model: the ordinary runner and scorer see what was declared, exactly."""

from dataclasses import replace

import numpy as np
import pytest
from converted import CANONICAL_SIZE, TinyImage, constant_depth, ramp_depth, write_tiny_set
from predictors import map_model, true_maps

from depthvlm_bench.errors import CheckError, DataMissingError
from depthvlm_bench.frames import NoOptions
from depthvlm_bench.predict.outside.declared import Declaration
from depthvlm_bench.predict.outside.model import outside_run, z_depth
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.predict.store import find_runs
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.codec import record_grid, source_camera
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.outside import open_predictions, score_predictions
from depthvlm_bench.scoring.protocol import load_protocol

PROTOCOL = load_protocol("dvbench-1")
DECLARED = Declaration(model="mine", resize="nearest")


@pytest.fixture
def records(tmp_path):
    images = [TinyImage(f"{n}", ramp_depth(1 + n, 0.1 + 0.05 * n), scene="s") for n in range(4)]
    return write_tiny_set(tmp_path / "data", images)


@pytest.fixture
def folder(tmp_path, records):
    folder = tmp_path / "maps"
    folder.mkdir()
    for record, depth_m in true_maps(records).items():
        np.save(folder / f"{record.replace('/', '__')}.npy", depth_m)
    return folder


def change(folder, function):
    for path in folder.iterdir():
        np.save(path, function(np.load(path)))


def score(folder, records, declared=DECLARED, out=None, **known):
    outside = open_predictions(folder, declared, [records])
    return score_predictions(
        outside, records, PROTOCOL, out or folder.parent / "out", known.pop("progress", Silent()), **known
    )


def counts(scored):
    return [(r.mode, r.counts.asked, r.counts.answered, r.counts.hits) for r in scored.results]


def shares(scored):
    return [result.scores["delta1"].value for result in scored.results]


def test_true_maps_score_as_a_model_that_answers_them(folder, records, tmp_path):
    change(folder, lambda depth_m: depth_m * np.linspace(0.7, 1.5, 16, dtype=np.float32))
    scored = score(folder, records)
    model = map_model({p.stem.replace("__", "/"): np.load(p) for p in folder.iterdir()})
    arguments = (model, NoOptions(), [], records, RunSettings(), PROTOCOL, tmp_path / "other", Silent())
    same = evaluate(*arguments)
    assert counts(scored) == counts(same)
    assert 0 < shares(scored)[0] < 1
    assert scored.missing == () and scored.predicted == 4


def test_the_same_files_are_resumed_and_others_are_another_run(folder, records):
    first = score(folder, records)
    again = score(folder, records)
    assert (again.predicted, again.resumed, again.run) == (0, 4, first.run)
    assert counts(first) == counts(again)
    change(folder, lambda depth_m: depth_m * 2)
    other = score(folder, records)
    assert other.run != first.run and other.predicted == 4
    assert score(folder, records, replace(DECLARED, unit="dm")).run != other.run


def test_a_run_of_files_can_be_scored_again(folder, records):
    scored = score(folder, records)
    (run,) = find_runs(folder.parent / "out" / "runs")
    model = outside_run(run.spec)
    assert model.card.kind == "dense" and model.card.id == "mine"
    assert run.spec.options.keys() == {"predictions", "resize"}
    assert len(run.provenance["suspicions"]) == len(scored.suspicions) == 0
    assert outside_run(replace(run.spec, options={})) is None
    with pytest.raises(CheckError, match="--predictions"):
        model.build()


@pytest.mark.parametrize(
    ("declared", "function"),
    [
        (Declaration(model="m", resize="nearest", unit="mm"), lambda m: m * 1000),
        (Declaration(model="m", resize="nearest", scale=256), lambda m: m * 256),
        (Declaration(model="m", resize="nearest", png_scale=1000), lambda m: np.rint(m * 1000).astype(int)),
        (Declaration(model="m", resize="nearest", kind="disparity", scale=300), lambda m: 300 / m),
    ],
)
def test_declared_units_are_honoured(folder, records, declared, function):
    change(folder, function)
    scored = score(folder, records, declared)
    assert shares(scored) == [1.0, 1.0] and not scored.suspicions


@pytest.mark.parametrize("covers", ["canonical", "native"])
def test_declared_ray_distance_becomes_z_by_the_views_camera(records, covers):
    (row, *_) = records.rows()
    camera = source_camera(row)
    if covers == "canonical":
        camera = camera.seen_through(record_grid(row))
    camera = replace(camera, fx_px=camera.fx_px / 50, fy_px=camera.fy_px / 40)
    v, u = np.mgrid[: camera.height, : camera.width].astype(float)
    ray_m = (3 * camera.ray_factor(u, v)).astype(np.float32)
    z_m = z_depth(ray_m, Declaration(kind="ray"), camera, "a")
    np.testing.assert_allclose(z_m, 3, rtol=1e-6)
    assert ray_m.max() > 3.1
    assert z_depth(ray_m, Declaration(), camera, "a") is ray_m
    small = z_depth(np.ones((12, 16), np.float32), Declaration(kind="ray"), camera, "a")
    centre_u, centre_v = 4.5 * camera.width / 16 - 0.5, 2.5 * camera.height / 12 - 0.5
    assert small[2, 4] == np.float32(1 / camera.ray_factor(centre_u, centre_v))
    with pytest.raises(CheckError, match="camera"):
        z_depth(ray_m, Declaration(kind="ray"), None, "a")


def test_maps_of_the_native_picture_are_their_own_input(folder, records):
    scored = score(folder, records, replace(DECLARED, covers="native"))
    assert [result.input for result in scored.results] == ["native", "native"]
    assert shares(scored) == [1.0, 1.0]
    unknown = score(folder, records, replace(DECLARED, covers="native", camera="unknown"))
    assert unknown.results[0].track == "unknown"


def test_the_declared_resize_decides(folder, records):
    change(folder, lambda depth_m: depth_m[::6, ::8])
    nearest, bilinear = score(folder, records), score(folder, records, Declaration(model="mine"))
    assert counts(nearest) != counts(bilinear)


def test_missing_ids_make_the_result_partial(folder, records):
    gone = sorted(folder.iterdir())[1]
    gone.unlink()
    (folder / "stranger.npy").write_bytes(b"never read")
    (folder / "notes.txt").write_text("never read")
    outside = open_predictions(folder, DECLARED, [records])
    assert outside.strangers == ("stranger.npy", "notes.txt")
    scored = score(folder, records)
    assert scored.missing == (gone.stem.replace("__", "/"),)
    assert {(r.complete, r.ranked, r.counts.images_missing) for r in scored.results} == {(False, False, 1)}


def test_files_of_other_sets_change_nothing(folder, records, tmp_path):
    other = write_tiny_set(tmp_path / "data", [TinyImage("9", constant_depth(3), scene="t")], name="other")
    first = score(folder, records)
    np.save(folder / "tiny__eval__t__-__9.npy", np.full((3, 4), 3.0))
    outside = open_predictions(folder, DECLARED, [records, other])
    again = score_predictions(outside, records, PROTOCOL, folder.parent / "out", Silent())
    assert again.run == first.run and again.resumed == 4
    assert score_predictions(outside, other, PROTOCOL, folder.parent / "out", Silent()).missing == ()


def test_nothing_that_belongs_to_the_set_is_an_error(tmp_path, records):
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps" / "odd.npy", np.ones((3, 4)))
    with pytest.raises(DataMissingError, match=r"odd\.npy.*tiny/eval/s/-/0"):
        open_predictions(tmp_path / "maps", DECLARED, [records])


class Told(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize("value", [np.nan, 0, -1, np.inf])
def test_a_map_without_any_depth_is_named_and_misses(folder, records, value):
    path = sorted(folder.iterdir())[2]
    np.save(path, np.full((12, 16), float(value)))
    told = Told()
    scored = score(folder, records, progress=told)
    assert told.notes == [f"{path.name} holds no finite positive depth: all its points are misses"]
    assert shares(scored) == [0.75, 0.75] and scored.missing == ()


@pytest.mark.parametrize(
    ("content", "words"), [(np.ones((1, 12, 16)), "shape"), (b"\x93NUMPY\x01\x00v", "cannot be read")]
)
def test_a_bad_map_is_one_line_that_names_it(folder, records, content, words):
    path = sorted(folder.iterdir())[2]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(CheckError, match=words) as caught:
        score(folder, records)
    assert caught.value.where.endswith(path.name)


def write_answers(path, records, function, lists=("points", "points_balanced")):
    lines = ["id,list,point_index,value"]
    for row in records.points(["id", *lists]).to_pylist():
        for name in lists:
            for index, point in enumerate(row[name]):
                value = function(row["id"], index, point)
                lines += [] if value == "absent" else [f"{row['id']},{name},{index},{value}"]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path.parent


def test_point_answers_of_both_lists(tmp_path, records):
    folder = write_answers(tmp_path / "a" / "a.csv", records, lambda _i, _n, point: point["depth_m"])
    scored = score(folder, records, Declaration(model="a"))
    assert counts(scored) == [("sparse", 16, 16, 16)]
    (run,) = find_runs(tmp_path / "out" / "runs")
    assert sorted(run.done()) == ["points", "points_balanced"]
    assert scored.unanswered == 0 and scored.results[0].complete


def test_a_point_without_an_answer_is_a_miss_and_an_image_without_any_is_missing(tmp_path, records):
    def answer(record, index, point):
        if record.endswith("/3") or index == 1:
            return "absent"
        return {0: "", 2: -1.0}.get(index, point["depth_m"])

    scored = score(write_answers(tmp_path / "a" / "a.csv", records, answer), records, Declaration(model="a"))
    assert counts(scored) == [("sparse", 12, 3, 3)]
    assert scored.unanswered == 3
    assert scored.missing == ("tiny/eval/s/-/3",)
    assert scored.results[0].counts.outcomes == {"nonpositive": 3, "ok": 3, "unparsed": 6}


def test_answers_to_the_balanced_list_alone_leave_all_images_missing(tmp_path, records):
    folder = write_answers(tmp_path / "a" / "a.csv", records, lambda *_: 1.0, ("points_balanced",))
    scored = score(folder, records, Declaration(model="a"))
    assert len(scored.missing) == 4 and scored.results == ()


def test_ids_are_never_paths(tmp_path, records):
    folder = write_answers(tmp_path / "a" / "a.csv", records, lambda _i, _n, point: point["depth_m"])
    with (folder / "a.csv").open("a") as file:
        file.write("../../../outside,points,0,1\n/etc/passwd,points,0,1\n")
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    outside = open_predictions(folder, Declaration(model="a"), [records])
    assert outside.strangers == ("../../../outside", "/etc/passwd")
    assert counts(score(folder, records, Declaration(model="a"))) == [("sparse", 16, 16, 16)]
    assert {path for path in tmp_path.rglob("*") if "out" not in path.parts} == before


def test_ray_answers_become_z_by_the_camera_at_the_point(tmp_path, records):
    cameras = {row["id"]: source_camera(row) for row in records.rows()}

    def answer(record, _index, point):
        return repr(point["depth_m"] * float(cameras[record].ray_factor(point["u_src"], point["v_src"])))

    folder = write_answers(tmp_path / "a" / "a.csv", records, answer)
    score(folder, records, Declaration(model="a", kind="ray"))
    (run,) = find_runs(tmp_path / "out" / "runs")
    truth = {
        (row["id"], index): point["depth_m"]
        for row in records.points(["id", "points"]).to_pylist()
        for index, point in enumerate(row["points"])
    }
    for row in run.predictions().to_pylist():
        if row["list"] == "points":
            assert row["nearest_m"] == pytest.approx(truth[row["id"], row["point_index"]], rel=1e-12)


def test_the_picture_has_the_size_that_these_tests_think(records):
    (row, *_) = records.rows()
    assert (row["width"], row["height"]) == CANONICAL_SIZE
