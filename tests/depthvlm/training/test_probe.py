"""The probe: what is asked, how replies are compared, and that an unchanged model is found unchanged."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from depthvlm_bench.depthvlm.chat import DEPTH_ANSWER
from depthvlm_bench.depthvlm.inference import load_tokenizer
from depthvlm_bench.depthvlm.loading import load_depthvlm
from depthvlm_bench.depthvlm.tiny import make_tiny
from depthvlm_bench.depthvlm.training.drawing import Drawing, Shape
from depthvlm_bench.depthvlm.training.probe import BASE_FILE, Prober
from depthvlm_bench.depthvlm.training.probe_set import (
    ProbeSet,
    Question,
    Reply,
    breach,
    load_probe,
    probe_names,
    report_on,
)
from depthvlm_bench.errors import CheckError, UsageError

DISC = Drawing(shapes=(Shape("disc", "red", (60, 60, 160, 160)),))
FEW = ProbeSet(
    "few",
    "test",
    (
        Question("a", "words", "What is this?"),
        Question("b", "colour", "What colour is the disc?", DISC),
        Question("c", "words", "Say something short about rain and stones."),
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny") / "model", hidden=32)


@pytest.fixture
def model(folder):
    return load_depthvlm(folder, dtype="float32")


@pytest.fixture
def prober(folder):
    return Prober(FEW, load_tokenizer(folder), batch=2, tokens=6)


def reply(text, likelihood=-1.0):
    return Reply((1, 2), text, likelihood)


def test_the_probe_that_ships_has_forty_questions_of_eight_families_with_and_without_pictures():
    probe = load_probe("general")
    assert "general" in probe_names()
    assert len(probe.question) == 40
    families = {question.family for question in probe.question}
    assert len(families) == 8
    assert 15 <= sum(question.picture is not None for question in probe.question) <= 25
    for question in probe.question:
        if question.picture is not None:
            assert question.picture.picture().mode == "RGB"


def test_a_drawing_has_its_shapes_where_they_are_said_to_be():
    picture = Drawing((40, 30), "white", (Shape("box", "blue", (10, 10, 19, 19)),)).picture()
    assert picture.size == (40, 30)
    assert picture.getpixel((9, 10)) == (255, 255, 255)
    assert picture.getpixel((10, 10)) == picture.getpixel((19, 19)) == (0, 0, 255)
    assert picture.getpixel((20, 19)) == (255, 255, 255)


def test_the_kinds_of_shapes_differ():
    box = (20, 20, 100, 100)
    drawn = [
        Drawing(shapes=(Shape(kind, "red", box),)).picture().tobytes()
        for kind in ("disc", "box", "line", "triangle")
    ]
    assert len(set(drawn)) == 4


def test_a_colour_that_is_none_is_named():
    with pytest.raises(UsageError, match="greenish"):
        Drawing(ground="greenish").picture()


def test_a_probe_of_ones_own_is_read_and_its_faults_are_named(tmp_path):
    path = tmp_path / "mine.toml"
    question = '[[question]]\nid = "{}"\nfamily = "words"\ntext = "Why?"\n'
    path.write_text('name = "mine"\nsource = "me"\n' + question.format("a"))
    assert load_probe(str(path)).question[0].picture is None
    path.write_text('name = "mine"\nsource = "me"\n' + question.format("a") * 2)
    with pytest.raises(UsageError, match="twice: a"):
        load_probe(str(path))
    path.write_text('name = "mine"\nsource = "me"\nquestion = []\n')
    with pytest.raises(UsageError, match="it has no question"):
        load_probe(str(path))
    path.write_text('name = "mine"\nsource = "me"\n' + question.format("a").replace("text", "texts"))
    with pytest.raises(UsageError, match="did you mean 'text'"):
        load_probe(str(path))
    with pytest.raises(UsageError, match="did you mean 'general'"):
        load_probe("generel")


def test_shares_agreement_and_drift_are_means_over_questions():
    base = [reply("cat", -1.0), reply("red", -2.0), reply("rain", -3.0)]
    now = [reply(f" {DEPTH_ANSWER}\n"), reply("red"), reply(DEPTH_ANSWER)]
    report = report_on(FEW, base, now, [(0.0, -4.0), (1.0, -2.0), (0.5, -3.0)], DEPTH_ANSWER)
    assert report.constant_share == report.modal_share == pytest.approx(2 / 3)
    assert report.modal_reply == DEPTH_ANSWER
    assert report.unchanged_share == pytest.approx(1 / 3)
    assert report.token_agreement == pytest.approx(0.5)
    assert report.likelihood_drift == pytest.approx(-1.0)  # (-3 + 0 + 0) / 3
    assert report.unchanged_by_family == {"words": 0.0, "colour": 1.0}


def test_one_reply_to_everything_is_seen_even_where_it_is_not_the_depth_answer():
    base = [reply("cat"), reply("red"), reply("rain")]
    report = report_on(FEW, base, [reply("no")] * 3, [(0.0, -1.0)] * 3, DEPTH_ANSWER)
    assert (report.constant_share, report.modal_share, report.modal_reply) == (0.0, 1.0, "no")
    assert "100% of the probe's replies are one and the same: 'no'" in breach(report, base, 0.5, 0.0)


def test_the_gate_does_not_blame_a_model_for_what_its_base_did_already():
    base = [reply("no")] * 3
    report = report_on(FEW, base, [reply("no")] * 3, [(1.0, -1.0)] * 3, DEPTH_ANSWER)
    assert breach(report, base, 0.5, 0.0) == ""


def test_the_gate_speaks_where_too_few_replies_are_kept():
    base = [reply("cat"), reply("red"), reply("rain")]
    now = [reply("dog"), reply("red"), reply("snow")]
    report = report_on(FEW, base, now, [(0.0, -1.0)] * 3, DEPTH_ANSWER)
    assert breach(report, base, 0.9, 0.3) == ""
    assert "only 33% of the probe's replies" in breach(report, base, 0.9, 0.5)


def test_an_unchanged_model_is_found_unchanged_to_the_last_token(prober, model, tmp_path):
    base = prober.base(model, tmp_path, untrained=True)
    report, now = prober.report(model, base)
    assert now == base
    assert (report.unchanged_share, report.token_agreement, report.likelihood_drift) == (1.0, 1.0, 0.0)
    assert all(1 <= len(one.tokens) <= 6 for one in base)


def test_a_changed_model_is_found_changed(prober, model, tmp_path):
    base = prober.base(model, tmp_path, untrained=True)
    with torch.no_grad():
        model.model.language_model.layers[0].mlp.down_proj.weight.mul_(-3)
    report, _ = prober.report(model, base)
    assert report.unchanged_share < 1
    assert report.likelihood_drift < 0


def test_replies_do_not_depend_on_how_many_are_asked_at_once(prober, model, folder):
    alone = Prober(FEW, prober.tokenizer, batch=1, tokens=6)
    assert [one.tokens for one in alone.replies(model)] == [one.tokens for one in prober.replies(model)]


def test_likelihood_is_that_of_the_reply_after_its_question(prober, model):
    (tokens,) = [[5, 6, 7]]
    (measured,) = Prober(ProbeSet("one", "test", FEW.question[:1]), prober.tokenizer).led(model, [tokens])
    ids = prober.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is this?"}], add_generation_prompt=True, return_dict=False
    )
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*ids, *tokens]])).logits[0]
    each = [logits[len(ids) - 1 + i].log_softmax(-1)[token] for i, token in enumerate(tokens)]
    assert measured[1] == pytest.approx(float(sum(each) / 3), abs=1e-5)


def test_asking_leaves_every_module_in_the_mode_it_was_in(prober, model):
    model.train()
    model.model.visual.eval()
    prober.replies(model)
    assert model.training and model.depth_head.training and not model.model.visual.training


def test_base_replies_are_taken_once_and_kept(prober, model, tmp_path):
    base = prober.base(model, tmp_path, untrained=True)
    with torch.no_grad():
        model.model.language_model.norm.weight.mul_(-1)
    assert prober.base(model, tmp_path, untrained=False) == base
    assert len(json.loads((tmp_path / BASE_FILE).read_text())["replies"]) == 3


def test_another_probe_than_the_one_that_was_kept_is_refused(prober, model, tmp_path):
    prober.base(model, tmp_path, untrained=True)
    other = Prober(ProbeSet("few", "test", FEW.question[:2]), prober.tokenizer, batch=2, tokens=6)
    with pytest.raises(CheckError, match="not the one whose base replies were kept"):
        other.base(model, tmp_path, untrained=False)


def test_a_probe_that_was_not_begun_with_the_run_is_refused(prober, model, tmp_path):
    with pytest.raises(CheckError, match="no replies of the base model are kept"):
        prober.base(model, tmp_path, untrained=False)
