"""Bad input through the command line: one line on stderr, the right exit code, no traceback."""

import json
import os
import subprocess
import sys

import pytest
from raw_ibims1 import write_ibims1_tree
from raw_nuscenes import real_nuscenes_tree, write_nuscenes_tree
from raw_scannetpp import write_scannetpp_tree

from depthvlm_bench.cli.main import COMMANDS, main


@pytest.fixture
def dvbench(capsys, tmp_path, monkeypatch):
    """Run a command line in this process; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("DVBENCH_HOME", str(tmp_path / "workspace"))

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def error_line(result, code):
    """The one line of an error; the four parts of it are what the tests look for."""
    found, _, err = result
    assert found == code, err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert err.strip().splitlines()[-1] == lines[0]
    assert "Traceback" not in err
    return lines[0]


# ---- names and options


@pytest.mark.parametrize(
    ("typed", "meant"), [("ibims", "ibims1"), ("nuscene", "nuscenes"), ("scannet++", "scannetpp")]
)
@pytest.mark.parametrize("command", ["convert", "doctor"])
def test_an_unknown_dataset_is_met_with_a_hint(dvbench, tmp_path, command, typed, meant):
    line = error_line(dvbench(command, typed, "--root", tmp_path), 2)
    assert f"unknown dataset {typed!r}" in line
    assert f"did you mean {meant!r}?" in line
    assert "next: dvbench datasets" in line


def test_an_unknown_dataset_unlike_any_other_lists_them(dvbench):
    line = error_line(dvbench("datasets", "zzz"), 2)
    assert "known: " in line
    assert "nuscenes" in line


def test_an_unknown_command_is_met_with_a_hint(dvbench):
    line = error_line(dvbench("convrt"), 2)
    assert "unknown command 'convrt'" in line
    assert "did you mean 'convert'?" in line
    assert "next: dvbench --help" in line


def test_an_unknown_flag_points_to_the_help(dvbench, tmp_path):
    line = error_line(dvbench("convert", "ibims1", "--root", tmp_path, "--limits", "3"), 2)
    assert "--limits" in line
    assert "dvbench convert --help" in line


@pytest.mark.parametrize("command", ["convert", "doctor"])
def test_a_missing_root_is_a_usage_error(dvbench, command):
    assert "--root" in error_line(dvbench(command, "ibims1"), 2)


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("evry=30", "did you mean 'every'?"),
        ("every=often", "'often' is not a number"),
        ("every", "not KEY=VALUE"),
        ("every=2.5", "not a number"),
    ],
)
@pytest.mark.parametrize("command", ["convert", "doctor"])
def test_a_wrong_reader_option_is_named(dvbench, tmp_path, command, pair, told):
    line = error_line(dvbench(command, "scannetpp", "--root", tmp_path, "-o", pair), 2)
    assert told in line
    assert "-o of scannetpp" in line


@pytest.mark.parametrize("every", ["0", "-60"])
def test_an_impossible_reader_option_is_refused(dvbench, tmp_path, every):
    write_scannetpp_tree(tmp_path / "raw")
    line = error_line(dvbench("convert", "scannetpp", "--root", tmp_path / "raw", "-o", f"every={every}"), 2)
    assert "every" in line


def test_a_dataset_without_options_takes_none(dvbench, tmp_path):
    assert "unknown key 'every'" in error_line(
        dvbench("convert", "ibims1", "--root", tmp_path, "-o", "every=3"), 2
    )


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_limits_are_positive_numbers(dvbench, tmp_path, value):
    assert "--limit" in error_line(dvbench("convert", "ibims1", "--root", tmp_path, "--limit", value), 2)


def test_an_unknown_source_split_is_met_with_a_hint(dvbench, tmp_path):
    write_nuscenes_tree(tmp_path / "raw")
    line = error_line(
        dvbench("convert", "nuscenes", "--root", tmp_path / "raw", "--source-split", "mini-val"), 2
    )
    assert "did you mean 'mini_val'?" in line


# ---- raw trees


@pytest.mark.parametrize("command", ["convert", "doctor"])
def test_a_missing_folder_is_data_missing(dvbench, tmp_path, command):
    line = error_line(dvbench(command, "ibims1", "--root", tmp_path / "absent"), 3)
    assert f"[{tmp_path / 'absent'}]" in line
    assert "the folder does not exist" in line
    assert "next: dvbench datasets ibims1" in line


@pytest.mark.parametrize("dataset", ["ibims1", "nuscenes", "scannetpp"])
def test_another_folder_says_what_it_holds(dvbench, tmp_path, dataset):
    (tmp_path / "raw" / "holiday").mkdir(parents=True)
    line = error_line(dvbench("convert", dataset, "--root", tmp_path / "raw"), 3)
    assert "holds holiday" in line
    assert f"next: dvbench datasets {dataset}" in line


def test_a_file_is_no_tree(dvbench, tmp_path):
    (tmp_path / "file").write_text("")
    error_line(dvbench("convert", "ibims1", "--root", tmp_path / "file"), 3)


def test_an_empty_split_names_what_is_there(dvbench, tmp_path):
    write_scannetpp_tree(tmp_path / "raw")
    (tmp_path / "raw/splits/nvs_sem_val.txt").write_text("# no scene yet\n\n")
    line = error_line(dvbench("convert", "scannetpp", "--root", tmp_path / "raw"), 3)
    assert "no eval split in this tree" in line
    assert "it has nvs_sem_train" in line


def test_a_split_without_one_usable_frame_says_why(dvbench, tmp_path):
    truth = write_scannetpp_tree(tmp_path / "raw")
    for path in truth.iphone().glob("rgb/frame_*.jpg"):
        path.write_bytes(path.read_bytes()[:300])
    line = error_line(dvbench("convert", "scannetpp", "--root", tmp_path / "raw"), 3)
    assert "no usable frame in split nvs_sem_val" in line
    assert "unreadable" in line
    assert "1 missing_scene" in line
    assert "next: dvbench doctor scannetpp" in line


def test_the_real_keyframe_without_options_names_its_split(dvbench, tmp_path):
    line = error_line(dvbench("convert", "nuscenes", "--root", real_nuscenes_tree()), 3)
    assert "it has mini_train" in line
    assert "--source-split mini_train --allow-overlap" in line
    assert not (tmp_path / "workspace").exists()


def test_evaluating_on_a_training_split_needs_consent(dvbench, tmp_path):
    write_nuscenes_tree(tmp_path / "raw")
    line = error_line(
        dvbench("convert", "nuscenes", "--root", tmp_path / "raw", "--source-split", "train"), 2
    )
    assert "--allow-overlap" in line


@pytest.mark.parametrize(
    "table", ["scene", "sample", "sample_data", "calibrated_sensor", "ego_pose", "sensor"]
)
@pytest.mark.parametrize("damage", ["cut", "not JSON", "gone"])
def test_a_broken_table_is_named(dvbench, tmp_path, table, damage):
    """A cut table may end between two rows; then tables do not fit together, which is named as well."""
    write_nuscenes_tree(tmp_path / "raw")
    path = tmp_path / "raw/v1.0-trainval" / f"{table}.json"
    if damage == "gone":
        path.unlink()
    else:
        path.write_text(path.read_text()[: path.stat().st_size // 2] if damage == "cut" else "<html>")
    code, _, err = dvbench("convert", "nuscenes", "--root", tmp_path / "raw")
    assert code in (1, 3)
    assert "v1.0-trainval" in error_line((code, "", err), code)


# ---- frames and skips


def skips_of(dvbench, dataset, root, *more):
    code, out, err = dvbench("convert", dataset, "--root", root, "--json", *more)
    assert code == 0, err
    return json.loads(out)["skips"]


def test_every_bad_file_of_a_tree_is_counted_under_its_reason(dvbench, tmp_path):
    truth = write_ibims1_tree(tmp_path / "raw")
    reasons = [reason for reason, _ in truth.faults.values()] + ["no_valid_depth"]
    assert skips_of(dvbench, "ibims1", tmp_path / "raw") == {r: reasons.count(r) for r in set(reasons)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "missing_intrinsics"),
        ("[]", "missing_intrinsics"),
        ('{"frame_000000": {}}', "missing_intrinsics"),
        ("{", "missing_intrinsics"),
        ('{"frame_000000": {"intrinsic": [[1, 2], [3]]}}', "bad_intrinsics"),
        ('{"frame_000000": {"intrinsic": "K"}}', "bad_intrinsics"),
        ('{"frame_000000": null}', "missing_intrinsics"),
        ('{"frame_000000": {"intrinsic": [[NaN,0,1],[0,1,1],[0,0,1]]}}', "bad_intrinsics"),
    ],
)
def test_json_without_intrinsics_is_a_counted_skip(dvbench, tmp_path, text, reason):
    """The second scene's only frame loses its intrinsics; the first scene's frames stay."""
    truth = write_scannetpp_tree(tmp_path / "raw")
    before = skips_of(dvbench, "scannetpp", tmp_path / "raw", "--out", tmp_path / "before")
    (truth.iphone("1111111111") / "pose_intrinsic_imu.json").write_text(text)
    after = skips_of(dvbench, "scannetpp", tmp_path / "raw", "--out", tmp_path / "after")
    before["missing_intrinsics"] -= 1
    assert after == before | {reason: before[reason] + 1}


def test_a_truncated_picture_is_a_counted_skip_and_the_rest_is_converted(dvbench, tmp_path):
    truth = write_ibims1_tree(tmp_path / "raw")
    path = truth.core / "rgb/lab_01.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, out, _ = dvbench("convert", "ibims1", "--root", tmp_path / "raw")
    assert code == 0
    assert "2 images" in out
    assert "4 unreadable" in out


def test_too_many_training_skips_fail_naming_each_reason(dvbench, tmp_path):
    truth = write_nuscenes_tree(tmp_path / "raw")
    for name in list(truth.times_us)[:2]:
        _, channel, stem = name.split("/")
        (truth.root / f"samples/{channel}/{stem}.jpg").unlink()
    line = error_line(dvbench("convert", "nuscenes", "--root", tmp_path / "raw", "--split", "train"), 1)
    assert "more than 1.0%" in line
    assert "2 missing_image" in line
    assert "--max-skip-share" in line


# ---- the whole program


def run_module(*arguments, **env):
    command = [sys.executable, "-m", "depthvlm_bench.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | env, check=False)


def test_as_a_program_errors_have_the_same_form(tmp_path):
    done = run_module("convert", "ibims1", "--root", tmp_path / "absent")
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: no raw ibims1 tree [")


def test_help_imports_nothing_heavy():
    code = """
