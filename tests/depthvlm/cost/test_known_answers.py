"""Sizes, parameters, work and memory of DepthVLM against values worked out apart from this code."""

import pytest

from depthvlm_bench.depthvlm.cost.breakdown import break_down
from depthvlm_bench.depthvlm.cost.flops import causal_attention_flops, head_flops
from depthvlm_bench.depthvlm.cost.memory import cache_bytes_per_token, weight_bytes
from depthvlm_bench.depthvlm.cost.parameters import head_parameters, parameters
from depthvlm_bench.depthvlm.cost.pictures import Picture, see
from depthvlm_bench.depthvlm.cost.sheets import Head, load_cost_model
from depthvlm_bench.depthvlm.cost.ways import DEPTH_AND_ANSWER, map_costs

CANONICAL = Picture((1342, 1006))
# Head, vision tower with its connectors, language model, lm_head, all but the head.
PARAMETERS = {
    "depthvlm-2b": (33_703_105, 406_957_056, 1_720_574_976, 0, 2_127_532_032),
    "depthvlm-4b": (35_145_921, 415_347_712, 4_022_468_096, 0, 4_437_815_808),
    "depthvlm-8b": (39_474_369, 576_388_336, 7_568_405_504, 622_329_856, 8_767_123_696),
    "depthvlm-32b": (42_360_001, 595_266_800, 31_984_210_944, 777_912_320, 33_357_390_064),
}
# Canonical size: what the paper's programs make of it and what one resize does, px, each with its tokens.
SIZES = {
    (1342, 1006): ((1344, 1024), 1344, (1344, 992), 1302),
    (1339, 1004): ((1344, 1024), 1344, (1344, 992), 1302),
    (1024, 768): ((1024, 768), 768, (1024, 768), 768),
    (1024, 1024): ((1024, 1024), 1024, (1024, 1024), 1024),
    (1263, 789): ((1248, 768), 936, (1248, 800), 975),
    (700, 525): ((704, 544), 374, (704, 512), 352),
    (1000, 750): ((1024, 768), 768, (992, 736), 713),
    (1550, 1024): ((1536, 1024), 1536, (1536, 1024), 1536),
}
# Forward pass of the 4B model at 1344x1024, TFLOP; language attention as dense kernels do it.
TFLOP = {
    "vision linear": 3.29,
    "vision attention": 2.84,
    "connectors": 0.29,
    "language linear": 10.10,
    "language attention": 1.14,
    "depth head": 1.14,
}
SECONDS = {
    "H100 SXM 80 GB": 0.06,
    "A100 80 GB": 0.15,
    "H20 96 GB": 0.32,
    "RTX 4090 24 GB": 0.24,
    "RTX 3090 24 GB": 0.55,
    "16-core AVX-512 server": 20,
    "2 shared cores": 340,
}


@pytest.fixture(scope="module")
def taken_apart():
    return break_down(load_cost_model("depthvlm-4b"), CANONICAL, "reference_v1")


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_models(name):
    parts = parameters(load_cost_model(name))
    head, tower, language, lm_head, backbone = PARAMETERS[name]
    assert parts["depth head"] == head
    assert parts["vision tower"] + parts["connectors"] == tower
    assert (parts["language model"], parts["lm_head"]) == (language, lm_head)
    assert sum(parts.values()) == backbone + head


@pytest.mark.parametrize("hidden", [64, 2560, 4096])
def test_only_the_norm_and_the_projections_of_a_head_depend_on_the_width(hidden):
    assert head_parameters(Head(), hidden) == 2_818 * hidden + 27_931_841


def test_the_final_connector_and_the_three_taps_of_the_tower_have_their_shares():
    parts = parameters(load_cost_model("depthvlm-4b"))
    assert parts["connectors"] == pytest.approx(27.3e6 + 81.8e6, rel=0.002)


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_resized_as_the_two_profiles_say(size):
    model = load_cost_model("depthvlm-4b")
    reference, native = (see(model, Picture(size), profile) for profile in ("reference_v1", "native"))
    assert (reference.resized, reference.tokens, native.resized, native.tokens) == SIZES[size]


