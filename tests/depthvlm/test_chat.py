"""Conversations as tokens: what is supervised, where pictures stand, how a batch is padded."""

import pytest

pytest.importorskip("transformers")

import torch
from PIL import Image

from depthvlm_bench.depthvlm.chat import (
    DEPTH_ANSWER,
    DEPTH_PROMPT,
    IGNORED,
    IMAGE_TOKEN,
    SYSTEM,
    depth_messages,
    encode,
    pad,
)
from depthvlm_bench.depthvlm.preprocess import prepare
from depthvlm_bench.depthvlm.tiny import TURN_END, byte_level_tokenizer
from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.records.prompts import DENSE_PROMPT, load_prompt


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level_tokenizer([SYSTEM, DEPTH_PROMPT, DEPTH_ANSWER], 400)


@pytest.fixture(scope="module")
def pictures():
    """16, 24 and 64 tokens."""
    sizes = ((128, 128), (128, 192), (256, 256))
    return [prepare(Image.new("RGB", size), min_pixels=1024) for size in sizes]


def image():
    return {"type": "image"}


def text(said):
    return {"type": "text", "text": said}


def turn(role, *parts):
    return {"role": role, "content": list(parts)}


CONVERSATIONS = {
    "one picture": (depth_messages(answer=DEPTH_ANSWER), 1, [DEPTH_ANSWER]),
    "two pictures": (
        [
            turn("user", image(), image(), text("Which is nearer?")),
            turn("assistant", text("The second one.")),
        ],
        2,
        ["The second one."],
    ),
    "two turns": (
        [
            *depth_messages(answer=DEPTH_ANSWER),
            turn("user", text("And now?")),
            turn("assistant", text("2.31 m\nor so")),
        ],
        1,
        [DEPTH_ANSWER, "2.31 m\nor so"],
    ),
    "a picture in each of two turns": (
        [
            turn("user", image(), text("a")),
            turn("assistant", text("b")),
            turn("user", text("c"), image()),
            turn("assistant", text("d")),
        ],
        2,
        ["b", "d"],
    ),
    "text alone": (
        [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "It is 4."}],
        0,
        ["It is 4."],
    ),
}


def supervised(tokenizer, row, labels):
    """Runs of supervised tokens, decoded; each label is the token that it stands under."""
    kept = labels != IGNORED
    assert torch.equal(labels[kept], row[kept])
    runs, current = [], []
    for token, is_kept in zip(row.tolist(), kept.tolist(), strict=True):
        if is_kept:
            current.append(token)
        elif current:
            runs.append(current)
            current = []
    return [tokenizer.decode(run) for run in [*runs, *([current] if current else [])]]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_what_is_supervised_is_each_answer_and_its_end_of_turn(tokenizer, pictures, name, side):
    """Padded beside a longer conversation, where the reference's mask slips."""
    messages, count, answers = CONVERSATIONS[name]
    encoded = encode(tokenizer, messages, pictures[:count], supervise=True)
    longer = encode(tokenizer, depth_messages(answer="x" * 40), pictures[2:], supervise=True)
    batch = pad([encoded, longer], tokenizer.pad_token_id, side)
    found = supervised(tokenizer, batch["input_ids"][0], batch["labels"][0])
    assert found == [answer + TURN_END for answer in answers]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_picture_has_as_many_tokens_as_in_the_model_and_none_is_a_label(tokenizer, pictures, name):
    messages, count, _ = CONVERSATIONS[name]
    encoded = encode(tokenizer, messages, pictures[:count], supervise=True)
    is_picture = encoded.input_ids == tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    assert int(is_picture.sum()) == sum(picture.tokens for picture in pictures[:count])
    assert torch.equal(encoded.mm_token_type_ids, is_picture.long())
    assert (encoded.labels[is_picture] == IGNORED).all()
    assert len(encoded) == len(encoded.labels) == len(encoded.mm_token_type_ids)


def test_pictures_stand_in_their_order(tokenizer, pictures):
    encoded = encode(tokenizer, CONVERSATIONS["two pictures"][0], pictures[:2], supervise=False)
    runs = "".join(map(str, encoded.mm_token_type_ids.tolist())).split("0")
    assert [len(run) for run in runs if run] == [16, 24]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_tokens_are_those_of_the_whole_rendered_conversation(tokenizer, pictures, name):
    """Cutting the answers out changes no token of an ordinary conversation."""
    messages, count, _ = CONVERSATIONS[name]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    for picture in pictures[:count]:
        rendered = rendered.replace(IMAGE_TOKEN, "#" * picture.tokens, 1)
    rendered = rendered.replace("#", IMAGE_TOKEN)
    whole = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert encode(tokenizer, messages, pictures[:count], supervise=True).input_ids.tolist() == whole
    assert encode(tokenizer, messages, pictures[:count], supervise=False).input_ids.tolist() == whole


def test_an_answer_that_begins_with_a_line_break_is_supervised_from_there(tokenizer):
    """The prompt ends in one: tokens that would span both are those that generation never gives."""
    messages = [turn("user", text("q")), turn("assistant", text("\n\nyes"))]
    encoded = encode(tokenizer, messages, [], supervise=True)
    assert supervised(tokenizer, encoded.input_ids, encoded.labels) == ["\n\nyes" + TURN_END]
    asked = encode(tokenizer, messages[:1], [], supervise=False).input_ids
    assert torch.equal(encoded.input_ids[: len(asked)], asked)


