"""Rooms and streets, told by a record's dataset."""

import pytest

from depthvlm_bench.baselines._domain import domain_of
from depthvlm_bench.cards import builtin_card, official_names
from depthvlm_bench.errors import UsageError
from depthvlm_bench.registry import CONVERTERS, names


@pytest.mark.parametrize("dataset", sorted(set(names(CONVERTERS)) - {"folder"}))
def test_every_dataset_tells(dataset):
    kind = builtin_card(dataset).kind
    scenes = official_names(dataset) if kind == "mixed" else {"indoor": ["a"], "outdoor": ["a"]}
    told = {domain: domain_of(f"{dataset}/eval/{scenes[domain][0]}/-/x") for domain in ("indoor", "outdoor")}
    assert told == (
        {"indoor": "indoor", "outdoor": "outdoor"} if kind == "mixed" else dict.fromkeys(told, kind)
    )


@pytest.mark.parametrize("record", ["folder/eval/scene/-/x", "somebody-elses/eval/scene/-/x"])
def test_what_does_not_tell_is_refused_and_never_guessed(record):
    with pytest.raises(UsageError, match="indoors or outdoors"):
        domain_of(record)
