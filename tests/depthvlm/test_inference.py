"""Asking a loaded model: one pass, batches of any sizes, depth that is the same with and without text."""

import shutil
from functools import wraps

import pytest

pytest.importorskip("transformers")

import numpy as np
import torch
from depthvlm_golden import golden_folder, needs_golden, vectors
from PIL import Image

from depthvlm_bench.depthvlm.chat import depth_messages, encode
from depthvlm_bench.depthvlm.inference import DepthVLM, Shown, device_of, load_tokenizer
from depthvlm_bench.depthvlm.loading import load_depthvlm
from depthvlm_bench.depthvlm.preprocess import PixelLimits, prepare
from depthvlm_bench.depthvlm.tiny import make_tiny
from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.geometry.camera import PinholeCamera

# One of several equal grids, and others beside them.
SIZES = [(256, 288), (300, 200), (256, 288), (97, 402)]


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def asked(folder):
    return DepthVLM.open(folder, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def pictures():
    return [Shown(noise(*size, seed)) for seed, size in enumerate(SIZES)]


@pytest.fixture
def calls(asked, monkeypatch):
    """How often the vision tower, the head and `generate` are called, and with which logits."""
    counted = {"tower": 0, "head": 0, "generate": 0, "logits_to_keep": []}

    def counting(name, module):
        original = module.forward

        @wraps(original)
        def forward(*args, **kwargs):
            counted[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(module, "forward", forward)

    counting("tower", asked.model.model.visual)
    counting("head", asked.model.depth_head)
    forward, generate = asked.model.forward, asked.model.generate

    @wraps(forward)
    def seen(*args, **kwargs):
        counted["logits_to_keep"].append(kwargs.get("logits_to_keep"))
        return forward(*args, **kwargs)

    def generating(*args, **kwargs):
        counted["generate"] += 1
        return generate(*args, **kwargs)

    monkeypatch.setattr(asked.model, "forward", seen)
    monkeypatch.setattr(asked.model, "generate", generating)
    return counted


def test_a_map_has_the_model_s_size_and_is_metres_in_float32(asked, pictures):
    for answer, shown in zip(asked.answer(pictures), pictures, strict=True):
        assert answer.depth_m.shape == answer.prepared.model_size[::-1]
        assert answer.depth_m.dtype == np.float32
        assert answer.prepared.source_size == shown.picture.size
        assert answer.text is None
        assert np.isfinite(answer.depth_m).all() and (answer.depth_m > 0).all()


def test_pictures_of_all_sizes_in_a_batch_answer_as_they_do_alone(asked, pictures):
    together = asked.answer(pictures)
    for shown, answer in zip(pictures, together, strict=True):
        (alone,) = asked.answer([shown])
        assert answer.depth_m == pytest.approx(alone.depth_m, rel=1e-4, abs=1e-5)


def test_a_picture_s_map_is_the_model_s_own(asked, folder, pictures):
    """By way of nothing of ours but the prepared picture and the tokens."""
    prepared = prepare(pictures[0].picture)
    encoded = encode(asked.tokenizer, depth_messages(), [prepared], supervise=False)
    model = load_depthvlm(folder, dtype="float32")
    with torch.no_grad():
        given = {"input_ids": encoded.input_ids[None], "attention_mask": torch.ones(1, len(encoded)).long()}
        out = model(**given, pixel_values=prepared.pixel_values, image_grid_thw=prepared.grid_thw[None])
    assert np.array_equal(asked.answer(pictures[:1])[0].depth_m, out.depth_pred[0].numpy())


def test_depth_alone_needs_no_more_than_the_last_logits(asked, pictures, calls):
    asked.answer(pictures[:1])
    assert calls == {"tower": 1, "head": 1, "generate": 0, "logits_to_keep": [1]}


def test_text_and_depth_come_of_one_pass(asked, pictures, calls):
    answers = asked.answer(pictures[:2], text=True, max_new_tokens=5)
    assert (calls["tower"], calls["generate"]) == (1, 1)
    assert calls["head"] <= 2
    assert all(isinstance(answer.text, str) for answer in answers)


def test_depth_is_the_same_with_text_and_without(asked, pictures):
    with_text = asked.answer(pictures, text=True, max_new_tokens=4)
    for one, other in zip(with_text, asked.answer(pictures), strict=True):
        assert np.array_equal(one.depth_m, other.depth_m)


def test_the_text_is_that_of_plain_greedy_generation(asked, pictures):
    prepared = prepare(pictures[0].picture)
    encoded = encode(asked.tokenizer, depth_messages("How far?"), [prepared], supervise=False)
    said = asked.model.generate(
        input_ids=encoded.input_ids[None],
        attention_mask=torch.ones(1, len(encoded)).long(),
        pixel_values=prepared.pixel_values,
        image_grid_thw=prepared.grid_thw[None],
        max_new_tokens=6,
        do_sample=False,
    )
    expected = asked.tokenizer.decode(said[0, len(encoded) :], skip_special_tokens=True).strip()
    (answer,) = asked.answer(pictures[:1], text=True, question="How far?", max_new_tokens=6)
    assert answer.text == expected


def test_any_question_has_the_same_map(asked, pictures):
    """The picture stands before it, and no token of a causal model sees what comes later."""
    plain, other = (asked.answer(pictures[:1], question=q)[0].depth_m for q in (None, "How far is the door?"))
    assert np.array_equal(plain, other)


def test_a_photograph_is_brought_to_the_model_s_focal_length(asked):
    picture = noise(600, 450)
    (answer,) = asked.answer([Shown(picture, PinholeCamera(600, 450, 1500.0, 1500.0, 299.5, 224.5))])
    assert answer.prepared.model_size == (384, 288)
    assert answer.dense_map().depth_m is answer.depth_m
    assert answer.dense_map().crop is None


def test_the_paper_s_profile_prepares_as_its_programs_do(folder):
    asked = DepthVLM.open(folder, dtype="float32", device="cpu", profile="reference_v1")
    (answer,) = asked.answer([Shown(noise(700, 525))])
    assert answer.depth_m.shape == (544, 704)


def test_a_budget_of_one_s_own_is_kept(folder):
    asked = DepthVLM.open(folder, dtype="float32", device="cpu", max_pixels=40_000)
    (answer,) = asked.answer([Shown(noise(700, 525))])
    assert answer.depth_m.size <= 40_000


def test_the_head_stays_in_float32_unless_the_paper_s_is_asked_for(folder, pictures):
    """bfloat16 has 8 significant bits: few different depths are left."""
    full = DepthVLM.open(folder, device="cpu").answer(pictures[:1])[0].depth_m
    paper = DepthVLM.open(folder, device="cpu", head_dtype="bfloat16").answer(pictures[:1])[0].depth_m
    assert len(np.unique(full)) > 0.9 * full.size
    assert len(np.unique(paper)) < 0.1 * paper.size
    assert full.dtype == paper.dtype == np.float32


def test_no_pictures_no_answers(asked):
    assert asked.answer([]) == []


@needs_golden
@pytest.mark.parametrize(("case", "images"), [("single", ("one",)), ("batch", ("a", "b"))])
def test_golden_pictures_give_the_reference_s_depth(tmp_path, case, images):
    """The reference's own pictures through our preparation and the model."""
    model = load_depthvlm(golden_folder(tmp_path / "golden"), dtype="float32", attention="eager")
    inputs, expected = vectors("inputs"), vectors("expected")
    prepared = [prepare(Image.fromarray(inputs[f"image.{name}"]), min_pixels=1024) for name in images]
    ids = torch.from_numpy(inputs[f"{case}.input_ids"])
    with torch.no_grad():
        out = model(
            input_ids=ids,
            attention_mask=torch.from_numpy(inputs[f"{case}.attention_mask"]),
            pixel_values=torch.cat([one.pixel_values for one in prepared]),
            image_grid_thw=torch.stack([one.grid_thw for one in prepared]),
            logits_to_keep=1,
        )
    for index, depth in enumerate(out.depth_pred):
        assert depth.numpy() == pytest.approx(expected[f"{case}.depth.{index}"], rel=1e-4, abs=1e-4)


def test_a_checkpoint_without_a_tokenizer_is_refused(folder, tmp_path):
    bare = shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(DataMissingError, match=r"no tokenizer.*copy the tokenizer files"):
        DepthVLM.open(bare, device="cpu")


def test_a_stock_checkpoint_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(CheckError, match=r"no depth head.*dvbench train --stage 1"):
        DepthVLM.open(make_tiny(tmp_path / "stock", kind="qwen3vl"), device="cpu")


def test_a_device_that_is_not_there_is_refused(folder):
    with pytest.raises(UsageError, match="'cuda:99' is not usable here"):
        DepthVLM.open(folder, device="cuda:99")


def test_the_gpu_is_taken_where_there_is_one(monkeypatch):
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert device_of("auto") == expected
        assert device_of("cpu") == "cpu"


def test_the_limits_of_the_checkpoint_are_kept(folder):
    assert DepthVLM.open(folder, device="cpu").limits == PixelLimits()
    assert load_tokenizer(folder).chat_template
