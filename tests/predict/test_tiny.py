"""Tiny checkpoints by name: what is made loads as real ones do, and the same seed makes the same."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from depthvlm_bench.depthvlm.identity import content_sha256
from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict import tiny
from depthvlm_bench.predict.tiny import MAKERS, make_tiny

NATIVE = ("zoedepth", "depth-pro", "depth-anything-v2-metric-indoor-s", "depth-anything-v2-metric-outdoor-l")


@pytest.mark.parametrize("name", NATIVE)
def test_a_seed_makes_the_same_weights_and_another_seed_others(name, tmp_path):
    first, again, other = (
        content_sha256(make_tiny(name, tmp_path / folder, seed=seed))
        for folder, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again != other


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_every_name_has_a_maker_that_writes_a_checkpoint(name, tmp_path):
    folder = make_tiny(name, tmp_path / name)
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= {
        p.name for p in folder.iterdir()
    }


def test_a_misspelt_name_has_a_hint(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'zoedepth'"):
        make_tiny("zoe-depth", tmp_path / "a")


def test_a_checkpoint_is_never_written_over(tmp_path):
    make_tiny("depth-pro", tmp_path / "a")
    with pytest.raises(UsageError, match="a checkpoint already"):
        make_tiny("zoedepth", tmp_path / "a")


@pytest.mark.parametrize("answer_m", [0.0, -1.0, float("inf"), float("nan")])
def test_what_is_no_depth_is_no_answer(answer_m, tmp_path):
    with pytest.raises(UsageError, match="is no answer"):
        make_tiny("zoedepth", tmp_path / "a", answer_m=answer_m)


def test_without_torch_the_pip_command_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="depthvlm-bench\\[models\\]"):
        make_tiny("zoedepth", tmp_path / "a")
