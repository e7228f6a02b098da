import numpy as np
import pytest

from depthvlm_bench.viz.colour import (
    DEPTH_RAMP,
    INVALID_RGB,
    LESS_TO_MORE,
    NEAR_TO_FAR,
    DepthScale,
    RatioScale,
    oklab,
    scale_of,
)


def rgb(name):
    return list(bytes.fromhex(name[1:]))


def test_oklab_of_white_black_and_red():
    assert oklab([255, 255, 255]) == pytest.approx([1, 0, 0], abs=1e-6)
    assert oklab([0, 0, 0]) == pytest.approx([0, 0, 0])
    # The value given in Ottosson's tables and by CSS Color 4.
    assert oklab([255, 0, 0]) == pytest.approx([0.62796, 0.22486, 0.12585], abs=1e-4)


def test_lightness_falls_evenly_from_near_to_far():
    lightness = oklab(DEPTH_RAMP.table)[:, 0]
    assert (np.diff(lightness) < 0).all()
    assert lightness == pytest.approx(np.linspace(lightness[0], lightness[-1], len(lightness)), abs=0.004)


@pytest.mark.parametrize("log", [True, False])
def test_limits_have_the_end_colours_exactly_and_beyond_them_too(log):
    scale = DepthScale(0.5, 80.0, log)
    colours = scale.colours([0.01, 0.5, 80.0, 1e6]).tolist()
    assert colours == [rgb(NEAR_TO_FAR[0])] * 2 + [rgb(NEAR_TO_FAR[-1])] * 2


def test_the_middle_is_geometric_or_arithmetic():
    assert DepthScale(1, 100).position(10) == pytest.approx(0.5)
    assert DepthScale(1, 100, log=False).position(50.5) == pytest.approx(0.5)


def test_what_is_no_depth_is_neutral_grey():
    scale = DepthScale(1, 10)
    assert scale.colours([np.nan, 0, -1, np.inf]).tolist() == [list(INVALID_RGB)] * 4
    assert len(set(INVALID_RGB)) == 1
    assert not (DEPTH_RAMP.table == INVALID_RGB).all(axis=1).any()


def test_colours_keep_the_shape():
    assert DepthScale(1, 10).colours(np.ones((4, 5))).shape == (4, 5, 3)


@pytest.mark.parametrize("limits", [(0, 1), (2, 2), (3, 1), (1, np.inf), (np.nan, 1)])
def test_limits_that_are_no_range_are_refused(limits):
    with pytest.raises(ValueError, match="near < far"):
        DepthScale(*limits)


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("limits", [(0.5, 8), (2, 80), (1, 2), (0.01, 0.04)])
def test_ticks_ascend_and_name_both_limits(limits, log):
    ticks = DepthScale(*limits, log=log).ticks()
    places = [place for place, _ in ticks]
    assert places == sorted(set(places))
    assert places[0] == 0 and places[-1] == 1
    assert [ticks[0][1], ticks[-1][1]] == [f"{limit:g}" for limit in limits]
    assert 2 <= len(ticks) <= 10


def test_scale_of_depths_holds_nearly_all_and_is_round():
    depth_m = np.r_[0, np.nan, np.random.default_rng(0).uniform(1.78, 5.3, 1000), 900]
    scale = scale_of(depth_m)
    assert (scale.near_m, scale.far_m) == (1.5, 6.0)
    assert scale_of([]) == DepthScale(1, 10)
    one = scale_of([3.0, 3.0])
    assert one.near_m == 3.0 and one.far_m == 6.0


def test_ratio_colours():
    scale = RatioScale()
    assert scale.colours([0.5, 2.0, 0.1, 9.0]).tolist() == [
        rgb(LESS_TO_MORE[0]),
        rgb(LESS_TO_MORE[-1]),
        rgb(LESS_TO_MORE[0]),
        rgb(LESS_TO_MORE[-1]),
    ]
    assert scale.colours(np.nan).tolist() == list(INVALID_RGB)
    assert np.ptp(scale.colours(1.0).astype(int)) < 10
    assert [label for _, label in scale.ticks()] == ["0.5x", "0.8x", "1x", "1.25x", "2x"]