import sys
from depthvlm_bench.cli.main import main
try:
    main(["--help"])
except SystemExit as stopped:
    assert not stopped.code
heavy = {"torch", "datasets", "pyarrow", "pandas", "numpy", "PIL", "scipy", "rich"} & set(sys.modules)
print("heavy:", sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"
    for command, text in COMMANDS.items():
        assert command in done.stdout
        assert text.split(",")[0][:30] in done.stdout


def test_the_package_imports_without_torch():
    code = "import sys, depthvlm_bench; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("command", ["convert", "verify", "doctor", "datasets"])
def test_each_help_ends_in_two_examples(dvbench, command):
    code, out, _ = dvbench(command, "--help")
    assert code == 0
    last = [line.strip() for line in out.strip().splitlines()[-3:]]
    assert last[0] == "Examples:"
    assert all(line.startswith(f"dvbench {command}") for line in last[1:])


def test_no_command_at_all_shows_the_help_as_it_is_meant_to_be_read(dvbench):
    code, out, err = dvbench()
    assert code in (0, 2)
    assert len((out + err).splitlines()) > 10


def test_a_full_disk_is_one_line(dvbench, tmp_path, monkeypatch):
    write_ibims1_tree(tmp_path / "raw")

    def full(path, _rows):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("depthvlm_bench.convert.shards.write_rows", full)
    line = error_line(dvbench("convert", "ibims1", "--root", tmp_path / "raw"), 1)
    assert "No space left on device" in line
    assert "eval-00000-of-00001.parquet" in line


def test_stopping_keeps_what_is_finished_and_says_so(dvbench, tmp_path, monkeypatch):
    write_ibims1_tree(tmp_path / "raw")

    def stop(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("depthvlm_bench.convert.run.convert_shard", stop)
    code, _, err = dvbench("convert", "ibims1", "--root", tmp_path / "raw")
    assert code == 4
    assert "the same command resumes" in err
