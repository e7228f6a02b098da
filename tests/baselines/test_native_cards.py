"""Cards of models that run in transformers: read without torch, pinned, plain about what they cannot do."""

import pytest

from depthvlm_bench.baselines import _checkpoints as checkpoints
from depthvlm_bench.baselines import depth_anything_v2 as adapter
from depthvlm_bench.baselines.depth_anything_v2 import INDOOR_L, INDOOR_S, OUTDOOR_S, OWN
from depthvlm_bench.baselines.depth_pro import DEPTH_PRO
from depthvlm_bench.baselines.zoedepth import ZOEDEPTH
from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict.runner import RunSettings, check_settings

SINGLES = (
    *(adapter.INDOOR_S, adapter.INDOOR_B, adapter.INDOOR_L),
    *(adapter.OUTDOOR_S, adapter.OUTDOOR_B, adapter.OUTDOOR_L),
)
PAIRS = (adapter.PAIR_S, adapter.PAIR_B, adapter.PAIR_L)
PUBLISHED = (ZOEDEPTH, DEPTH_PRO, *SINGLES, *PAIRS)


def test_there_is_a_name_for_each_domain_and_size_and_for_each_pair():
    names = [model.card.id for model in SINGLES]
    family = "depth-anything-v2-metric"
    assert names == [f"{family}-{domain}-{size}" for domain in ("indoor", "outdoor") for size in "sbl"]
    assert [model.card.id for model in PAIRS] == [f"{family}-{size}" for size in "sbl"]
    assert INDOOR_L.card.repos.keys() == {"depth-anything/Depth-Anything-V2-Metric-Indoor-Large-hf"}
    assert len(adapter.PAIR_B.card.repos) == 2
    assert len({revision for model in SINGLES for revision in model.card.repos.values()}) == 6


def test_the_domain_policy_stands_in_the_listing():
    assert "indoor weights for every set" in INDOOR_S.card.summary
    assert "outdoor weights for every set" in OUTDOOR_S.card.summary
    assert all("which other models are not told" in model.card.summary for model in PAIRS)


def by_name(models):
    return pytest.mark.parametrize("model", models, ids=[model.card.id for model in models])


@by_name(PUBLISHED)
def test_without_torch_the_pip_command_is_told(model, monkeypatch):
    monkeypatch.setattr(checkpoints, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="depthvlm-bench\\[models\\]"):
        model.identify(model.options_type())


@by_name(PUBLISHED)
def test_published_weights_are_pinned_to_a_commit(model):
    assert all(len(revision) == 40 and int(revision, 16) for revision in model.card.repos.values())


@by_name((*PUBLISHED, OWN))
def test_a_preferred_focal_length_is_nothing_that_any_of_them_has(model):
    with pytest.raises(UsageError, match="preferred focal length"):
        check_settings(model.card, RunSettings(input="preferred"))


def test_only_depth_pro_takes_a_camera():
    assert DEPTH_PRO.card.camera == "optional"
    assert {model.card.camera for model in (ZOEDEPTH, *SINGLES, *PAIRS, OWN)} == {"unsupported"}
