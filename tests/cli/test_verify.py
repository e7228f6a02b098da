import json
import shutil

import pytest

from depthvlm_bench.cli.main import main


@pytest.fixture
def data(tmp_path, ibims1_set, scannetpp_set):
    """A workspace with two sets, one of both splits."""
    folder = tmp_path / "home" / "data"
    for made in (ibims1_set, scannetpp_set):
        shutil.copytree(made.folder, folder / made.name)
    return folder


@pytest.fixture
def verify(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DVBENCH_HOME", str(tmp_path / "home"))

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main(["verify", *map(str, arguments)])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def damage(data):
    path = data / "ibims1/data/eval-00001-of-00003.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    return path


def test_all_sets_of_the_workspace_are_checked(data, verify):
    code, out, _ = verify()
    assert code == 0
    assert sorted(out.splitlines()) == ["ibims1 eval: ok", "scannetpp eval: ok", "scannetpp train: ok"]


def test_only_the_named_sets_are_checked(data, verify):
    damage(data)
    assert verify("scannetpp")[0] == 0
    code, out, _ = verify("ibims1", "scannetpp")
    assert code == 1
    assert "scannetpp eval: ok" in out


def test_findings_are_named_with_what_to_do(data, verify):
    path = damage(data)
    code, out, _ = verify("ibims1")
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith("ibims1 eval: ")
    assert f"[{path}]" in lines[1]
    assert lines[-1].startswith("next: ")
    assert "dvbench convert" in lines[-1]


def test_following_the_advice_mends_the_set(data, verify, ibims1_set, convert_split):
    path = data / "ibims1/data/eval-00001-of-00003.parquet"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes(flipped)
    assert verify("ibims1")[0] == 1
    path.unlink()
    convert_split("ibims1", ibims1_set.root, data)
    assert path.read_bytes() == whole
    assert verify("ibims1")[0] == 0


def test_a_path_is_as_good_as_a_name(data, verify, ibims1_set):
    code, out, _ = verify(ibims1_set.folder)
    assert (code, out) == (0, "ibims1 eval: ok\n")


def test_another_data_folder(data, verify, tmp_path, ibims1_set):
    assert verify("--data", ibims1_set.data)[1] == "ibims1 eval: ok\n"
    assert verify("--workspace", tmp_path / "home", "ibims1")[1] == "ibims1 eval: ok\n"


def test_an_unfinished_set_is_a_finding(data, verify):
    (data / "ibims1/_SUCCESS-eval").unlink()
    code, out, _ = verify()
    assert code == 1
    assert "the conversion was not finished" in out


def test_json_lists_every_split_and_every_finding(data, verify):
    path = damage(data)
    code, out, _ = verify("--json")
    assert code == 1
    found = {(entry["set"], entry["split"]): entry["findings"] for entry in json.loads(out)}
    assert found["scannetpp", "eval"] == found["scannetpp", "train"] == []
    first = found["ibims1", "eval"][0]
    assert first["what"] == "a shard has another size than its receipt"
    assert first["where"] == str(path)


def test_many_findings_are_cut_short_and_counted(data, verify):
    shutil.rmtree(data / "ibims1/data")
    (data / "ibims1/data").mkdir()
    for number in range(30):
        (data / f"ibims1/data/eval-{number:05d}-of-00030.parquet").write_bytes(b"")
    code, out, _ = verify("ibims1")
    assert code == 1
    assert out.splitlines()[0] == "ibims1 eval: 33 findings"
    assert "  and 13 more; --json lists all" in out.splitlines()


@pytest.mark.parametrize(
    ("typed", "hint"), [("ibims", "did you mean 'ibims1'?"), ("zzz", "known: ibims1, scann")]
)
def test_an_unknown_set_is_data_missing_with_a_hint(data, verify, typed, hint):
    code, out, err = verify(typed)
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1
    assert f"no converted set {typed!r} [{data}]" in err
    assert hint in err


def test_no_set_at_all_is_data_missing(tmp_path, verify):
    code, _, err = verify()
    assert code == 3
    assert f"no converted set [{tmp_path / 'home/data'}]" in err
    assert "dvbench convert" in err


def test_a_folder_that_is_no_set_is_not_taken_for_one(tmp_path, verify):
    (tmp_path / "holiday").mkdir()
    assert verify(tmp_path / "holiday")[0] == 3
