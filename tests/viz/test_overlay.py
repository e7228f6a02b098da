import numpy as np
import pytest

from depthvlm_bench.conventions import pixel_index
from depthvlm_bench.viz.colour import INVALID_RGB, RatioScale, scale_of
from depthvlm_bench.viz.marks import HIT_RGB, LEGEND_HEIGHT_PX, MISS_RGB, Mark, draw_marks, legend
from depthvlm_bench.viz.overlay import (
    depth_picture,
    disc_radius_px,
    error_picture,
    overlay_picture,
    paint,
    resized,
)
from depthvlm_bench.viz.shown import shown_of

BLACK = np.zeros((8, 10, 3), np.uint8)
RED = [255, 0, 0]


@pytest.mark.parametrize(
    ("u", "v", "pixel"), [(3, 2, (2, 3)), (3.49, 1.5, (2, 3)), (-0.5, -0.5, (0, 0)), (9.4, 7.4, (7, 9))]
)
def test_a_point_colours_exactly_its_pixel(u, v, pixel):
    painted = paint(BLACK, [u], [v], [RED])
    expected = BLACK.copy()
    expected[pixel] = RED
    assert np.array_equal(painted, expected)
    assert not BLACK.any()


def test_points_outside_are_not_clipped_in():
    assert not paint(BLACK, [-0.6, 9.5, 3], [3, 3, 7.5], [RED] * 3).any()


def test_discs_are_round_and_later_ones_lie_on_top():
    painted = paint(BLACK, [4, 5], [4, 4], [RED, [0, 255, 0]], radius_px=1)
    assert painted[4, 4].tolist() == [0, 255, 0]
    assert painted[3, 4].tolist() == RED
    assert painted[3, 3].tolist() == [0, 0, 0]


def test_depth_alone_is_grey_where_there_is_none(lidar_shown):
    size = (60, 40)
    scale = scale_of(lidar_shown.depth_m)
    drawn = depth_picture(lidar_shown, scale, size)
    u, v, _ = lidar_shown.points_at(size)
    empty = np.ones((40, 60), bool)
    reach = disc_radius_px(size, len(u))
    for row, column in zip(pixel_index(v), pixel_index(u), strict=True):
        empty[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = False
    assert empty.any()
    assert (drawn[empty] == INVALID_RGB).all()
    assert (drawn[pixel_index(v), pixel_index(u)] != INVALID_RGB).any(axis=1).all()


def test_a_grids_picture_is_its_colours(grid_shown):
    scale, size = scale_of(grid_shown.depth_m), (48, 36)
    assert np.array_equal(depth_picture(grid_shown, scale, size), scale.colours(grid_shown.grid_at(size)))


def test_the_picture_is_untouched_where_a_grid_has_no_depth(grid_row, grid_shown):
    shown = shown_of({**grid_row, "valid_min": float(np.median(grid_shown.depth_m))})
    size = shown.picture.size
    hole = np.isnan(shown.grid_at(size))
    drawn = overlay_picture(shown, scale_of(shown.depth_m), size)
    assert hole.any() and not hole.all()
    assert np.array_equal(drawn[hole], resized(shown.picture, size)[hole])


def test_rings_are_round_their_point_in_their_colour(grid_shown):
    ground = grid_shown.picture.resize((80, 60))
    marks = [Mark(20, 30, HIT_RGB), Mark(60, 30, MISS_RGB, crossed=True)]
    drawn = np.asarray(draw_marks(ground, marks, 8, 12)).astype(int)
    # A ring of two pixels inside radius 8 about the centre of its pixel.
    assert np.abs(drawn[30, 20 + 7] - HIT_RGB).max() < 40
    assert np.abs(drawn[30 - 7, 60] - MISS_RGB).max() < 40
    assert np.array_equal(drawn[30, 20], np.asarray(ground)[30, 20])
    assert np.abs(drawn[30, 60] - MISS_RGB).max() < 40
    assert np.array_equal(drawn[5, 5], np.asarray(ground)[5, 5])


def test_labels_never_lie_over_one_another(grid_shown):
    ground = grid_shown.picture.resize((120, 40))
    once = draw_marks(ground, [Mark(40, 20, HIT_RGB, label="3.4")], 4, 12)
    twice = draw_marks(ground, [Mark(40, 20, HIT_RGB, label="3.4")] * 2, 4, 12)
    assert once.tobytes() != ground.convert("RGB").tobytes()
    assert np.asarray(twice)[:, 48:].tobytes() == np.asarray(once)[:, 48:].tobytes()


def test_the_legend_has_the_stated_size_and_the_ends_colours():
    scale = scale_of([1.0, 40.0])
    strip = legend(scale, 500, "a note")
    assert strip.size == (500, LEGEND_HEIGHT_PX)
    row = np.asarray(strip)[12]
    assert (row == scale.ramp.table[0]).all(axis=1).any()
    assert (row == scale.ramp.table[-1]).all(axis=1).any()


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.1])
def test_the_error_of_a_grid_is_one_colour_where_there_is_truth_and_grey_elsewhere(grid_shown, factor):
    size = (90, 70)
    truth_m = grid_shown.grid_at(size)
    drawn = error_picture(grid_shown, np.nan_to_num(truth_m, nan=3.0) * factor)
    known = np.isfinite(truth_m)
    assert known.any()
    assert (drawn[known] == RatioScale().colours(factor)).all()
    assert (drawn[~known] == INVALID_RGB).all()


def test_the_error_of_points_is_drawn_at_the_points(lidar_shown):
    size = lidar_shown.picture.size
    far = error_picture(lidar_shown, np.full(size[::-1], 1e6))
    near = error_picture(lidar_shown, np.full(size[::-1], 1e-6))
    u, v, _ = lidar_shown.points_at(size)
    at = pixel_index(v), pixel_index(u)
    assert (far[at] == RatioScale().colours(1e6)).all()
    assert (near[at] == RatioScale().colours(1e-6)).all()
    assert (far == near).all(axis=2).mean() > 0.5
