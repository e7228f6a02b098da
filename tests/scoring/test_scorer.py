import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from converted import TinyImage, constant_depth, ramp_depth, write_tiny_set
from PIL import Image
from predictors import card, map_model, true_maps
from raw_ibims1 import real_ibims1_tree
from raw_scannetpp import real_scannetpp_tree

from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.errors import UsageError
from depthvlm_bench.frames import NoOptions
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.predict.store import RunSpec, RunStore
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter, load_model
from depthvlm_bench.results.schema import Counts
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.protocol import load_protocol
from depthvlm_bench.scoring.scorer import exposure, score_dense, score_run, wanted_rows
from depthvlm_bench.scoring.statistics import image_statistics, to_columns

DVBENCH_1 = load_protocol("dvbench-1")
MODEL = card(name="hand")
FOUR = ((0, 0), (1, 0), (2, 0), (3, 0))
IMAGES = (
    TinyImage("a", constant_depth(2.0), asked_px=FOUR, scene="s1"),
    TinyImage("b", constant_depth(4.0), asked_px=FOUR[:1], scene="s1", tags={"light": "night"}),
    TinyImage("c", constant_depth(8.0), asked_px=FOUR[:2], scene="s2", tags={"environment": "outdoor"}),
)


@pytest.fixture
def records(tmp_path):
    return write_tiny_set(tmp_path / "data", IMAGES, full=3)


def sums_of(asked, answered, hits):
    """Dense sums of an image with these counts: true depth 1 m, wrong answers 9 m."""
    prediction = [1.0] * hits + [9.0] * (answered - hits) + [math.nan] * (asked - answered)
    return to_columns(image_statistics(prediction, [1.0] * asked))


def make_store(runs, records, answers, dense=()):
    """A run whose predictions were written by hand: image name -> values of its points."""
    spec = RunSpec(
        "hand", 1, "dense", {}, {}, records.name, "eval", records.manifest_hash, "canonical", "known"
    )
    store = RunStore(runs, spec)
    store.open({})
    by_name = {image.name: image.id for image in IMAGES}
    rows = [
        {"id": by_name[name], "list": "points", "point_index": index, "nearest_m": value, "outcome": outcome}
        for name, values in answers.items()
        for index, (value, outcome) in enumerate(values)
    ]
    kept = [{"id": by_name[name]} | sums_of(*counts) for name, *counts in dense]
    store.append(rows, kept)
    return store


def ok(*values):
    return [(value, "ok") for value in values]


ALL = {"a": ok(2.0, 2.1, 9.0, 9.0), "b": ok(4.1), "c": ok(1.0, 2.0)}


@pytest.fixture
def score(tmp_path, records):
    def score(answers, mode="sparse", dense=(), **known):
        store = make_store(tmp_path / "runs", records, answers, dense)
        return score_run(store, known.pop("model", MODEL), records, DVBENCH_1, mode, **known)

    return score


def test_delta1_is_the_mean_of_the_images_not_of_the_points(score):
    """Shares 2/4, 1/1 and 0/2: pooled they would be 3/7."""
    result = score(ALL).result
    assert result.scores["delta1"].value == 0.5
    assert result.counts == Counts(3, 0, asked=7, answered=7, hits=3, outcomes={"ok": 7})


def test_each_image_has_its_own_row(score):
    rows = score(ALL).per_image.to_pylist()
    assert [(row["id"][-1], row["scene"], row["asked"], row["answered"], row["hits"]) for row in rows] == [
        ("a", "s1", 4, 4, 2),
        ("b", "s1", 1, 1, 1),
        ("c", "s2", 2, 2, 0),
    ]
    assert rows[1]["tags"]["light"] == "night"


@pytest.mark.parametrize("value", [None, 0.0, -2.0, np.inf, -np.inf])
def test_what_is_no_answer_is_a_miss_of_an_asked_point(score, value):
    result = score(ALL | {"a": [*ok(2.0, 2.1, 2.1), (value, "nonfinite")]}).result
    assert result.scores["delta1"].value == pytest.approx((3 / 4 + 1 + 0) / 3)
    assert (result.counts.asked, result.counts.answered) == (7, 6)
    assert result.counts.outcomes == {"nonfinite": 1, "ok": 6}


