import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from isolated_models import depth_m, loaded, options_of, plain_view, write_weights

from depthvlm_bench.baselines.unidepth import V1_VITL14, V2_S
from depthvlm_bench.config import parse_options
from depthvlm_bench.errors import UsageError

both = pytest.mark.parametrize("model", [V1_VITL14, V2_S], ids=lambda model: model.card.id)


@both
def test_a_given_camera_is_used_with_its_centre_where_unidepth_has_it(model):
    """The stand-in fails unless cx is half the width of a picture whose camera is centred."""
    (dense,) = loaded(model).predict([plain_view(120, 80, fx_px=800.0)])
    assert np.allclose(dense.depth_m, 1.6)
    assert dense.depth_m.shape == (80, 120)
    assert dense.text is None


@both
def test_without_a_camera_it_estimates_one_and_says_so(model):
    (dense,) = loaded(model).predict([plain_view(500, 80, fx_px=None)])
    assert np.allclose(dense.depth_m, 0.5)
    assert dense.text == "horizontal field of view 90.000 degrees estimated"


def test_with_and_without_a_camera_may_be_mixed():
    views = [plain_view(50, 40, fx_px=fx_px) for fx_px in (1000.0, None, 500.0)]
    maps = loaded(V2_S).predict(views)
    assert [float(dense.depth_m[0, 0]) for dense in maps] == pytest.approx([2.0, 0.5, 1.0])


def test_the_resolution_level_is_part_of_what_is_loaded(tmp_path):
    options = options_of(V2_S, write_weights("unidepth", tmp_path), resolution_level=4)
    known = V2_S.identify(options)
    assert known.loaded["resolution_level"] == known.options["resolution_level"] == 4
    with pytest.raises(UsageError, match="resolution_level"):
        parse_options(V2_S.options_type, ["resolution_level=10"], "unidepth")


def test_it_can_be_typed():
    assert parse_options(V2_S.options_type, ["resolution-level=4"], "unidepth").resolution_level == 4


def test_a_map_is_as_large_as_its_picture():
    assert depth_m(V1_VITL14, plain_view(33, 21)).shape == (21, 33)
