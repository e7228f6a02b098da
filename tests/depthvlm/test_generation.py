"""Text and depth in one pass: the same tokens, one run of the vision tower, one of the head."""

from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from depthvlm_golden import EOS_ID, PAD_ID, case, golden_model, needs_golden
from depthvlm_small import Prompts, one_image, small_model
from transformers import GenerationConfig

from depthvlm_bench.errors import UsageError

GREEDY = {"max_new_tokens": 5, "do_sample": False}


def counted(module: torch.nn.Module) -> list[int]:
    """Grows by the batch of every run of a module: images of the head, 1 of others."""
    runs: list[int] = []

    def count(_: Any, args: tuple[Any, ...]) -> None:
        runs.append(len(args[0][0]) if args and isinstance(args[0], list) else 1)

    module.register_forward_pre_hook(count)
    return runs


def two_rows() -> Prompts:
    return Prompts().add(5, (2, 3), 6, 7).add(8, (3, 2), 9, 10, 11)


@needs_golden
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["single", "batch"])
def test_greedy_tokens_and_maps_are_the_references(name: str, attention: str, tmp_path: Any) -> None:
    model, this = golden_model(tmp_path, attention=attention), case(name)
    asked = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": EOS_ID, "pad_token_id": PAD_ID}
    found = model.generate(**this.inputs, **asked, return_depth=True)
    assert found.sequences[:, -6:].tolist() == this.expected["greedy"].tolist()
    for index, depth in enumerate(found.depth_pred):
        expected = torch.from_numpy(this.expected[f"depth.{index}"])
        torch.testing.assert_close(depth, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "asked",
    [
        GREEDY,
        {**GREEDY, "use_cache": False},
        {**GREEDY, "num_beams": 3},
        {**GREEDY, "cache_implementation": "static"},
    ],
    ids=["greedy", "no-cache", "beams", "static-cache"],
)
def test_tokens_are_those_of_plain_generate(asked: dict[str, Any]) -> None:
    model, given = small_model(), two_rows().batch()
    plain = model.generate(**given, **asked)
    found = model.generate(**given, **asked, return_depth=True)
    assert torch.equal(found.sequences, plain)
    maps = model(**given).depth_pred
    assert found.depth_sample_index == [0, 1]
    for depth, expected in zip(found.depth_pred, maps, strict=True):
        torch.testing.assert_close(depth, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("more", [{}, {"num_beams": 2}, {"use_cache": False}], ids=["", "beams", "no-cache"])
def test_the_tower_runs_once_and_the_head_once_an_image(more: dict[str, Any]) -> None:
    model = small_model()
    tower, head = counted(model.model.visual), counted(model.depth_head)
    model.generate(**two_rows().add(5, (2, 3), (2, 3)).batch(), **GREEDY, **more, return_depth=True)
    assert (len(tower), sum(head)) == (1, 4)


def test_the_head_rests_in_plain_generate() -> None:
    model = small_model()
    head = counted(model.depth_head)
    model.generate(**two_rows().batch(), **GREEDY)
    assert not head


def test_several_answers_to_a_prompt_share_its_maps() -> None:
    model, given = small_model(), two_rows().add(5, (2, 2), 6, (1, 2)).batch()
    found = model.generate(
        **given, max_new_tokens=4, do_sample=True, num_return_sequences=3, return_depth=True
    )
    assert len(found.sequences) == 9
    assert found.depth_sample_index == [0, 1, 2, 2]
    for depth, expected in zip(found.depth_pred, model(**given).depth_pred, strict=True):
        torch.testing.assert_close(depth, expected, rtol=1e-4, atol=1e-5)


def test_rows_of_text_and_video_have_no_maps() -> None:
    model, batch = small_model(), Prompts().add(5, 6, 7).add(4, (2, 2, 2), 8).add((2, 3), 9)
    given = batch.batch()
    found = model.generate(**given, **GREEDY, return_depth=True)
    assert found.depth_sample_index == [2]
    assert torch.equal(found.sequences, model.generate(**given, **GREEDY))
    torch.testing.assert_close(found.depth_pred[0], model(**given).depth_pred[0], rtol=1e-4, atol=1e-5)
    assert model.generate(**Prompts().add(5, 6).batch(), **GREEDY, return_depth=True).depth_pred == []


@pytest.mark.parametrize("return_depth", [False, True])
def test_token_types_given_or_derived_are_one(return_depth: bool) -> None:
    model, given = small_model(), two_rows().batch()
    types = (given["input_ids"] == 95).long()
    answers = [
        model.generate(**given, **GREEDY, **more, return_depth=return_depth)
        for more in ({}, {"mm_token_type_ids": types})
    ]
    tokens = [answer.sequences if return_depth else answer for answer in answers]
    assert torch.equal(*tokens)
    if return_depth:
        assert torch.equal(answers[0].depth_pred[0], answers[1].depth_pred[0])


def test_derived_token_types_matter_to_the_tokens() -> None:
    """Without them stock places image tokens as if they were text: a different model, and no error."""
    model, given = small_model(), two_rows().batch()
    text = {"mm_token_type_ids": torch.zeros_like(given["input_ids"])}
    shown = [model.generate(**given, **GREEDY, **more, return_depth=True) for more in ({}, text)]
    assert not torch.allclose(shown[0].depth_pred[0], shown[1].depth_pred[0], rtol=1e-3)


def test_the_prompt_may_be_the_first_argument() -> None:
    model, given = small_model(), one_image()
    expected = model.generate(**given, **GREEDY, return_depth=True)
    found = model.generate(given.pop("input_ids"), **given, **GREEDY, return_depth=True)
    assert torch.equal(found.sequences, expected.sequences)
    assert torch.equal(found.depth_pred[0], expected.depth_pred[0])


def test_all_that_generate_can_tell_is_kept() -> None:
    model, asked = small_model(), {**GREEDY, "return_dict_in_generate": True, "output_scores": True}
    found = model.generate(**one_image(), **asked, return_depth=True)
    assert torch.equal(found.details.sequences, found.sequences)
    assert len(found.details.scores) == 5
    assert model.generate(**one_image(), **GREEDY, return_depth=True).details is None


def test_calls_leave_nothing_behind_for_the_next() -> None:
    model, first, second = small_model(), one_image(), two_rows().batch()
    expected = [model.generate(**given, **GREEDY, return_depth=True) for given in (second, first)]
    again = [model.generate(**given, **GREEDY, return_depth=True) for given in (second, first)]
    for one, other in zip(expected, again, strict=True):
        assert torch.equal(one.sequences, other.sequences)
        assert all(torch.equal(a, b) for a, b in zip(one.depth_pred, other.depth_pred, strict=True))


@pytest.mark.parametrize(
    "more",
    [
        {"prompt_lookup_num_tokens": 2},
        {"generation_config": GenerationConfig(prompt_lookup_num_tokens=2)},
        {"assistant_model": torch.nn.Identity()},
        {"prefill_chunk_size": 4},
    ],
    ids=["lookup", "lookup-in-config", "assistant", "chunks"],
)
def test_assisted_decoding_is_refused_with_depth(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="does not go with"):
        small_model().generate(**one_image(), **more, return_depth=True)


def test_lora_generates_with_depth() -> None:
    peft = pytest.importorskip("peft")
    plain, given = small_model(), one_image()
    expected = plain.generate(**given, **GREEDY, return_depth=True)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=2,
        target_modules=r".*language_model.*\.q_proj",
        modules_to_save=["depth_head"],
    )
    model = peft.get_peft_model(small_model(), config).eval()
    found = model.generate(**given, **GREEDY, return_depth=True)
    assert torch.equal(found.sequences, expected.sequences)
    torch.testing.assert_close(found.depth_pred[0], expected.depth_pred[0])