def test_the_parse_rate_is_of_point_models_and_counts_numbers_of_any_sign(score):
    said = {"a": [(2.0, "ok"), (-1.0, "nonpositive"), (None, "unparsed"), (None, "refused")]}
    metrics = score(ALL | said | {"c": ok(1.0)}, model=card("point", name="hand")).result.metrics
    assert metrics["parse_rate"] == pytest.approx(4 / 7)


def test_depth_maps_have_no_parse_rate(score):
    assert "parse_rate" not in score(ALL).result.metrics


def test_tags_that_differ_within_a_set_have_their_own_means(score):
    """Shares 2/4, 1/1 (night) and 0/2 (outdoor); every image is real, which says nothing of its own."""
    by_tag = {name: value for name, value in score(ALL).result.metrics.items() if "_m" not in name}
    assert by_tag["delta1_environment_indoor"] == 0.75
    assert by_tag["delta1_environment_outdoor"] == 0.0
    assert by_tag["delta1_light_night"] == 1.0
    assert not [name for name in by_tag if name.startswith(("delta1_real", "delta1_view"))]


def test_a_point_without_a_row_is_a_miss_and_called_absent(score):
    result = score(ALL | {"a": ok(2.0, 2.1)}).result
    assert result.scores["delta1"].value == 0.5
    assert result.counts == Counts(3, 0, asked=7, answered=5, hits=3, outcomes={"absent": 2, "ok": 5})
    assert result.complete


def test_rows_of_the_other_list_are_not_scored(tmp_path, records, score):
    store = make_store(tmp_path / "runs", records, ALL)
    other = {"list": "points_balanced", "outcome": "ok", "nearest_m": 0.1}
    store.append([{"id": IMAGES[0].id, "point_index": i} | other for i in range(4)], [])
    assert score_run(store, MODEL, records, DVBENCH_1, "sparse").result.scores["delta1"].value == 0.5


def test_a_missing_image_makes_the_result_partial_and_unranked(score):
    result = score({"a": ALL["a"], "b": ALL["b"]}).result
    assert (result.complete, result.ranked) == (False, False)
    assert (result.counts.images, result.counts.images_missing) == (2, 1)
    assert result.scores["delta1"].value == 0.75
    complete = score({"c": ALL["c"]}).result
    assert (complete.complete, complete.ranked) == (True, True)


def test_a_selection_is_complete_in_itself(score):
    result = score({"a": ALL["a"], "b": ALL["b"]}, where="indoor").result
    assert (result.complete, result.where, result.counts.images) == (True, "indoor", 2)
    outdoor = score({"c": ALL["c"]}, where="outdoor").result
    assert (outdoor.scores["delta1"].value, outdoor.counts.asked) == (0.0, 2)


def test_a_selection_of_nothing_is_no_record(records):
    assert wanted_rows(records, "underwater") == []


def test_only_strict_sets_are_ranked(tmp_path):
    overlap = write_tiny_set(tmp_path / "overlap", IMAGES, set_kind="overlap")
    result = score_run(
        make_store(tmp_path / "runs", overlap, ALL), MODEL, overlap, DVBENCH_1, "sparse"
    ).result
    assert (result.complete, result.ranked) == (True, False)


def test_a_set_of_another_kind_is_refused(tmp_path):
    odd = write_tiny_set(tmp_path / "odd", IMAGES, set_kind="odd")
    with pytest.raises(UsageError, match="strict, overlap, published, compat sets, this one is odd"):
        score_run(make_store(tmp_path / "runs", odd, ALL), MODEL, odd, DVBENCH_1, "sparse")


def test_the_paper_s_protocol_takes_no_strict_set(records, tmp_path):
    """Compat and corrected scores never share a set kind by accident."""
    with pytest.raises(UsageError, match="published, compat sets, this one is strict"):
        store = make_store(tmp_path / "runs", records, ALL)
        score_run(store, MODEL, records, load_protocol("depthvlm-compat-1"), "sparse")


