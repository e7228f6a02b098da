import math

import pytest
from made_results import made_result

from depthvlm_bench.errors import UsageError
from depthvlm_bench.leaderboard.published import KnownModel, PublishedValue
from depthvlm_bench.leaderboard.reproduction import Here, Ours, Target, choose, judge, mismatch, reproduce
from depthvlm_bench.results.schema import Score

COMPAT = "depthvlm-compat-1"
HASH = "9" * 64
HERE = Here(frozenset({"m"}), frozenset({"ibims1", "nuscenes"}), {COMPAT: HASH, "dvbench-1": "1" * 64})
MODEL = KnownModel("m", ("M",), ("L",), weights="org/m")


def value(number=0.5, dataset="ibims1", **known):
    known = {"source": "table1", "label": "M", "metric": "delta1", "decimals": 3, "mode": "sparse"} | known
    known = {
        "protocol": COMPAT,
        "set_kind": "published",
        "paper": "x",
        "place": "t",
        "read": "figure",
    } | known
    return PublishedValue(dataset=dataset, value=number, by_authors=True, **known)


def result(number=0.5, dataset="ibims1", model="m", **known):
    known = {"set_kind": "published", "protocol": COMPAT, "dataset": dataset} | known
    return made_result(model, number, f"{dataset}@published", **known)


def ours(number=0.5, low=0.45, high=0.55, images=100, full=100):
    return Ours("m", number, low, high, images, full, "ibims1@published", COMPAT, "run")


def table(values, *results, models=(MODEL,), here=HERE):
    return reproduce(Target("t", "t", tuple(values), models), results, here)


def only(values, *results, **known):
    (line,) = table(values, *results, **known).lines
    return line


@pytest.mark.parametrize(
    ("published", "mine", "verdict"),
    [
        (0.5, ours(), "within"),
        (0.55, ours(), "within"),
        (0.551, ours(), "differs"),
        (0.449, ours(), "differs"),
        (0.5, ours(images=30), "consistent"),
        (0.551, ours(images=30), "differs"),
        (0.5, ours(full=None), "consistent"),
        (0.5, ours(0.5004, 0.5002, 0.5006), "within"),  # outside the interval, and as near as the rounding
        (0.5, ours(0.5006, 0.5005, 0.5007), "differs"),
        (0.5, ours(0.5004, None, None), "within"),
        (0.5, ours(0.51, None, None), "differs"),
    ],
)
def test_the_verdict_rules(published, mine, verdict):
    assert judge(value(published), mine) == verdict


def test_a_subset_is_never_within():
    line = only([value(0.5)], result(0.5, images=30))
    assert line.verdict == "consistent"
    assert (line.ours.images, line.ours.full_images, line.ours.subset) == (30, 100, True)


def test_the_line_has_difference_and_interval():
    line = only([value(0.52)], result(0.5))
    assert (line.verdict, round(line.difference, 9)) == ("within", -0.02)
    assert (line.ours.low, line.ours.high) == (0.45, 0.55)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"protocol": "dvbench-1"}, "ours is under dvbench-1"),
        ({"protocol_hash": "8" * 64}, "another version of depthvlm-compat-1"),
        ({"set_kind": "strict"}, "a set of the kind strict"),
        ({"where": "indoor"}, "of the selection indoor"),
        ({"track": "unknown"}, "without the camera"),
        ({"input": "native"}, "the input native"),
        ({"images_of_the_full_set": None}, "is unknown"),
        ({"images": 101}, "more images"),
    ],
)
def test_what_was_made_otherwise_is_shown_and_not_compared(changed, why):
    line = only([value()], result(**changed))
    assert (line.verdict, line.difference) == ("not comparable", None)
    assert line.ours.value == 0.5
    assert why in line.reason


def test_results_of_another_dataset_mode_or_model_are_not_seen():
    others = [result(dataset="nuscenes"), result(mode="dense"), result(model="n"), result(for_tests=True)]
    line = only([value()], *others)
    assert (line.verdict, line.ours) == ("not run", None)


