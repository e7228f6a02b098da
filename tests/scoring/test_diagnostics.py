import itertools
import math
import random
import statistics

import numpy as np
import pyarrow as pa
import pytest

from depthvlm_bench.predict.store import PREDICTION_SCHEMA
from depthvlm_bench.scoring.diagnostics import BANDS, diagnose, fit
from depthvlm_bench.scoring.pointtable import point_table
from depthvlm_bench.scoring.protocol import load_protocol
from depthvlm_bench.scoring.statistics import DISTANCE_EDGES_M

SIZE = (640, 480)


def made(images=12, points=9, seed=3):
    """Records and predictions with misses, absent answers, and one image that was not predicted."""
    rng = random.Random(seed)
    rows, answers = [], []
    for number in range(images):
        record = f"x/eval/s{number % 3}/c{number % 2}/{number:02d}"
        asked = [
            {"u": rng.uniform(-0.5, 639.4), "v": rng.uniform(-0.5, 479.4), "depth_m": rng.uniform(0.3, 90)}
            for _ in range(points)
        ]
        names = {"id": record, "scene": f"s{number % 3}", "camera": f"c{number % 2}"}
        rows.append(names | {"width": SIZE[0], "height": SIZE[1], "points": asked})
        if number == 5:
            continue
        for index, point in enumerate(asked):
            value = point["depth_m"] * math.exp(rng.gauss(0.1, 0.3))
            value = rng.choice([value] * 8 + [None, -1.0, math.inf])
            if rng.random() > 0.05:
                told = {"id": record, "list": "points", "point_index": index, "nearest_m": value}
                answers.append(told | {"bilinear_m": 1.0, "outcome": "ok"})
    return rows, answers


def diagnosed(rows, answers):
    table = pa.Table.from_pylist(answers, PREDICTION_SCHEMA)
    return diagnose(point_table(rows, table, load_protocol("dvbench-1")), missing=1)


def slow(rows, answers, keep):
    """(images, asked, answered, hits, log bias, median |e|) by a plain loop over what `keep` takes."""
    given = {(row["id"], row["point_index"]): row["nearest_m"] for row in answers}
    predicted = {row["id"] for row in answers}
    images, asked, hits, errors = set(), 0, 0, []
    for row in rows:
        for index, point in enumerate(row["points"]):
            if row["id"] not in predicted or not keep(row, point):
                continue
            images.add(row["id"])
            asked += 1
            p, g = given.get((row["id"], index)), point["depth_m"]
            if p is None or not 0 < p < math.inf:
                continue
            hits += max(p / g, g / p) < 1.25
            errors.append(math.log(p) - math.log(g))
    bias = sum(errors) / len(errors) if errors else math.nan
    middle = statistics.median(map(abs, errors)) if errors else math.nan
    return len(images), asked, len(errors), hits, bias, middle


def same(group, expected):
    counts = (group.images, group.asked, group.answered, group.hits)
    assert counts == expected[:4]
    assert (group.log_bias, group.median_abs_log) == pytest.approx(expected[4:], abs=1e-12, nan_ok=True)


@pytest.fixture(scope="module")
def case():
    rows, answers = made()
    return rows, answers, diagnosed(rows, answers)


def test_overall(case):
    rows, answers, found = case
    same(found.overall, slow(rows, answers, lambda row, point: True))
    assert found.missing == 1
    assert found.overall.delta1 == found.overall.hits / found.overall.asked


def test_by_scene_and_camera(case):
    rows, answers, found = case
    for groups, key, names in (
        (found.by_scene, "scene", ["s0", "s1", "s2"]),
        (found.by_camera, "camera", ["c0", "c1"]),
    ):
        assert [group.name for group in groups] == names
        for group in groups:
            same(group, slow(rows, answers, lambda row, point, g=group, k=key: row[k] == g.name))


def test_by_distance(case):
    rows, answers, found = case
    edges = list(itertools.pairwise(DISTANCE_EDGES_M))
    expected = [slow(rows, answers, lambda row, p, e=edge: e[0] <= p["depth_m"] < e[1]) for edge in edges]
    asked = [one for one in expected if one[1]]
    assert len(found.by_distance) == len(asked)
    for group, one in zip(found.by_distance, asked, strict=True):
        same(group, one)
    assert found.by_distance[-1].name == "over 80 m"