def test_a_model_for_tests_is_not_ranked(score):
    assert not score(ALL, model=replace(MODEL, for_tests=True)).result.ranked


def test_dense_scores_are_the_mean_of_the_images_counts(score):
    dense = [("a", 100, 90, 50), ("b", 10, 10, 10), ("c", 4, 0, 0)]
    scored = score(ALL, "dense", dense)
    assert scored.result.scores["delta1"].value == 0.5
    assert scored.result.counts == Counts(3, 0, asked=114, answered=100, hits=60, outcomes={})
    assert [row["hits"] for row in scored.per_image.to_pylist()] == [50, 10, 0]


def test_dense_sums_are_not_read_for_another_ratio(tmp_path, records):
    store = make_store(tmp_path / "runs", records, ALL, [("a", 4, 4, 4)])
    with pytest.raises(UsageError, match=r"ratio of 1\.25"):
        score_run(store, MODEL, records, replace(DVBENCH_1, ratio=1.1), "dense")


def test_without_predictions_or_without_maps_there_is_nothing_to_score(score):
    assert score({}, "sparse") is None
    assert score(ALL, "dense") is None


def test_the_interval_holds_the_score_and_is_the_protocols(score):
    first, second = score(ALL).result.scores["delta1"], score({}).result.scores["delta1"]
    assert first == second
    assert 0 <= first.low <= first.value <= first.high <= 1


def test_the_result_says_which_set_and_rules_it_belongs_to(score, records):
    result = score(ALL).result
    assert (result.set_name, result.dataset, result.manifest_hash) == ("tiny", "tiny", records.manifest_hash)
    assert (result.protocol, result.protocol_hash) == ("dvbench-1", DVBENCH_1.hash)
    assert (result.mode, result.input, result.track) == ("sparse", "canonical", "known")
    assert result.images_of_the_full_set == 3
    assert not result.subset


@pytest.mark.parametrize(
    ("known", "fit", "expected"),
    [
        ({"family": "naive"}, {}, "no"),
        ({}, {}, "unknown"),
        ({"trained_on": {"ibims1": "yes"}}, {}, "yes"),
        ({"trained_on": {"nuscenes": "yes"}}, {}, "unknown"),
        ({"fitted": True}, {"nuscenes": "f" * 64}, "no"),
        ({"fitted": True}, {"ibims1": "f" * 64}, "yes"),
        ({"fitted": True}, {"nuscenes": "f" * 64, "ibims1@train": "f" * 64}, "yes"),
    ],
)
def test_exposure_is_the_card_s_or_the_fit_s(known, fit, expected):
    assert exposure(card(**known), fit, "ibims1") == expected


# Exploits: none of these may beat the honest answer it is made from.


def noisy(depth_m):
    chance = np.random.default_rng(4)
    return (depth_m * np.exp(chance.normal(0, 0.25, depth_m.shape))).astype(np.float32)


