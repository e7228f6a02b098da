"""What the models were trained on: every dataset has a word, and a word has a source."""

import pytest

from depthvlm_bench.baselines import depth_anything_v2 as anything
from depthvlm_bench.baselines._exposure import trained_on
from depthvlm_bench.baselines.depth_pro import DEPTH_PRO
from depthvlm_bench.baselines.zoedepth import ZOEDEPTH
from depthvlm_bench.registry import CONVERTERS, names

DATASETS = set(names(CONVERTERS)) - {"folder"}


@pytest.mark.parametrize(
    "model", [ZOEDEPTH, DEPTH_PRO, anything.INDOOR_B, anything.OUTDOOR_L, anything.PAIR_S]
)
def test_every_dataset_has_a_word_and_the_words_a_source(model):
    assert set(model.card.trained_on) == DATASETS
    assert model.card.trained_on_source.startswith("arXiv ")


def test_zoedepth_saw_nyuv2_in_either_copy_and_nothing_else():
    assert {name for name, seen in ZOEDEPTH.card.trained_on.items() if seen == "yes"} == {
        "nyuv2",
        "nyuv2-sun",
    }


def test_nothing_is_known_of_one_s_own_checkpoint():
    assert not anything.OWN.card.trained_on


def test_what_a_list_leaves_open_is_unknown():
    table = trained_on("waymo", unknown=("ddad",))
    assert (table["waymo"], table["ddad"], table["nyuv2"]) == ("yes", "unknown", "no")