def test_by_place(case):
    rows, answers, found = case
    assert [len(row) for row in found.by_place] == [BANDS] * BANDS
    for row_band, groups in enumerate(found.by_place):
        for column_band, group in enumerate(groups):
            same(
                group,
                slow(
                    rows,
                    answers,
                    lambda row, p, r=row_band, c=column_band: (
                        r <= (p["v"] + 0.5) / 60 < r + 1 and c <= (p["u"] + 0.5) / 80 < c + 1
                    ),
                ),
            )


@pytest.mark.parametrize(("side", "key", "band_px"), [("row", "v", 60), ("column", "u", 80)])
def test_by_row_and_by_column(case, side, key, band_px):
    rows, answers, found = case
    groups = {"row": found.by_row, "column": found.by_column}[side]
    assert [group.name for group in groups] == [f"{side} {index + 1}" for index in range(BANDS)]
    assert sum(group.asked for group in groups) == found.overall.asked
    for index, group in enumerate(groups):
        same(group, slow(rows, answers, lambda row, p, i=index: i <= (p[key] + 0.5) / band_px < i + 1))


def test_the_worst_come_first(case):
    rows, answers, found = case
    every = []
    for row in rows:
        _, asked, _, hits, _, middle = slow(rows, answers, lambda r, p, name=row["id"]: r["id"] == name)
        if asked:
            every.append((hits / asked, -(math.inf if math.isnan(middle) else middle), row["id"]))
    assert [group.name for group in found.worst] == [name for _, _, name in sorted(every)[:10]]


def test_an_image_without_any_answer_is_the_worst_of_those_without_a_hit():
    points = [{"u": 1.0, "v": 1.0, "depth_m": 2.0}]
    rows = [
        {"id": name, "scene": "-", "camera": "-", "width": 10, "height": 10, "points": points}
        for name in "ab"
    ]
    answers = [
        {"id": name, "list": "points", "point_index": 0, "nearest_m": value}
        for name, value in (("a", 9.0), ("b", None))
    ]
    assert [group.name for group in diagnosed(rows, answers).worst] == ["b", "a"]


def test_bias_and_scale_agree_with_numpy(case):
    rows, answers, found = case
    truth = {(row["id"], i): point["depth_m"] for row in rows for i, point in enumerate(row["points"])}
    pairs = [
        (truth[row["id"], row["point_index"]], row["nearest_m"])
        for row in answers
        if row["nearest_m"] is not None and 0 < row["nearest_m"] < math.inf
    ]
    g, p = np.array(pairs).T
    slope, intercept = np.polyfit(np.log(g), np.log(p), 1)
    assert found.fit.slope == pytest.approx(slope)
    assert found.fit.intercept == pytest.approx(intercept)
    assert found.fit.median_ratio == pytest.approx(math.exp(np.median(np.log(p / g))))


@pytest.mark.parametrize("factor", [1.0, 0.5, 3.0])
def test_a_known_factor_and_power_are_found(factor):
    rows, _ = made(4)
    answers = [
        {
            "id": row["id"],
            "list": "points",
            "point_index": i,
            "nearest_m": factor * point["depth_m"] ** 0.7,
        }
        for row in rows
        for i, point in enumerate(row["points"])
    ]
    found = diagnosed(rows, answers).fit
    assert found.slope == pytest.approx(0.7)
    assert math.exp(found.intercept) == pytest.approx(factor)


def test_any_order_gives_the_same_to_the_last_bit(case):
    rows, answers, found = case
    for seed in range(3):
        rng = random.Random(seed)
        again = diagnosed(rng.sample(rows, len(rows)), rng.sample(answers, len(answers)))
        assert repr(again) == repr(found)


def test_nothing_predicted_is_no_error():
    rows, _ = made(2)
    found = diagnosed(rows, [])
    assert found.overall.asked == 0 and math.isnan(found.overall.delta1)
    assert found.by_distance == found.by_scene == found.worst == ()
    assert math.isnan(found.fit.slope)


def test_equal_truths_have_no_slope():
    rows, answers = made(3)
    for row in rows:
        for point in row["points"]:
            point["depth_m"] = 2.0
    table = pa.Table.from_pylist(answers, PREDICTION_SCHEMA)
    assert math.isnan(fit(point_table(rows, table, load_protocol("dvbench-1"))).slope)
