"""The paper's evaluator on fully synthetic sets: upscaled, downscaled, LiDAR-like, and with unequal grids."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from golden_predictors import PREDICTORS
from PIL import Image
from predictors import dense_model

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.frames import Converter
from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.protocol import load_protocol

CASES = json.loads((Path(__file__).parents[1] / "data" / "compat_synthetic_cases.json").read_text())
DATASETS = {dataset["dataset"]: dataset for dataset in CASES["datasets"]}
NAMES = sorted({case.partition("/")[2] for dataset in DATASETS.values() for case in dataset["delta1"]})


def picture(index, width, height):
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([(x + 17 * index) % 256, (y + 31 * index) % 256, (x + y) % 256], axis=2).astype(np.uint8)


def depth_raw(index, generator):
    width, height = generator["depth_size"]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    metres = generator["a"] + 0.1 * index + generator["b"] * x + generator["c"] * y
    raw = np.rint(metres * generator["depth_scale"])
    hole = (7 * x + 13 * y + index) % 11 == 0
    if generator["rule"] == "lidar":
        hole = (x % 5 != index % 5) | (y % 7 != 0)
    return np.where(hole | (raw > 65535), 0, raw).astype(np.uint16)


@pytest.fixture(scope="module", params=DATASETS)
def made(request, tmp_path_factory):
    """The set, its raw depth by list row, and its golden figures."""
    dataset = DATASETS[request.param]
    root = tmp_path_factory.mktemp(request.param)
    generator = dataset["generator"]
    for folder in ("rgb", "depth"):
        (root / folder).mkdir()
    depth = {}
    for index, record in enumerate(dataset["records"]):
        Image.fromarray(picture(index, *generator["rgb_size"])).save(root / "rgb" / record["image"])
        depth[index] = depth_raw(index, generator)
        Image.fromarray(depth[index]).save(root / "depth" / record["depth_path"])
    (root / "list.jsonl").write_text("\n".join(map(json.dumps, dataset["records"])))
    span = (dataset["config"]["min_depth"], dataset["config"]["max_depth"])
    card = replace(builtin_card("scannetpp"), name="synthetic", valid_min_m=span[0], valid_max_m=span[1])
    card = replace(card, published_depth_scale=generator["depth_scale"])
    summary = convert(
        Converter(card, open=None),
        ConvertRequest(root, root / "data", annotations=root / "list.jsonl"),
        Silent(),
    )
    metres = {i: raw.astype(np.float32) / np.float32(generator["depth_scale"]) for i, raw in depth.items()}
    return dataset, RecordSet(summary.folder, "eval"), metres


def in_list_order(records, columns):
    return sorted(records.points(["listed_row", *columns]).to_pylist(), key=lambda row: row["listed_row"])


def test_points_and_truth_are_those_of_the_paper_s_data_set(made):
    dataset, records, _ = made
    for row, sample in zip(
        in_list_order(records, ["compat_xy", "compat_gt_m"]), dataset["samples"], strict=True
    ):
        assert [[point["x"], point["y"]] for point in row["compat_xy"]] == sample["pixel_coords"]
        assert row["compat_gt_m"] == pytest.approx(sample["gt_depths"], abs=1e-6)


@pytest.fixture(scope="module")
def scored(made, tmp_path_factory):
    """predictor -> (results by mode, per-image scores in list order by mode)."""
    _, records, metres = made
    rows = {row["id"]: row["listed_row"] for row in records.points(["id", "listed_row"]).to_pylist()}
    out, known = tmp_path_factory.mktemp("runs"), {}

    def score(name):
        if name not in known:

            def answer(view):
                index = rows[view.id]
                return DenseMap(PREDICTORS[name](metres[index], index, *view.picture.size))

            model, protocol = dense_model(answer), load_protocol("depthvlm-compat-1")
            done = evaluate(
                model, model.options_type(), [], records, RunSettings(), protocol, out / name, Silent()
            )
            known[name] = {result.mode: result for result in done.results}
        return known[name]

    return score


@pytest.mark.parametrize("mode", ["sparse", "dense"])
@pytest.mark.parametrize("name", NAMES)
def test_it_scores_as_the_paper_s_code_does(made, scored, name, mode):
    dataset, _, _ = made
    expected = dataset["delta1"][f"{mode}/{name}"]["delta1"]
    assert scored(name)[mode].scores["delta1"].value == pytest.approx(expected, abs=1e-6)
