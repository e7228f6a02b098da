"""What a full map costs in each way: identities that hold whatever the sizes are."""

from dataclasses import replace

import pytest

from depthvlm_bench.depthvlm.cost.flops import (
    decode_flops,
    decoder_flops,
    tower_flops,
    window_patches,
)
from depthvlm_bench.depthvlm.cost.memory import cache_bytes_per_token, peak_bytes
from depthvlm_bench.depthvlm.cost.pictures import Picture, see
from depthvlm_bench.depthvlm.cost.seconds import decode_bytes, estimated_seconds
from depthvlm_bench.depthvlm.cost.sheets import load_cost_model, load_device, model_names
from depthvlm_bench.depthvlm.cost.ways import PICTURE_KEPT, TEXT_KEPT, map_costs
from depthvlm_bench.errors import UsageError

PICTURE = Picture((640, 480))
QUERIED = [name for name in model_names() if load_cost_model(name).sheet.way == "pixel-query"]


def total(flops):
    return sum(flops.values())


@pytest.fixture(params=["qwen3-vl-4b", "depthlm-12b", "youtu-vl-4b"])
def decoder(request):
    """Grouped-query attention tied and untied, and latent attention."""
    return load_cost_model(request.param).sizes.decoder


def test_decode_steps_are_prefills_of_one_token(decoder):
    steps = [decoder_flops(decoder, 1, past=100 + i) for i in range(7)]
    assert total(decode_flops(decoder, 7, past=100)) == sum(map(total, steps))


def test_a_prefill_in_two_pieces_saves_only_the_pairs_that_the_first_would_have_had_with_the_second(decoder):
    whole = decoder_flops(decoder, 50)
    pieces = (decoder_flops(decoder, 20, logits=0), decoder_flops(decoder, 30, past=20))
    one_pair = decoder_flops(decoder, 1, past=1)["language attention"] // 2
    assert total(whole) - sum(map(total, pieces)) == one_pair * 20 * 30


@pytest.mark.parametrize("name", QUERIED)
def test_a_question_a_pixel_costs_pixels_times_one_question(name):
    model = load_cost_model(name)
    cost = map_costs(model, Picture((96, 64), model.sheet.focal_px))[0]
    sizes, prompt = model.sizes, cost.seen.tokens + model.sheet.tokens_before + model.sheet.tokens_after
    one = (
        tower_flops(sizes.tower, sizes.decoder.hidden, cost.seen.patches),
        decoder_flops(sizes.decoder, prompt),
        decode_flops(sizes.decoder, model.sheet.answer_tokens - 1, past=prompt),
    )
    assert cost.questions == 96 * 64
    assert cost.flops == 96 * 64 * sum(map(total, one))
    assert cost.prefill_tokens == 96 * 64 * prompt
    assert cost.decode_steps == 96 * 64 * (model.sheet.answer_tokens - 1)


@pytest.mark.parametrize("name", QUERIED)
def test_what_is_kept_is_computed_once(name):
    alone, text, picture = map_costs(load_cost_model(name), PICTURE)
    assert alone.flops > text.flops > picture.flops
    assert (text.variant, picture.variant) == (TEXT_KEPT, PICTURE_KEPT)
    sheet, questions = alone.model.sheet, alone.questions
    saved = (questions - 1) * sheet.tokens_before
    assert alone.prefill_tokens - text.prefill_tokens == saved
    assert picture.prefill_tokens == alone.prompt - sheet.tokens_after + questions * sheet.tokens_after
    assert alone.decode == text.decode == picture.decode


def test_a_marked_picture_goes_through_the_tower_once_a_question_and_an_unmarked_one_once():
    alone, text, picture = map_costs(load_cost_model("depthlm-12b"), PICTURE)
    model, once = alone.model, tower_flops(alone.model.sizes.tower, 5120, alone.seen.patches)
    for cost, times in ((alone, alone.questions), (text, alone.questions), (picture, 1)):
        assert cost.prefill["vision linear"] == times * once["vision linear"], cost.variant
    assert model.sheet.way == "pixel-query"


def test_pictures_are_brought_to_the_models_focal_length():
    depthlm, youtu = (see(load_cost_model(n), Picture((1342, 1006))) for n in ("depthlm-12b", "youtu-vl-4b"))
    assert depthlm.shown == (1006, 754)
    assert youtu.shown == (2684, 2012)
    halved = see(load_cost_model("depthlm-12b"), Picture((1342, 1006), 2000.0))
    assert halved.shown == (503, 377)


