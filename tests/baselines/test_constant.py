import numpy as np
import pytest
from PIL import Image

from depthvlm_bench.config import parse_options
from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict.contracts import View
from depthvlm_bench.predict.readout import to_view
from depthvlm_bench.registry import load_model

VIEWS = [View("a", Image.new("RGB", (5, 4)), None), View("b", Image.new("RGB", (8, 2)), None)]


def answers(name, *pairs):
    model = load_model(name)
    predictor = model.build()
    predictor.load(parse_options(model.options_type, pairs, name))
    return [to_view(m, *view.picture.size) for m, view in zip(predictor.predict(VIEWS), VIEWS, strict=True)]


@pytest.mark.parametrize(
    ("name", "pairs", "expected"),
    [("constant-2m", (), 2.0), ("constant", (), 2.0), ("constant", ("depth_m=3.5",), 3.5)],
)
def test_the_constant_is_everywhere(name, pairs, expected):
    maps = answers(name, *pairs)
    assert [view_map.shape for view_map in maps] == [(4, 5), (2, 8)]
    assert all(np.all(view_map == np.float32(expected)) for view_map in maps)


def test_the_paper_s_row_takes_no_options():
    with pytest.raises(UsageError, match="unknown key 'depth_m'"):
        answers("constant-2m", "depth_m=3")


def test_a_wrong_option_has_a_hint():
    with pytest.raises(UsageError, match="did you mean 'depth_m'"):
        answers("constant", "depht_m=3")


def test_it_needs_no_training_and_no_camera():
    for name in ("constant", "constant-2m"):
        card = load_model(name).card
        assert (card.kind, card.camera, card.fitted, card.for_tests) == ("dense", "ignored", False, False)
