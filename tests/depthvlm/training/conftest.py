"""Runs that nothing disturbed, made once a session; torch is imported only where they are asked for."""

import pytest


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    """A stock Qwen3-VL, tiny."""
    from depthvlm_bench.depthvlm.tiny import make_tiny

    return make_tiny(tmp_path_factory.mktemp("backbone") / "tiny", kind="qwen3vl", hidden=32)


@pytest.fixture(scope="session")
def stage1(backbone, tmp_path_factory):
    """A stage-1 run."""
    from training_rooms import request, run_on

    out = tmp_path_factory.mktemp("stage1") / "run"
    with pytest.MonkeyPatch.context() as patch:
        run_on(patch, request(1, backbone, out))
    return out


@pytest.fixture(scope="session")
def stage2(stage1, tmp_path_factory):
    """A stage-2 run with conversations mixed in."""
    from training_rooms import Talk, request, run_on

    out = tmp_path_factory.mktemp("stage2") / "run"
    with pytest.MonkeyPatch.context() as patch:
        run_on(patch, request(2, stage1 / "model", out), chat=[Talk()])
    return out
