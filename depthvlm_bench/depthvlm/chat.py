"""Conversations as tokens: pictures at their full length, and labels on the answers alone.

The reference masks the length of its prompt before the picture is expanded, so that the question is trained
on too; here every answer is cut out of the rendered conversation first, and only then are there tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from depthvlm_bench.depthvlm.preprocess import PreparedPicture
from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.records.prompts import DENSE_PROMPT, load_prompt

SYSTEM = load_prompt(DENSE_PROMPT).system
DEPTH_PROMPT = load_prompt(DENSE_PROMPT).user
DEPTH_ANSWER = load_prompt(DENSE_PROMPT).answer

IGNORED = -100
IMAGE_TOKEN = "<|image_pad|>"
VIDEO_TOKEN = "<|video_pad|>"
Message = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Encoded:
    """A conversation as tokens.

    Attributes:
        input_ids: (L,) int64, each picture as long as it is in the model.
        labels: (L,) int64, -100 but on supervised answers and the token that ends them.
        mm_token_type_ids: (L,) int64: 0 text, 1 picture.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    mm_token_type_ids: torch.Tensor

    def __len__(self) -> int:
        return len(self.input_ids)


def depth_messages(question: str | None = None, answer: str | None = None) -> list[Message]:
    """A picture and the question of the paper's records, or another; with its answer where one is given."""
    asked = {"type": "text", "text": DEPTH_PROMPT if question is None else question}
    messages: list[Message] = [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
        {"role": "user", "content": [{"type": "image"}, asked]},
    ]
    if answer is not None:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return messages


def encode(
    tokenizer: Any,  # noqa: ANN401 - a transformers tokenizer
    messages: Sequence[Message],
    pictures: Sequence[PreparedPicture],
    *,
    supervise: bool,
) -> Encoded:
    """Tokens of a conversation by the tokenizer's own chat template.

    A conversation that does not end in an answer is closed with the prompt for one, unless it is supervised.

    Args:
        tokenizer: with a chat template and Qwen's picture token.
        messages: role and content, a text or parts {"type": "image"} and {"type": "text", "text": ...}.
        pictures: one for each image part, in order.
        supervise: label the answers of all turns.

    Raises:
        UsageError: a part that is neither text nor picture.
        CheckError: pictures and image parts differ in number, there is no answer to supervise, or the
            template rewrites earlier turns, so that an answer cannot be told from the rest.
    """
    chat = [_plain(message) for message in messages]
    answered = bool(chat) and chat[-1]["role"] == "assistant"
    pieces = (
        _supervised_pieces(tokenizer, chat)
        if supervise
        else [(_render(tokenizer, chat, prompt=not answered), False)]
    )
    ids: list[int] = []
    labels: list[int] = []
    for text, taught in pieces:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids += found
        labels += found if taught else [IGNORED] * len(found)
    return _with_pictures(torch.tensor(ids), torch.tensor(labels), _picture_id(tokenizer), pictures)


def _plain(message: Message) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return {"role": message["role"], "content": content}
    return {"role": message["role"], "content": [_plain_part(part) for part in content]}


def _plain_part(part: Mapping[str, Any]) -> dict[str, str]:
    if part["type"] == "image":
        return {"type": "image"}
    if part["type"] == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    raise UsageError(f"a message part of type {part['type']!r} cannot be encoded", why="known: image, text")


def _render(tokenizer: Any, chat: Sequence[Message], *, prompt: bool) -> str:  # noqa: ANN401
    if not tokenizer.chat_template:
        raise CheckError(
            "the tokenizer has no chat template",
            where=tokenizer.name_or_path,
            next_step="copy chat_template.jinja of the checkpoint beside it",
        )
    return str(tokenizer.apply_chat_template(list(chat), tokenize=False, add_generation_prompt=prompt))


def _supervised_pieces(tokenizer: Any, chat: Sequence[Message]) -> list[tuple[str, bool]]:  # noqa: ANN401
    """The rendered conversation in pieces, each with whether it is an answer and its end-of-turn."""
    pieces: list[tuple[str, bool]] = []
    whole, at = _render(tokenizer, chat, prompt=False), 0
    for turn, message in enumerate(chat):
        if message["role"] != "assistant":
            continue
        before = _render(tokenizer, chat[:turn], prompt=True)
        through = _render(tokenizer, chat[: turn + 1], prompt=False)
        if not whole.startswith(through) or not through.startswith(before):
            raise CheckError(
                "the chat template rewrites earlier turns",
                where=tokenizer.name_or_path,
                why="answers cannot be told from what they are answers to",
                next_step="give one turn a conversation",
            )
        end = len(through.rstrip())
        pieces += [(whole[at : len(before)], False), (whole[len(before) : end], True)]
        at = end
    if not pieces:
        raise CheckError("a conversation without an answer cannot be supervised")
    _require_end_of_turn(tokenizer, pieces[-1][0])
    return [*pieces, (whole[at:], False)]


def _require_end_of_turn(tokenizer: Any, answer: str) -> None:  # noqa: ANN401
    if not answer.endswith(tuple(tokenizer.all_special_tokens)):
        raise CheckError(
            "the chat template does not end an answer with a special token",
            where=tokenizer.name_or_path,
            why="a model trained so would never stop",
        )


def _picture_id(tokenizer: Any) -> int:  # noqa: ANN401
    found = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    if found is None or found == tokenizer.unk_token_id:
        raise CheckError(f"the tokenizer has no {IMAGE_TOKEN}", where=tokenizer.name_or_path)
    return int(found)


def _with_pictures(
    ids: torch.Tensor, labels: torch.Tensor, picture_id: int, pictures: Sequence[PreparedPicture]
) -> Encoded:
    """Every picture token repeated as often as its picture has tokens; none of them is ever a label."""
    at = ids == picture_id
    if int(at.sum()) != len(pictures):
        raise CheckError(f"{len(pictures)} pictures for {int(at.sum())} places in the conversation")
    times = torch.ones_like(ids)
    times[at] = torch.tensor([picture.tokens for picture in pictures], dtype=ids.dtype)
    ids, labels = (torch.repeat_interleave(values, times) for values in (ids, labels))
    is_picture = ids == picture_id
    return Encoded(ids, labels.masked_fill(is_picture, IGNORED), is_picture.long())


def pad(encoded: Sequence[Encoded], pad_id: int, side: Literal["left", "right"]) -> dict[str, torch.Tensor]:
    """A batch: input_ids, attention_mask, labels and mm_token_type_ids, each (B, longest) int64."""
    length = max(map(len, encoded))
    fill = {"input_ids": pad_id, "attention_mask": 0, "labels": IGNORED, "mm_token_type_ids": 0}
    batch = {
        name: torch.full((len(encoded), length), value, dtype=torch.long) for name, value in fill.items()
    }
    for row, one in enumerate(encoded):
        place = slice(length - len(one), length) if side == "left" else slice(0, len(one))
        batch["input_ids"][row, place] = one.input_ids
        batch["attention_mask"][row, place] = 1
        batch["labels"][row, place] = one.labels
        batch["mm_token_type_ids"][row, place] = one.mm_token_type_ids
    return batch
