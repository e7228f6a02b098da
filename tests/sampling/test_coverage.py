"""Picture area without ground truth, on depths whose share is known."""

import numpy as np
import pytest

from depthvlm_bench.frames import DepthGrid, DepthPoints
from depthvlm_bench.geometry.grids import PixelAffine, native_grid
from depthvlm_bench.sampling.coverage import area_without_truth


def grid_of(valid, scale=1):
    values = np.where(valid, 2000, 0).astype(np.uint16)
    height, width = values.shape
    return DepthGrid(values, 1000.0, PixelAffine.resize((width, height), (width * scale, height * scale)))


def test_depth_everywhere_leaves_nothing():
    assert area_without_truth(grid_of(np.ones((96, 64), bool)), native_grid(64, 96), 0.1, 10) == 0


def test_no_depth_leaves_all():
    assert area_without_truth(grid_of(np.zeros((96, 64), bool)), native_grid(64, 96), 0.1, 10) == 1


def test_out_of_range_depth_is_no_truth():
    assert area_without_truth(grid_of(np.ones((96, 64), bool)), native_grid(64, 96), 0.1, 1.5) == 1


def test_cells_at_the_border_count_by_their_own_area():
    valid = np.ones((40, 40), bool)
    valid[:, 32:] = False
    assert area_without_truth(grid_of(valid), native_grid(40, 40), 0.1, 10) == pytest.approx(8 / 40)


def test_a_coarse_grid_covers_what_it_spans():
    valid = np.ones((8, 8), bool)
    valid[:4] = False
    assert area_without_truth(grid_of(valid, scale=16), native_grid(128, 128), 0.1, 10) == pytest.approx(0.5)


def test_suspects_are_no_truth_and_one_point_covers_its_cell():
    raw = np.array([16 * 10, 16 * 40], np.uint16)
    flags = np.array([0, 1], np.uint8)
    points = DepthPoints(raw, raw, np.array([512, 512], np.uint16), flags, 1 / 16)
    assert area_without_truth(points, native_grid(64, 64), 0.1, 10) == pytest.approx(0.75)