def test_pixtral_ends_each_row_of_patches_with_a_token():
    seen = see(load_cost_model("depthlm-12b"), Picture((1006, 754), 750.0))
    assert seen.patches == (63, 48)
    assert seen.tokens == (63 + 1) * 48


def test_pixtral_shrinks_what_is_longer_than_its_edge():
    assert see(load_cost_model("depthlm-12b"), Picture((2048, 512), 750.0)).resized == (1024, 256)


def test_a_token_grid_has_a_cell_for_each_sixteen_pixels():
    logits, decoded = map_costs(load_cost_model("youtu-vl-4b"), Picture((1600, 800), 2000.0))
    reply = logits.model.sheet.answer_tokens - 1
    assert logits.decode_steps == reply
    assert decoded.decode_steps == 100 * 50 + reply
    assert logits.prefill["lm_head"] == decoded.prefill["lm_head"] * (logits.seen.tokens + 1)


@pytest.mark.parametrize("patches", [(16, 16), (17, 16), (168, 126), (3, 50)])
def test_windows_share_out_all_patches(patches):
    tower = load_cost_model("youtu-vl-4b").sizes.tower
    windows = window_patches(tower, patches)
    assert sum(windows) == patches[0] * patches[1]
    assert max(windows) <= 16 * 16


def test_windows_of_the_whole_picture_are_no_windows():
    tower = load_cost_model("youtu-vl-4b").sizes.tower
    assert tower_flops(tower, 2560, (16, 16)) == tower_flops(replace(tower, window_px=0), 2560, (16, 16))


def test_the_cache_holds_what_is_shared_once():
    alone, _, picture = map_costs(load_cost_model("qwen3-vl-4b"), PICTURE)
    each = cache_bytes_per_token(alone.model.sizes.decoder, "bfloat16")
    together = alone.model.sheet.queries_together
    assert peak_bytes(alone, "bfloat16")["keys and values"] == each * together * alone.longest
    own = alone.model.sheet.tokens_after + alone.model.sheet.answer_tokens - 1
    kept = peak_bytes(picture, "bfloat16")["keys and values"]
    assert kept == each * (alone.prompt - alone.model.sheet.tokens_after + together * own)


def test_scored_positions_take_memory():
    logits, decoded = map_costs(load_cost_model("youtu-vl-4b"), Picture((1342, 1006)))
    gap = peak_bytes(logits, "bfloat16")["activations"] - peak_bytes(decoded, "bfloat16")["activations"]
    assert gap > 0


def test_decoding_one_reply_reads_the_language_model_once_a_step():
    cost = map_costs(load_cost_model("depthvlm-8b"), PICTURE)[1]
    keys = cost.pairs_read * cache_bytes_per_token(cost.model.sizes.decoder, "bfloat16")
    assert decode_bytes(cost, "bfloat16") - keys == 12 * 2 * (7_568_405_504 + 622_329_856)


def test_a_batch_of_replies_shares_the_reading_of_weights():
    model = load_cost_model("qwen3-vl-4b")
    one, eight = (
        map_costs(replace(model, sheet=replace(model.sheet, queries_together=n)), PICTURE)[0] for n in (1, 8)
    )
    device = load_device("h100")
    assert one.flops == eight.flops
    assert estimated_seconds(one, device) > estimated_seconds(eight, device)


def test_another_length_of_reply_changes_decoding_alone():
    model = load_cost_model("depthlm-12b")
    short, long = (map_costs(model.answering(n), PICTURE)[0] for n in (1, 11))
    assert short.prefill == long.prefill
    assert (short.decode, long.decode_steps) == ({}, 10 * long.questions)


@pytest.mark.parametrize(
    "picture", [{"size": (0, 4)}, {"size": (4, 4), "focal_px": 0.0}, {"focal_px": float("nan")}]
)
def test_what_no_picture_can_be_is_refused(picture):
    with pytest.raises(UsageError, match="no picture"):
        Picture(**picture)


@pytest.mark.parametrize("name", model_names())
def test_every_sheet_says_where_it_is_from(name):
    model = load_cost_model(name)
    assert model.sheet.source
    assert model.sizes.source
    judged = {word for word in model.sheet.estimated if word.isidentifier()}
    assert judged <= set(vars(model.sheet))


def test_an_unknown_name_comes_with_a_hint():
    with pytest.raises(UsageError, match="did you mean 'depthvlm-4b'"):
        load_cost_model("depthvlm-4")
    with pytest.raises(UsageError, match="did you mean 'h100'"):
        load_device("h10")
