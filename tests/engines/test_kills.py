"""SIGKILL at the changes that a conversion makes to its folder; the resumed set is as if nothing had been."""

import json

import pytest
from kill_at import build_overlay, run_overlaid
from raw_nuscenes import write_nuscenes_tree

EVALUATION = {"limit": 3, "shard_rows": 2}
TRAINING = {"role": "train", "limit": 5, "shard_rows": 2, "max_skip_share": 1.0}


@pytest.fixture(scope="module")
def overlay(tmp_path_factory):
    return build_overlay(tmp_path_factory.mktemp("overlay"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_nuscenes_tree(tmp_path_factory.mktemp("raw")).root


@pytest.fixture
def kill_and_resume(overlay, tree, tmp_path):
    """Convert, killed at every nth write and mth fsync, rename or unlink; what was wrong afterwards."""

    def run(request, *, workers=1, points="1,1", timeout_s=600):
        arguments = (tree, tmp_path, "nuscenes", json.dumps(request), workers, points)
        told = run_overlaid(overlay, "kill_and_resume.py", *arguments, timeout_s=timeout_s)
        return json.loads(told.splitlines()[-1])

    return run


@pytest.mark.parametrize("request_", [EVALUATION, TRAINING], ids=["eval", "train"])
def test_a_run_killed_at_a_change_resumes_to_the_same_bytes(kill_and_resume, request_):
    told = kill_and_resume(request_, points="300,4")
    assert told["killed"] >= 10
    assert told["faults"] == []


@pytest.mark.slow
@pytest.mark.parametrize("request_", [EVALUATION, TRAINING], ids=["eval", "train"])
def test_a_run_killed_at_every_change_resumes_to_the_same_bytes(kill_and_resume, request_):
    told = kill_and_resume(request_, timeout_s=3 * 3600)
    assert told["killed"] == told["changes"] > 500
    assert told["faults"] == []


@pytest.mark.slow
def test_with_workers_whichever_process_comes_there_first_is_killed(kill_and_resume):
    """Each counts for itself: workers die over their shards, the run itself over what it finishes."""
    told = kill_and_resume(EVALUATION, workers=2, points="100,4", timeout_s=3600)
    assert told["killed"] >= 5
    assert told["faults"] == []
