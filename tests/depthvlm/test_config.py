"""DepthVLM's configuration: its fields, what it refuses, and that it is kept."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from depthvlm_small import small_config
from transformers import AutoConfig

from depthvlm_bench.depthvlm.config import DepthVLMConfig, build_head
from depthvlm_bench.depthvlm.head import DptHead, MlpHead
from depthvlm_bench.depthvlm.modeling import DepthVLMForConditionalGeneration
from depthvlm_bench.depthvlm.register import register


def test_the_defaults_are_the_published_heads() -> None:
    config = DepthVLMConfig()
    assert (config.depth_head_type, config.depth_head_features) == ("dpt", 256)
    assert tuple(config.depth_head_out_channels) == (256, 512, 1024, 1024)
    assert (config.depth_loss_weight, config.depth_stride_px) == (1.0, 32)


def test_a_configuration_builds_the_head_it_names() -> None:
    dpt = build_head(small_config())
    assert isinstance(dpt, DptHead)
    assert dpt.scratch.layer2_rn.weight.shape == (16, 12, 3, 3)
    mlp = build_head(small_config(depth_head_type="mlp", depth_head_feature_mode="concat"))
    assert isinstance(mlp, MlpHead)
    assert (mlp.norm.weight.numel(), mlp.mlp[0].out_features, mlp.patch) == (4 * 48, 1024, 32)


@pytest.mark.parametrize(
    ("text", "vision", "backbone", "head"),
    [
        (
            (2560, 9728, True),
            (24, 1024, 4096, (5, 11, 17)),
            4_437_815_808,
            35_145_921,
        ),
        (
            (4096, 12288, False),
            (27, 1152, 4304, (8, 16, 24)),
            8_767_123_696,
            39_474_369,
        ),
    ],
    ids=["4B", "8B"],
)
def test_a_head_on_qwen3_vl_of_every_size_has_the_computed_parameters(
    text: tuple[int, int, bool], vision: tuple[int, int, int, tuple[int, ...]], backbone: int, head: int
) -> None:
    width, hidden, tied = text
    depth, vision_width, vision_hidden, taps = vision
    config = DepthVLMConfig(
        text_config={
            **{"hidden_size": width, "intermediate_size": hidden, "num_hidden_layers": 36, "head_dim": 128},
            **{"num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": tied},
        },
        vision_config={
            **{"depth": depth, "hidden_size": vision_width, "intermediate_size": vision_hidden},
            **{"out_hidden_size": width, "deepstack_visual_indexes": taps},
        },
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        model = DepthVLMForConditionalGeneration(config)
    assert sum(p.numel() for p in model.depth_head.parameters()) == head
    assert sum(p.numel() for p in model.parameters()) == backbone + head
    assert sum(name.startswith("depth_head.") for name in model.state_dict()) == 62


@pytest.mark.parametrize(
    "fields", [{"depth_head_type": "unet"}, {"depth_head_feature_mode": "mean"}], ids=["type", "mode"]
)
def test_a_head_that_does_not_exist_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        small_config(**fields)


def test_a_stored_configuration_is_read_back_whole(tmp_path: Path) -> None:
    small_config(depth_loss_weight=0.25, depth_head_out_channels=[1, 2, 3, 4]).save_pretrained(tmp_path)
    register()
    register()
    found = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(found, DepthVLMConfig)
    assert (found.depth_loss_weight, list(found.depth_head_out_channels)) == (0.25, [1, 2, 3, 4])
    assert found.text_config.rope_parameters["mrope_section"] == [4, 2, 2]
