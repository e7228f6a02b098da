"""Asking a model the probe's questions: greedy replies, and how likely the base model's replies still are.

Questions are asked in batches of one fixed order and size, so that an unchanged model gives the same replies
to the last token.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch

from depthvlm_bench.depthvlm.chat import DEPTH_ANSWER, Encoded, encode, pad
from depthvlm_bench.depthvlm.preprocess import PreparedPicture, Profile, prepare
from depthvlm_bench.depthvlm.training.probe_set import ProbeReport, ProbeSet, Question, Reply, report_on
from depthvlm_bench.errors import CheckError
from depthvlm_bench.records.files import reading, write_json

BASE_FILE = "probe-base.json"


@dataclass(frozen=True)
class Prober:
    """A probe ready to be asked.

    Attributes:
        probe: the questions.
        tokenizer: of the checkpoint.
        profile, max_pixels: how pictures are prepared.
        batch: questions at once.
        tokens: longest reply.
    """

    probe: ProbeSet
    tokenizer: Any
    profile: str = "native"
    max_pixels: int | None = None
    batch: int = 8
    tokens: int = 32

    def replies(self, model: Any) -> list[Reply]:  # noqa: ANN401 - the model, or what wraps it
        """Greedy replies, with their likelihood under the model that gave them."""
        found: list[list[int]] = []
        for start in range(0, len(self.probe.question), self.batch):
            found += self._generate(model, self.probe.question[start : start + self.batch])
        texts = [self.tokenizer.decode(tokens, skip_special_tokens=True).strip() for tokens in found]
        led = self.led(model, found)
        return [
            Reply(tuple(tokens), text, likelihood)
            for tokens, text, (_, likelihood) in zip(found, texts, led, strict=True)
        ]

    def led(self, model: Any, replies: Sequence[Sequence[int]]) -> list[tuple[float, float]]:  # noqa: ANN401
        """Lead the model through replies: share of tokens it would also have said, and mean log-likelihood.

        Args:
            model: any that takes the tokenizer's tokens.
            replies: tokens of a reply a question.
        """
        measured = []
        for question, reply in zip(self.probe.question, replies, strict=True):
            asked, pictures = self._ask(question)
            with _evaluating(model):
                inputs = self._inputs(model, [_continued(asked, reply)], [pictures], "right")
                logits = model(**inputs, depth=False).logits[0, -len(reply) - 1 : -1].float()
            said = torch.tensor(reply, device=logits.device)
            chosen = logits.log_softmax(-1).gather(-1, said[:, None])[:, 0]
            agreed = (logits.argmax(-1) == said).float()
            measured.append((float(agreed.mean()), float(chosen.mean())))
        return measured

    def report(self, model: Any, base: Sequence[Reply]) -> tuple[ProbeReport, list[Reply]]:  # noqa: ANN401
        """Ask again, and compare with the base model's replies."""
        now = self.replies(model)
        led = self.led(model, [reply.tokens for reply in base])
        return report_on(self.probe, base, now, led, DEPTH_ANSWER), now

    def base(self, model: Any, folder: Path, *, untrained: bool, write: bool = True) -> list[Reply]:  # noqa: ANN401
        """Replies of the model before training: asked and kept in a folder at the start, read from it later.

        Args:
            model: asked where it is untrained.
            folder: of the run.
            untrained: the model has made no step yet.
            write: keep the replies; one of several processes does.

        Raises:
            CheckError: other questions, or replies of another length, were asked at the start; or none were.
        """
        path = folder / BASE_FILE
        asked = {"probe": self.probe.hash, "tokens": self.tokens}
        if untrained:
            replies = self.replies(model)
            if write:
                write_json(path, {**asked, "replies": [asdict(reply) for reply in replies]})
            return replies
        if not path.is_file():
            raise CheckError(
                "no replies of the base model are kept",
                where=path,
                why="a probe that was not begun with the run has nothing to compare with",
                next_step="resume with -o probe_every=0",
            )
        with reading(path, "begin the run anew in another folder"):
            kept = json.loads(path.read_text(encoding="utf-8"))
            before = [Reply(**{**row, "tokens": tuple(row["tokens"])}) for row in kept["replies"]]
        if {name: kept.get(name) for name in asked} != asked:
            raise CheckError(
                "the probe is not the one whose base replies were kept",
                where=path,
                next_step="resume with the probe the run began with",
            )
        return before

    def _generate(self, model: Any, questions: Sequence[Question]) -> list[list[int]]:  # noqa: ANN401
        asked, pictures = zip(*map(self._ask, questions), strict=True)
        ends = _end_tokens(model, self.tokenizer)
        with _evaluating(model):
            inputs = self._inputs(model, asked, pictures, "left")
            answer = model.generate(
                **inputs,
                do_sample=False,
                num_beams=1,
                max_new_tokens=self.tokens,
                eos_token_id=ends,
                pad_token_id=_pad_id(self.tokenizer),
            )
        new = answer[:, inputs["input_ids"].shape[1] :].tolist()
        return [_until_end(tokens, ends) for tokens in new]

    def _ask(self, question: Question) -> tuple[Encoded, list[PreparedPicture]]:
        parts: list[dict[str, str]] = [{"type": "text", "text": question.text}]
        pictures = []
        if question.picture is not None:
            parts.insert(0, {"type": "image"})
            profile = cast("Profile", self.profile)
            pictures.append(prepare(question.picture.picture(), profile, max_pixels=self.max_pixels))
        messages = [{"role": "user", "content": parts}]
        return encode(self.tokenizer, messages, pictures, supervise=False), pictures

    def _inputs(
        self,
        model: Any,  # noqa: ANN401
        asked: Sequence[Encoded],
        pictures: Sequence[Sequence[PreparedPicture]],
        side: Any,  # noqa: ANN401 - left or right
    ) -> dict[str, torch.Tensor]:
        inputs = pad(asked, _pad_id(self.tokenizer), side)
        del inputs["labels"]
        flat = [picture for row in pictures for picture in row]
        if flat:
            inputs["pixel_values"] = torch.cat([picture.pixel_values for picture in flat])
            inputs["image_grid_thw"] = torch.stack([picture.grid_thw for picture in flat])
        device = next(model.parameters()).device
        return {name: tensor.to(device) for name, tensor in inputs.items()}


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:  # noqa: ANN401
    """Eval mode without gradients; each module is then put back as it was."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in before.items():
            module.training = training


def _continued(asked: Encoded, reply: Sequence[int]) -> Encoded:
    said = torch.tensor(list(reply))
    return Encoded(
        torch.cat([asked.input_ids, said]),
        torch.cat([asked.labels, torch.full_like(said, -100)]),
        torch.cat([asked.mm_token_type_ids, torch.zeros_like(said)]),
    )


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:  # noqa: ANN401
    declared = model.generation_config.eos_token_id
    ends = declared if isinstance(declared, list) else [declared]
    return sorted({int(end) for end in [*ends, tokenizer.eos_token_id] if end is not None})


def _pad_id(tokenizer: Any) -> int:  # noqa: ANN401
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)


def _until_end(tokens: list[int], ends: Sequence[int]) -> list[int]:
    """A reply with the token that ends it, and nothing after."""
    for index, token in enumerate(tokens):
        if token in ends:
            return tokens[: index + 1]
    return tokens
