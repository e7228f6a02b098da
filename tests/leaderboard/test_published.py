from dataclasses import replace

import pytest

from depthvlm_bench.config import from_mapping
from depthvlm_bench.errors import UsageError
from depthvlm_bench.leaderboard.published import (
    KnownModel,
    PaperTable,
    PublishedValue,
    Source,
    all_values,
    conflicts,
    find,
    load_models,
    published_values,
)


def value(source="a", number=0.9, **known):
    known = {"label": "M", "dataset": "nyuv2", "metric": "delta1", "mode": "dense", "protocol": "p"} | known
    rest = {"decimals": 3, "paper": "x", "place": "t", "read": "text", "by_authors": True}
    return PublishedValue(source=source, value=number, **(rest | known))


def model(name):
    return next(model for model in load_models() if model.name == name)


def source_file(**changed):
    row = {"label": "M", "paper": "x", "by_authors": True, "values": {"delta1": 0.9, "rmse": 0.25}}
    group = {"place": "t", "dataset": "nyuv2", "mode": "dense", "setting": "zero-shot", "read": "text"}
    told = {"name": "s", "repository": "o/r", "path": "README.md", "commit": "0" * 40, "kind": "readme"}
    return told | {"groups": [group | {"rows": [row | changed]}]}


def test_a_source_becomes_values():
    first, second = from_mapping(
        Source, source_file(checkpoint="L") | {"decimals": {"rmse": 2}}, "s"
    ).values()
    assert (first.id, first.value, first.decimals) == ("s/M/nyuv2/delta1/L", 0.9, 3)
    assert (second.metric, second.value, second.rounding) == ("rmse", 0.25, 0.005)
    assert first.model == "M (L)"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lable": "M"}, "did you mean 'label'"),
        ({"values": {"delta4": 0.9}}, "unknown key 'delta4'"),
        ({"values": {"delta1": "high"}}, "'high'"),
        ({"by_authors": "yes"}, "'yes' is not bool"),
    ],
)
def test_a_key_or_value_that_is_none_is_an_error(changed, words):
    with pytest.raises(UsageError, match="s:") as caught:
        from_mapping(Source, source_file(**changed), "s")
    assert words in caught.value.one_line()


def test_a_table_row_has_one_value_a_dataset():
    told = {
        **{"name": "t", "title": "T", "paper": "x", "repository": "o/r", "path": "t.png", "read": "figure"},
        **{"mode": "sparse", "metric": "delta1", "decimals": 3, "protocol": "p", "set_kind": "published"},
        **{"datasets": ["a", "b"], "rows": [{"label": "M", "family": "f", "values": [0.1], "mean": 0.1}]},
    }
    with pytest.raises(UsageError, match="M has 1 value"):
        from_mapping(PaperTable, told, "t")


def test_values_are_found_by_source_label_dataset_and_metric():
    (found,) = find(all_values(), source="table1", label="DepthVLM-4B", dataset="eth3d")
    assert (found.value, found.protocol, found.set_kind) == (0.924, "depthvlm-compat-1", "published")
    assert found.by_authors
    assert {v.metric for v in find(published_values(), label="BTS", metric="silog")} == {"silog"}


def test_values_are_found_by_model_whatever_a_source_calls_it():
    found = find(all_values(), model=model("constant-2m"))
    assert {(v.source, v.label) for v in found} == {
        ("table1", "Always Output 2.0m"),
        ("depthlm-points-figure", "constant 2.0 m"),
    }


def test_a_stated_checkpoint_is_one_model_and_an_unstated_one_may_be_several():
    large, giant = model("metric3d-v2-l"), model("metric3d-v2-g")
    (unsaid,) = find(all_values(), source="table2", label="Metric3Dv2", dataset="waymo")
    assert large.is_of(unsaid)
    assert giant.is_of(unsaid)
    for checkpoint, other in (("ViT-L", giant), ("ViT-g2", large)):
        stated = [v for v in published_values() if v.checkpoint == checkpoint and v.label == "Metric3Dv2"]
        assert stated
        assert not any(other.is_of(v) for v in stated)


def test_fine_tuned_weights_are_not_those_that_are_run():
    known = KnownModel("m", ("M",), ("L",))
    assert known.is_of(value(setting="zero-shot", checkpoint="L"))
    assert not known.is_of(value(setting="fine-tuned", checkpoint="L"))
    assert not known.is_of(value(setting="fine-tuned (listed as zero-shot)"))


def others(mine, *values):
    return [(c.other.source, c.certain) for c in conflicts(mine, (mine, *values))]


def test_another_value_of_the_same_model_set_and_protocol_is_a_conflict():
    assert others(value(), value("b", 0.91)) == [("b", True)]
    assert others(value(), value("b", 0.9)) == []
    assert others(value(), value(number=0.91, checkpoint="L")) == []  # the same source


def test_values_that_agree_to_the_coarser_rounding_are_no_conflict():
    assert others(value(number=0.9), value("b", 0.904, decimals=2)) == []
    assert others(value(number=0.9), value("b", 0.91, decimals=2)) == [("b", True)]


@pytest.mark.parametrize(
    "changed",
    [
        {"label": "N"},
        {"dataset": "kitti"},
        {"metric": "abs_rel"},
        {"mode": "sparse"},
        {"setting": "fine-tuned"},
        {"set_kind": "published"},
        {"copied_from": "c/M/nyuv2/delta1"},
        {"protocol": None, "split": "another"},
    ],
)
def test_what_is_of_something_else_contradicts_nobody(changed):
    mine = value(split="Eigen test", setting="zero-shot")
    assert others(mine, replace(value("b", 0.5, setting="zero-shot (as claimed)"), **changed)) == []


def test_a_conflict_is_uncertain_where_the_protocol_or_checkpoint_is_not_stated():
    assert others(value(), value("b", 0.5, protocol=None)) == [("b", False)]
    assert others(value(), value("b", 0.5, checkpoint="L")) == [("b", False)]
    stated = {"protocol": None, "split": "Eigen test"}
    assert others(value(**stated), value("b", 0.5, **stated)) == [("b", True)]
    assert others(value(**stated), value("b", 0.5, pooled=True, **stated)) == [("b", False)]


def test_an_unnamed_checkpoint_is_compared_with_the_nearest_one():
    small, large = value("b", 0.7, checkpoint="S"), value("b", 0.9, checkpoint="L")
    assert others(value(), small, large) == []
    mine = value(number=0.89)
    assert [c.other for c in conflicts(mine, (mine, small, large))] == [large]
    assert [c.other for c in conflicts(large, (mine, small, large))] == [mine]
    assert conflicts(small, (mine, small, large)) == ()


def test_the_conflicts_that_ship_are_mutual_and_known():
    pairs = {
        frozenset((v.id, c.other.id)): c.certain for v in all_values() for c in conflicts(v, all_values())
    }
    assert len(pairs) == 9
    certain = {tuple(sorted(pair)) for pair, sure in pairs.items() if sure}
    assert certain == {
        (f"depth-anything-readme/ZoeDepth/{name}/delta1", f"unidepth-readme/ZoeDepth/{name}/delta1")
        for name in ("nyuv2", "kitti")
    }
    for a, b in pairs:
        for mine, other in ((a, b), (b, a)):
            (found,) = (v for v in all_values() if v.id == mine)
            assert other in [c.other.id for c in conflicts(found, all_values())]
