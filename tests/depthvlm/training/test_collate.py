"""Batches: what the model is given of depth and chat samples, and which samples are refused."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from converted import TinyImage, constant_depth, write_tiny_set
from transformers import AutoTokenizer

from depthvlm_bench.depthvlm.chat import DEPTH_ANSWER, DEPTH_PROMPT, IGNORED, depth_messages
from depthvlm_bench.depthvlm.loading import load_depthvlm
from depthvlm_bench.depthvlm.preprocess import prepare
from depthvlm_bench.depthvlm.tiny import TURN_END, byte_level_tokenizer, make_tiny
from depthvlm_bench.depthvlm.training.collate import Collator
from depthvlm_bench.depthvlm.training.data import ChatSample, DepthSample, DepthSource
from depthvlm_bench.depthvlm.training.faults import BadSampleError
from depthvlm_bench.depthvlm.training.loader import SampleLoader
from depthvlm_bench.depthvlm.training.mixing import MixedStream
from depthvlm_bench.errors import CheckError

QUESTION, ANSWER = "What is in the picture?", "A red square."


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level_tokenizer([DEPTH_PROMPT, DEPTH_ANSWER, QUESTION, ANSWER])


def depth_sample(size=(320, 224), answer=DEPTH_ANSWER):
    pixels = np.random.default_rng(size[0]).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    label_m = torch.full(size[::-1], 2.0)
    return DepthSample(f"rooms/train/-/-/{size[0]}", "rooms", pixels, depth_messages(None, answer), label_m)


def chat_sample(pictures=0, answer=ANSWER, question=QUESTION):
    parts = [{"type": "image"}] * pictures + [{"type": "text", "text": question}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": answer}]
    return ChatSample("talk.jsonl:3", "talk", messages, (Image.new("RGB", (300, 300), "red"),) * pictures)


def batch_of(collator, *samples):
    return collator([collator.prepare(sample) for sample in samples])


def said(tokenizer, batch, row):
    """What is supervised of a row."""
    return tokenizer.decode(batch["labels"][row][batch["labels"][row] != IGNORED])


def test_a_mixed_batch_has_one_label_a_picture_in_their_order(tokenizer):
    samples = [chat_sample(1), depth_sample(), chat_sample(0), depth_sample((256, 256)), chat_sample(2)]
    batch = batch_of(Collator(tokenizer, supervise=True), *samples)
    assert batch["tasks"] == ["chat", "depth", "chat", "depth", "chat"]
    assert batch["datasets"] == ["talk", "rooms", "talk", "rooms", "talk"]
    labels_m = batch["pixel_depth_labels"]
    assert [label is None for label in labels_m] == [True, False, False, True, True]
    assert labels_m[1] is samples[1].depth_label_m
    assert labels_m[2] is samples[3].depth_label_m
    grids = batch["image_grid_thw"]
    assert grids.shape == (5, 3)
    assert batch["pixel_values"].shape == (int(grids.prod(dim=1).sum()), 1536)


def test_answers_alone_are_supervised(tokenizer):
    batch = batch_of(Collator(tokenizer, supervise=True), depth_sample(), chat_sample(1), chat_sample(0))
    assert said(tokenizer, batch, 0) == DEPTH_ANSWER + TURN_END
    assert said(tokenizer, batch, 1) == said(tokenizer, batch, 2) == ANSWER + TURN_END


def test_rows_are_padded_on_the_right(tokenizer):
    batch = batch_of(Collator(tokenizer, supervise=True), depth_sample(), chat_sample(0))
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    assert lengths[0] == batch["input_ids"].shape[1] > lengths[1]
    assert batch["attention_mask"][1].tolist() == [1] * lengths[1] + [0] * (lengths[0] - lengths[1])
    assert set(batch["input_ids"][1, lengths[1] :].tolist()) == {tokenizer.pad_token_id}
    assert set(batch["labels"][1, lengths[1] :].tolist()) == {IGNORED}
    assert batch["mm_token_type_ids"][1].sum() == 0
    assert batch["mm_token_type_ids"][0].sum() == batch["image_grid_thw"][0].prod() // 4


def test_pictures_are_those_of_the_profile(tokenizer):
    sample = depth_sample((1000, 750))
    for profile, tokens in (("native", 31 * 23), ("reference_v1", 32 * 24)):
        batch = batch_of(Collator(tokenizer, supervise=False, profile=profile), sample)
        expected = prepare(Image.fromarray(sample.picture), profile)
        assert torch.equal(batch["pixel_values"], expected.pixel_values)
        assert batch["mm_token_type_ids"].sum() == tokens
        assert tuple(batch["pixel_depth_labels"][0].shape) == (750, 1000)
    small = batch_of(Collator(tokenizer, supervise=False, max_pixels=160_000), sample)
    assert small["mm_token_type_ids"].sum() <= 160_000 / 1024


def test_without_supervision_there_is_no_label_and_no_answer(tokenizer):
    batch = batch_of(Collator(tokenizer, supervise=False), depth_sample(), chat_sample(0))
    assert (batch["labels"] == IGNORED).all()
    rows = zip(batch["input_ids"], batch["attention_mask"], strict=True)
    depth, chat = (tokenizer.decode(row[mask == 1]) for row, mask in rows)
    assert DEPTH_ANSWER not in depth and depth.endswith("<|im_start|>assistant\n")
    assert ANSWER in chat


def test_a_depth_sample_without_an_answer_supervises_no_language(tokenizer):
    batch = batch_of(Collator(tokenizer, supervise=True), depth_sample(answer=None))
    assert (batch["labels"] == IGNORED).all()


def test_a_batch_without_pictures_has_no_picture_inputs(tokenizer):
    batch = batch_of(Collator(tokenizer, supervise=True), chat_sample(0), chat_sample(0))
    assert not {"pixel_values", "image_grid_thw", "pixel_depth_labels"} & set(batch)


@pytest.mark.parametrize("sample", [chat_sample(0, answer="word " * 300), chat_sample(1), depth_sample()])
def test_what_is_longer_than_allowed_is_refused_whole(tokenizer, sample):
    length = len(Collator(tokenizer, supervise=True).prepare(sample).encoded)
    assert len(Collator(tokenizer, supervise=True, max_length=length).prepare(sample).encoded) == length
    with pytest.raises(BadSampleError) as caught:
        Collator(tokenizer, supervise=True, max_length=length - 1).prepare(sample)
    assert caught.value.fault.reason == "over_long"
    assert caught.value.fault.detail == f"{length} tokens, max_length {length - 1}"


def test_a_picture_that_the_model_cannot_take_is_told(tokenizer):
    with pytest.raises(BadSampleError) as caught:
        Collator(tokenizer, supervise=True).prepare(depth_sample((4000, 10)))
    assert caught.value.fault.reason == "refused_image"
    assert caught.value.fault.where == "rooms/train/-/-/4000"


def test_a_chat_text_that_says_picture_tokens_is_told(tokenizer):
    with pytest.raises(BadSampleError) as caught:
        Collator(tokenizer, supervise=True).prepare(chat_sample(0, question="What is <|image_pad|>?"))
    assert (caught.value.fault.reason, caught.value.fault.where) == ("malformed", "talk.jsonl:3")


def test_a_tokenizer_that_cannot_encode_depth_is_an_error_at_once(tokenizer):
    bare = byte_level_tokenizer([DEPTH_PROMPT])
    bare.chat_template = None
    with pytest.raises(CheckError, match="no chat template"):
        Collator(bare, supervise=True).prepare(depth_sample())


class Talk:
    """A chat file of two examples, one with a picture."""

    name, identity, group_rows = "talk", {"name": "talk"}, np.array([2])

    def read(self, group, rows):
        return {row: row for row in rows}

    def sample(self, raw):
        return chat_sample(raw)


def test_batches_of_a_converted_set_go_through_the_model(tmp_path):
    folder = make_tiny(tmp_path / "model", texts=[QUESTION, ANSWER])
    model, tokenizer = load_depthvlm(folder, dtype="float32"), AutoTokenizer.from_pretrained(folder)
    images = [TinyImage(f"{number}", constant_depth(1.0 + number)) for number in range(3)]
    source = DepthSource(write_tiny_set(tmp_path, images, role="train"))
    stream = MixedStream([source], [Talk()])
    batch = next(iter(SampleLoader(stream, Collator(tokenizer, supervise=True), batch_size=8)))
    tasks = batch.pop("tasks")
    assert {"depth", "chat"} == set(tasks)
    assert set(batch.pop("datasets")) == {"tiny", "talk"}
    with torch.no_grad():
        output = model(**batch)
    assert len(output.depth_pred) == len(batch["pixel_depth_labels"])
    assert torch.isfinite(output.lm_loss) and torch.isfinite(output.depth_loss)
    assert output.depth_valid == tasks.count("depth") * 24 * 32
