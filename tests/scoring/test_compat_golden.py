"""The paper's evaluator, case by case, through our own parquet, runner and scorer."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from golden_predictors import PREDICTORS
from PIL import Image
from predictors import dense_model

from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter
from depthvlm_bench.results.schema import result_path
from depthvlm_bench.sampling.compat import draw_listed, in_range
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.protocol import load_protocol

SHARED = Path(__file__).resolve().parents[3] / "shared"
COMPAT, DVBENCH = load_protocol("depthvlm-compat-1"), load_protocol("dvbench-1")
IN_CASES = (
    "const2",
    "gt",
    "gt_grid32",
    "ln0.2",
    "ln0.2_inf5",
    "ln0.2_zero5",
    "ramp_x",
    "scale1.2",
    "scale1.3",
    "shift8",
)

# What the paper's evaluator gives on the 30 published examples, from the audit of its code
# (design/protocol.md, section 2): sparse as published, sparse with the points in picture pixels, dense.
AUDITED = {
    "const2": (0.226667, 0.270000, 0.289334),
    "const1": (0.083333, 0.216667, 0.177877),
    "ramp_y": (0.213333, 0.326667, 0.332335),
    "ramp_x": (0.090000, 0.250000, 0.231529),
    "scale1.25": (0.016667, 0.026667, 0.020449),
    "scale0.8": (0.110000, 0.163333, 0.124729),
    "ln0.1": (0.973333, 0.970000, 0.974334),
    "ln0.2": (0.716667, 0.770000, 0.735432),
    "ln0.3": (0.530000, 0.543333, 0.542935),
    "ln0.2_zero5": (0.702685, 0.764630, 0.735430),
    "ln0.2_nan5": (0.702685, 0.764630, 0.735430),
    "ln0.2_neg5": (0.702685, 0.764630, 0.735430),
    "ln0.2_inf5": (0.653333, 0.716667, 0.698651),
    "ln0.2_zero50": (0.719206, 0.781825, 0.735578),
    "shift8": (0.986667, 0.986667, 0.986259),
    "shift32": (0.970000, 0.956667, 0.940170),
    "gt_grid32": (1.000000, 0.986667, 0.999238),
}
ON_THE_THRESHOLD = ("scale1.25", "scale0.8")  # float32 rounding decides their hits


@pytest.fixture(scope="module")
def golden():
    path = SHARED / "golden" / "eval" / "cases.json"
    if not path.is_file():
        pytest.skip(f"golden numbers are not here: {path}")
    return {case["id"]: case for case in json.loads(path.read_text())["cases"]}


@dataclass(frozen=True)
class Published:
    """The published examples as a set, with what the formulas need of each record."""

    records: RecordSet
    row_of: dict
    depth_m: dict


def in_picture_pixels(listed):
    """The same record with its points, pixels of the depth file, where they lie in the picture."""
    points = [[(x * 1920 + 960) // 256, (y * 1440 + 720) // 192] for x, y in listed["pixel_coords"]]
    return listed | {"pixel_coords": points}


@pytest.fixture(scope="module")
def root():
    root = SHARED / "data" / "published_annotations"
    if not root.is_dir():
        pytest.skip(f"the published examples are not here: {root}")
    return root


@pytest.fixture(scope="module")
def published(root, tmp_path_factory):
    return published_set(root, root / "examples.jsonl", tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def corrected(root, tmp_path_factory):
    """The published examples with their points in picture pixels, as the paper's code takes them."""
    data = tmp_path_factory.mktemp("corrected")
    lines = map(json.loads, (root / "examples.jsonl").read_text().splitlines())
    (data / "list.jsonl").write_text("".join(json.dumps(in_picture_pixels(line)) + "\n" for line in lines))
    return published_set(root, data / "list.jsonl", data)


def published_set(root, lines, data):
    request = ConvertRequest(root, data, annotations=lines)
    summary = convert(load_converter("scannetpp"), request, Silent())
    records = RecordSet(summary.folder, "eval")
    rows = {row["id"]: row["listed_row"] for row in records.points(["id", "listed_row"]).to_pylist()}
    listed = [json.loads(line) for line in lines.read_text().splitlines()]
    maps = [np.asarray(Image.open(root / "depth" / record["depth_path"])) for record in listed]
    depth = [values.astype(np.float32) / np.float32(1000) for values in maps]
    return Published(records, rows, depth)


def scorer(published, out):
    """(predictor, protocol) -> results by mode; each predictor predicts once."""
    known = {}

    def score(name, protocol=COMPAT):
        if (name, protocol.name) not in known:
            formula = PREDICTORS[name]

            def answer(view):
                index = published.row_of[view.id]
                return DenseMap(formula(published.depth_m[index], index, *view.picture.size))

            arguments = (published.records, RunSettings(), protocol, out / name, Silent())
            model = dense_model(answer)
            done = evaluate(model, model.options_type(), [], *arguments)
            known[name, protocol.name] = {r.mode: r for r in done.results}
        return known[name, protocol.name]

    score.out = out
    return score


