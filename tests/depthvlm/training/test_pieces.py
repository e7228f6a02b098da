"""A step in pieces: however a batch is cut, the losses and their gradients are those of the whole."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from training_rooms import Rooms, Talk

from depthvlm_bench.depthvlm.inference import load_tokenizer
from depthvlm_bench.depthvlm.loading import load_depthvlm
from depthvlm_bench.depthvlm.loss import silog
from depthvlm_bench.depthvlm.tiny import make_tiny
from depthvlm_bench.depthvlm.training.collate import Collator
from depthvlm_bench.depthvlm.training.logs import Means
from depthvlm_bench.depthvlm.training.pieces import (
    Weights,
    measure,
    picture_rows,
    split,
    weighted_loss,
    weights_of,
)

PASSED = ("input_ids", "attention_mask", "labels", "mm_token_type_ids", "pixel_values", "image_grid_thw")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = make_tiny(tmp_path_factory.mktemp("tiny") / "model", hidden=32)
    model = load_depthvlm(folder, dtype="float32")
    model.tokenizer = load_tokenizer(folder)
    return model


@pytest.fixture(scope="module")
def batch(model):
    """Text alone, a wall, text about a picture, a wall without depth, a wall."""
    collator, rooms, talk = Collator(model.tokenizer, supervise=True), Rooms(blank=[3]), Talk()
    samples = [talk.sample(0), rooms.sample(1), talk.sample(1), rooms.sample(3), rooms.sample(4)]
    return collator([collator.prepare(sample) for sample in samples])


def forward(model, piece):
    arguments = {name: piece[name] for name in (*PASSED, "pixel_depth_labels") if name in piece}
    return model(**arguments, supervised_logits=True, use_cache=False)


def gradients(model, pieces, step):
    model.zero_grad()
    total = 0.0
    for piece in pieces:
        loss = weighted_loss(forward(model, piece), weights_of(piece), step, 2.0)
        if loss is not None:
            loss.backward()
            total += float(loss.detach())
    return total, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_pictures_are_found_in_their_rows(batch):
    assert picture_rows(batch) == [1, 2, 3, 4]
    assert weights_of(batch).images == 2


def test_pieces_hold_what_the_whole_holds(batch):
    pieces = split(batch, 2)
    assert [len(piece["input_ids"]) for piece in pieces] == [2, 2, 1]
    assert [piece["tasks"] for piece in pieces] == [["chat", "depth"], ["chat", "depth"], ["depth"]]
    assert torch.equal(torch.cat([piece["pixel_values"] for piece in pieces]), batch["pixel_values"])
    assert sum(map(weights_of, pieces), Weights(0, 0)) == weights_of(batch)
    assert "pixel_values" not in split(batch, 1)[0]


def test_a_piece_is_padded_no_further_than_it_needs(batch):
    for piece in split(batch, 1):
        assert piece["attention_mask"].all()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_gradient_does_not_depend_on_how_a_batch_is_cut(model, batch, size):
    step = weights_of(batch)
    whole, expected = gradients(model, [batch], step)
    total, found = gradients(model, split(batch, size), step)
    assert total == pytest.approx(whole, rel=1e-5)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max())), name


def test_both_losses_are_means_over_the_whole_step(model, batch):
    step = weights_of(batch)
    with torch.no_grad():
        parts = [(forward(model, piece), weights_of(piece)) for piece in split(batch, 1)]
        whole = forward(model, batch)
    lm = sum(float(output.lm_loss) * part.tokens for output, part in parts) / step.tokens
    depth = sum(float(output.depth_loss) * part.images for output, part in parts if part.images) / step.images
    assert float(whole.lm_loss) == pytest.approx(lm, rel=1e-5)
    assert float(whole.depth_loss) == pytest.approx(depth, rel=1e-5)
    assert float(weighted_loss(whole, step, step, 2.0)) == pytest.approx(lm + 2 * depth, rel=1e-5)


def test_a_lone_depth_loss_is_not_weighted(model, batch):
    arguments = {name: batch[name] for name in (*PASSED, "pixel_depth_labels") if name != "labels"}
    with torch.no_grad():
        output = model(**arguments, lm=False)
    step = Weights(0, 2)
    assert float(weighted_loss(output, step, step, 7.0)) == pytest.approx(float(output.depth_loss))


def test_a_piece_that_supervises_nothing_has_no_loss(model, batch):
    blank = split(batch, 1)[3]
    arguments = {name: blank[name] for name in (*PASSED, "pixel_depth_labels") if name != "labels"}
    with torch.no_grad():
        output = model(**arguments, lm=False)
    assert weighted_loss(output, Weights(0, 0), Weights(0, 0), 1.0) is None


def test_figures_by_task_and_set_are_those_of_their_samples(model, batch):
    means = Means()
    with torch.no_grad():
        output = forward(model, batch)
        measure(output, batch, weights_of(batch), means)
        chat = [forward(model, piece) for piece in split(batch, 1) if piece["tasks"] == ["chat"]]
    chat_tokens = [int((piece["labels"][:, 1:] != -100).sum()) for piece in split(batch, 1)][:3:2]
    found = means.means()
    expected = sum(float(o.lm_loss) * n for o, n in zip(chat, chat_tokens, strict=True)) / sum(chat_tokens)
    assert found["lm_loss_by_task/chat"] == pytest.approx(expected, rel=1e-4)
    assert found["valid_share/rooms"] == pytest.approx(2 / 3)  # two full labels, one empty
    assert found["depth_loss_by_set/rooms"] == pytest.approx(float(output.depth_loss), rel=1e-5)
    assert found["delta1"] == float(output.depth_hits) / float(output.depth_valid)


def test_silog_of_a_set_is_that_of_its_maps():
    label = torch.full((4, 4), 2.0)
    assert float(silog(torch.full((4, 4), 4.0), label)) == pytest.approx(0.6931 * 0.5**0.5, rel=1e-3)
