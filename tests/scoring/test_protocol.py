import tomllib
from dataclasses import FrozenInstanceError, asdict, fields, replace
from importlib.resources import files
from typing import get_args, get_type_hints

import pytest

from depthvlm_bench.config import from_mapping, load_toml
from depthvlm_bench.errors import UsageError
from depthvlm_bench.hashing import sha256_json
from depthvlm_bench.registry import load_converter
from depthvlm_bench.scoring.protocol import (
    DEFAULT_PROTOCOL,
    Bootstrap,
    Protocol,
    load_protocol,
    protocol_names,
)

PROTOCOL = load_protocol("dvbench-1")
OTHER_VALUES = {
    "truth": "compat_gt_m",
    "dense": "canonical",
    "name": "other",
    "title": "other",
    "description": "other",
    "readout": "bilinear",
    "points": "points_balanced",
    "ratio": 1.3,
    "missing": "dropped",
    "precision": "float32",
    "aggregation": ("dataset",),
    "set_kinds": ("strict",),
    "ranked_kinds": ("strict", "overlap"),
    "bootstrap": Bootstrap("image", 2000, 0.9, 42),
    "datasets": ("nyuv2",),
    "set_options": {"gt": "raw"},
}


def mapping():
    path = files("depthvlm_bench.manifests") / "protocols" / "dvbench-1.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_the_default_says_what_the_paper_of_rules_says():
    assert DEFAULT_PROTOCOL in protocol_names()
    assert PROTOCOL.name == "dvbench-1"
    assert (PROTOCOL.ratio, PROTOCOL.readout, PROTOCOL.points) == (1.25, "nearest", "points")
    assert (PROTOCOL.missing, PROTOCOL.precision) == ("miss", "float64")
    assert PROTOCOL.aggregation == ("image", "dataset")
    assert PROTOCOL.ranked_kinds == ("strict",)
    assert PROTOCOL.bootstrap.resamples >= 2000
    assert PROTOCOL.bootstrap.level == 0.95


def test_every_file_is_named_as_it_names_itself():
    assert [load_protocol(name).name for name in protocol_names()] == protocol_names()


@pytest.mark.parametrize("name", [field.name for field in fields(Protocol)])
def test_the_hash_changes_with_any_value(name):
    assert replace(PROTOCOL, **{name: OTHER_VALUES[name]}).hash != PROTOCOL.hash


@pytest.mark.parametrize("change", [{"resamples": 2001}, {"level": 0.9}, {"seed": 43}])
def test_the_hash_changes_with_the_bootstrap(change):
    changed = replace(PROTOCOL, bootstrap=replace(PROTOCOL.bootstrap, **change))
    assert changed.hash != PROTOCOL.hash


def test_the_hash_does_not_depend_on_the_order_of_the_file():
    turned = dict(reversed(mapping().items()))
    assert from_mapping(Protocol, turned, "turned").hash == PROTOCOL.hash


def test_a_protocol_is_frozen():
    with pytest.raises(FrozenInstanceError):
        PROTOCOL.ratio = 1.5


def test_an_unknown_key_is_an_error_with_a_hint(tmp_path):
    path = files("depthvlm_bench.manifests") / "protocols" / "dvbench-1.toml"
    copy = tmp_path / "mine.toml"
    copy.write_text("ration = 1.25\n" + path.read_text(encoding="utf-8"))
    with pytest.raises(UsageError, match="unknown key 'ration'") as caught:
        load_toml(Protocol, copy)
    assert "did you mean 'ratio'" in caught.value.why
    assert "mine.toml" in caught.value.where


@pytest.mark.parametrize(
    ("key", "value"),
    [("readout", "farthest"), ("missing", "ignore"), ("ratio", "1.25"), ("aggregation", "image")],
)
def test_a_value_it_does_not_know_is_an_error(key, value):
    with pytest.raises(UsageError, match=key):
        from_mapping(Protocol, mapping() | {key: value}, "mine.toml")


def test_a_missing_key_is_an_error():
    short = mapping()
    del short["ratio"]
    with pytest.raises(UsageError, match="missing key 'ratio'"):
        from_mapping(Protocol, short, "mine.toml")


def test_an_unknown_name_has_a_hint():
    with pytest.raises(UsageError, match="unknown protocol 'dvbench1'") as caught:
        load_protocol("dvbench1")
    assert "did you mean 'dvbench-1'" in caught.value.why


def test_hashes_of_rules_that_name_no_dataset_are_those_from_before_there_were_such_keys():
    plain = {
        name: value for name, value in asdict(PROTOCOL).items() if name not in ("datasets", "set_options")
    }
    assert PROTOCOL.hash == sha256_json(plain)


@pytest.mark.parametrize(
    ("kind", "dataset", "options", "why"),
    [
        ("strict", "nyuv2", {"gt": "raw"}, ""),
        ("strict", "nyuv2", {"gt": "filled"}, "-o gt=raw"),
        ("strict", "nyuv2", {}, "-o gt=raw"),
        ("strict", "nyuv2-sun", {"gt": "raw"}, "defined on nyuv2"),
        ("published", "nyuv2", {"gt": "raw"}, "takes strict sets, this one is published"),
    ],
)
def test_a_protocol_says_why_it_refuses_a_set(kind, dataset, options, why):
    found = load_protocol("nyu-eigen-dense-1").refuses(kind, dataset, options)
    assert (why in found) if why else found == ""


def test_a_protocol_of_published_values_is_of_one_known_dataset_and_ranks_nothing():
    published = [load_protocol(name) for name in protocol_names() if "-dense-" in name]
    assert len(published) == 4
    for protocol in published:
        assert protocol.ranked_kinds == ()
        assert protocol.set_kinds == ("strict",)
        (dataset,) = protocol.datasets
        options = load_converter(dataset).options_type()
        # What it asks of a set is something that the converter can give.
        for name, value in protocol.set_options.items():
            assert value in get_args(get_type_hints(type(options))[name])
