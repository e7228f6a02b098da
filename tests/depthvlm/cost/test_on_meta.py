"""Parameters and operations against modules of the full sizes on the meta device, which hold no memory."""

import weakref
from contextlib import contextmanager
from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.siglip2.modeling_siglip2 import Siglip2EncoderLayer

from depthvlm_bench.depthvlm.cost.flops import decode_flops, decoder_flops, head_flops, tower_flops
from depthvlm_bench.depthvlm.cost.memory import head_bytes
from depthvlm_bench.depthvlm.cost.parameters import (
    block_weights,
    connector_parameters,
    decoder_parameters,
    head_parameters,
    parameters,
    tower_parameters,
)
from depthvlm_bench.depthvlm.cost.pictures import Picture, see
from depthvlm_bench.depthvlm.cost.sheets import Head, load_architecture, load_cost_model
from depthvlm_bench.depthvlm.head import DptHead, MlpHead
from depthvlm_bench.depthvlm.outputs import CACHE_FIELD

CANONICAL = Picture((1342, 1006))
QWEN = ["qwen3-vl-2b", "qwen3-vl-4b", "qwen3-vl-8b", "qwen3-vl-32b"]
MROPE = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@contextmanager
def on_meta():
    with torch.device("meta"), torch.no_grad():
        yield


