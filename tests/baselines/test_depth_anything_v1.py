import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from isolated_models import depth_m, options_of, plain_view, write_weights

from depthvlm_bench.baselines.depth_anything_v1 import INDOOR, OUTDOOR, PAIR
from depthvlm_bench.errors import UsageError


def test_the_mirrored_answer_is_averaged_and_the_map_of_the_picture_s_size():
    """The stand-in adds -0.5 m at the left and 0.5 m at the right."""
    found = depth_m(INDOOR, plain_view(123, 77))
    assert found.shape == (77, 123)
    assert np.allclose(found, 2.0, atol=1e-5)


def test_it_is_asked_once_where_that_is_wanted():
    found = depth_m(INDOOR, plain_view(64, 48), flip=False)
    assert [float(found[0, 0]), float(found[0, -1])] == pytest.approx([1.5, 2.5])


@pytest.fixture
def pair_options(tmp_path):
    paths = {
        domain: str(write_weights("depth-anything-v1", tmp_path / domain, plane=50.0))
        for domain in ("indoor", "outdoor")
    }
    known = vars(options_of(INDOOR, "unused")) | {"checkpoint": None}
    return PAIR.options_type(**known, **paths)


def test_a_pair_takes_the_weights_of_each_picture_s_dataset(pair_options):
    """Indoor weights end at 10 m, outdoor weights at 80 m."""
    predictor = PAIR.build()
    predictor.load(pair_options)
    names = ("nyuv2/eval/a/-/1", "waymo/eval/b/FRONT/2", "eth3d/eval/office/-/3", "eth3d/eval/facade/-/4")
    maps = predictor.predict([plain_view(32, 24, name=name) for name in names])
    assert [float(dense.depth_m[0, 0]) for dense in maps] == pytest.approx([10.0, 50.0, 10.0, 50.0])
    with pytest.raises(UsageError, match="indoors or outdoors"):
        predictor.predict([plain_view(32, 24, name="folder/eval/a/-/1")])


def test_a_pair_is_identified_by_both_and_by_its_policy(pair_options):
    known = PAIR.identify(pair_options)
    assert known.loaded["domain_policy"] == "dataset"
    assert [known.loaded[domain]["domain"] for domain in ("indoor", "outdoor")] == ["indoor", "outdoor"]
    assert set(known.options) == {"indoor", "outdoor"}
    assert INDOOR.identify(options_of(INDOOR, pair_options.indoor)).loaded["domain_policy"] == "one"


def test_it_was_tuned_on_nyuv2_indoors():
    assert INDOOR.card.trained_on["nyuv2"] == "yes"
    assert OUTDOOR.card.trained_on["nyuv2"] == "no"
