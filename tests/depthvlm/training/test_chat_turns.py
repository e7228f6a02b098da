"""One chat example: turns, pictures and their placeholders, and what is wrong with others."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from depthvlm_bench.depthvlm.training.chat_turns import chat_sample, open_picture
from depthvlm_bench.depthvlm.training.faults import BadSampleError

ANSWER = {"role": "assistant", "content": "Yes."}
PICTURE, TEXT = {"type": "image"}, {"type": "text", "text": "Is it red?"}


def encoded(size=(6, 4), mode="RGB", colour="red", form="PNG", **options):
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, form, **options)
    return buffer.getvalue()


def user(*parts):
    return {"role": "user", "content": list(parts)}


def sample(messages, folder=Path(), **more):
    return chat_sample({"messages": messages, **more}, "talk.jsonl:7", dataset="talk", folder=folder)


def fault(messages, **more):
    with pytest.raises(BadSampleError) as caught:
        sample(messages, **more)
    assert caught.value.fault.where == "talk.jsonl:7"
    return caught.value.fault


def test_turns_are_kept_with_their_parts():
    turns = [{"role": "system", "content": "Be brief."}, user(PICTURE, TEXT), ANSWER, user(TEXT), ANSWER]
    found = sample(turns, images=[encoded()])
    assert found.messages == turns
    assert (found.source_id, found.dataset) == ("talk.jsonl:7", "talk")


def test_pictures_are_in_the_order_of_their_placeholders():
    turns = [user(PICTURE, TEXT, PICTURE), ANSWER]
    found = sample(turns, images=[encoded((1, 2)), encoded((3, 4))])
    assert [picture.size for picture in found.pictures] == [(1, 2), (3, 4)]


@pytest.mark.parametrize("more", [{"images": [encoded()]}, {"image": encoded()}])
def test_without_a_placeholder_pictures_open_the_first_user_turn(more):
    system = {"role": "system", "content": "Be brief."}
    found = sample([system, {"role": "user", "content": "Is it red?"}, ANSWER, user(TEXT)], **more)
    assert found.messages == [system, user(PICTURE, TEXT), ANSWER, user(TEXT)]
    assert sample([user(TEXT), ANSWER], **more).messages[0] == user(PICTURE, TEXT)


def test_pictures_may_be_named_in_their_parts():
    first, second = {"type": "image", "path": None, "image": encoded((1, 2))}, PICTURE | {"image": encoded()}
    found = sample([user(first, second, TEXT), ANSWER])
    assert [picture.size for picture in found.pictures] == [(1, 2), (6, 4)]
    assert found.messages[0] == user(PICTURE, PICTURE, TEXT)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (None, "must be a list of turns, not nothing"),
        ("text", "must be a list of turns, not str"),
        ([], "must be a list of turns"),
        (["text"], "turn 1 has role 'text'"),
        (
            [user(TEXT), {"role": "tool", "content": "x"}, ANSWER],
            "turn 2 has role 'tool'; known: system, user",
        ),
        ([{"role": "user"}, ANSWER], "turn 1 has neither text nor parts, but nothing"),
        ([user({"type": "video"}), ANSWER], "turn 1 has a part of type 'video'; known: text, image"),
        ([user({"type": "text", "text": 3}), ANSWER], "turn 1 has a part of type 'text'"),
        ([user("text"), ANSWER], "turn 1 has a part of type None"),
        ([user(TEXT)], "no assistant turn says anything"),
        ([user(TEXT), {"role": "assistant", "content": "  "}], "no assistant turn says anything"),
    ],
)
def test_what_is_no_conversation_is_told(messages, said):
    found = fault(messages)
    assert found.reason == "malformed"
    assert said in found.detail


@pytest.mark.parametrize(
    ("messages", "more", "said"),
    [
        ([user(PICTURE, TEXT), ANSWER], {}, "0 pictures are given for 1 image parts"),
        ([user(PICTURE, TEXT), ANSWER], {"images": [b"", b""]}, "2 pictures are given for 1 image parts"),
        ([ANSWER], {"images": [b""]}, "1 pictures are given for 0 image parts"),
        ([user({"type": "image", "path": "a.png"}, PICTURE), ANSWER], {}, "1 pictures are given for 2"),
        (
            [user({"type": "image", "path": "a.png"}), ANSWER],
            {"images": [b""]},
            "both in `images` and within",
        ),
        ([user(TEXT), ANSWER], {"images": "a.png"}, "`images` must be a list, not str"),
        ([user(TEXT), ANSWER], {"images": [3]}, "a picture is a path or bytes, not int"),
        ([user(TEXT), ANSWER], {"images": [{"bytes": None, "path": None}]}, "not nothing"),
        ([user(TEXT), ANSWER], {"images": [{"bytes": "no base64!"}]}, "no base64"),
    ],
)
def test_pictures_that_do_not_fit_are_told(messages, more, said):
    found = fault(messages, **more)
    assert found.reason == "malformed"
    assert said in found.detail


def test_a_picture_that_is_not_there_is_told(tmp_path):
    found = fault([user(TEXT), ANSWER], images=["lost/a.png"], folder=tmp_path)
    assert (found.reason, found.detail) == ("missing_image", "lost/a.png: No such file or directory")


@pytest.mark.parametrize(
    "damaged", [b"no picture", encoded()[:45], encoded(mode="I;16", colour=7)], ids=["none", "cut", "depth"]
)
def test_a_picture_that_cannot_be_shown_is_told(damaged):
    assert fault([user(TEXT), ANSWER], images=[damaged]).reason == "unreadable"


def test_pictures_come_from_paths_bytes_and_base64(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    for given in (
        "a.png",
        str(tmp_path / "a.png"),
        encoded(),
        {"bytes": encoded(), "path": "elsewhere.png"},
        {"bytes": None, "path": "a.png"},
        {"path": "a.png"},
        {"bytes": base64.b64encode(encoded()).decode()},
    ):
        picture = open_picture(given, "here", tmp_path)
        assert (picture.mode, picture.size, picture.getpixel((5, 3))) == ("RGB", (6, 4), (255, 0, 0))


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [("L", 90, (90, 90, 90)), ("RGBA", (0, 0, 0, 0), (255, 255, 255)), ("P", 0, (0, 0, 0))],
)
def test_pictures_of_any_mode_become_rgb(mode, colour, seen):
    assert open_picture(encoded(mode=mode, colour=colour), "here", Path()).getpixel((0, 0)) == seen


def test_a_picture_is_turned_as_its_viewer_would():
    values = np.zeros((4, 6, 3), np.uint8)
    values[:, :3] = 255
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: the picture is shown a quarter clockwise
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", exif=exif)
    picture = open_picture(buffer.getvalue(), "here", Path())
    assert picture.size == (4, 6)
    assert (picture.getpixel((0, 0)), picture.getpixel((0, 5))) == ((255, 255, 255), (0, 0, 0))
