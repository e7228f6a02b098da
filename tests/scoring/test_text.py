"""DepthLM's reading of texts, and what its evaluator makes of them."""

import json
import sys
from pathlib import Path

import pytest
from converted import TinyImage, ramp_depth, write_tiny_set
from predictors import map_model, point_model, true_maps

from depthvlm_bench.errors import DataMissingError, UsageError
from depthvlm_bench.predict.contracts import PointAnswer
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.progress import Silent
from depthvlm_bench.scoring import text
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.metrics import unsigned_counts
from depthvlm_bench.scoring.protocol import load_protocol
from depthvlm_bench.scoring.text import depthlm_values

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "eval" / "answers.json"
DEPTHLM, DVBENCH = load_protocol("depthlm-compat-1"), load_protocol("dvbench-1")


def test_every_golden_answer_is_read_and_rewarded_as_by_the_evaluator():
    if not GOLDEN.is_file():
        pytest.skip(f"golden numbers are not here: {GOLDEN}")
    cases = json.loads(GOLDEN.read_text())["cases"]
    values = depthlm_values([case["text"] for case in cases])
    assert values == [case["depthlm_value"] for case in cases]
    for case, value in zip(cases, values, strict=True):
        found = unsigned_counts([float("nan") if value is None else value], [case["reference_gt_used"]], 1.25)
        assert found.hits == case["depthlm_reward_vs_sensible"], case["text"]


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("<think> The point is around 2.31 meters away. </think> <answer> 2.31 </answer>", 2.31),
        ("<answer>2.31</answer>", None),
        ("-1", -1.0),
        ("2-3 meters", -1.0),
        ("350 cm", 350.0),
        ("far away", None),
        ("", None),
        (None, None),
    ],
)
def test_a_text_is_read_without_tags_units_or_ranges(said, value):
    assert depthlm_values([said, "1"]) == [value, 1.0]


def test_equal_texts_are_read_once(monkeypatch):
    read = []
    monkeypatch.setattr(text, "_math_verify", lambda: lambda said: read.append(said) or [2])
    assert depthlm_values(["2", "2", None, "2"]) == [2.0, 2.0, None, 2.0]
    assert read == ["2"]


def test_predictions_without_texts_are_refused():
    with pytest.raises(UsageError, match="reads texts"):
        depthlm_values([None, None])
    assert depthlm_values([]) == []


def test_without_math_verify_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    text._math_verify.cache_clear()
    with pytest.raises(DataMissingError, match="math-verify is not installed") as caught:
        depthlm_values(["2"])
    assert "depthvlm-bench[depthlm]" in caught.value.one_line()
    text._math_verify.cache_clear()


@pytest.fixture
def score(tmp_path):
    """(model of a set, protocol) -> results; the first image has 4 points, the second 1."""
    images = [
        TinyImage("a", ramp_depth(1.0), asked_px=((0, 0), (1, 0), (4, 9), (10, 2))),
        TinyImage("b", ramp_depth(5.0), asked_px=((3, 3),)),
    ]
    records = write_tiny_set(tmp_path / "data", images, full=2)

    def score(make, protocol):
        model, out = make(records), tmp_path / protocol.name
        arguments = (records, RunSettings(), protocol, out, Silent())
        return evaluate(model, model.options_type(), [], *arguments).results

    return score


def says(said, value=None):
    return lambda records: point_model(lambda view, point: PointAnswer(value, raw_text=said))


@pytest.mark.parametrize("said", ["-1", "2-3 meters", "about -40 m"])
def test_l1_negative_answers_are_always_right_there_and_never_here(score, said):
    (theirs,) = score(says(said, -1.0), DEPTHLM)
    (ours,) = score(says(said, -1.0), DVBENCH)
    assert (theirs.scores["delta1"].value, ours.scores["delta1"].value) == (1.0, 0.0)
    assert not theirs.ranked


def test_l9_a_right_answer_in_glued_tags_is_wrong_there(score):
    def told(records):
        depth_of = {row["id"]: row["points"] for row in records.rows()}

        def answer(view, point):
            u, v = point
            near = min(depth_of[view.id], key=lambda p: abs(p["u"] - u) + abs(p["v"] - v))
            return PointAnswer(near["depth_m"], raw_text=f"<answer>{near['depth_m']}</answer>")

        return point_model(answer)

    (theirs,), (ours,) = score(told, DEPTHLM), score(told, DVBENCH)
    assert (theirs.scores["delta1"].value, ours.scores["delta1"].value) == (0.0, 1.0)


def test_all_points_weigh_alike(score):
    """5.9 m is right for the one point of the second image, and for none of four in the first."""
    (theirs,) = score(says("5.9"), DEPTHLM)
    assert theirs.counts.hits == 1 and theirs.counts.asked == 5
    assert theirs.scores["delta1"].value == pytest.approx(1 / 5)
    low, high = theirs.scores["delta1"].low, theirs.scores["delta1"].high
    assert (low, high) == (0.0, 1.0)


def test_depth_maps_have_no_texts(score):
    with pytest.raises(UsageError, match="reads texts"):
        score(lambda records: map_model(true_maps(records)), DEPTHLM)
