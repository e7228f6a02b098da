"""dvbench score --predictions: from a folder of files to scores, what is missing and what is suspected."""

import json

import numpy as np
import pytest
from PIL import Image

from depthvlm_bench.records.codec import record_grid
from depthvlm_bench.records.reader import RecordSet, depth_of
from depthvlm_bench.results.schema import read_results

PNG_SCALE = 256
SUFFIXES = (".npy", ".npz", ".png", ".tiff", ".pfm", ".exr")


@pytest.fixture(scope="module")
def maps(demo):
    """record id -> a noisy map in metres, rounded to the step of 16-bit PNGs."""
    found = {}
    for row in RecordSet(demo.workspace / "data" / "ibims1", "eval").rows():
        depth, grid = depth_of(row), record_grid(row)
        assert grid.full_width == grid.width
        metres = depth.depth_m.reshape(depth.values.shape)
        noise = np.random.default_rng(len(found)).normal(0, 0.2, metres.shape)
        found[row["id"]] = np.rint(metres * np.exp(noise) * PNG_SCALE).astype(np.uint16)
    return found


def save(path, raw):
    metres = (raw / PNG_SCALE).astype(np.float32)
    if path.suffix == ".npy":
        np.save(path, metres)
    elif path.suffix == ".npz":
        np.savez(path, pred=metres)
    elif path.suffix == ".png":
        Image.fromarray(raw).save(path)
    elif path.suffix == ".tiff":
        Image.fromarray(metres).save(path)
    elif path.suffix == ".pfm":
        header = f"Pf\n{raw.shape[1]} {raw.shape[0]}\n-1.0\n".encode()
        path.write_bytes(header + metres[::-1].tobytes())
    else:
        open_exr = pytest.importorskip("OpenEXR", reason="OpenEXR (extra exr) is not installed")
        header = {"compression": open_exr.ZIP_COMPRESSION, "type": open_exr.scanlineimage}
        open_exr.File(header, {"Y": metres}).write(str(path))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "my-model"
    folder.mkdir()
    return folder


def fill(folder, maps, suffix=".npy"):
    for record, raw in maps.items():
        save(folder / f"{record.replace('/', '__')}{suffix}", raw)
    return folder


def counts(told):
    (one,) = json.loads(told.out)
    return [
        (result["mode"], result["counts"]["asked"], result["counts"]["answered"], result["counts"]["hits"])
        for result in one["results"]
    ]


@pytest.fixture(scope="module")
def first_counts():
    """Counts of the form that was scored first; all others must equal them."""
    return []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_maps_in_six_forms_give_the_same_hits(
    rooms_only, dvbench, folder, maps, first_counts, suffix
):
    fill(folder, maps, suffix)
    done = dvbench("score", "--predictions", folder, "-o", f"png_scale={PNG_SCALE}", "--json")
    assert done.code == 0, done.text
    first_counts.append(counts(done))
    assert first_counts[-1] == first_counts[0]
    for _, asked, _, hits in first_counts[0]:
        assert 0.3 * asked < hits < asked


def test_scores_are_results_like_any_other(rooms_only, dvbench, folder, maps):
    done = dvbench("score", "--predictions", fill(folder, maps))
    assert done.code == 0, done.text
    assert "my-model (predictions=" in done.out and "sparse δ1" in done.out and "suspicion" not in done.out
    results = list(read_results(rooms_only / "results", pytest.fail))
    assert {(r.model, r.mode, r.complete, r.ranked) for r in results} == {
        ("my-model", "sparse", True, True),
        ("my-model", "dense", True, True),
    }
    assert results[0].exposure == "unknown"
    again = dvbench("score", "--model", "my-model")
    assert again.code == 0 and again.out.splitlines()[1:] == done.out.splitlines()[1:]
    assert "my-model" in dvbench("leaderboard").out


def test_a_declaration_file_is_read_and_flags_go_before_it(rooms_only, dvbench, folder, maps):
    fill(folder, maps, ".png")
    (folder / "predictions.toml").write_text(f'model = "named"\npng_scale = {PNG_SCALE}\n')
    assert "named (png_scale=256" in dvbench("score", "--predictions", folder).out
    done = dvbench("score", "--predictions", folder, "--name", "other", "-o", "png_scale=0.256")
    assert "other (png_scale=0.256" in done.out
    assert "suspicion: predictions are 1000 times too large" in done.out
    assert "evidence: median prediction / truth is" in done.out


def test_missing_ids_and_strangers_are_listed(rooms_only, dvbench, folder, maps):
    fill(folder, maps)
    gone = sorted(folder.iterdir())[0]
    gone.rename(folder / "unheard-of.npy")
    done = dvbench("score", "--predictions", folder)
    assert done.code == 4
    assert f"missing (1): {gone.stem.replace('__', '/')}" in done.out
    assert "partial: 1 images missing, unranked" in done.out
    assert "belong to no record (1): unheard-of.npy" in done.err
    assert done.err.splitlines()[-1].startswith("error: 1 images have no prediction")
    told = dvbench("score", "--predictions", folder, "--json")
    assert json.loads(told.out)[0]["missing"] == [gone.stem.replace("__", "/")]