@pytest.fixture(scope="module")
def scored(published, tmp_path_factory):
    return scorer(published, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def scored_in_picture_pixels(corrected, tmp_path_factory):
    return scorer(corrected, tmp_path_factory.mktemp("runs"))


def scores_in_list_order(result, out, published):
    table = pq.read_table(result_path(out / "results", result).with_suffix(".images.parquet")).to_pylist()
    by_row = {published.row_of[row["id"]]: row["score"] for row in table}
    return [by_row[index] for index in range(len(by_row))]


@pytest.mark.parametrize("mode", ["sparse", "dense"])
@pytest.mark.parametrize("name", IN_CASES)
def test_it_scores_as_the_paper_s_code_does(golden, published, scored, name, mode):
    case = golden[f"scannetpp_examples/{mode}/{name}"]
    result = scored(name)[mode]
    assert result.scores["delta1"].value == pytest.approx(case["delta1"], abs=1e-6)
    assert scores_in_list_order(result, scored.out / name, published) == pytest.approx(
        case["per_image"], abs=1e-6
    )
    assert result.counts.images == case["n_images"]
    assert not result.ranked


def test_no_golden_case_is_left_out(golden):
    assert {f"scannetpp_examples/{mode}/{name}" for mode in ("sparse", "dense") for name in IN_CASES} == set(
        golden
    )


def tolerance(name):
    return 2e-3 if name in ON_THE_THRESHOLD else 1e-6


def fast_or_slow(names, fast):
    """Predictors as parameters; those that are not among the fast ones run with `make test-slow`."""
    return [pytest.param(name, marks=() if name in fast else pytest.mark.slow) for name in names]


@pytest.mark.parametrize(
    "name", fast_or_slow(AUDITED, (*IN_CASES, *ON_THE_THRESHOLD, "const1", "ramp_y", "ln0.2_zero50"))
)
def test_it_scores_as_the_audit_of_the_paper_s_code_found(scored, name):
    sparse, _, dense = AUDITED[name]
    found = scored(name)
    assert found["sparse"].scores["delta1"].value == pytest.approx(sparse, abs=tolerance(name))
    assert found["dense"].scores["delta1"].value == pytest.approx(dense, abs=tolerance(name))


@pytest.mark.parametrize("name", fast_or_slow(AUDITED, ("const2", "gt_grid32")))
def test_so_it_does_with_points_in_picture_pixels(scored_in_picture_pixels, name):
    found = scored_in_picture_pixels(name)["sparse"]
    assert found.scores["delta1"].value == pytest.approx(AUDITED[name][1], abs=tolerance(name))


# Where the 30 published examples stand in the paper's list of 1,000, found by trying every index.
PUBLISHED_ROWS = [
    22,
    46,
    69,
    112,
    133,
    138,
    198,
    282,
    289,
    338,
    341,
    430,
    434,
    507,
    604,
    629,
    648,
    660,
    662,
    664,
    666,
    715,
    718,
    741,
    805,
    857,
    867,
    918,
    949,
    982,
]


def test_the_published_points_come_back_from_their_maps(published):
    """Each example is the draw of `RandomState(42 + its index in the full list)`, points and depths."""
    table = published.records.points(["listed_row", "xy_listed", "listed_depth_m"]).to_pylist()
    assert len(table) == len(PUBLISHED_ROWS) == 30
    for row in table:
        depth_m = in_range(published.depth_m[row["listed_row"]], 0.001, 10.0)
        drawn = draw_listed(depth_m, PUBLISHED_ROWS[row["listed_row"]], 10)
        assert [list(map(float, xy)) for xy in drawn.xy] == row["xy_listed"]
        assert list(drawn.depth_m) == row["listed_depth_m"]


def test_the_corrected_protocol_asks_the_same_pixels_where_they_are(published, scored):
    """Listed pixels lie in one corner as the paper scales them, and over the whole picture in truth."""
    table = published.records.points(["width", "height", "points", "compat_xy"]).to_pylist()
    corner = max(
        max(p["x"] / row["width"], p["y"] / row["height"]) for row in table for p in row["compat_xy"]
    )
    spread = max(point["u"] / row["width"] for row in table for point in row["points"])
    assert corner < 0.134
    assert spread > 0.98
    assert scored("const2", DVBENCH)["sparse"].scores["delta1"].value == pytest.approx(0.27, abs=1e-9)
    assert scored("const2", DVBENCH)["dense"].scores["delta1"].value == pytest.approx(0.289247, abs=5e-7)


def test_what_the_paper_drops_the_corrected_protocol_counts(scored):
    """D4: five per cent of zeros leave the paper's denominator, and are misses in ours."""
    dropped, counted = scored("ln0.2_zero5")["sparse"], scored("ln0.2_zero5", DVBENCH)["sparse"]
    assert dropped.counts.answered < dropped.counts.asked
    assert counted.counts.answered < counted.counts.asked
    honest = scored("ln0.2", DVBENCH)["sparse"].scores["delta1"].value
    assert counted.scores["delta1"].value <= honest * (1 - 0.02)


def test_a_map_of_another_size_is_brought_to_the_picture_by_the_corrected_protocol(scored):
    """D3: the paper indexes the model's own grid with canonical pixels."""
    assert scored("gt_grid32", DVBENCH)["sparse"].scores["delta1"].value > 0.99
