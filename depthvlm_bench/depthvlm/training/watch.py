"""What happens between steps: gradients are clipped, figures logged, answers probed, states saved."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from depthvlm_bench.depthvlm.training.freeze import norm_of, part_of, trained_parameters
from depthvlm_bench.depthvlm.training.logs import RunLog
from depthvlm_bench.depthvlm.training.probe import Prober
from depthvlm_bench.depthvlm.training.probe_set import ProbeReport, Reply, breach
from depthvlm_bench.depthvlm.training.trainer import DepthTrainer
from depthvlm_bench.progress import Advance

REPORTED = ("constant_share", "modal_share", "unchanged_share", "token_agreement", "likelihood_drift")


class Watch(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Watches a run.

    Args:
        log: of the first process; None on the others.
        prober: asks the probe; None: answers are not watched.
        advance: told how many steps are done.

    Attributes:
        stopped: what the gate said, where it stopped the run.
    """

    trainer: DepthTrainer

    def __init__(self, log: RunLog | None, prober: Prober | None, advance: Advance) -> None:
        self._log, self._prober, self._advance = log, prober, advance
        self._base: list[Reply] = []
        self._rates: dict[str, float] = {}
        self._since = (time.monotonic(), 0)
        self._told: set[str] = set()
        self.stopped = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401
        """Take the base model's replies, or those that were kept when the run began."""
        self._since = (time.monotonic(), state.global_step)
        if self._prober is None:
            return
        new = state.global_step == 0
        kept = {"untrained": new, "write": self._log is not None}
        self._base = self._prober.base(self._model(), self.trainer.run.out, **kept)
        if new:
            self._probe(0, control)

    def on_pre_optimizer_step(
        self,
        args: Any,  # noqa: ANN401
        state: Any,  # noqa: ANN401
        control: Any,  # noqa: ANN401
        optimizer: Any = None,  # noqa: ANN401
        **_: Any,  # noqa: ANN401
    ) -> None:
        """Norms of head and language model, as they are before clipping; then clip.

        Raises:
            CheckError: a gradient that is not finite.
        """
        trainer, parts = self.trainer, dict[str, list[Any]]()
        for name, parameter in trained_parameters(trainer.model).items():
            parts.setdefault(part_of(name), []).append(parameter)
        norms = {part: norm_of(parameters) for part, parameters in parts.items()}
        total = torch.linalg.vector_norm(torch.stack([norm.to(args.device) for norm in norms.values()]))
        if not bool(torch.isfinite(total)):
            raise trainer.not_finite("gradient")
        held = [p for parameters in parts.values() for p in parameters if p.grad is not None]
        torch.nn.utils.clip_grads_with_norm_(held, trainer.run.recipe.max_grad_norm, total)
        for part, norm in norms.items():
            trainer.run.means.add(f"grad_norm_{part}", float(norm))
        trainer.run.means.add("grad_norm", float(total))
        self._rates = {group["part"]: float(group["lr"]) for group in optimizer.param_groups}
        if not held:
            self._event(state.global_step + 1, "a step without anything to learn from was passed over")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401
        """Log, probe and save where it is time."""
        trainer, step = self.trainer, state.global_step
        recipe, last = trainer.run.recipe, state.global_step >= state.max_steps
        trainer.take_means()
        if step % recipe.log_every == 0 or step == 1 or last:
            self._line(step)
        self._advance(1)
        if self._prober is not None and (step % recipe.probe_every == 0 or last):
            self._probe(step, control)
        if step % recipe.save_every == 0 or last:
            control.should_save = True

    def _line(self, step: int) -> None:
        trainer, run = self.trainer, self.trainer.run
        trainer.gather_means()
        self._tell_faults()
        now = (time.monotonic(), step)
        samples_per_s = (
            (now[1] - self._since[1]) * run.steps.global_batch / max(1e-9, now[0] - self._since[0])
        )
        self._since = now
        if self._log is None:
            return
        means = run.means.means()
        values: dict[str, Any] = {"loss": _total(means, run.recipe.depth_loss_weight)} | _nested(means)
        values |= {f"learning_rate_{part}": rate for part, rate in self._rates.items()}
        values |= {"epoch": run.loader.epoch, "samples": run.loader.slot, "samples_per_s": samples_per_s}
        values |= {"micro_batch": run.micro_batch, "bad_samples": dict(run.loader.faults.bad), **run.counts}
        if torch.cuda.is_available():
            values["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        self._log.write("train", step, values)
        run.means.clear()
        shown = {name: means[name] for name in ("lm_loss", "depth_loss", "delta1") if name in means}
        self._advance(0, "  ".join(f"{name} {value:.4g}" for name, value in shown.items()))

    def _tell_faults(self) -> None:
        """Say the first sample of each reason that was replaced by another."""
        for reason, first in self.trainer.run.loader.faults.first.items():
            if reason not in self._told:
                self._told.add(reason)
                self.trainer.run.screen.note(f"a sample was replaced, {reason}: {first} (counted in the log)")

    def _probe(self, step: int, control: Any) -> None:  # noqa: ANN401
        assert self._prober is not None
        recipe = self.trainer.run.recipe
        report, replies = self._prober.report(self._model(), self._base)
        said = breach(report, self._base, recipe.max_constant_share, recipe.min_unchanged_share)
        if self._log is not None:
            self._log.write("probe", step, asdict(report))
            self._log.replies(step, _replies(self._prober, replies))
            self.trainer.run.screen.note(f"step {step}: {_summary(report)}")
        said = _of_first(said, self.trainer.run.steps.world)
        if not said:
            return
        self._event(step, f"language is being lost: {said}")
        if recipe.gate == "stop":
            self.stopped, control.should_save, control.should_training_stop = said, True, True

    def _event(self, step: int, text: str) -> None:
        if self._log is not None:
            self._log.write("event", step, {"text": text})
        self.trainer.run.screen.note(f"step {step}: {text}")

    def _model(self) -> Any:  # noqa: ANN401
        return self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)


def _total(means: dict[str, float], depth_loss_weight: float) -> float:
    lm, depth = means.get("lm_loss"), means.get("depth_loss")
    if lm is not None and depth is not None:
        return lm + depth_loss_weight * depth
    return next((value for value in (lm, depth) if value is not None), 0.0)


def _nested(flat: dict[str, float]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        group, slash, member = name.partition("/")
        if slash:
            nested.setdefault(group, {})[member] = value
        else:
            nested[name] = value
    return nested


def _replies(prober: Prober, replies: Sequence[Reply]) -> list[dict[str, str]]:
    return [
        {"id": question.id, "question": question.text, "reply": reply.text}
        for question, reply in zip(prober.probe.question, replies, strict=True)
    ]


def _summary(report: ProbeReport) -> str:
    return (
        f"probe: {report.constant_share:.0%} depth answers, {report.modal_share:.0%} one reply, "
        f"{report.unchanged_share:.0%} as the base model, "
        f"likelihood {report.likelihood_drift:+.3f} nats a token"
    )


def _of_first(text: str, world: int) -> str:
    """What the first process found: all have to stop, or none."""
    if world == 1:
        return text
    said = [text]
    dist.broadcast_object_list(said, src=0)
    return said[0]
