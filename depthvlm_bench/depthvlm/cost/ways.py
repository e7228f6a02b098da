"""What one full depth map costs in each way of making it, computed from sizes."""

from dataclasses import dataclass

from depthvlm_bench.depthvlm.cost.flops import (
    Flops,
    add,
    decode_flops,
    decoder_flops,
    head_flops,
    times,
    tower_flops,
)
from depthvlm_bench.depthvlm.cost.pictures import Picture, Profile, Seen, see
from depthvlm_bench.depthvlm.cost.sheets import CostModel

DEPTH_ONLY = "depth alone"
DEPTH_AND_ANSWER = "depth and answer"
ALONE = "every question alone"
TEXT_KEPT = "text before the picture kept"
PICTURE_KEPT = "picture kept, pixel named in words"
LOGITS = "values read from the picture's logits"
DECODED = "one token decoded a cell"


@dataclass(frozen=True)
class MapCost:
    """Work for one full depth map.

    Attributes:
        model: its name.
        variant: which of the readings of its way.
        seen: the picture as the model sees it.
        questions: prompts a map.
        prefill_tokens: tokens that enter the language model in prefills, over all questions.
        decode_steps: tokens that enter it one at a time; the first token of a reply comes from the prefill.
        together: replies decoded in one batch.
        prompt, kept: tokens of one prompt, and how many of them are the same in every question and kept.
        longest: tokens of one sequence, reply included.
        scored: positions of one prefill at which the vocabulary is scored.
        picture_each: whether every question brings a picture of its own.
        pairs_read: keys that all decode steps look at, a layer and head.
        prefill: operations up to the first token of each reply, head included.
        decode: operations of all decode steps.
    """

    model: CostModel
    variant: str
    seen: Seen
    questions: int
    prefill_tokens: int
    decode_steps: int
    together: int
    prompt: int
    kept: int
    longest: int
    scored: int
    picture_each: bool
    pairs_read: int
    prefill: Flops
    decode: Flops

    @property
    def flops(self) -> int:
        """All operations."""
        return sum(self.prefill.values()) + sum(self.decode.values())


def map_costs(model: CostModel, picture: Picture, profile: Profile = "native") -> list[MapCost]:
    """A model's costs for a full depth map of a picture, one for each way to run it; its own way first."""
    seen = see(model, picture, profile)
    if model.sheet.way == "one-pass":
        return [_one_pass(model, seen, answer=answer) for answer in (False, True)]
    if model.sheet.way == "token-grid":
        return [_from_logits(model, seen), _cell_by_cell(model, seen)]
    return [_questions(model, seen, variant) for variant in (ALONE, TEXT_KEPT, PICTURE_KEPT)]


def prompt_tokens(model: CostModel, seen: Seen) -> int:
    """Tokens of one prompt with its picture."""
    return model.sheet.tokens_before + seen.tokens + model.sheet.tokens_after


def _one_pass(model: CostModel, seen: Seen, *, answer: bool) -> MapCost:
    """One prefill and the head; the text answer, where it is wanted, goes on from the same prefill."""
    prompt = prompt_tokens(model, seen)
    head = head_flops(model.head, model.sizes.decoder.hidden, seen.grid) if model.head else {}
    return _cost(
        model,
        seen,
        DEPTH_AND_ANSWER if answer else DEPTH_ONLY,
        prompt=prompt,
        steps=model.sheet.answer_tokens - 1 if answer else 0,
        prefill=add(_vision(model, seen), decoder_flops(model.sizes.decoder, prompt), head),
    )


def _from_logits(model: CostModel, seen: Seen) -> MapCost:
    """The vocabulary is scored at every picture token of the prefill; the reply itself is short."""
    prompt = prompt_tokens(model, seen)
    language = decoder_flops(model.sizes.decoder, prompt, logits=seen.tokens + 1)
    return _cost(
        model,
        seen,
        LOGITS,
        prompt=prompt,
        steps=model.sheet.answer_tokens - 1,
        scored=seen.tokens + 1,
        prefill=add(_vision(model, seen), language),
    )


def _cell_by_cell(model: CostModel, seen: Seen) -> MapCost:
    """Every cell is a token of the reply, run lengths aside."""
    prompt, cell = prompt_tokens(model, seen), model.sheet.cell_px
    cells = (seen.shown[0] // cell) * (seen.shown[1] // cell)
    return _cost(
        model,
        seen,
        DECODED,
        prompt=prompt,
        steps=cells + model.sheet.answer_tokens - 1,
        prefill=add(_vision(model, seen), decoder_flops(model.sizes.decoder, prompt)),
    )


def _questions(model: CostModel, seen: Seen, variant: str) -> MapCost:
    """One question for each pixel of the picture that the model is shown.

    A mark is drawn into the picture, so that of two questions only the text before it is the same; pixels
    that are named in words leave the picture's keys and values to be used again.
    """
    sheet, decoder = model.sheet, model.sizes.decoder
    questions, prompt = seen.shown[0] * seen.shown[1], prompt_tokens(model, seen)
    kept = {ALONE: 0, TEXT_KEPT: sheet.tokens_before, PICTURE_KEPT: prompt - sheet.tokens_after}[variant]
    once = decoder_flops(decoder, kept, logits=0) if kept else {}
    each = decoder_flops(decoder, prompt - kept, past=kept)
    if variant == PICTURE_KEPT:
        once = add(_vision(model, seen), once)
    else:
        each = add(_vision(model, seen), each)
    return _cost(
        model,
        seen,
        variant,
        prompt=prompt,
        steps=sheet.answer_tokens - 1,
        questions=questions,
        kept=kept,
        prefill=add(once, times(each, questions)),
    )


def _cost(
    model: CostModel,
    seen: Seen,
    variant: str,
    *,
    prompt: int,
    steps: int,
    prefill: Flops,
    questions: int = 1,
    kept: int = 0,
    scored: int = 1,
) -> MapCost:
    decode = times(decode_flops(model.sizes.decoder, steps, past=prompt), questions) if steps else {}
    return MapCost(
        model=model,
        variant=variant,
        seen=seen,
        questions=questions,
        prefill_tokens=kept + questions * (prompt - kept),
        decode_steps=steps * questions,
        together=min(questions, model.sheet.queries_together),
        prompt=prompt,
        kept=kept,
        longest=prompt + steps,
        scored=scored,
        picture_each=kept <= model.sheet.tokens_before,
        pairs_read=questions * (steps * prompt + steps * (steps + 1) // 2),
        prefill=prefill,
        decode=decode,
    )


def _vision(model: CostModel, seen: Seen) -> Flops:
    return tower_flops(model.sizes.tower, model.sizes.decoder.hidden, seen.patches)
