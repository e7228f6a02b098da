import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from isolated_models import depth_m, loaded, plain_view

from depthvlm_bench.baselines.moge2 import MOGE_2


def test_the_camera_s_field_of_view_is_used():
    """The stand-in answers 2 m times fx in units of the width."""
    (dense,) = loaded(MOGE_2).predict([plain_view(400, 300, fx_px=200.0)])
    assert np.allclose(dense.depth_m, 1.0, rtol=1e-5)
    assert dense.text is None


def test_without_a_camera_it_estimates_one_and_says_so():
    (dense,) = loaded(MOGE_2).predict([plain_view(400, 300, fx_px=None)])
    assert np.allclose(dense.depth_m, 1.5)
    fov_deg = 2 * np.degrees(np.arctan(0.5 / 0.75))
    assert dense.text == f"horizontal field of view {fov_deg:.3f} degrees estimated"


def test_every_pixel_is_answered_also_where_the_model_would_mask():
    assert np.isfinite(depth_m(MOGE_2, plain_view(400, 300))).all()
