"""SIGKILL at the changes that a conversion makes to its folder; the resumed set is as if nothing had been."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from kill_at import build_overlay, run_overlaid
from raw_folder import write_cameras, write_folder_tree
from raw_nuscenes import write_nuscenes_tree

# One row a shard: three shards, and all that is written of a whole split once.
EVALUATION = ("folder", {"shard_rows": 1})
TRAINING = ("nuscenes", {"role": "train", "limit": 3, "shard_rows": 1, "max_skip_share": 1.0})


@pytest.fixture(scope="module")
def overlay(tmp_path_factory):
    return build_overlay(tmp_path_factory.mktemp("overlay"))


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Pictures so small that a conversion takes a fifth of a second."""
    folder = write_folder_tree(tmp_path_factory.mktemp("folder"))
    write_cameras(folder, default={"fx": 900.0, "fy": 900.0, "cx": 30.5, "cy": 25.0}, cameras={})
    return {"folder": folder, "nuscenes": write_nuscenes_tree(tmp_path_factory.mktemp("nuscenes")).root}


@pytest.fixture
def kill_and_resume(overlay, trees, tmp_path):
    """Convert, killed at every nth write and mth fsync, rename or unlink; what was wrong afterwards."""

    def share(request, workers, points, timeout_s, shares, first):
        dataset, asked = request
        base = tmp_path / f"share-{first}"
        arguments = (trees[dataset], base, dataset, json.dumps(asked), workers, points, f"{first},{shares}")
        told = run_overlaid(overlay, "kill_and_resume.py", *arguments, timeout_s=timeout_s)
        return json.loads(told.splitlines()[-1])

    def run(request, *, workers=1, points="1,1", timeout_s=600):
        shares = (os.cpu_count() or 1) if workers == 1 else 1
        with ThreadPoolExecutor(shares) as pool:
            told = list(pool.map(partial(share, request, workers, points, timeout_s, shares), range(shares)))
        assert len({part["changes"] for part in told}) == 1
        return {
            "changes": told[0]["changes"],
            "killed": sum(part["killed"] for part in told),
            "faults": [fault for part in told for fault in part["faults"]],
        }

    return run


@pytest.mark.parametrize("request_", [EVALUATION, TRAINING], ids=["eval", "train"])
def test_a_run_killed_at_a_change_resumes_to_the_same_bytes(kill_and_resume, request_):
    told = kill_and_resume(request_, points="60,3")
    assert told["killed"] >= 40
    assert told["faults"] == []


@pytest.mark.slow
@pytest.mark.parametrize("request_", [EVALUATION, TRAINING], ids=["eval", "train"])
def test_a_run_killed_at_every_change_resumes_to_the_same_bytes(kill_and_resume, request_):
    told = kill_and_resume(request_, timeout_s=3600)
    assert told["killed"] == told["changes"] > 1000
    assert told["faults"] == []


@pytest.mark.slow
def test_with_workers_whichever_process_comes_there_first_is_killed(kill_and_resume):
    """Each counts for itself: workers die over their shards, the run itself over what it finishes."""
    told = kill_and_resume(EVALUATION, workers=2, points="100,4", timeout_s=3600)
    assert told["killed"] >= 5
    assert told["faults"] == []