def counted(run):
    with on_meta(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def no_mask(tokens):
    """A mask of all pairs, which models take as it is; they would look into one made from positions."""
    return torch.zeros(1, 1, tokens, tokens, device="meta")


def text_sizes(decoder):
    return {
        "hidden_size": decoder.hidden,
        "intermediate_size": decoder.mlp,
        "num_hidden_layers": decoder.layers,
        "num_attention_heads": decoder.heads,
        "num_key_value_heads": decoder.kv_heads,
        "head_dim": decoder.head_dim,
        "vocab_size": decoder.vocabulary,
        "tie_word_embeddings": decoder.tied,
    }


def qwen(sizes):
    decoder, tower = sizes.decoder, sizes.tower
    vision = {
        "depth": tower.layers,
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp,
        "num_heads": tower.heads,
        "out_hidden_size": decoder.hidden,
        "num_position_embeddings": tower.position_rows,
        "deepstack_visual_indexes": list(range(tower.taps)),
    }
    config = transformers.Qwen3VLConfig(
        text_config=text_sizes(decoder) | {"rope_parameters": MROPE},
        vision_config=vision,
        tie_word_embeddings=decoder.tied,
    )
    with on_meta():
        return transformers.Qwen3VLForConditionalGeneration._from_config(config, attn_implementation="eager")


def pixtral(sizes):
    decoder, tower = sizes.decoder, sizes.tower
    vision = {
        "model_type": "pixtral",
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "patch_size": tower.patch_px,
    }
    config = transformers.LlavaConfig(
        text_config={"model_type": "mistral", **text_sizes(decoder)},
        vision_config=vision,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=decoder.tied,
    )
    with on_meta():
        return transformers.LlavaForConditionalGeneration._from_config(config, attn_implementation="eager")


def youtu_text(sizes):
    latent, known = sizes.decoder.latent, text_sizes(sizes.decoder)
    del known["head_dim"]
    config = transformers.YoutuConfig(
        **known,
        kv_lora_rank=latent.kv_rank,
        q_lora_rank=latent.q_rank,
        qk_rope_head_dim=latent.rope_dim,
        qk_nope_head_dim=latent.nope_dim,
        v_head_dim=latent.value_dim,
    )
    with on_meta():
        return transformers.YoutuForCausalLM._from_config(config, attn_implementation="eager")


@pytest.mark.parametrize("name", QWEN)
def test_qwen3_vl_has_the_counted_parameters(name):
    sizes = load_architecture(name)
    model = qwen(sizes)
    tower, decoder = model.model.visual, sizes.decoder
    connectors = count(tower.merger) + count(tower.deepstack_merger_list)
    assert count(model.model.language_model) == decoder_parameters(decoder)
    assert connectors == connector_parameters(sizes.tower, decoder.hidden)
    assert count(tower) - connectors == tower_parameters(sizes.tower)
    assert count(model) == sum(parameters(load_cost_model(name.replace("qwen3-vl", "depthvlm"))).values()) - (
        head_parameters(Head(), decoder.hidden)
    )


@pytest.mark.parametrize("profile", ["native", "reference_v1"])
def test_the_tower_of_the_4b_model_does_the_counted_operations(profile):
    cost_model = load_cost_model("depthvlm-4b")
    sizes, (columns, rows) = cost_model.sizes, see(cost_model, CANONICAL, profile).patches
    tower, patches = qwen(sizes).model.visual, columns * rows
    with on_meta():
        known = {
            "interp_indices": torch.empty(patches, 4, dtype=torch.long),
            "interp_weights": torch.empty(patches, 4),
            "position_ids": torch.empty(patches, 2, dtype=torch.long),
        }
        pixels = torch.empty(patches, 2 * 3 * 16 * 16)
    grid = torch.tensor([[1, rows, columns]])
    expected = tower_flops(sizes.tower, sizes.decoder.hidden, (columns, rows))
    assert counted(lambda: tower(pixels, grid_thw=grid, **known)) == sum(expected.values())


def test_the_language_model_does_the_counted_operations():
    sizes = load_architecture("qwen3-vl-4b")
    model = qwen(sizes)
    with on_meta():
        embedded = torch.empty(1, 1390, sizes.decoder.hidden)
        positions = torch.empty(3, 1, 1390, dtype=torch.long)

    def forward():
        known = {"inputs_embeds": embedded, "position_ids": positions, "use_cache": False}
        model.lm_head(model.model.language_model(**known).last_hidden_state[:, -1:])

    assert counted(forward) == sum(decoder_flops(sizes.decoder, 1390).values())


@pytest.mark.parametrize("hidden", [2048, 2560])
@pytest.mark.parametrize("grid", [(42, 32), (42, 31), (7, 3)])
def test_the_depth_head_has_the_counted_parameters_and_operations(hidden, grid):
    columns, rows = grid
    with on_meta():
        head = DptHead(hidden)
        taps = [torch.empty(1, columns * rows, hidden) for _ in range(4)]
    assert count(head) == head_parameters(Head(), hidden)
    assert counted(lambda: head(taps, (rows, columns))) == head_flops(Head(), hidden, grid)["depth head"]


def test_a_head_of_other_widths_is_counted_too():
    kind = Head(features=16, out_channels=(16, 32, 48, 64))
    with on_meta():
        head = DptHead(64, 16, (16, 32, 48, 64))
        taps = [torch.empty(1, 35, 64) for _ in range(4)]
    assert count(head) == head_parameters(kind, 64)
    assert counted(lambda: head(taps, (5, 7))) == head_flops(kind, 64, (7, 5))["depth head"]


@pytest.mark.parametrize(("mode", "inputs"), [("llm_last", 1), ("concat", 4), ("sum", 1)])
def test_the_mlp_head_is_counted_in_each_mode(mode, inputs):
    kind = Head("mlp", mlp_hidden=96, inputs=inputs)
    with on_meta():
        head = MlpHead(64, 96, feature_mode=mode)
        taps = [torch.empty(1, 35, 64) for _ in range(4)]
    assert count(head) == head_parameters(kind, 64)
    assert counted(lambda: head(taps, (5, 7))) == head_flops(kind, 64, (7, 5))["depth head"]


def test_pixtral_has_the_counted_parameters():
    sizes = load_architecture("pixtral-12b")
    model = pixtral(sizes)
    assert count(model.model.vision_tower) == tower_parameters(sizes.tower)
    assert count(model.model.multi_modal_projector) == connector_parameters(sizes.tower, sizes.decoder.hidden)
    assert count(model.model.language_model) == decoder_parameters(sizes.decoder)
    assert count(model) == sum(parameters(load_cost_model("depthlm-12b")).values())


def test_pixtral_does_the_counted_operations():
    cost_model = load_cost_model("depthlm-12b")
    sizes, seen = cost_model.sizes, see(cost_model, CANONICAL)
    model, (width, height) = pixtral(sizes).model, seen.resized
    with on_meta():
        picture = torch.empty(1, 3, height, width)
        embedded = torch.empty(1, seen.tokens, sizes.decoder.hidden)

    def vision():
        model.multi_modal_projector(
            model.vision_tower(picture, image_sizes=[(height, width)]).last_hidden_state
        )

    def language():
        model.language_model(inputs_embeds=embedded, attention_mask=no_mask(seen.tokens), use_cache=False)

    assert counted(vision) == sum(tower_flops(sizes.tower, sizes.decoder.hidden, seen.patches).values())
    expected = decoder_flops(sizes.decoder, seen.tokens, logits=0)
    assert counted(language) == sum(expected.values())


def test_youtus_latent_attention_has_the_counted_parameters_and_operations():
    sizes = load_architecture("youtu-vl-4b")
    model = youtu_text(sizes)
    assert count(model) == decoder_parameters(sizes.decoder)
    with on_meta():
        embedded = torch.empty(1, 700, sizes.decoder.hidden)
    known = {"attention_mask": no_mask(700), "use_cache": False, "logits_to_keep": 1}
    flops = counted(lambda: model(inputs_embeds=embedded, **known))
    assert flops == sum(decoder_flops(sizes.decoder, 700).values())


def test_youtus_tower_is_made_of_siglip2_blocks():
    sizes = load_architecture("youtu-vl-4b")
    tower = sizes.tower
    config = transformers.Siglip2VisionConfig(
        hidden_size=tower.width,
        intermediate_size=tower.mlp,
        num_hidden_layers=tower.layers,
        num_attention_heads=tower.heads,
        patch_size=tower.patch_px,
    )
    with on_meta():
        block = Siglip2EncoderLayer(config)
        patches = torch.nn.Linear(3 * tower.patch_px**2, tower.width)
        last = torch.nn.LayerNorm(tower.width)
    assert count(patches) + tower.layers * count(block) + count(last) == tower_parameters(tower)
    weights = sum(p.numel() for p in block.parameters() if p.ndim == 2)
    assert weights == block_weights(tower)


@pytest.fixture(scope="module")
def small_language():
    """Sizes of three layers of the 8B language model, and a way to run tokens after what a cache holds."""
    sizes = load_architecture("qwen3-vl-8b")
    sizes = replace(sizes, decoder=replace(sizes.decoder, layers=3))
    language = qwen(sizes).model.language_model

    def run(tokens, cache=None):
        with on_meta():
            place = torch.empty(3, 1, tokens, dtype=torch.long)
            embedded = torch.empty(1, tokens, sizes.decoder.hidden)
            known = {"inputs_embeds": embedded, "position_ids": place, CACHE_FIELD: cache}
            return language(**known, use_cache=True)[1]

    return sizes.decoder, run


def test_steps_with_a_cache_do_the_counted_operations(small_language):
    decoder, run = small_language
    cache = run(90)
    expected = decode_flops(decoder, 3, past=90)
    counts = counted(lambda: [run(1, cache) for _ in range(3)])
    assert counts == sum(expected.values()) - expected["lm_head"]


def test_a_question_after_a_kept_prefix_does_the_counted_operations(small_language):
    decoder, run = small_language
    cache = run(90)
    assert counted(lambda: run(31, cache)) == sum(decoder_flops(decoder, 31, past=90, logits=0).values())


class _LiveBytes(TorchDispatchMode):
    """The most bytes that tensors made under it hold at once."""

    def __init__(self, known):
        super().__init__()
        self.live, self.peak = 0, 0
        self.held = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._hold(tensor.untyped_storage())
        return made

    def _hold(self, storage):
        key = storage._cdata
        if key not in self.held:
            self.held[key] = storage.nbytes()
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._drop, key)

    def _drop(self, key):
        self.live -= self.held.pop(key)


@pytest.mark.parametrize("grid", [(42, 32), (42, 31), (32, 24)])
def test_the_heads_memory_is_what_its_tensors_hold_at_once(grid):
    columns, rows = grid
    with on_meta():
        head = DptHead(2560)
        taps = [torch.empty(1, columns * rows, 2560) for _ in range(4)]
        with _LiveBytes([*head.parameters(), *taps]) as watched:
            head(taps, (rows, columns))
    assert head_bytes(Head(), grid, "float32") == pytest.approx(watched.peak, rel=0.03)
