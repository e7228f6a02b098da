import numpy as np
import pytest

from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.predict.keep import keep_map
from depthvlm_bench.predict.store import RunSpec, RunStore
from depthvlm_bench.viz.lookup import map_of


@pytest.mark.parametrize(
    ("shown", "sides"),
    [
        ("canonical", ("width", "height")),
        ("native", ("source_width", "source_height")),
        ("preferred", None),
    ],
)
def test_a_kept_map_is_that_of_the_picture_the_model_was_shown(grid_row, tmp_path, shown, sides):
    spec = RunSpec("m", 1, "dense", {}, {}, "a-set", "eval", "0" * 64, shown, "known")
    run = RunStore(tmp_path, spec)
    assert map_of(run, grid_row) is None
    keep_map(run.folder, grid_row["id"], DenseMap(np.full((2, 3), 2.0, np.float32)))
    found = map_of(run, grid_row)
    assert (found is None) == (sides is None)
    if sides is not None:
        assert found.depth_m.shape == tuple(grid_row[side] for side in reversed(sides))
