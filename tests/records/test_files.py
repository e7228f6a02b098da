import json
import os
import subprocess
import sys

import pytest

from depthvlm_bench.records.files import HOST, sweep_temporaries, whole_file, write_json


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.bin"
    with whole_file(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
        assert temporary.parent == path.parent
        temporary.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_earlier_file_as_it_was(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"earlier")
    with pytest.raises(ZeroDivisionError), whole_file(path) as temporary:
        temporary.write_bytes(b"later")
        raise ZeroDivisionError
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_written_is_an_error_and_no_empty_file(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "file.bin"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_only_a_temporary_that_the_next_sweep_removes(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from depthvlm_bench.records.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half'); os._exit(9)\n"
    )
    path = tmp_path / "data" / "eval-00000-of-00001.parquet"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    (leftover,) = path.parent.iterdir()
    assert leftover.name.startswith(f"{path.name}.tmp-")
    kept = tmp_path / "data" / "other.parquet"
    kept.write_bytes(b"kept")
    sweep_temporaries(tmp_path)
    assert list(path.parent.iterdir()) == [kept]


def test_a_temporary_name_is_no_shard_to_any_reader(tmp_path):
    with whole_file(tmp_path / "eval-00000-of-00001.parquet") as temporary:
        temporary.write_bytes(b"")
        assert temporary.name.endswith(f".tmp-{HOST}-{os.getpid()}")
        assert not list(tmp_path.glob("*.parquet"))


def test_json_is_canonical_and_ends_in_a_line_end(tmp_path):
    write_json(tmp_path / "a.json", {"b": 0.1, "a": "é", "c": [1, None, True]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{"a":"é","b":0.1,"c":[1,null,true]}\n'
    assert json.loads(text)["a"] == "é"


def test_json_that_cannot_be_written_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []
