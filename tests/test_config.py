from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from depthvlm_bench.config import from_mapping, load_toml, parse_options
from depthvlm_bench.errors import UsageError


@dataclass(frozen=True)
class Inner:
    id: str
    weight: float = 1.0


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["indoor", "outdoor"] = "indoor"
    inner: Inner | None = None
    scale: float = 1.0
    images: int | None = None
    cameras: tuple[str, ...] = ()
    pair: tuple[int, float] = (0, 0.0)
    splits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    login: bool = False
    folder: Path = Path()


def test_nested_values_become_frozen_dataclasses_of_the_declared_types():
    mapping = {
        "name": "x",
        "kind": "outdoor",
        "inner": {"id": "i", "weight": 2},
        "scale": 3,
        "images": 5,
        "cameras": ["a", "b"],
        "pair": [1, 2],
        "splits": {"eval": ["test", "val"]},
        "login": True,
        "folder": "a/b",
    }
    expected = Outer(
        "x",
        "outdoor",
        Inner("i", 2.0),
        3.0,
        5,
        ("a", "b"),
        (1, 2.0),
        {"eval": ("test", "val")},
        True,
        Path("a/b"),
    )
    made = from_mapping(Outer, mapping, "card")
    assert made == expected
    assert isinstance(made.scale, float)
    assert isinstance(made.pair[1], float)


def test_what_is_not_given_has_its_default():
    assert from_mapping(Outer, {"name": "x"}, "card") == Outer("x")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"name": "x", "scle": 1.0}, "unknown key 'scle' [card] — did you mean 'scale'?"),
        ({"name": "x", "zzzzzzz": 1.0}, "unknown key 'zzzzzzz' [card] — known keys: name, kind, inner"),
        ({"name": "x", "inner": {"id": "i", "wieght": 1.0}}, "did you mean 'weight'?"),
        ({}, "missing key 'name' [card]"),
        ({"name": "x", "inner": {}}, "missing key 'id'"),
    ],
)
def test_unknown_and_missing_keys_are_errors_with_a_hint(mapping, message):
    with pytest.raises(UsageError) as caught:
        from_mapping(Outer, mapping, "card")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 3),
        ("kind", "underwater"),
        ("scale", "2"),
        ("scale", True),
        ("images", 2.5),
        ("images", True),
        ("login", 1),
        ("cameras", "CAM_FRONT"),
        ("cameras", [1]),
        ("pair", [1]),
        ("pair", [1, 2, 3]),
        ("splits", ["eval"]),
        ("splits", {"eval": "test"}),
        ("inner", "i"),
        ("folder", 3),
    ],
)
def test_values_of_another_type_are_errors_that_name_the_key(key, value):
    with pytest.raises(UsageError, match=rf"card: {key}"):
        from_mapping(Outer, {"name": "x", key: value}, "card")


def test_toml_errors_name_the_file(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('name = "x"\n[inner]\nid = "i"\n', encoding="utf-8")
    assert load_toml(Outer, path) == Outer("x", inner=Inner("i"))
    path.write_text('name = "x"\nkid = "indoor"\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"x\.toml.*did you mean 'kind'"):
        load_toml(Outer, path)
    path.write_text("name = \n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"not valid TOML \[.*x\.toml\]"):
        load_toml(Outer, path)


@dataclass(frozen=True)
class Options:
    every: int = 60
    ratio: float = 1.0
    rgb_root: Path | None = None
    limit: int | None = 5
    strict: bool = True
    cameras: tuple[str, ...] = ()
    stops: tuple[int, ...] = ()
    source: Literal["lidar", "render"] = "lidar"
    note: str = ""


@pytest.mark.parametrize(
    ("pair", "key", "value"),
    [
        ("every=30", "every", 30),
        (" every = 30 ", "every", 30),
        ("ratio=2", "ratio", 2.0),
        ("rgb-root=/a/b", "rgb_root", Path("/a/b")),
        ("limit=None", "limit", None),
        ("limit=7", "limit", 7),
        ("strict=FALSE", "strict", False),
        ("cameras=a, b,", "cameras", ("a", "b")),
        ("stops=1,2", "stops", (1, 2)),
        ("source=render", "source", "render"),
        ("note=a=b", "note", "a=b"),
        ("note=none", "note", "none"),
        ("note=", "note", ""),
    ],
)
def test_options_from_text_have_the_type_of_their_field(pair, key, value):
    made = getattr(parse_options(Options, [pair], "scannetpp"), key)
    assert made == value
    assert type(made) is type(value) or isinstance(made, Path)


def test_no_options_are_the_defaults():
    assert parse_options(Options, [], "scannetpp") == Options()


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("every", "'every' is not KEY=VALUE"),
        ("evry=3", "did you mean 'every'?"),
        ("every=x", "'x' is not a number"),
        ("every=1.5", "'1.5' is not a number"),
        ("stops=1,x", "'x' is not a number"),
        ("strict=yes", "neither true nor false"),
        ("source=mesh", "'mesh' is not 'lidar' | 'render'"),
        ("every=none", "'none' is not a number"),
    ],
)
def test_options_that_cannot_be_are_usage_errors(pair, message):
    with pytest.raises(UsageError) as caught:
        parse_options(Options, [pair], "scannetpp")
    assert message in str(caught.value)
    assert "[scannetpp" in str(caught.value)
