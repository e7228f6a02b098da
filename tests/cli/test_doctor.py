import json
import shlex

import pytest
from raw_ibims1 import real_ibims1_tree, write_ibims1_tree
from raw_scannetpp import write_scannetpp_tree

from depthvlm_bench.cli.main import main


@pytest.fixture
def doctor(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DVBENCH_HOME", str(tmp_path / "home"))

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main(["doctor", *map(str, arguments)])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def test_a_tree_that_can_be_converted_exits_0_and_says_how(doctor, tmp_path):
    root = write_ibims1_tree(tmp_path / "raw").root
    code, out, err = doctor("ibims1", "--root", root, "--sample", 100)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["check", "found", "what", "to", "do"]
    assert any(line.startswith("warn") and "test: frames" in line for line in lines)
    assert f"dvbench convert ibims1 --root {root}" in lines[-1]
    assert not (tmp_path / "home").exists()


def test_the_command_that_it_names_can_be_pasted(doctor, tmp_path, monkeypatch):
    """It has the options, and quotes what a shell would take apart."""
    truth = write_ibims1_tree(tmp_path / "raw trees")
    _, out, _ = doctor("ibims1", "--root", truth.root, "--workspace", tmp_path / "work here")
    command = out.splitlines()[-1].partition(": ")[2]
    words = ["dvbench", "convert", "ibims1", "--root", str(truth.root)]
    assert shlex.split(command) == [*words, "--workspace", str(tmp_path / "work here")]


def test_the_command_that_it_names_keeps_the_options(doctor, tmp_path):
    root = tmp_path / "raw"
    write_scannetpp_tree(root)
    _, out, _ = doctor("scannetpp", "--root", root, "-o", "every=120", "-o", "masks=false")
    assert out.splitlines()[-1].endswith(f"convert scannetpp --root {root} -o every=120 -o masks=false")


def test_a_tree_of_training_data_alone_names_the_training_split(doctor, tmp_path):
    root = tmp_path / "raw"
    write_scannetpp_tree(root)
    (root / "splits" / "nvs_sem_val.txt").unlink()
    _, out, _ = doctor("scannetpp", "--root", root)
    assert out.splitlines()[-1].endswith(f"dvbench convert scannetpp --root {root} --split train")


def test_a_tree_that_cannot_be_converted_exits_1_and_names_what_fails(doctor, tmp_path):
    truth = write_ibims1_tree(tmp_path / "raw")
    for path in (truth.core / "calib").iterdir():
        path.unlink()
    code, out, _ = doctor("ibims1", "--root", truth.root)
    assert code == 1
    failed = [line for line in out.splitlines() if line.startswith("fail")]
    assert any("calib/*.txt" in line for line in failed)
    assert any("missing_intrinsics" in line for line in failed)
    assert out.splitlines()[-1].startswith("not ready; dvbench datasets ibims1")


def test_no_such_tree_exits_3(doctor, tmp_path):
    code, out, err = doctor("ibims1", "--root", tmp_path / "absent")
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1


def test_json_holds_every_check_and_the_verdict(doctor, tmp_path):
    write_scannetpp_tree(tmp_path / "raw")
    code, out, _ = doctor(
        "scannetpp", "--root", tmp_path / "raw", "--json", "--sample", 50, "-o", "every=120"
    )
    found = json.loads(out)
    assert code == 0
    assert (found["dataset"], found["status"]) == ("scannetpp", "warn")
    assert all(set(check) == {"name", "status", "found", "advice"} for check in found["checks"])
    checks = {check["name"]: check["found"] for check in found["checks"]}
    frames = checks["nvs_sem_val: frames"].split()[0]
    assert f"of {frames} read" in checks["nvs_sem_val: sample"]


def test_brackets_in_names_are_text_and_no_markup(doctor, tmp_path):
    truth = write_ibims1_tree(tmp_path / "raw")
    (truth.root / "imagelist.txt").write_text("[/red]\n[bold]\n")
    code, out, _ = doctor("ibims1", "--root", truth.root)
    assert code == 1
    assert "[/red]" in out


def test_the_real_sample_is_fit_to_convert(doctor):
    code, out, _ = doctor("ibims1", "--root", real_ibims1_tree())
    assert code == 0
    assert "40 in the index, 100 in the full set" in out
    assert "the paper's table has 0.269" in out


@pytest.mark.parametrize("sample", ["0", "-3", "all"])
def test_the_sample_is_a_positive_number(doctor, tmp_path, sample):
    code, _, err = doctor("ibims1", "--root", tmp_path, "--sample", sample)
    assert code == 2
    assert "--sample" in err
