"""Several processes, sharded or not: the curve and the model of one process, and of a run that was cut."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import torch
from training_rooms import Talk, assert_same_curve, request, run_on, weights

SCRIPT = Path(__file__).parents[2] / "fixtures" / "train_processes.py"
STEP = ("global_batch=4", "micro_batch=1")


def two_processes(*arguments):
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = [sys.executable, *launch, str(SCRIPT), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("sharding=fsdp", "probe_every=3", "probe_tokens=4")])
@pytest.mark.parametrize("stage", [1, 2])
def test_two_processes_learn_what_one_does_and_resume(
    backbone, stage1, monkeypatch, tmp_path, stage, options
):
    base = backbone if stage == 1 else stage1 / "model"
    alone, together = tmp_path / "alone", tmp_path / "together"
    if stage == 1:
        options = options[:1]
    run_on(monkeypatch, request(stage, base, alone, *STEP), chat=[Talk()] if stage == 2 else ())
    two_processes(stage, base, together, *STEP, *options)
    assert_same_curve(together, alone)
    sharded = (together / "checkpoint-6" / "pytorch_model_fsdp_0").is_dir()
    assert sharded == ("sharding=fsdp" in options)
    whole, found = weights(alone / "model"), weights(together / "model")
    assert whole.keys() == found.keys()
    assert all(torch.allclose(found[name], tensor, atol=1e-6) for name, tensor in whole.items())

    shutil.rmtree(together / "checkpoint-6")
    shutil.rmtree(together / "model")
    two_processes(stage, base, together, *STEP, *options)
    assert_same_curve(together, alone)
    assert all(torch.allclose(weights(together / "model")[name], t, atol=1e-6) for name, t in whole.items())