def delta1(model, records, out):
    done = evaluate(model, NoOptions(), [], records, RunSettings(), DVBENCH_1, out, Silent())
    return {result.mode: result.scores["delta1"].value for result in done.results}


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Depths that differ from pixel to pixel, and all pixels asked."""
    every = tuple((u, v) for v in range(12) for u in range(16))
    chance = np.random.default_rng(9)
    maps = [ramp_depth(1.0, 0.8, 0.3), chance.uniform(1, 20, (12, 16)), chance.uniform(0.5, 5, (12, 16))]
    images = [TinyImage(f"i{index}", depth_m, asked_px=every) for index, depth_m in enumerate(maps)]
    return write_tiny_set(tmp_path_factory.mktemp("uneven"), images)


@pytest.mark.parametrize("value", [0.0, np.nan, -1.0, np.inf, -np.inf])
def test_no_constant_trick_beats_the_honest_score(uneven, tmp_path, value):
    maps = true_maps(uneven)
    tricked = delta1(map_model(maps, lambda depth_m: np.full_like(depth_m, value)), uneven, tmp_path)
    assert tricked == {"sparse": 0.0, "dense": 0.0}


@pytest.mark.parametrize("hole", [np.nan, 0.0, -1.0, np.inf])
def test_abstaining_wherever_it_would_be_wrong_gains_nothing(uneven, tmp_path, hole):
    maps = true_maps(uneven)
    honest = delta1(map_model(maps, noisy, name="honest"), uneven, tmp_path)

    def abstaining(depth_m):
        said = noisy(depth_m)
        wrong = np.maximum(said / depth_m, depth_m / said) >= 1.25
        return np.where(wrong, np.float32(hole), said)

    assert 0.3 < honest["dense"] < 0.9
    assert delta1(map_model(maps, abstaining, name="abstaining"), uneven, tmp_path) == honest


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m[::-1],
        lambda m: m[:, ::-1],
        lambda m: m.T,
        lambda m: m[:6],
        lambda m: np.roll(m, 1, axis=1),
    ],
    ids=["flipped", "mirrored", "transposed", "half", "shifted"],
)
def test_a_map_in_the_wrong_place_loses(uneven, tmp_path, change):
    maps = true_maps(uneven)
    assert delta1(map_model(maps, name="honest"), uneven, tmp_path) == {"sparse": 1.0, "dense": 1.0}
    moved = delta1(map_model(maps, lambda depth_m: change(depth_m).copy(), name="moved"), uneven, tmp_path)
    assert moved["sparse"] < 0.7
    assert moved["dense"] < 0.7


# The real samples, where they lie beside the repository.


def converted_sample(tree, name, data):
    convert(load_converter(name), ConvertRequest(tree, data, keep_source_image=False), Silent())
    return RecordSet(data / name, "eval")


def constant_2m(records, out):
    model = load_model("constant-2m")
    done = evaluate(model, model.options_type(), [], records, RunSettings(), DVBENCH_1, out, Silent())
    return {result.mode: result for result in done.results}


def test_constant_2m_on_the_real_ibims1_is_the_share_of_the_raw_depths(tmp_path):
    core = real_ibims1_tree() / "ibims1_core_raw"
    found = constant_2m(converted_sample(core.parent, "ibims1", tmp_path / "data"), tmp_path)["sparse"]
    shares = []
    for path in sorted((core / "depth").glob("*.png")):
        raw = np.asarray(Image.open(path)).astype(np.float64)
        depth_m = raw[raw > 0] * 50 / 65535
        shares.append(np.mean((depth_m > 1.6) & (depth_m < 2.5)))
    assert (found.counts.images, found.counts.asked) == (40, 4000)
    assert found.scores["delta1"].value == pytest.approx(np.mean(shares), abs=1e-12)
    assert round(found.scores["delta1"].value, 4) == 0.2520


def test_constant_2m_on_the_real_scannetpp_is_the_share_of_its_grids(tmp_path):
    tree = real_scannetpp_tree()
    found = constant_2m(converted_sample(tree, "scannetpp", tmp_path / "data"), tmp_path)["dense"]
    assert found.counts.images == 30
    assert round(found.scores["delta1"].value, 6) == 0.289247
    shares = []
    for path in sorted(tree.glob("data/*/iphone/depth/*.png")):
        depth_m = np.asarray(Image.open(path)).astype(np.float64) / 1000
        valid = (depth_m > 0) & (depth_m <= 10)
        shares.append(np.mean((depth_m[valid] > 1.6) & (depth_m[valid] < 2.5)))
    assert found.scores["delta1"].value == pytest.approx(np.mean(shares), abs=1e-12)


def test_a_dense_image_without_truth_is_kept_at_zero_as_the_paper_keeps_it():
    names = ("compat_asked", "compat_answered", "compat_within_1_25")
    rows = [{"id": name, "scene": "-", "camera": "-", "tags": {}} for name in ("full", "empty", "unlisted")]
    counts = {"full": (4, 4, 3), "empty": (0, 0, 0), "unlisted": (None, None, None)}
    dense = pa.Table.from_pylist([{"id": k, **dict(zip(names, v, strict=True))} for k, v in counts.items()])
    images = score_dense(rows, dense, load_protocol("depthvlm-compat-1"))
    assert [(image["id"], image["score"]) for image in images] == [("full", 0.75), ("empty", 0.0)]
