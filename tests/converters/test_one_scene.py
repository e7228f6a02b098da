"""One analytic scene, written in every raw format, comes back from every converter as the same geometry."""

import importlib
from dataclasses import replace
from importlib.metadata import entry_points

import numpy as np
import pytest

from depthvlm_bench.config import parse_options
from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.frames import scorable
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.codec import decode_depth
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter

POINTS = 200
DATASETS = sorted(point.name for point in entry_points(group="depthvlm_bench.converters"))


def depth_range_m(truth, seen, u, v):
    """Least and greatest analytic depth within the step of the stored pixel position."""
    step = truth.uv_step_px
    around = [
        truth.scene.depth_m(seen.intrinsics, seen.world_from_cam, u + du, v + dv)
        for du in (-step, 0, step)
        for dv in (-step, 0, step)
    ]
    return np.min(around, axis=0), np.max(around, axis=0)


@pytest.mark.parametrize("name", DATASETS)
def test_the_scene_comes_back(name, tmp_path):
    fixture = importlib.import_module(f"raw_{name.replace('-', '_')}")
    truth = fixture.write_analytic_tree(tmp_path / "raw")
    converter = load_converter(name)
    options = parse_options(converter.options_type, truth.options, name)
    # Whole trees have many images; this one is asked for what it has.
    converter = replace(converter, card=replace(converter.card, images=len(truth.records), points_total=None))
    request = ConvertRequest(truth.root, tmp_path / "data", truth.role, options)
    summary = convert(converter, request, Silent())
    rows = {row["id"]: row for row in RecordSet(summary.folder, truth.role).rows()}
    assert set(rows) == set(truth.records)
    for record, seen in truth.records.items():
        row, depth = rows[record], decode_depth(rows[record])
        found = tuple(row[f"source_{name}"] for name in ("fx", "fy", "cx", "cy"))
        assert found == pytest.approx(seen.intrinsics, abs=1e-9)
        usable = np.flatnonzero(scorable(depth, row["valid_min"], row["valid_max"]))
        assert len(usable) >= POINTS
        drawn = np.random.default_rng(7).choice(usable, POINTS, replace=False)
        u, v = (axis[drawn] for axis in depth.source_pixels())
        low_m, high_m = depth_range_m(truth, seen, u, v)
        stored_m = depth.depth_m[drawn]
        error_m = np.maximum(low_m - stored_m, stored_m - high_m)
        assert error_m.max() <= truth.depth_step_m, f"{record}: {error_m.max()} m off"
        # All three surfaces were met, or a fault that shows on one alone would pass.
        assert len(np.unique(np.round(stored_m, 1))) > 10
