"""Tiny checkpoints: complete, loadable by the ordinary code, the same for a seed."""

import hashlib
import json

import pytest

pytest.importorskip("transformers")

import torch
from PIL import Image
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoTokenizer

from depthvlm_bench.depthvlm.chat import DEPTH_PROMPT, depth_messages, encode
from depthvlm_bench.depthvlm.inference import DepthVLM, Shown
from depthvlm_bench.depthvlm.loading import load_depthvlm
from depthvlm_bench.depthvlm.preprocess import PixelLimits, checkpoint_limits, prepare
from depthvlm_bench.depthvlm.register import register
from depthvlm_bench.depthvlm.tiny import SPECIAL_TOKENS, byte_level_tokenizer, make_tiny
from depthvlm_bench.errors import UsageError

GREY = Image.new("RGB", (256, 288), (90, 120, 150))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("stock") / "model", kind="qwen3vl")


def weights_sha256(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def names_of(folder):
    with safe_open(folder / "model.safetensors", "pt") as stored:
        return set(stored.keys())


def test_the_stock_kind_is_a_qwen3_vl_for_transformers(stock):
    model = AutoModelForImageTextToText.from_pretrained(stock)
    assert type(model).__name__ == "Qwen3VLForConditionalGeneration"
    assert json.loads((stock / "config.json").read_text())["model_type"] == "qwen3_vl"
    tokenizer = AutoTokenizer.from_pretrained(stock)
    picture = prepare(GREY)
    encoded = encode(tokenizer, depth_messages(), [picture], supervise=False)
    said = model.generate(
        input_ids=encoded.input_ids[None],
        mm_token_type_ids=encoded.mm_token_type_ids[None],
        pixel_values=picture.pixel_values,
        image_grid_thw=picture.grid_thw[None],
        max_new_tokens=3,
        do_sample=False,
    )
    assert said.shape[1] > len(encoded)


def test_the_depth_kind_is_ours_and_known_to_the_auto_classes(tiny):
    register()
    model = AutoModelForImageTextToText.from_pretrained(tiny)
    ours = load_depthvlm(tiny, dtype="float32")
    assert type(model) is type(ours)
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == {
        name: tuple(p.shape) for name, p in ours.named_parameters()
    }


def test_the_stored_names_are_the_published_ones(tiny, stock):
    """The head's are under depth_head, the rest is the stock model's, with the tied lm_head left out."""
    head = {name for name in names_of(tiny) if name.startswith("depth_head.")}
    assert len(head) == 62
    assert names_of(tiny) - head == names_of(stock)
    assert {name.split(".")[1] for name in names_of(stock)} == {"visual", "language_model"}


def test_a_seed_is_a_model_and_leaves_torch_s_own_chance_alone(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, again, other = (make_tiny(tmp_path / str(i), seed=seed) for i, seed in enumerate((1, 1, 2)))
    assert torch.equal(torch.rand(3), expected)
    assert weights_sha256(first) == weights_sha256(again) != weights_sha256(other)


def test_random_weights_answer_differently_from_pixel_to_pixel(tiny):
    (answer,) = DepthVLM.open(tiny, dtype="float32", device="cpu").answer([Shown(GREY)])
    assert answer.depth_m.std() > 0.05
    assert (answer.depth_m > 0).all()


@pytest.mark.parametrize("depth_m", [0.02, 2.0, 75.0])
@pytest.mark.parametrize("head_type", ["dpt", "mlp"])
def test_a_told_answer_is_given_for_every_pixel(tmp_path, depth_m, head_type):
    folder = make_tiny(tmp_path / "model", answer_m=depth_m, head_type=head_type)
    (answer,) = DepthVLM.open(folder, dtype="float32", device="cpu").answer([Shown(GREY)])
    assert answer.depth_m == pytest.approx(depth_m, rel=1e-5)


def test_its_shape_can_be_chosen(tmp_path):
    folder = make_tiny(tmp_path / "model", hidden=32, layers=1, vision_hidden=16, vocabulary=300)
    config = json.loads((folder / "config.json").read_text())
    assert config["text_config"]["hidden_size"] == config["vision_config"]["out_hidden_size"] == 32
    assert config["text_config"]["num_hidden_layers"] == 1
    assert config["text_config"]["vocab_size"] == len(AutoTokenizer.from_pretrained(folder)) <= 300


def test_pictures_are_prepared_as_for_the_real_model(tiny):
    assert checkpoint_limits(tiny) == PixelLimits()


@pytest.mark.parametrize("text", ["Grüße, 你好 — ½ €\n\n  x", "don't 3.14159 m\t!", "", " leading"])
def test_any_text_comes_back_from_its_tokens(tiny, text):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_what_the_tokenizer_is_trained_on_becomes_short():
    said = ["the fourth chair from the left"] * 20
    plain, taught = (byte_level_tokenizer([DEPTH_PROMPT, *more], 450) for more in ([], said))
    lengths = [len(t(said[0], add_special_tokens=False)["input_ids"]) for t in (plain, taught)]
    assert lengths[1] < lengths[0]


def test_special_tokens_are_one_token_each_and_come_last(tiny):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    ids = [tokenizer(token, add_special_tokens=False)["input_ids"] for token in SPECIAL_TOKENS]
    assert ids == [[number] for number in range(len(tokenizer) - len(SPECIAL_TOKENS), len(tokenizer))]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert tokenizer.decode([index for (index,) in ids], skip_special_tokens=True) == ""


def test_a_folder_with_a_checkpoint_is_left_alone(tiny):
    before = weights_sha256(tiny)
    with pytest.raises(UsageError, match="there is a checkpoint already"):
        make_tiny(tiny, seed=3)
    assert weights_sha256(tiny) == before


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"kind": "depth-vlm"}, "did you mean 'depthvlm'"),
        ({"answer_m": 0.0}, "positive depth"),
        ({"answer_m": float("inf")}, "positive depth"),
        ({"answer_m": 2.0, "kind": "qwen3vl"}, "with a depth head"),
    ],
)
def test_what_no_tiny_model_can_be_is_refused(tmp_path, known, message):
    with pytest.raises(UsageError, match=message):
        make_tiny(tmp_path / "model", **known)
    assert not (tmp_path / "model").exists()