def test_point_answers(rooms_only, dvbench, folder):
    lines = ["id,point_index,value"]
    records = RecordSet(rooms_only / "data" / "ibims1", "eval")
    for row in records.points(["id", "points"]).to_pylist():
        lines += [f"{row['id']},{n},{1000 * point['depth_m']}" for n, point in enumerate(row["points"])]
    (folder / "answers.csv").write_text("\n".join(lines))
    done = dvbench("score", "--predictions", folder, "-o", "unit=mm")
    assert done.code == 0 and "sparse δ1 1.000" in done.out and "suspicion" not in done.out
    named = dvbench("score", "--predictions", folder / "answers.csv")
    assert "answers (predictions=" in named.out and "1000 times too large" in named.out
    with (folder / "answers.csv").open("a") as file:
        file.write("\n" + lines[1])
    doubled = dvbench("score", "--predictions", folder)
    assert doubled.code == 1 and "answered twice" in doubled.error and "answers.csv:2" in doubled.error


def answer_file(folder, workspace, text, named=lambda record: record):
    """One text for every point of the set."""
    rows = RecordSet(workspace / "data" / "ibims1", "eval").points(["id", "points"]).to_pylist()
    lines = [f'{named(row["id"])},{n},"{text}"' for row in rows for n, _ in enumerate(row["points"])]
    (folder / "answers.csv").write_text("\n".join(["id,point_index,value", *lines]))


def test_answers_may_name_the_frame_as_maps_do(rooms_only, dvbench, folder):
    answer_file(folder, rooms_only, "2.5", lambda record: record.rpartition("/")[2])
    by_frame = counts(dvbench("score", "--predictions", folder, "--json"))
    answer_file(folder, rooms_only, "2.5")
    assert counts(dvbench("score", "--predictions", folder, "--json")) == by_frame
    assert by_frame[0][1] == by_frame[0][2] > by_frame[0][3] > 0


def test_texts_that_win_elsewhere_win_nothing(rooms_only, dvbench, folder):
    answer_file(folder, rooms_only, "-1")
    ((_, asked, answered, hits),) = counts(dvbench("score", "--predictions", folder, "--json"))
    assert asked > 0 and (answered, hits) == (0, 0)
    answer_file(folder, rooms_only, "2-3 m")
    done = dvbench("score", "--predictions", folder)
    assert done.code == 1 and "must be a number" in done.error and "'2-3 m'" in done.error


def test_all_sets_are_scored_and_those_without_predictions_named(workspace, dvbench, folder, maps):
    done = dvbench("score", "--predictions", fill(folder, maps))
    assert done.code == 0
    assert "no prediction for nuscenes" in done.err
    asked = dvbench("score", "--predictions", folder, "--set", "ibims1", "--set", "nuscenes")
    assert asked.code == 3 and "a chosen set has no prediction" in asked.err


def test_a_selection_of_records(workspace, dvbench, folder, maps):
    done = dvbench("score", "--predictions", fill(folder, maps), "--where", "indoor", "--json")
    assert done.code == 0
    assert json.loads(done.out)[0]["results"][0]["where"] == "indoor"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--predictions", "nowhere"], 3, "no such folder"),
        (["-o", "unit=mm"], 2, "go with --predictions"),
        (["--name", "a"], 2, "go with --predictions"),
        (["--predictions", ".", "--model", "a"], 2, "--name names the model"),
        (["--predictions", ".", "-o", "units=mm"], 2, "did you mean 'unit'"),
        (["--predictions", ".", "--name", "a/b"], 2, "cannot name a model"),
        (["--predictions", ".", "--name", "a"], 3, "no predictions here"),
    ],
)
def test_mistakes_are_one_line(rooms_only, dvbench, tmp_path, monkeypatch, arguments, code, words):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    done = dvbench("score", *arguments)
    assert done.code == code and words in done.error


def test_a_broken_map_is_one_line_that_names_it(rooms_only, dvbench, folder, maps):
    fill(folder, maps, ".png")
    path = sorted(folder.iterdir())[-1]
    path.write_bytes(path.read_bytes()[:400])
    done = dvbench("score", "--predictions", folder, "-o", "png_scale=256")
    assert done.code == 1 and path.name in done.error


def test_integers_without_a_scale_are_one_line(rooms_only, dvbench, folder, maps):
    done = dvbench("score", "--predictions", fill(folder, maps, ".png"))
    assert done.code == 2 and "png_scale" in done.error


def test_answers_to_how_far_are_compared_with_both_distances(rooms_only, dvbench, folder):
    """An answer may be meant along the ray: what is right there and wrong as z is told apart."""
    lines = ["id,point_index,value"]
    for row in RecordSet(rooms_only / "data" / "ibims1", "eval").points(["id", "points"]).to_pylist():
        for n, point in enumerate(row["points"]):
            lines.append(f"{row['id']},{n},{point['depth_m'] * point['ray_factor'] * 1.24}")
    (folder / "answers.csv").write_text("\n".join(lines))

    def measured(*flags):
        (one,) = json.loads(dvbench("score", "--predictions", folder, *flags, "--json").out)
        (result,) = one["results"]
        return result["scores"]["delta1"]["value"], result["metrics"]["delta1_ray"], one["suspicions"]

    as_z, _, suspected = measured()
    assert measured()[1] == pytest.approx(as_z)
    on_z, on_ray, told = measured("-o", "kind=distance")
    assert (on_z, on_ray) == (as_z, 1.0)
    assert on_z < 0.9
    assert not [item for item in told if "ray" in item["declare"]]
    assert len(told) <= len(suspected)
    again = json.loads(dvbench("score", "--model", folder.name, "--json").out)
    assert 1.0 in [result["metrics"]["delta1_ray"] for result in again]
