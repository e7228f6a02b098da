import sys
from importlib.metadata import EntryPoint, entry_points

import pytest

from depthvlm_bench import registry
from depthvlm_bench.errors import CheckError, DvbenchError, UsageError
from depthvlm_bench.frames import Converter


def registered(group):
    return sorted({point.name for point in entry_points(group=group)})


@pytest.fixture
def plug_in(monkeypatch, tmp_path):
    """Registers a converter `broken` whose module holds the given source."""

    def make(source):
        (tmp_path / "broken_plug_in.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "broken_plug_in", raising=False)
        point = EntryPoint("broken", "broken_plug_in:CONVERTER", registry.CONVERTERS)

        def found(*, group, **criteria):
            points = [*entry_points(group=group), *([point] if group == registry.CONVERTERS else [])]
            return [p for p in points if p.name == criteria.get("name", p.name)]

        monkeypatch.setattr(registry, "entry_points", found)

    return make


def test_the_built_in_datasets_are_registered():
    assert {"ibims1", "nuscenes", "scannetpp"} <= set(registry.names(registry.CONVERTERS))


@pytest.mark.parametrize("name", registered(registry.CONVERTERS))
def test_every_converter_loads(name):
    assert isinstance(registry.load_converter(name), Converter)


@pytest.mark.parametrize("name", registered(registry.MODELS))
def test_every_model_loads(name):
    assert registry.load_model(name) is not None


def test_names_are_sorted_and_each_yields_them_all():
    names = registry.names(registry.CONVERTERS)
    assert names == sorted(names)
    assert [name for name, _ in registry.each(registry.CONVERTERS)] == names


def test_unknown_names_come_with_a_hint_and_the_listing_command():
    with pytest.raises(
        UsageError, match=r"unknown dataset 'scanetpp' — did you mean 'scannetpp'.*dvbench datasets"
    ):
        registry.load_converter("scanetpp")
    with pytest.raises(UsageError, match=r"unknown model 'constant-2'.*dvbench models"):
        registry.load_model("constant-2")


FAULTS = {
    "missing_dependency": "import a_package_that_is_not_there",
    "no_such_attribute": "OTHER = 1",
    "syntax": "def",
    "runtime": "raise RuntimeError('driver too old')",
    "missing_library": "raise OSError('libfoo.so: cannot open shared object file')",
    "bad_card": "from depthvlm_bench.errors import UsageError\nraise UsageError('unknown key')",
    "bad_value": "{}['x']",
}


@pytest.mark.parametrize("source", FAULTS.values(), ids=FAULTS)
def test_a_broken_plug_in_is_named_and_hides_no_other(plug_in, source):
    plug_in(source)
    found = dict(registry.each(registry.CONVERTERS))
    assert set(found) == {"broken", *registered(registry.CONVERTERS)}
    assert isinstance(found.pop("broken"), CheckError)
    assert all(isinstance(converter, Converter) for converter in found.values())


@pytest.mark.parametrize("source", FAULTS.values(), ids=FAULTS)
def test_a_broken_plug_in_says_which_and_where_when_asked_for(plug_in, source):
    plug_in(source)
    with pytest.raises(
        DvbenchError, match=r"plug-in 'broken' cannot be imported \[broken_plug_in:CONVERTER"
    ) as caught:
        registry.load_converter("broken")
    assert "\n" not in str(caught.value)


def test_a_third_partys_object_is_found_by_its_name(plug_in):
    plug_in("CONVERTER = 'mine'")
    assert registry.load_converter("broken") == "mine"
    assert "broken" in registry.names(registry.CONVERTERS)