def test_a_question_alone_is_closed_with_the_prompt_for_an_answer(tokenizer, pictures):
    asked = encode(tokenizer, depth_messages(), pictures[:1], supervise=False)
    whole = encode(tokenizer, depth_messages(answer=DEPTH_ANSWER), pictures[:1], supervise=True)
    first = int((whole.labels != IGNORED).nonzero()[0])
    assert torch.equal(asked.input_ids, whole.input_ids[:first])
    assert tokenizer.decode(asked.input_ids).endswith("assistant\n")
    assert (asked.labels == IGNORED).all()


def test_the_depth_question_is_that_of_the_records(tokenizer, pictures):
    prompt = load_prompt(DENSE_PROMPT)
    assert (prompt.system, prompt.user, prompt.answer) == (SYSTEM, DEPTH_PROMPT, DEPTH_ANSWER)
    ours = encode(tokenizer, depth_messages(), pictures[:1], supervise=False)
    theirs = encode(tokenizer, prompt.messages(), pictures[:1], supervise=False)
    assert torch.equal(ours.input_ids, theirs.input_ids)


def test_another_question_takes_the_prompt_s_place(tokenizer, pictures):
    asked = encode(tokenizer, depth_messages("How far is the door?"), pictures[:1], supervise=False)
    said = tokenizer.decode(asked.input_ids)
    assert "How far is the door?" in said
    assert DEPTH_PROMPT not in said


def test_padding_is_marked_and_no_label(tokenizer):
    short, long = (encode(tokenizer, [turn("user", text(t))], [], supervise=False) for t in ("a", "a b c d"))
    missing = len(long) - len(short)
    for side, padded in (("left", slice(0, missing)), ("right", slice(len(short), None))):
        batch = pad([short, long], tokenizer.pad_token_id, side)
        assert {name: tuple(values.shape) for name, values in batch.items()} == dict.fromkeys(
            ("input_ids", "attention_mask", "labels", "mm_token_type_ids"), (2, len(long))
        )
        assert (batch["input_ids"][0, padded] == tokenizer.pad_token_id).all()
        assert batch["attention_mask"].sum(dim=1).tolist() == [len(short), len(long)]
        assert not batch["attention_mask"][0, padded].any()
        assert (batch["labels"][0, padded] == IGNORED).all()


@pytest.mark.parametrize("count", [0, 2])
def test_pictures_and_their_places_have_to_agree(tokenizer, pictures, count):
    with pytest.raises(CheckError, match=f"{count} pictures for 1 places"):
        encode(tokenizer, depth_messages(), pictures[:count], supervise=False)


def test_a_picture_token_in_a_text_is_no_place_for_a_picture(tokenizer, pictures):
    with pytest.raises(CheckError, match="1 pictures for 2 places"):
        encode(tokenizer, depth_messages(f"what is {IMAGE_TOKEN}?"), pictures[:1], supervise=False)


@pytest.mark.parametrize(
    "part", [{"type": "video"}, {"type": "audio", "text": "x"}, {"type": "text", "text": None}]
)
def test_a_part_that_is_neither_text_nor_picture_is_refused(tokenizer, part):
    with pytest.raises(UsageError, match=f"part of type '{part['type']}'"):
        encode(tokenizer, [turn("user", part)], [], supervise=False)


def test_nothing_to_supervise_is_refused(tokenizer, pictures):
    with pytest.raises(CheckError, match="without an answer"):
        encode(tokenizer, depth_messages(), pictures[:1], supervise=True)


def with_template(tokenizer, template):
    other = byte_level_tokenizer([SYSTEM])
    other.chat_template = template
    return other


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer):
    """As those do that drop earlier thoughts."""
    last_only = "{{ messages[-1]['content'] + '<|im_end|>' }}"
    chat = [{"role": role, "content": role[:1]} for role in ("user", "assistant", "user", "assistant")]
    with pytest.raises(CheckError, match="rewrites earlier turns"):
        encode(with_template(tokenizer, last_only), chat, [], supervise=True)


def test_a_template_without_an_end_of_turn_is_refused(tokenizer):
    endless = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(CheckError, match="does not end an answer"):
        encode(with_template(tokenizer, endless), chat, [], supervise=True)


def test_a_tokenizer_without_a_template_is_refused(tokenizer):
    with pytest.raises(CheckError, match="no chat template"):
        encode(with_template(tokenizer, None), [turn("user", text("q"))], [], supervise=False)


def test_a_tokenizer_without_a_picture_token_is_refused(pictures):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab={"q": 0, "?": 1}, merges=[], unk_token="?")),
        unk_token="?",
    )
    bare.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(CheckError, match=r"no <\|image_pad\|>"):
        encode(bare, [{"role": "user", "content": "q"}], [], supervise=False)


def test_a_picture_in_an_answer_is_no_label(tokenizer, pictures):
    messages = [turn("user", text("Show it.")), turn("assistant", image(), text("There."))]
    encoded = encode(tokenizer, messages, pictures[:1], supervise=True)
    assert (encoded.labels[encoded.mm_token_type_ids == 1] == IGNORED).all()
    assert supervised(tokenizer, encoded.input_ids, encoded.labels)[-1].endswith("There." + TURN_END)
