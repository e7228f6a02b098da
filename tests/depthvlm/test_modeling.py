"""The model: golden vectors of the reference, and what the reference got wrong or left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from depthvlm_golden import case, golden_model, needs_golden
from depthvlm_small import Prompts, one_image, ramp_label, small_model

from depthvlm_bench.depthvlm.modeling import DepthVLMForConditionalGeneration
from depthvlm_bench.depthvlm.taps import token_types
from depthvlm_bench.errors import UsageError

CASES = [("single", "left"), ("batch", "left"), ("batch", "right")]


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return golden_model(tmp_path_factory.mktemp("golden"), attention=request.param)


@pytest.fixture
def model() -> DepthVLMForConditionalGeneration:
    return small_model()


def heard(model: Any) -> list[list[torch.Tensor]]:
    """What each run of the head is given from now on."""
    calls: list[list[torch.Tensor]] = []
    model.depth_head.register_forward_pre_hook(lambda _, args: calls.append(args[0]))
    return calls


def close(found: torch.Tensor, expected: np.ndarray, rtol: float, atol: float) -> None:
    torch.testing.assert_close(found.detach(), torch.from_numpy(expected), rtol=rtol, atol=atol)


@needs_golden
@pytest.mark.parametrize(("name", "padding"), CASES)
def test_depth_taps_hidden_state_and_logits_are_the_references(golden: Any, name: str, padding: str) -> None:
    this, calls = case(name, padding), heard(golden)
    with torch.no_grad():
        out = golden(**this.inputs, output_hidden_states=True)
    assert out.depth_sample_index == list(range(len(out.depth_pred)))
    for index, depth in enumerate(out.depth_pred):
        close(depth, this.expected[f"depth.{index}"], rtol=1e-4, atol=1e-4)
    for level in range(3):
        taps = torch.cat([call[level].flatten(0, 1) for call in calls])
        close(taps, this.expected[f"deepstack.{level}"], rtol=0, atol=2e-5)
    close(out.hidden_states[-1][this.real], this.expected["last_hidden_state"][this.real], rtol=0, atol=2e-5)
    last = this.inputs["attention_mask"].cumsum(1).argmax(1)
    close(out.logits[torch.arange(len(last)), last], this.expected["logits_last"], rtol=0, atol=1e-4)


@needs_golden
@pytest.mark.parametrize(("name", "padding"), CASES)
def test_positions_are_the_references(golden: Any, name: str, padding: str) -> None:
    this = case(name, padding)
    types = token_types(this.inputs["input_ids"], golden.config.image_token_id, golden.config.video_token_id)
    given = {key: this.inputs[key] for key in ("input_ids", "image_grid_thw", "attention_mask")}
    positions, deltas = golden.model.get_rope_index(mm_token_type_ids=types, **given)
    assert np.array_equal(positions.numpy()[:, this.real], this.expected["position_ids"][:, this.real])
    # The reference counts its delta from the padded length, 5.23 from the length without padding.
    assert np.array_equal(deltas.numpy() - (~this.real).sum(1, keepdims=True), this.expected["rope_deltas"])


@needs_golden
@pytest.mark.parametrize(("name", "padding"), CASES)
def test_losses_and_all_gradients_are_the_references(golden: Any, name: str, padding: str) -> None:
    this = case(name, padding)
    golden.zero_grad()
    out = golden(**this.inputs, labels=this.labels, pixel_depth_labels=this.depth_labels)
    for key, found in (("loss", out.loss), ("lm_loss", out.lm_loss), ("depth_loss", out.depth_loss)):
        assert found.item() == pytest.approx(float(this.expected[key]), abs=1e-5), key
    out.loss.backward()
    norms = {f"gradnorm.{name}": float(p.grad.norm()) for name, p in golden.named_parameters()}
    expected = {key: float(v) for key, v in this.expected.items() if key.startswith("gradnorm.")}
    assert len(expected) == 207
    assert norms == pytest.approx(expected, rel=1e-4, abs=1e-9)


@needs_golden
def test_the_weight_of_depth_is_the_configurations(golden: Any) -> None:
    this = case("single")
    golden.config.depth_loss_weight = 0.25
    with torch.no_grad():
        both = golden(**this.inputs, labels=this.labels, pixel_depth_labels=this.depth_labels)
        alone = golden(**this.inputs, pixel_depth_labels=this.depth_labels)
    golden.config.depth_loss_weight = 1.0
    assert both.loss.item() == pytest.approx(float(both.lm_loss + 0.25 * both.depth_loss))
    assert alone.loss.item() == float(alone.depth_loss)


def maps_of(model: Any, *rows: Any, padding: str = "left") -> list[torch.Tensor]:
    """Maps of each row's images, the row run alone; row i's pictures are those it has in the batch."""
    whole = Prompts()
    for row in rows:
        whole.add(*row)
    images, videos, maps = iter(whole.images), iter(whole.videos), []
    for row in rows:
        alone = Prompts().add(*row)
        alone.images = [next(images) for _ in alone.images]
        alone.videos = [next(videos) for _ in alone.videos]
        maps += model(**alone.batch(padding)).depth_pred or []
    return maps


def same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize(
    ("rows", "samples"),
    [
        ([(5, (2, 3), 6, (4, 2), 7)], [0, 0]),
        ([(5, (2, 2), (2, 2), 7), (5, (2, 2), 9)], [0, 0, 1]),
        ([(5, 6, 7), (5, (2, 3), 6), (8,), (9, (3, 2))], [1, 3]),
        ([(4, (2, 2, 3), 8), (5, (2, 3), 6)], [1]),
        ([(5, (2, 3), 6), (4, (2, 2, 2), 8), (7, (3, 3), (1, 2, 2), 9)], [0, 2]),
    ],
    ids=["two-in-a-row", "equal-grids", "text-rows", "video-row-first", "video-beside-image"],
)
def test_every_image_of_a_mixed_batch_gets_its_own_map(
    model: Any, rows: list[Any], samples: list[int], padding: str
) -> None:
    batch = Prompts()
    for row in rows:
        batch.add(*row)
    with torch.no_grad():
        out = model(**batch.batch(padding))
        assert out.depth_sample_index == samples
        assert [tuple(d.shape) for d in out.depth_pred] == [(32 * h, 32 * w) for h, w in batch.image_grids]
        same(out.depth_pred, maps_of(model, *rows))


def test_a_second_image_of_a_row_has_the_taps_of_its_own_tokens(model: Any) -> None:
    """Its vision features are those of the picture alone; only the language model sees the first."""
    both, second = Prompts().add(5, (2, 3), (2, 2), 7), Prompts()
    second.add(5, (2, 2), 7)
    second.images = [both.images[1]]
    calls = heard(model)
    with torch.no_grad():
        model(**both.batch()), model(**second.batch())
    for level in range(3):
        torch.testing.assert_close(calls[1][level], calls[2][level], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(calls[1][3], calls[2][3])


def test_text_alone_has_no_maps(model: Any) -> None:
    out = model(**Prompts().add(5, 6).batch())
    assert (out.depth_pred, out.depth_sample_index) == (None, None)
    assert model(**Prompts().add(5, 6).batch(), depth=True).depth_pred == []


def test_token_types_given_or_derived_are_one(model: Any) -> None:
    given = Prompts().add(5, (2, 3), 6).add((2, 2, 2), 7, (2, 2)).batch()
    types = (given["input_ids"] == 95) * 1 + (given["input_ids"] == 96) * 2
    with torch.no_grad():
        same(model(**given).depth_pred, model(**given, mm_token_type_ids=types).depth_pred)


def test_depth_alone_needs_one_row_of_logits_or_none(model: Any) -> None:
    given = one_image()
    with torch.no_grad():
        full, one = model(**given), model(**given, logits_to_keep=1)
        none = model(**given, lm=False)
    assert (full.logits.shape[1], one.logits.shape[1], none.logits) == (12, 1, None)
    assert torch.equal(full.depth_pred[0], one.depth_pred[0])
    assert torch.equal(full.depth_pred[0], none.depth_pred[0])
    assert none.past_key_values is None and full.past_key_values is not None


def test_embeddings_instead_of_ids_give_the_same_map(model: Any) -> None:
    given = one_image()
    types = (given["input_ids"] == 95).long()
    with torch.no_grad():
        expected = model(**given)
        positions, _ = model.model.get_rope_index(
            given["input_ids"], mm_token_type_ids=types, image_grid_thw=given["image_grid_thw"]
        )
        embedded = model.get_input_embeddings()(given.pop("input_ids"))
        found = model(**given, inputs_embeds=embedded, position_ids=positions)
    same(found.depth_pred, expected.depth_pred)


def test_the_head_rests_when_told_to(model: Any) -> None:
    calls = heard(model)
    assert model(**one_image(), depth=False).depth_pred is None
    assert not calls


def test_the_vision_tower_runs_once_a_forward(model: Any) -> None:
    runs: list[int] = []
    handle = model.model.visual.register_forward_hook(lambda *_: runs.append(1))
    model(**Prompts().add((2, 3), 5).add((2, 2), 6).batch())
    handle.remove()
    assert len(runs) == 1


@pytest.mark.parametrize(("budget", "sizes"), [(1, [1, 1, 1, 1]), (2**40, [3, 1])])
def test_equal_grids_run_together_within_the_memory_budget(budget: int, sizes: list[int]) -> None:
    model = small_model()
    batch = Prompts().add((2, 3), 5, (2, 2)).add((2, 3), 6).add((2, 3), 7)
    with torch.no_grad():
        expected = model(**batch.batch()).depth_pred
        model.head_memory_bytes, calls = budget, heard(model)
        found = model(**batch.batch()).depth_pred
    assert [len(call[0]) for call in calls] == sizes
    same(found, expected)


@pytest.mark.parametrize(
    ("size", "shapes"), [((20, 30), [(20, 30)] * 2), ([(20, 30), (7, 5)], [(20, 30), (7, 5)])]
)
def test_maps_come_at_the_size_asked(model: Any, size: Any, shapes: list[tuple[int, int]]) -> None:
    out = model(**Prompts().add((2, 3), (2, 3), 5).batch(), output_size=size)
    assert [tuple(depth.shape) for depth in out.depth_pred] == shapes


@pytest.mark.parametrize(
    "more",
    [{"pixel_depth_labels": [ramp_label()]}, {"output_size": [(3, 4)]}, {"image_grid_thw": [[1, 4, 6]]}],
    ids=["labels", "sizes", "grids"],
)
def test_what_does_not_come_one_an_image_is_refused(model: Any, more: dict[str, Any]) -> None:
    given = Prompts().add((2, 3), (2, 3), 5).batch()
    types = token_types(given["input_ids"], 95, 96)
    if "image_grid_thw" in more:
        encoded = {
            "image": model.model.get_image_features(given.pop("pixel_values"), given["image_grid_thw"])
        }
        positions = model.model.get_rope_index(given["input_ids"], types, given.pop("image_grid_thw"))[0]
        grid = torch.tensor(more["image_grid_thw"])
        more = {"image_grid_thw": grid, "mm_encoder_outputs": encoded, "position_ids": positions}
    with pytest.raises(
        UsageError, match=r"1 depth labels for 2 maps|1 output sizes for 2 maps|2 images do not fit 1 grids"
    ):
        model(**given, **more)


@pytest.mark.parametrize("given", [{"depth": False, **one_image()}, Prompts().add(5, 6).batch()])
def test_labels_without_maps_are_not_passed_over(model: Any, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="1 depth labels for 0 maps"):
        model(**given, pixel_depth_labels=[ramp_label()])
    assert model(**given, pixel_depth_labels=[None]).depth_loss is None


def test_labels_may_be_missing_for_some_images(model: Any) -> None:
    given, label = Prompts().add((2, 3), 5).add((2, 2), 6).batch(), ramp_label()
    with torch.no_grad():
        second = model(**given, pixel_depth_labels=[None, label])
        both = model(**given, pixel_depth_labels=[label, label])
    assert int(second.depth_valid) == int((label > 0).sum()) == int(both.depth_valid) // 2
    assert second.depth_loss != both.depth_loss


def test_a_batch_without_any_label_has_no_loss(model: Any) -> None:
    given = one_image()
    ignored = torch.full_like(given["input_ids"], -100)
    out = model(**given, labels=ignored, pixel_depth_labels=[torch.zeros(8, 8)])
    assert (out.loss, out.lm_loss, out.depth_loss) == (None, None, None)


def test_a_model_that_breaks_shows_it_in_its_losses() -> None:
    model = small_model()
    model.depth_head.scratch.output_conv2[2].bias.data.fill_(float("nan"))
    out = model(**one_image(), pixel_depth_labels=[ramp_label()])
    assert bool(torch.isnan(out.loss))
    assert (int(out.depth_hits), int(out.depth_valid)) == (0, int((ramp_label() > 0).sum()))


def answer_labels(given: dict[str, torch.Tensor]) -> torch.Tensor:
    labels = torch.full_like(given["input_ids"], -100)
    labels[:, -2:] = given["input_ids"][:, -2:]
    return labels


def test_logits_of_supervised_positions_give_the_whole_language_loss() -> None:
    model, given = small_model(), Prompts().add((2, 3), 5, 6, 7).add(8, 9, 10).batch()
    labels = answer_labels(given)
    full = model(**given, labels=labels)
    full.loss.backward()
    expected = model.lm_head.weight.grad.clone()
    model.zero_grad()
    few = model(**given, labels=labels, supervised_logits=True)
    few.loss.backward()
    assert few.logits.shape == (4, 100)
    torch.testing.assert_close(few.lm_loss, full.lm_loss)
    torch.testing.assert_close(model.lm_head.weight.grad, expected)
    nothing = torch.full_like(labels, -100)
    assert model(**given, labels=nothing, supervised_logits=True).lm_loss is None


def with_gradients(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}


def test_stage_one_gives_gradients_to_the_head_alone() -> None:
    model = small_model().train()
    out = model(
        **one_image(),
        pixel_depth_labels=[ramp_label()],
        backbone_no_grad=True,
        lm=False,
        output_hidden_states=True,
    )
    out.loss.backward()
    assert not any(state.requires_grad for state in out.hidden_states)
    # The coarsest fusion's second unit has no first; everything else of the head learns.
    assert with_gradients(model) == {f"depth_head.{name}" for name, _ in model.depth_head.named_parameters()}
    assert model.model.training and model.model.visual.training and out.past_key_values is None


def test_stage_one_runs_the_backbone_in_eval_mode_and_leaves_modes_as_they_were() -> None:
    model, modes = small_model().train(), []
    model.model.visual.eval()
    model.model.language_model.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    model(**one_image(), backbone_no_grad=True)
    assert modes == [False]
    assert model.model.language_model.training and not model.model.visual.training


def test_stage_two_leaves_a_frozen_vision_tower_without_gradients() -> None:
    model, given = small_model().train(), one_image()
    model.model.visual.requires_grad_(False)
    model(**given, labels=answer_labels(given), pixel_depth_labels=[ramp_label()]).loss.backward()
    learning = with_gradients(model)
    assert not any(name.startswith("model.visual.") for name in learning)
    assert {name.partition(".")[0] for name in learning} == {"model", "depth_head"}


@pytest.mark.parametrize("backbone_no_grad", [False, True])
def test_gradient_checkpointing_changes_no_loss_and_no_gradient(backbone_no_grad: bool) -> None:
    model, label = small_model().train(), ramp_label()
    given = Prompts().add((2, 3), 5).add((2, 2), 6).batch()
    options = {"pixel_depth_labels": [label, label], "backbone_no_grad": backbone_no_grad, "use_cache": False}
    plain = model(**given, **options)
    plain.loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    runs = heard(model)
    again = model(**given, **options)
    again.loss.backward()
    assert len(runs) == 4, "each image's head is run again in the backward pass"
    torch.testing.assert_close(again.loss, plain.loss)
    for name, parameter in model.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("depth", [None, False])
def test_the_head_can_stay_in_the_graph_of_a_batch_without_depth(depth: bool | None) -> None:
    model, given = small_model().train(), Prompts().add(5, 6, 7).batch()
    plain = model(**given, labels=answer_labels(given))
    kept = model(**given, labels=answer_labels(given), depth=depth, keep_head_in_graph=True)
    kept.loss.backward()
    assert torch.equal(kept.loss, plain.loss)
    assert all(bool((p.grad == 0).all()) for p in model.depth_head.parameters())
    assert model(**given, keep_head_in_graph=True).loss.item() == 0.0


def test_a_mean_over_no_label_is_no_loss_even_where_the_first_token_is_labelled(model: Any) -> None:
    given = one_image()
    labels = torch.full_like(given["input_ids"], -100)
    labels[:, 0] = 5
    assert model(**given, labels=labels).lm_loss is None


def test_a_float32_head_keeps_the_resolution_that_a_bfloat16_backbone_lacks() -> None:
    model = small_model().to(torch.bfloat16)
    model.depth_head.float()
    with torch.no_grad():
        fine = model(**one_image()).depth_pred[0]
        model.depth_head.bfloat16()
        coarse = model(**one_image()).depth_pred[0]
    assert fine.dtype == coarse.dtype == torch.float32
    assert len(fine.unique()) > 0.9 * fine.numel()
    assert torch.equal(coarse, coarse.bfloat16().float())
    assert len(coarse.unique()) < 0.5 * coarse.numel()


def test_autocast_reaches_the_head_only_where_asked() -> None:
    model, given = small_model(), one_image()
    taps = heard(model)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        exact = model(**given).depth_pred[0]
        model.head_autocast = True
        rounded = model(**given).depth_pred[0]
    with torch.no_grad():
        torch.testing.assert_close(model.depth_head(taps[0], (2, 3))[0], exact)
    assert exact.dtype == rounded.dtype == torch.float32
    assert not torch.allclose(exact, rounded, rtol=1e-3)


def test_an_mlp_head_trains_through_the_same_forward() -> None:
    model = small_model(depth_head_type="mlp", depth_head_mlp_hidden=8, depth_head_feature_mode="concat")
    out = model.train()(**one_image(), pixel_depth_labels=[ramp_label()])
    out.loss.backward()
    assert out.depth_pred[0].shape == (64, 96)
    assert {f"depth_head.{name}" for name, _ in model.depth_head.named_parameters()} <= with_gradients(model)


def test_lora_on_the_language_model_trains_with_the_whole_head() -> None:
    peft = pytest.importorskip("peft")
    given, label = one_image(), ramp_label()
    plain = small_model()
    expected = plain(**given).depth_pred[0]
    config = peft.LoraConfig(
        r=2, target_modules=r".*language_model.*\.(q_proj|v_proj)", modules_to_save=["depth_head"]
    )
    model = peft.get_peft_model(small_model(), config)
    torch.testing.assert_close(model(**given).depth_pred[0], expected)
    model.train()
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    model(**given, labels=answer_labels(given), pixel_depth_labels=[label], use_cache=False).loss.backward()
    learning = with_gradients(model)
    assert {"lora_B" in name or "depth_head" in name for name in learning} == {True}
    assert sum("depth_head" in name for name in learning) == 62
    merged = model.merge_and_unload()
    torch.testing.assert_close(merged(**given).depth_pred[0], expected)


def test_a_head_alone_learns_one_picture() -> None:
    model, given = small_model().train(), one_image((2, 3))
    label = ramp_label(64, 96)
    optimiser = torch.optim.AdamW(model.depth_head.parameters(), lr=1e-3)
    losses = []
    for _ in range(60):
        out = model(**given, pixel_depth_labels=[label], backbone_no_grad=True, lm=False)
        optimiser.zero_grad()
        out.loss.backward()
        optimiser.step()
        losses.append(out.loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert out.depth_hits / out.depth_valid > 0.8


def test_a_checkpoint_written_and_read_is_the_same_model(tmp_path: Path) -> None:
    model = small_model()
    model.save_pretrained(tmp_path)
    again = DepthVLMForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert all(torch.equal(a, again.state_dict()[name]) for name, a in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(model(**one_image()).depth_pred[0], again(**one_image()).depth_pred[0])


def test_a_tuple_is_returned_where_asked(model: Any) -> None:
    assert isinstance(model(**one_image(), return_dict=False), tuple)
