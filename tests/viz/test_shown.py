import numpy as np
import pytest

from depthvlm_bench.conventions import pixel_index
from depthvlm_bench.geometry.grids import native_grid
from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.records.codec import record_grid
from depthvlm_bench.records.reader import depth_of, view_of
from depthvlm_bench.viz.shown import ShownMap, shown_of


def test_points_lie_where_the_record_says(grid_row, grid_shown):
    asked = grid_shown.asked
    assert asked.u_px == pytest.approx([point["u"] for point in grid_row["points"]])
    assert asked.v_px == pytest.approx([point["v"] for point in grid_row["points"]])
    assert asked.truth_m.tolist() == [point["depth_m"] for point in grid_row["points"]]
    assert asked.hits is None


def test_a_grid_at_the_pictures_size_holds_the_nearest_sample_of_each_pixel(grid_row, grid_shown):
    grid = grid_shown.grid_at(grid_shown.picture.size)
    depth, to_source = depth_of(grid_row), view_of(grid_row).view_from_source.inverse()
    to_depth = to_source.then(depth.source_from_depth.inverse())
    height, width = depth.values.shape
    rng = np.random.default_rng(0)
    for row, column in zip(
        rng.integers(0, grid.shape[0], 50), rng.integers(0, grid.shape[1], 50), strict=True
    ):
        u, v = (int(pixel_index(axis)) for axis in to_depth.apply(column, row))
        metres = depth.values[v, u] / depth.depth_scale
        usable = metres > 0 and grid_row["valid_min"] <= metres <= grid_row["valid_max"]
        assert 0 <= u < width and 0 <= v < height
        assert np.isnan(grid[row, column]) if not usable else grid[row, column] == metres


def test_scattered_points_keep_the_nearest_of_a_pixel(lidar_shown):
    size = (20, 10)
    u, v, depth_m = lidar_shown.points_at(size)
    expected = np.full((10, 20), np.nan)
    for row, column, metres in zip(pixel_index(v), pixel_index(u), depth_m, strict=True):
        expected[row, column] = np.nanmin([expected[row, column], metres])
    assert np.array_equal(lidar_shown.grid_at(size), expected, equal_nan=True)


def test_suspects_and_depths_out_of_range_are_not_shown(lidar_row, lidar_shown):
    depth = depth_of(lidar_row)
    kept = [
        metres
        for metres, flags in zip(depth.depth_m, depth.flags, strict=True)
        if lidar_row["valid_min"] <= metres <= lidar_row["valid_max"] and not flags & 1
    ]
    assert lidar_shown.depth_m.tolist() == kept


def test_hits_are_strict_and_no_answer_is_a_miss(predicted):
    hits = predicted.asked.hits
    assert hits.tolist() == [False, False] + [True] * (len(hits) - 2)
    assert np.isnan(predicted.asked.ratio[1])
    assert predicted.asked.ratio[2] == pytest.approx(1.1)


@pytest.mark.parametrize(
    "grid_of", [record_grid, lambda row: native_grid(row["source_width"], row["source_height"])]
)
def test_a_map_is_drawn_where_its_picture_lies(grid_row, grid_of):
    """A ramp over the source picture, given on the canonical or the native one, is the same when drawn."""
    grid = grid_of(grid_row)
    u_src, _ = grid.view_from_source.inverse().apply(np.arange(grid.width), np.zeros(grid.width))
    ramp = np.tile(u_src + 100, (grid.height, 1)).astype(np.float32)
    shown = shown_of(grid_row, predicted=ShownMap.of(DenseMap(ramp), grid))
    drawn = shown.prediction_at(shown.picture.size)
    assert drawn.shape == shown.picture.size[::-1]
    width = shown.picture.size[0]
    expected, _ = shown.picture_from_source.inverse().apply(np.arange(width), np.zeros(width))
    step = abs(expected[1] - expected[0])
    np.testing.assert_allclose(drawn[5], expected + 100, atol=max(step, 1.0))


def test_what_is_no_depth_is_not_drawn_and_without_a_map_there_is_none(grid_row, grid_shown):
    grid = record_grid(grid_row)
    odd = np.array([[0.0, -1.0], [np.inf, 2.0]], np.float32)
    drawn = shown_of(grid_row, predicted=ShownMap.of(DenseMap(odd, resize="nearest"), grid))
    values = drawn.prediction_at((8, 6))
    assert set(values[np.isfinite(values)].tolist()) == {2.0}
    assert np.isnan(values).mean() == 0.75
    assert grid_shown.prediction_at((8, 6)) is None
