import sys
from dataclasses import asdict, replace

import pytest
from raw_ibims1 import write_ibims1_tree

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.convert.settings import check_disjoint, choose_split, make_settings, set_folder
from depthvlm_bench.errors import CheckError, DataMissingError, ExitCode, UsageError
from depthvlm_bench.frames import NoOptions, Split
from depthvlm_bench.hashing import sha256_json
from depthvlm_bench.records import backends
from depthvlm_bench.registry import load_converter

NUSCENES, IBIMS = builtin_card("nuscenes"), builtin_card("ibims1")


class Tree:
    """What choosing a split needs of a source: which splits are there, and their scenes."""

    def __init__(self, **scenes):
        self._scenes = {
            name.replace("v1_0", "v1.0").replace("_test", "-test"): s for name, s in scenes.items()
        }

    def source_splits(self):
        return list(self._scenes)

    def scenes(self, source_split):
        return self._scenes[source_split]


def choose(tree, role="eval", source_split=None, *, card=NUSCENES, allow_overlap=False):
    return choose_split(card, tree, role, source_split, allow_overlap=allow_overlap)


@pytest.mark.parametrize(
    ("present", "taken"),
    [
        ({"mini_val": [], "val": [], "v1_0_test": []}, "v1.0-test"),
        ({"mini_val": [], "val": [], "train": []}, "val"),
        ({"mini_train": [], "mini_val": []}, "mini_val"),
    ],
)
def test_the_first_present_split_in_the_card_s_order_is_taken(present, taken):
    chosen = choose(Tree(**present))
    assert (chosen.split, chosen.set_kind, chosen.set_name) == (Split("eval", taken), "strict", "nuscenes")


def test_a_split_asked_for_is_in_the_set_s_name():
    chosen = choose(Tree(val=[], mini_val=[]), source_split="mini_val")
    assert (chosen.split.source, chosen.set_kind, chosen.set_name) == (
        "mini_val",
        "strict",
        "nuscenes@mini_val",
    )
    chosen = choose(Tree(train=[], mini_train=[]), "train", "mini_train")
    assert (chosen.split.role, chosen.set_name) == ("train", "nuscenes@mini_train")


def test_no_split_of_the_role_names_what_is_there_and_the_unranked_look():
    with pytest.raises(DataMissingError) as caught:
        choose(Tree(mini_train=[]))
    assert caught.value.exit_code == ExitCode.DATA_MISSING == 3
    assert "it has mini_train" in caught.value.why
    assert "v1.0-test, val, mini_val" in caught.value.why
    assert "--source-split mini_train --allow-overlap" in caught.value.next_step


def test_an_empty_tree_points_to_the_expected_one():
    with pytest.raises(DataMissingError, match="no known split") as caught:
        choose(Tree())
    assert caught.value.next_step.startswith("dvbench datasets nuscenes")


def test_a_training_tree_gives_no_hint_to_train_on_evaluation_data():
    with pytest.raises(DataMissingError) as caught:
        choose(Tree(val=[]), "train")
    assert "overlap" not in caught.value.next_step


def test_a_split_that_is_not_in_the_tree_is_data_missing():
    with pytest.raises(DataMissingError, match="split val is not in this tree") as caught:
        choose(Tree(mini_val=[]), source_split="val")
    assert "mini_val" in caught.value.why


def test_an_unknown_split_is_a_usage_error_with_a_hint():
    with pytest.raises(UsageError, match="did you mean 'mini_val'"):
        choose(Tree(mini_val=[]), source_split="mini-val")


def test_evaluation_from_a_training_split_needs_consent_and_is_marked():
    tree = Tree(mini_train=[])
    with pytest.raises(UsageError, match="training split") as caught:
        choose(tree, source_split="mini_train")
    assert "--allow-overlap" in caught.value.next_step
    chosen = choose(tree, source_split="mini_train", allow_overlap=True)
    assert (chosen.set_kind, chosen.set_name) == ("overlap", "nuscenes@mini_train")
    assert chosen.split == Split("eval", "mini_train")


@pytest.mark.parametrize("allow_overlap", [False, True])
def test_training_on_an_evaluation_split_is_never_allowed(allow_overlap):
    with pytest.raises(UsageError, match="worthless"):
        choose(Tree(val=[]), "train", "val", allow_overlap=allow_overlap)


def test_allow_overlap_alone_changes_nothing():
    assert choose(Tree(val=[]), allow_overlap=True).set_kind == "strict"
    with pytest.raises(DataMissingError):
        choose(Tree(mini_train=[]), allow_overlap=True)


