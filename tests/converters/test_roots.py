from pathlib import Path

import pytest

from depthvlm_bench.converters._roots import require
from depthvlm_bench.errors import DataMissingError


def make(*folders: Path):
    for folder in folders:
        folder.mkdir(parents=True)


def refused(path, root=None):
    with pytest.raises(DataMissingError) as caught:
        require(path, "taskonomy", root)
    return caught.value


def test_what_is_there_is_accepted(tmp_path):
    make(tmp_path / "rgb" / "taskonomy")
    require(tmp_path / "rgb" / "taskonomy", "taskonomy", tmp_path)


@pytest.mark.parametrize("given", ["", "rgb", "off", "off/further"])
def test_the_root_that_is_named_is_one_that_has_all_of_the_path(tmp_path, given):
    right = tmp_path / "a" / "b"
    make(right / "rgb" / "taskonomy")
    root = {"": tmp_path, "rgb": right / "rgb"}.get(given, right / given)
    root.mkdir(parents=True, exist_ok=True)
    assert f"--root {right} has it" in refused(root / "rgb" / "taskonomy", root).next_step


def test_a_folder_that_has_the_end_of_the_path_alone_is_no_root(tmp_path):
    """Another dataset's tree beside the right one, which has an rgb/ too."""
    make(tmp_path / "hm3d" / "rgb" / "hm3d", tmp_path / "taskonomy" / "notes")
    error = refused(tmp_path / "hm3d" / "rgb" / "taskonomy", tmp_path / "hm3d")
    assert error.next_step == "dvbench datasets taskonomy shows the expected tree"
    assert error.why == f"{tmp_path / 'hm3d' / 'rgb'} holds hm3d"


@pytest.mark.parametrize(("closed", "needed"), [("rgb", "rgb/absent"), ("rgb/taskonomy", "rgb/taskonomy")])
def test_a_folder_that_may_not_be_read_is_named_as_such(tmp_path, close, closed, needed):
    make(tmp_path / "rgb" / "taskonomy")
    close(tmp_path / closed)
    error = refused(tmp_path / needed, tmp_path)
    assert error.what == "no right to read a folder of this taskonomy tree"
    assert error.where == str(tmp_path / closed)


def test_a_missing_folder_may_lie_in_one_that_may_not_be_read(tmp_path, close):
    make(tmp_path / "val" / "log" / "sensors", tmp_path / "val" / "other")
    close(tmp_path / "val" / "log")
    assert refused(tmp_path / "test").where == str(tmp_path / "val" / "log")