def test_a_sample_has_the_counted_prompt(taken_apart):
    assert (taken_apart.picture_tokens, taken_apart.prompt_tokens) == (1344, 1390)


@pytest.mark.parametrize("part", TFLOP)
def test_work_by_part_is_within_two_per_cent(taken_apart, part):
    assert taken_apart.prefill[part] / 1e12 == pytest.approx(TFLOP[part], rel=0.02)


def test_the_lm_head_costs_much_where_every_position_is_scored_and_next_to_nothing_where_one_is(taken_apart):
    assert taken_apart.all_logits / 1e12 == pytest.approx(1.08, rel=0.02)
    assert taken_apart.prefill["lm_head"] / 1e12 == pytest.approx(0.001, abs=0.0005)


def test_totals_span_causal_and_dense_attention(taken_apart):
    dense = sum(taken_apart.prefill.values()) - taken_apart.prefill["lm_head"] + taken_apart.all_logits
    causal = dense - taken_apart.prefill["language attention"] + taken_apart.causal_attention
    assert (causal / 1e12, dense / 1e12) == pytest.approx((19.3, 19.9), rel=0.005)
    assert taken_apart.causal_attention / 1e12 == pytest.approx(0.57, rel=0.02)
    assert (causal - taken_apart.all_logits) / 1e12 == pytest.approx(18.2, rel=0.005)


def test_the_head_is_six_per_cent_of_the_work_and_below_one_of_the_parameters(taken_apart):
    assert taken_apart.prefill["depth head"] / sum(taken_apart.prefill.values()) == pytest.approx(
        0.06, abs=0.005
    )
    assert taken_apart.parameters["depth head"] / sum(taken_apart.parameters.values()) < 0.01


@pytest.mark.parametrize(("grid", "tflop"), [((42, 32), 1.14), ((42, 31), 1.10), ((32, 24), 0.65)])
def test_the_heads_work_follows_the_grid(grid, tflop):
    assert head_flops(Head(), 2560, grid)["depth head"] / 1e12 == pytest.approx(tflop, rel=0.01)


def test_weights_and_cache_have_their_sizes():
    model = load_cost_model("depthvlm-4b")
    weights = weight_bytes(model, "bfloat16")
    assert weights.pop("depth head") / 1e9 == pytest.approx(0.14, abs=0.001)
    assert sum(weights.values()) / 1e9 == pytest.approx(8.88, abs=0.005)
    assert sum(weight_bytes(model, "float32").values()) / 1e9 == pytest.approx(17.8 + 0.14, abs=0.05)
    assert cache_bytes_per_token(model.sizes.decoder, "bfloat16") == 147_456


def test_one_picture_takes_about_eleven_gigabytes(taken_apart):
    assert sum(taken_apart.peak["bfloat16"].values()) / 1e9 == pytest.approx(11.5, abs=1)


@pytest.mark.parametrize("device", SECONDS)
def test_estimates_follow_the_declared_rates(taken_apart, device):
    (estimate,) = (e for e in taken_apart.devices if e.device == device)
    assert estimate.seconds == pytest.approx(SECONDS[device], rel=0.12)


def test_the_answer_adds_a_decode_step_a_token_and_little_work():
    depth, both = map_costs(load_cost_model("depthvlm-4b"), CANONICAL, "reference_v1")
    assert both.variant == DEPTH_AND_ANSWER
    assert (depth.decode_steps, both.decode_steps) == (0, 12)
    assert both.flops / depth.flops < 1.01


def test_causal_attention_is_half_of_dense_and_half_a_diagonal():
    decoder = load_cost_model("depthvlm-4b").sizes.decoder
    per_pair = 4 * decoder.layers * decoder.heads * decoder.head_dim
    assert 2 * causal_attention_flops(decoder, 10) == per_pair * (100 + 10)
