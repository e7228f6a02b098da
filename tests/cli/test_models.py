import json
from importlib.metadata import EntryPoint, EntryPoints
from importlib.util import find_spec

import pytest

from depthvlm_bench import registry
from depthvlm_bench.predict.contracts import Model, ModelCard

needs_models = pytest.mark.skipif(find_spec("transformers") is None, reason="the extra `models` is not here")

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


def test_what_has_to_be_installed_is_shown_whole(dvbench, monkeypatch):
    """Square brackets are no markup."""
    card = ModelCard("big", "f", "dense", "s", licence="none", camera="ignored", extra="models")
    monkeypatch.setattr(registry, "each", lambda group: [("big", Model(card, lambda: None))])
    assert "pip install 'depthvlm-bench[models]'" in dvbench("models").out


@needs_models
def test_a_tiny_checkpoint_is_made_and_is_no_command_to_overwrite_one(dvbench, tmp_path):
    done = dvbench("models", "make-tiny", "depthvlm", tmp_path / "tiny", "--answer", "2.5", "--seed", "3")
    assert done.code == 0, done.text
    assert f"wrote {tmp_path / 'tiny'}" in done.out
    assert "dvbench eval --model" in done.out
    assert (tmp_path / "tiny" / "model.safetensors").is_file()
    again = dvbench("models", "make-tiny", "depthvlm", tmp_path / "tiny")
    assert again.code == 2
    assert "there is a checkpoint already" in again.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["make-tiny", "llama", "out"], "unknown tiny model 'llama'"),
        (["make-tiny", "depthvlm"], "DIR"),
        (["depthvlm-4x", "--cost"], "did you mean 'depthvlm-4b'"),
    ],
)
def test_a_mistake_is_one_line(dvbench, arguments, words):
    done = dvbench("models", *arguments)
    assert done.code == 2
    assert words in done.error
