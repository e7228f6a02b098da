"""One part, seven, or any order: a result is the same to the last bit."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from converted import TinyImage, ramp_depth, write_tiny_set
from predictors import card, map_model

from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.predict.store import RunSpec, RunStore
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.protocol import load_protocol
from depthvlm_bench.scoring.scorer import score_run
from depthvlm_bench.scoring.statistics import image_statistics, to_columns

DVBENCH_1 = load_protocol("dvbench-1")
IMAGES = tuple(
    TinyImage(
        f"{number:02d}",
        ramp_depth(1 + number / 7, 0.25, 0.1),
        asked_px=tuple((column, number % 12) for column in range(1 + number % 5)),
        scene=f"s{number % 4}",
        tags={"light": ("day", "night")[number % 2]},
    )
    for number in range(21)
)


@pytest.fixture
def records(tmp_path):
    return write_tiny_set(tmp_path / "data", IMAGES, full=21)


def predictions(records):
    """What a run stores of each image: values near the truth, some of them absent; and dense sums."""
    chance = np.random.default_rng(3)
    stored = []
    for row in records.points(["id", "points"]).to_pylist():
        truth_m = np.array([point["depth_m"] for point in row["points"]])
        near = (truth_m * np.exp(chance.normal(0, 0.25, len(truth_m)))).tolist()
        far = (truth_m * np.exp(chance.normal(0, 0.25, len(truth_m)))).tolist()
        points = [
            {
                "id": row["id"],
                "list": "points",
                "point_index": index,
                "nearest_m": a if index % 4 < 3 else None,
                "bilinear_m": b,
                "outcome": "ok" if index % 4 < 3 else "absent",
            }
            for index, (a, b) in enumerate(zip(near, far, strict=True))
        ]
        grid_m = chance.uniform(1, 9, 50)
        sums = to_columns(image_statistics(grid_m * np.exp(chance.normal(0, 0.25, 50)), grid_m))
        stored.append((points, {"id": row["id"]} | sums))
    return stored


def scored(folder, records, stored, parts, mode):
    """The result, without its provenance, and the per-image rows of a run of so many parts."""
    spec = RunSpec(
        "hand", 1, "dense", {}, {}, records.name, "eval", records.manifest_hash, "canonical", "known"
    )
    store = RunStore(folder, spec)
    store.open({})
    for part in range(parts):
        chosen = stored[part::parts]
        store.append([row for points, _ in chosen for row in points], [dense for _, dense in chosen])
    assert len(store.parts()) == parts
    found = score_run(store, card(name="hand"), records, DVBENCH_1, mode)
    return as_text(found.result), found.per_image


def as_text(result):
    """All of a result but its provenance; JSON writes a float to its last bit."""
    return json.dumps(asdict(result) | {"provenance": None})


@pytest.mark.parametrize("mode", ["sparse", "dense"])
def test_parts_of_a_run_in_any_number_and_order(tmp_path, records, mode):
    stored = predictions(records)
    expected, rows = scored(tmp_path / "one", records, stored, 1, mode)
    score = json.loads(expected)["scores"]["delta1"]
    assert 0 < score["low"] < score["value"] < score["high"] < 1
    shuffled = [stored[index] for index in np.random.default_rng(1).permutation(len(stored))]
    for name, order, parts in (
        ("seven", stored, 7),
        ("backwards", stored[::-1], 1),
        ("shuffled", shuffled, 7),
        ("alone", shuffled, 21),
    ):
        got, got_rows = scored(tmp_path / name, records, order, parts, mode)
        assert got == expected, name
        assert got_rows.equals(rows), name


def test_shards_of_a_set_in_any_number(tmp_path, ibims1_set, convert_split):
    """Converted in one shard and in one a row, then predicted and scored."""
    one = tmp_path / "one"
    convert_split("ibims1", ibims1_set.root, one, role="eval")
    sets = [RecordSet(one / "ibims1", "eval"), RecordSet(ibims1_set.folder, "eval")]
    shards = [len(list((records.folder / "data").glob("eval-*"))) for records in sets]
    assert shards[0] == 1 < shards[1]
    told = []
    for number, records in enumerate(sets):
        out = tmp_path / f"out{number}"
        maps = {row["id"]: 2.0 + index for index, row in enumerate(records.points(["id"]).to_pylist())}
        model = map_model({name: np.full((480, 640), depth_m) for name, depth_m in maps.items()})
        settings = RunSettings(batch=1 + number)
        done = evaluate(model, model.options_type(), (), records, settings, DVBENCH_1, out, Silent())
        told.append([as_text(result) for result in done.results])
    assert told[0] == told[1]
    assert len(told[0]) == 2