def test_of_several_results_the_comparable_one_of_the_most_images_stands_then_the_newest():
    old = result(0.1, created="2026-01-01T00:00:00+00:00")
    new = result(0.2, created="2026-02-01T00:00:00+00:00")
    few = result(0.3, images=30, created="2026-03-01T00:00:00+00:00")
    other = result(0.4, protocol="dvbench-1", created="2026-04-01T00:00:00+00:00")
    assert only([value()], old, few, other, new).ours.value == 0.2
    assert only([value()], few, other).ours.value == 0.3


def test_each_of_our_models_that_a_row_may_be_has_a_line():
    models = (MODEL, KnownModel("n", ("M",)))
    made = table([value()], result(0.5), result(0.9, model="n"), models=models)
    assert [(line.ours.label, line.verdict) for line in made.lines] == [("m", "within"), ("n", "differs")]


def test_options_make_another_label():
    made = table([value()], result(0.5), result(0.6, options={"camera": "given"}))
    assert [line.ours.label for line in made.lines] == ["m", "m (camera=given)"]


def test_a_metric_without_an_interval_is_judged_by_its_rounding_alone():
    published = value(0.077, metric="abs_rel", set_kind=None)
    close = result(0.9, set_kind="strict", metrics={"abs_rel": 0.0772})
    far = result(0.9, set_kind="strict", metrics={"abs_rel": 0.079})
    assert only([published], close).verdict == "within"
    assert only([published], far).verdict == "differs"
    none = only([published], result(0.9, set_kind="strict"))
    assert (none.verdict, none.ours, none.reason) == ("not comparable", None, "ours has no abs_rel")


def test_a_value_without_a_set_kind_takes_any_set_but_one_of_training_images():
    published = value(set_kind=None)
    assert mismatch(published, result(set_kind="strict"), HERE) is None
    assert "overlap" in mismatch(published, result(set_kind="overlap"), HERE)


def test_values_on_lists_of_their_own_are_not_compared_with_ours_on_others():
    published = value(set_kind="depthlm-points")
    assert only([published], result()).verdict == "not comparable"
    assert "sets of the kind depthlm-points are not here yet" in only([published]).needs.text


def test_the_published_number_of_images_decides_what_a_subset_is():
    published = value(set_kind=None, images=654)
    line = only([published], result(images=100, images_of_the_full_set=100))
    assert (line.verdict, line.ours.full_images) == ("consistent", 654)


def test_a_protocol_that_is_unknown_or_pooled_is_never_compared():
    for published, why in ((value(protocol=None), "protocol unknown"), (value(pooled=True), "pixels pooled")):
        line = only([published], result())
        assert (line.verdict, line.ours) == ("not comparable", None)
        assert why in line.reason


def test_a_protocol_that_is_not_here_yet_is_named():
    line = only([value(protocol="nyu-eigen-dense-1")], result(protocol="nyu-eigen-dense-1"))
    assert line.verdict == "not run"
    assert "protocol not here yet: nyu-eigen-dense-1" in line.needs.text


@pytest.mark.parametrize(
    ("published", "models", "here", "needs"),
    [
        (value(), (MODEL,), HERE, "dvbench convert DATASET --annotations FILE --root DIR, then dvbench eval"),
        (value(set_kind=None), (MODEL,), HERE, "dvbench convert DATASET --root DIR, then"),
        (value(dataset="waymo"), (MODEL,), HERE, "no converter here yet"),
        (value(label="N"), (MODEL,), HERE, "no model here is this one; weights unknown"),
        (value(checkpoint="S"), (MODEL,), HERE, "no model here is this one"),
        (
            *(value(), (MODEL,), Here(frozenset(), HERE.datasets, HERE.protocols)),
            "model m is not here yet; weights org/m; GPU hours unknown",
        ),
        (
            value(),
            (KnownModel("g", ("M",), cost="about $3"),),
            HERE,
            "model g is not here yet; API cost about $3",
        ),
    ],
)
def test_what_was_not_run_says_what_it_needs(published, models, here, needs):
    line = only([published], models=models, here=here)
    assert line.verdict == "not run"
    assert needs in line.needs.text


