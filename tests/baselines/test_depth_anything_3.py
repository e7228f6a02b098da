import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from isolated_models import depth_m, loaded, plain_view

from depthvlm_bench.baselines.depth_anything_3 import METRIC_LARGE, NESTED_GIANT_LARGE_11


def test_metres_are_the_output_times_the_seen_focal_length_over_300():
    """240 x 320 is seen at 378 x 504, so that a focal length of 300 px is 472.5 px there."""
    found = depth_m(METRIC_LARGE, plain_view(320, 240, fx_px=300.0))
    assert found.shape == (378, 504)
    assert float(np.median(found)) == pytest.approx(2.0 * 472.5 / 300, rel=1e-6)


def test_the_sides_are_scaled_each_for_itself():
    """517 x 1234 is seen at 210 x 504: fx and fy of 1000 px become 408.4 and 406.2."""
    found = depth_m(METRIC_LARGE, plain_view(1234, 517))
    assert found.shape == (210, 504)
    focal_px = (1000 * 504 / 1234 + 1000 * 210 / 517) / 2
    assert float(np.median(found)) == pytest.approx(2.0 * focal_px / 300, rel=1e-5)


def test_the_nested_one_answers_metres_and_estimates_the_camera():
    (dense,) = loaded(NESTED_GIANT_LARGE_11).predict([plain_view(1008, 756, fx_px=None)])
    assert float(np.median(dense.depth_m)) == pytest.approx(2.0)
    fov_deg = 2 * np.degrees(np.arctan(252 / 400))
    assert dense.text == f"horizontal field of view {fov_deg:.3f} degrees estimated"


def test_what_it_draws_is_drawn_by_the_picture():
    views = [plain_view(320, 240, name=name) for name in ("set/eval/a/-/1", "set/eval/b/-/2")]
    corners = [float(depth_m(METRIC_LARGE, view)[0, 0]) for view in (*views, views[0])]
    assert corners[0] == corners[2] != corners[1]
