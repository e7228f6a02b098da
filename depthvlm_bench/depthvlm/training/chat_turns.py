"""One chat example: what a line or row of a file says, as messages and pictures.

The form is the one that trl reads: `messages`, a list of turns with `role` and `content` (text, or parts
{"type": "text", "text": ...} and {"type": "image"}), and `images`, one a placeholder, as paths or bytes.
Turns without a placeholder get their pictures at the start of the first user turn.
"""

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image, ImageOps

from depthvlm_bench.depthvlm.training.data import ChatSample, Message
from depthvlm_bench.depthvlm.training.faults import BadSampleError
from depthvlm_bench.errors import UsageError
from depthvlm_bench.frames import PICTURE_ERRORS, picture_fault
from depthvlm_bench.predict.photos import as_rgb

ROLES = ("system", "user", "assistant")
Part = dict[str, Any]


def chat_sample(example: object, where: str, *, dataset: str, folder: Path) -> ChatSample:
    """The sample of an example.

    Args:
        example: with `messages`, and `images` or `image` where it has pictures.
        where: file and line, or row; named in every fault.
        dataset: the name of its file.
        folder: relative picture paths start here.

    Raises:
        BadSampleError: `malformed`, `missing_image` or `unreadable`.
    """
    if not isinstance(example, Mapping):
        _malformed(where, f"an object with `messages` is expected, not {_kind(example)}")
    turns, named = _turns(example.get("messages"), where)
    given = _given_pictures(example, where)
    if given and named:
        _malformed(where, "pictures are given both in `images` and within the messages")
    pictures = given or named
    placed = _with_placeholders(turns, len(pictures), where)
    return ChatSample(where, dataset, placed, tuple(open_picture(given, where, folder) for given in pictures))


def _turns(messages: object, where: str) -> tuple[list[Message], list[Any]]:
    """The turns in plain form, and the pictures that are named within them."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        _malformed(where, f"`messages` must be a list of turns, not {_kind(messages)}")
    turns, named = [], []
    for number, turn in enumerate(messages, 1):
        if not isinstance(turn, Mapping) or turn.get("role") not in ROLES:
            role = turn.get("role") if isinstance(turn, Mapping) else turn
            _malformed(where, f"turn {number} has role {role!r}; known: {', '.join(ROLES)}")
        content, pictures = _content(turn.get("content"), f"turn {number}", where)
        turns.append({"role": turn["role"], "content": content})
        named += pictures
    if not any(turn["role"] == "assistant" and _says(turn["content"]) for turn in turns):
        _malformed(where, "no assistant turn says anything: there is nothing to learn")
    return turns, named


def _content(content: object, turn: str, where: str) -> tuple[str | list[Part], list[Any]]:
    if isinstance(content, str):
        return content, []
    if not isinstance(content, Sequence):
        _malformed(where, f"{turn} has neither text nor parts, but {_kind(content)}")
    parts: list[Part] = []
    pictures: list[Any] = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append({"type": "text", "text": part["text"]})
        elif kind == "image":
            pictures += [part[key] for key in ("image", "path") if part.get(key) is not None][:1]
            parts.append({"type": "image"})
        else:
            _malformed(where, f"{turn} has a part of type {kind!r}; known: text, image")
    return parts, pictures


def _says(content: str | list[Part]) -> bool:
    texts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
    return any(text.strip() for text in texts)


def _given_pictures(example: Mapping[str, Any], where: str) -> list[Any]:
    images, image = example.get("images"), example.get("image")
    if images is None:
        return [] if image is None else [image]
    if not isinstance(images, Sequence) or isinstance(images, (str, bytes)):
        _malformed(where, f"`images` must be a list, not {_kind(images)}")
    return list(images)


def _with_placeholders(turns: list[Message], count: int, where: str) -> list[Message]:
    """Turns with one placeholder a picture."""
    there = sum(_images_in(turn["content"]) for turn in turns)
    if there == count:
        return turns
    first = next((index for index, turn in enumerate(turns) if turn["role"] == "user"), None)
    if there or first is None:
        _malformed(where, f"{count} pictures are given for {there} image parts")
    content = turns[first]["content"]
    text = [{"type": "text", "text": content}] if isinstance(content, str) else content
    asked = {"role": "user", "content": [*({"type": "image"} for _ in range(count)), *text]}
    return [*turns[:first], asked, *turns[first + 1 :]]


def _images_in(content: str | list[Part]) -> int:
    return 0 if isinstance(content, str) else sum(part["type"] == "image" for part in content)


def open_picture(given: object, where: str, folder: Path) -> Image.Image:
    """An RGB picture, turned as its EXIF data say: text is about what a viewer shows.

    Args:
        given: a path, encoded bytes, or a mapping with `bytes` or `path`, as `datasets` stores pictures;
            bytes in JSON are base64.
        where: named in faults.
        folder: relative paths start here.

    Raises:
        BadSampleError: no such file, or no picture.
    """
    encoded = _encoded(given, where, folder)
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            return as_rgb(ImageOps.exif_transpose(picture), where)
    except PICTURE_ERRORS as error:
        raise BadSampleError("unreadable", where, f"picture: {picture_fault(error)}") from error
    except UsageError as error:
        raise BadSampleError("unreadable", where, error.what) from error


def _encoded(given: object, where: str, folder: Path) -> bytes:
    if isinstance(given, Mapping):
        stored = given.get("bytes")
        if isinstance(stored, str):
            return _from_base64(stored, where)
        given = stored if stored is not None else given.get("path")
    if isinstance(given, bytes):
        return given
    if not isinstance(given, str):
        _malformed(where, f"a picture is a path or bytes, not {_kind(given)}")
    try:
        return (folder / given).read_bytes()
    except (OSError, ValueError) as error:
        raise BadSampleError("missing_image", where, f"{given}: {_said(error)}") from error


def _from_base64(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadSampleError("malformed", where, f"a picture's bytes are no base64: {error}") from error


def _said(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _malformed(where: str, detail: str) -> NoReturn:
    raise BadSampleError("malformed", where, detail)


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