def test_a_model_without_weights_needs_no_hours():
    line = only([value()], models=(KnownModel("m", ("M",), weights="none"),))
    assert "weights" not in line.needs.text
    assert "hours" not in line.needs.text


def row(*numbers, mean):
    cells = [value(n, name) for n, name in zip(numbers, ("ibims1", "nuscenes"), strict=True)]
    return [*cells, value(mean, "mean")]


def test_the_mean_adds_deviations_in_squares():
    spread = {"delta1": Score(0.6, 0.57, 0.64)}
    other = {"delta1": Score(0.8, 0.76, 0.83)}
    made = table(
        row(0.6, 0.8, mean=0.7),
        result(0.6, scores=spread),
        result(0.8, "nuscenes", scores=other),
    )
    mean = made.lines[-1]
    assert (mean.published.dataset, mean.verdict) == ("mean", "within")
    assert mean.ours.value == pytest.approx(0.7)
    assert mean.ours.low == pytest.approx(0.7 - math.hypot(0.03, 0.04) / 2)
    assert mean.ours.high == pytest.approx(0.7 + math.hypot(0.04, 0.03) / 2)


def test_the_mean_of_a_subset_is_one_and_that_of_a_part_is_not_run():
    few = result(0.6, images=30)
    whole = table(row(0.6, 0.8, mean=0.7), few, result(0.8, "nuscenes"))
    assert whole.lines[-1].verdict == "consistent"
    part = table(row(0.6, 0.8, mean=0.7), few)
    assert part.lines[-1].verdict == "not run"
    assert part.lines[-1].needs.text == "every set of the row; weights org/m; GPU hours unknown"
    other = result(0.8, "nuscenes", protocol="dvbench-1")
    assert table(row(0.6, 0.8, mean=0.7), few, other).lines[-1].verdict == "not run"


def test_what_is_missing_is_grouped_by_row_and_reason():
    made = table([value(), value(dataset="nuscenes"), value(dataset="waymo"), value(protocol=None)], result())
    assert len(made.run) == 1
    assert [(g.verdict, [v.dataset for v in g.values]) for g in made.missing] == [
        ("not run", ["nuscenes"]),
        ("not run", ["waymo"]),
        ("not comparable", ["ibims1"]),
    ]


@pytest.mark.parametrize(("name", "count"), [("table1", 160), ("table2", 66), ("TABLE2-full", 66)])
def test_a_table_is_chosen_by_its_name(name, count):
    chosen = choose(name)
    assert (chosen.name, len(chosen.values)) == (name.lower(), count)
    assert f"ours under {COMPAT} on <dataset>@published" in chosen.title


def test_a_model_is_chosen_by_our_name_or_by_a_paper_s():
    ours_, theirs = choose("depth-pro"), choose("DepthPro")
    assert set(ours_.values) == set(theirs.values)
    assert {v.label for v in ours_.values} == {"Depth Pro", "DepthPro"}
    assert [m.name for m in ours_.models] == ["depth-pro"]
    assert len(choose("idisc").values) == 99
    assert choose("iDisc").models == ()


def test_our_variant_is_compared_alone():
    assert [model.name for model in choose("metric3d-v2-l").models] == ["metric3d-v2-l"]
    assert [model.name for model in choose("Metric3Dv2").models] == ["metric3d-v2-l", "metric3d-v2-g"]


@pytest.mark.parametrize(
    ("name", "hint"), [("table3", "'table"), ("depthpro2", "did you mean"), ("q", "known:")]
)
def test_an_unknown_name_is_an_error_with_the_nearest_one(name, hint):
    with pytest.raises(UsageError, match="unknown table or model") as caught:
        choose(name)
    assert hint in caught.value.one_line()


def test_conflicts_come_with_the_line():
    chosen = choose("zoedepth")
    lines = reproduce(chosen, [], HERE).lines
    told = {line.published.id: [c.other.value for c in line.conflicts] for line in lines if line.conflicts}
    assert told["unidepth-readme/ZoeDepth/nyuv2/delta1"] == [0.951]
    assert not any(line.conflicts for line in lines if line.published.copied_from)
