import json
from importlib.metadata import EntryPoint, EntryPoints

from depthvlm_bench import registry

NAIVE = {"best-constant", "constant", "constant-2m", "oracle", "row-prior"}


def test_it_lists_every_registered_model(dvbench):
    done = dvbench("models")
    assert done.code == 0
    for name in registry.names(registry.MODELS):
        assert any(line.split()[:1] == [name] for line in done.out.splitlines())
    assert "a training split" in done.out
    assert "Apache-2.0" in done.out


def test_json_is_the_cards(dvbench):
    cards = {card["id"]: card for card in json.loads(dvbench("models", "--json").out)}
    assert set(cards) >= NAIVE
    assert cards["oracle"]["kind"] == "point"
    assert cards["row-prior"]["fitted"] is True
    assert cards["constant-2m"]["camera"] == "ignored"


def test_a_plug_in_that_fails_to_import_is_named_and_hides_no_other(dvbench, monkeypatch):
    broken = EntryPoint("broken", "no_such_package_here:MODEL", registry.MODELS)
    found = EntryPoints([*registry.entry_points(group=registry.MODELS), broken])
    monkeypatch.setattr(registry, "entry_points", lambda **known: found.select(**known))
    done = dvbench("models")
    assert "constant-2m" in done.out
    assert "broken" in done.err
    assert "no_such_package_here" in done.err
    assert "Traceback" not in done.text
