"""The paper's LiDAR rasters: each oddity on points chosen to show it."""

import numpy as np

from depthvlm_bench.converters._paper import paper_raster

SIZE = (4, 3)


def raster(u, v, z, **rules):
    points = (np.array(values, dtype=np.float64) for values in (u, v, z))
    return paper_raster(*points, SIZE, **({"pixel": "floor", "nearest_wins": True} | rules)).values


def test_depth_is_truncated_to_units_and_saturates():
    values = raster([0, 1, 2], [0, 0, 0], [1.9999, 300.0, 255.998])
    assert values[0, :3].tolist() == [511, 65535, 65535]


def test_nearest_or_last_wins():
    u, v, z = [1.2, 1.7, 1.1], [2, 2, 2], [3.0, 2.0, 5.0]
    assert raster(u, v, z)[2, 1] == 512
    assert raster(u, v, z, nearest_wins=False)[2, 1] == 1280


def test_floor_leaves_out_what_is_left_of_the_picture():
    assert not raster([-0.3], [1], [2.0]).any()


def test_truncation_lets_it_leak_into_the_first_column():
    assert raster([-0.3], [1], [2.0], pixel="truncate")[1, 0] == 512


def test_rounding_clips_onto_the_border():
    values = raster([7.0, 0.5, 1.5], [-4.0, 1, 1], [2.0, 2.0, 3.0], pixel="round_and_clip")
    assert values[0, 3] == 512
    assert values[1].tolist() == [512, 0, 768, 0]  # half to even: 0.5 -> 0, 1.5 -> 2
