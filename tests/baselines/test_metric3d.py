import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch
from isolated_models import depth_m, options_of, plain_view

from depthvlm_bench.baselines.metric3d import V1_CONVL, V2_G, V2_L, V2_S
from depthvlm_bench.errors import CheckError

# What pickle makes of `os.mkdir("ran")`.
HOSTILE = b"\x80\x02cos\nmkdir\nX\x03\x00\x00\x00ran\x85R."


def test_metres_are_canonical_depth_times_focal_length_and_scale():
    """480 x 640 at f = 1000: s = min(616/480, 1064/640) = 1.2833, and a plane of 2 is 2.567 m."""
    found = depth_m(V2_S, plain_view(640, 480))
    assert np.allclose(found, 2.0 * 616 / 480, rtol=1e-5)
    assert float(found[0, 0]) == pytest.approx(2.567, abs=5e-4)


def test_the_convnext_sees_another_size():
    assert np.allclose(depth_m(V1_CONVL, plain_view(640, 480)), 2.0 * min(544 / 480, 1216 / 640), rtol=1e-5)


def test_both_focal_lengths_count():
    assert np.allclose(depth_m(V2_S, plain_view(1064, 616, fx_px=900.0, fy_px=1100.0)), 2.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "shape"), [((640, 480), (616, 821)), ((1600, 300), (199, 1064)), ((100, 900), (616, 68))]
)
def test_the_map_is_of_the_picture_without_its_padding(size, shape):
    assert depth_m(V2_S, plain_view(*size)).shape == shape


def test_distances_end_at_300_m():
    assert np.all(depth_m(V2_S, plain_view(640, 480, fx_px=1e6)) == 300)


def test_tensors_that_are_not_in_the_file_are_told(tmp_path):
    """The repository's own loader would leave them random."""
    path = tmp_path / "weights.pth"
    torch.save({"model_state_dict": {"depth_model.plane": torch.zeros(())}}, path)
    with pytest.raises(CheckError, match=r"1 tensors are not in .*: depth_model\.red"):
        V2_S.build().load(options_of(V2_S, path))


def test_a_pickle_with_code_in_it_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").write_bytes(HOSTILE)
    with pytest.raises(CheckError, match="does not work in its environment"):
        V2_S.build().load(options_of(V2_S, tmp_path / "weights.pth"))
    assert not (tmp_path / "ran").exists()


def test_v2_s_training_is_known_and_v1_s_is_not():
    for model in (V2_S, V2_L, V2_G):
        assert model.card.trained_on["waymo"] == "yes"
        assert model.card.trained_on["nuscenes"] == "no"
    assert set(V1_CONVL.card.trained_on.values()) == {"unknown"}
