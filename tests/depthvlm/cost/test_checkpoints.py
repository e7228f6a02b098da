"""Sizes read from a checkpoint's own files."""

import json

import pytest

from depthvlm_bench.depthvlm.cost.checkpoints import read_checkpoint
from depthvlm_bench.depthvlm.cost.parameters import parameters
from depthvlm_bench.depthvlm.cost.sheets import Head, load_architecture
from depthvlm_bench.errors import CheckError, DataMissingError

CONFIG = {
    "model_type": "depthvlm_qwen3_vl",
    "tie_word_embeddings": True,
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
    },
    "vision_config": {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [5, 11, 17],
    },
}


@pytest.fixture
def folder(tmp_path):
    """Writes a config into a folder and gives the folder."""

    def write(**changes):
        (tmp_path / "config.json").write_text(json.dumps(CONFIG | changes))
        return tmp_path

    return write


def test_a_checkpoint_of_the_4b_sizes_is_the_4b_architecture(folder):
    read, known = read_checkpoint(folder()).sizes, load_architecture("qwen3-vl-4b")
    assert (read.decoder, read.tower, read.picture) == (known.decoder, known.tower, known.picture)


def test_with_a_head_a_map_is_one_pass_and_without_it_is_questions(folder):
    with_head = read_checkpoint(folder())
    assert (with_head.sheet.way, with_head.head) == ("one-pass", Head())
    without = read_checkpoint(folder(model_type="qwen3_vl"))
    assert (without.sheet.way, without.head) == ("pixel-query", None)
    assert "depth head" not in parameters(without)


def test_the_heads_own_fields_are_read(folder):
    changes = {"depth_head_type": "mlp", "depth_head_mlp_hidden": 96, "depth_head_feature_mode": "concat"}
    assert read_checkpoint(folder(**changes)).head == Head("mlp", mlp_hidden=96, inputs=4)


def test_limits_of_area_are_the_preprocessors(folder):
    path = folder() / "preprocessor_config.json"
    path.write_text(json.dumps({"size": {"shortest_edge": 1024, "longest_edge": 2048}}))
    picture = read_checkpoint(path.parent).sizes.picture
    assert (picture.smallest_px, picture.largest_px) == (1024, 2048)


def test_a_folder_without_a_config_is_no_checkpoint(tmp_path):
    with pytest.raises(DataMissingError, match=r"no checkpoint here.*config\.json"):
        read_checkpoint(tmp_path)


def test_another_kind_of_model_is_refused_by_name(folder):
    with pytest.raises(CheckError, match="costs of 'llava' are not known"):
        read_checkpoint(folder(model_type="llava"))


def test_a_missing_size_is_named(folder):
    vision = {key: value for key, value in CONFIG["vision_config"].items() if key != "depth"}
    with pytest.raises(CheckError, match="no 'depth' in the config"):
        read_checkpoint(folder(vision_config=vision))


@pytest.mark.parametrize(("text", "words"), [("{", "not valid JSON"), ("[1]", "not a table")])
def test_a_damaged_config_is_one_error(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckError, match=words):
        read_checkpoint(tmp_path)
