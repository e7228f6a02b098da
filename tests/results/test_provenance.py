import getpass
import json
import re
import socket
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from converted import TinyImage, constant_depth, write_tiny_set

from depthvlm_bench.baselines.oracle import OracleOptions
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.progress import Silent
from depthvlm_bench.registry import load_model
from depthvlm_bench.results import provenance
from depthvlm_bench.results.provenance import collect, git_revision
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.protocol import load_protocol


def evaluated(tmp_path, name, options, train=()):
    records = write_tiny_set(tmp_path / "data", [TinyImage("a", constant_depth(2.0))])
    model = load_model(name)
    protocol, out = load_protocol("dvbench-1"), tmp_path / "out"
    return evaluate(model, options, train, records, RunSettings(), protocol, out, Silent())


def strings(value):
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_it_says_when_by_what_code_and_with_which_libraries():
    told = collect()
    assert datetime.fromisoformat(told["created"]).utcoffset() == timedelta(0)
    assert {name: told["versions"][name] for name in ("numpy", "pyarrow")} == {
        name: version(name) for name in ("numpy", "pyarrow")
    }
    assert told["versions"]["depthvlm_bench"]
    assert set(told["hardware"]) >= {"machine", "system", "cpus"}


def test_a_library_that_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(provenance, "LIBRARIES", ("numpy", "no-such-library"))
    assert "no-such-library" not in collect()["versions"]


def test_the_revision_is_a_commit_and_whether_it_was_changed():
    revision = git_revision()
    if revision is None:
        pytest.skip("the package does not lie in a git checkout here")
    assert re.fullmatch("[0-9a-f]{40}", revision["commit"])
    assert isinstance(revision["dirty"], bool)


@pytest.mark.parametrize("name", ["constant", "oracle", "row-prior"])
def test_no_host_user_or_path_stands_in_any_json(tmp_path, name):
    """Options that are paths, and paths of the fit, are the ways in."""
    model = load_model(name)
    options, train = model.options_type(), ()
    if name == "oracle":
        options = OracleOptions(tmp_path / "data" / "tiny")
    if name == "row-prior":
        train = (
            write_tiny_set(tmp_path / "t", [TinyImage("t", constant_depth(2.0))], role="train", name="tr"),
        )
    done = evaluated(tmp_path, name, options, train)
    files = [done.run / "run.json", *done.paths]
    assert all(path.is_file() for path in files)
    for path in files:
        text = path.read_text()
        told = strings(json.loads(text))
        assert socket.gethostname() not in told
        assert getpass.getuser() not in told
        assert not [said for said in told if Path(said).is_absolute() or re.match(r"[A-Za-z]:[\\/]", said)]
        for secret in (str(tmp_path), tmp_path.parent.name, str(Path.home()) + "/", str(Path.cwd())):
            assert secret not in text


def test_the_json_of_a_run_says_what_identifies_it(tmp_path):
    done = evaluated(tmp_path, "constant", load_model("constant").options_type(depth_m=3.0))
    told = json.loads((done.run / "run.json").read_text())
    assert told["spec"]["options"] == {"depth_m": 3.0}
    assert told["spec"]["manifest_hash"] == done.records.manifest_hash
    assert {"created", "git", "versions", "hardware"} <= set(told["provenance"])