def test_a_role_the_dataset_does_not_have_is_a_usage_error(tmp_path):
    write_ibims1_tree(tmp_path)
    source = load_converter("ibims1").open(tmp_path, NoOptions())
    with pytest.raises(UsageError, match="no train split"):
        choose(source, "train", card=IBIMS)


def test_scenes_in_both_splits_are_refused_by_name():
    tree = Tree(val=["a", "b"], train=["b", "c"])
    with pytest.raises(CheckError, match="share 1 scenes") as caught:
        check_disjoint(NUSCENES, tree, choose(tree))
    assert "b" in caught.value.why.split(": ")[1]
    with pytest.raises(CheckError):
        check_disjoint(NUSCENES, tree, choose(tree, "train"))


def test_disjoint_splits_pass_and_an_overlap_set_is_not_asked():
    tree = Tree(val=["a"], train=["c"])
    check_disjoint(NUSCENES, tree, choose(tree))
    check_disjoint(NUSCENES, Tree(val=["a"]), choose(Tree(val=["a"])))
    both = Tree(val=["a"], train=["a"])
    check_disjoint(NUSCENES, both, choose(both, source_split="train", allow_overlap=True))


def settings_of(role="eval", *, limit=None, keep_source_image=True, converter=None, source_split="val"):
    converter = converter or load_converter("nuscenes")
    return make_settings(
        converter,
        Split(role, source_split),
        "strict",
        converter.options_type(),
        limit=limit,
        keep_source_image=keep_source_image,
    )


@pytest.mark.parametrize(
    ("role", "limit", "images", "points"),
    [
        ("eval", None, 1000, 10),
        ("eval", 3, 3, 10),
        ("eval", 5000, 1000, 10),
        ("train", None, None, None),
        ("train", 7, 7, None),
    ],
)
def test_the_budget_is_the_card_s_or_a_smaller_limit(role, limit, images, points):
    settings = settings_of(role, limit=limit)
    assert (settings.images, settings.points_per_image) == (images, points)


def test_whatever_decides_content_is_in_the_hash():
    plain, converter = settings_of(), load_converter("nuscenes")
    near = replace(converter, card=replace(converter.card, near_m=2.0))
    others = [
        settings_of(limit=3),
        settings_of(keep_source_image=False),
        settings_of(source_split="mini_val"),
        settings_of("train", source_split="val"),
        settings_of(converter=replace(converter, version=2)),
        settings_of(converter=near),
        replace(plain, seed="43"),
        replace(plain, set_kind="overlap"),
        replace(plain, prompt_hash="other"),
        replace(plain, backend="simplejpeg+torch"),
    ]
    assert len({plain.hash, *(settings.hash for settings in others)}) == 1 + len(others)
    assert settings_of().hash == plain.hash == sha256_json(asdict(plain))


def test_reader_options_are_in_the_hash():
    converter = load_converter("scannetpp")
    made = [
        make_settings(
            converter, Split("eval", "nvs_sem_val"), "strict", converter.options_type(every=every),
            limit=None, keep_source_image=True,
        )
        for every in (60, 30)
    ]  # fmt: skip
    assert made[0].options == {"every": 60, "masks": False}
    assert made[0].hash != made[1].hash


def test_records_carry_the_settings_hash():
    settings = settings_of(keep_source_image=False)
    spec = settings.record_spec(NUSCENES)
    assert (spec.options_hash, spec.converter, spec.set_kind) == (settings.hash, "nuscenes/1", "strict")
    assert spec.keep_source_image is False
    assert spec.card is NUSCENES


def test_training_pictures_are_made_by_the_best_backend_and_evaluation_pictures_by_pillow(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: name)
    assert (settings_of("train").backend, settings_of("eval").backend) == ("simplejpeg+torch", "pillow")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert settings_of("train").backend == "pillow"


def test_a_worker_without_the_plan_s_backend_is_refused_before_it_makes_a_record(monkeypatch):
    settings = replace(settings_of("train"), backend="simplejpeg+torch")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=r"simplejpeg\+torch.*torch cannot be loaded"):
        settings.record_spec(NUSCENES)
    plain = replace(settings, backend="pillow").record_spec(NUSCENES)
    assert isinstance(plain.backend, backends.PillowBackend)


def test_a_set_lies_under_its_name(tmp_path):
    assert set_folder(tmp_path, "nuscenes@val") == tmp_path / "nuscenes@val"
