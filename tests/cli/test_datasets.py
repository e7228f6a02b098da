import json
import re
from dataclasses import fields
from importlib.metadata import EntryPoint

import pytest

from depthvlm_bench import registry
from depthvlm_bench.cli.main import main
from depthvlm_bench.config import parse_options


@pytest.fixture
def datasets(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main(["datasets", *arguments])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def test_every_dataset_is_listed_with_licence_and_size(datasets):
    code, out, err = datasets()
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    for name in registry.names(registry.CONVERTERS):
        assert name in lines
    assert "100 x 100" in lines["ibims1"]
    assert "CC-BY-NC-SA-4.0" in out
    assert lines["nuscenes"].split()[-1] == "yes"


def test_one_dataset_says_where_to_get_it_and_as_which_tree(datasets):
    code, out, _ = datasets("nuscenes")
    assert code == 0
    assert "https://www.nuscenes.org/nuscenes (account or signature needed)" in out
    assert "eval from v1.0-test | val | mini_val" in out
    assert "1000 images x 10 points" in out
    assert "samples/LIDAR_TOP/FILE.pcd.bin" in out


def test_json_is_the_cards(datasets):
    listed = json.loads(datasets("--json")[1])
    assert [card["name"] for card in listed] == registry.names(registry.CONVERTERS)
    one = json.loads(datasets("ibims1", "--json")[1])
    assert one in listed
    assert (one["images"], one["points_per_image"], one["depth_scale"]) == (100, 100, 1310.7)


def test_a_broken_plug_in_is_named_and_hides_no_other(datasets, monkeypatch):
    broken = EntryPoint("acme", "acme_depth.no_such:CONVERTER", registry.CONVERTERS)
    known = list(registry.entry_points(group=registry.CONVERTERS))
    monkeypatch.setattr(registry, "entry_points", lambda **_: [broken, *known])
    code, out, err = datasets()
    assert code == 0
    assert {"ibims1", "nuscenes", "scannetpp"} <= {line.split()[0] for line in out.splitlines()}
    assert "plug-in 'acme' cannot be imported" in err
    assert "acme_depth" in err
    assert len(err.splitlines()) == 1


def test_a_reader_s_options_are_shown_as_they_are_typed(dvbench):
    out = dvbench("datasets", "scannetpp").out
    assert "-o every=60" in out
    assert "every: take frames whose video index" in out
    assert "options\n           none" in dvbench("datasets", "folder").out


@pytest.mark.parametrize("name", sorted(registry.names(registry.CONVERTERS)))
def test_the_defaults_that_are_shown_are_those_that_they_are_read_as(datasets, name):
    _, out, _ = datasets(name)
    shown = out[out.index("\noptions\n") : out.index("\ntree\n")]
    pairs = re.findall(r"-o (\S+)", shown.splitlines()[2])
    assert not {"True", "False", "None"} & {pair.partition("=")[2] for pair in pairs}
    options_type = registry.load_converter(name).options_type
    assert len(pairs) == len(fields(options_type))
    assert parse_options(options_type, pairs, "test") == options_type()
