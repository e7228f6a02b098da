"""transformers' Trainer with DepthVLM's two losses, steps that outlive a lack of memory, and checkpoints."""

import gc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils.memory import should_reduce_batch_size
from safetensors.torch import save_file
from transformers import Trainer, TrainingArguments

from depthvlm_bench.depthvlm.training.checkpoints import (
    MODEL_FOLDER,
    TRAINED_FILE,
    Progress,
    begin_writing,
    load_trained,
    publish,
    write_progress,
)
from depthvlm_bench.depthvlm.training.data import DepthSample
from depthvlm_bench.depthvlm.training.faults import FaultCounts
from depthvlm_bench.depthvlm.training.freeze import parameter_groups, trained_parameters, training_mode
from depthvlm_bench.depthvlm.training.loader import SampleLoader
from depthvlm_bench.depthvlm.training.logs import Means
from depthvlm_bench.depthvlm.training.mixing import Share
from depthvlm_bench.depthvlm.training.pieces import (
    TOLD,
    Batch,
    Weights,
    depth_labels,
    measure,
    split,
    weighted_loss,
    weights_of,
)
from depthvlm_bench.depthvlm.training.recipe import Recipe, Steps
from depthvlm_bench.errors import CheckError, PartialError
from depthvlm_bench.progress import Progress as Screen


@dataclass(eq=False)
class Run:
    """A run and where it stands.

    Attributes:
        recipe: its figures.
        steps: how samples go to steps.
        out: its folder.
        loader: batches of this process.
        screen: where notes go; silent on all processes but the first.
        micro_batch: samples at once, halved when memory runs out.
        means: sums of the log that no line has told yet.
        counts: events since the start, by name.
        at_step: slot of the stream at which the current step began.
        export: writes the model as it stands into a folder, for checkpoints that hold one.
    """

    recipe: Recipe
    steps: Steps
    out: Path
    loader: SampleLoader[Any]
    screen: Screen
    micro_batch: int
    means: Means = field(default_factory=Means)
    counts: dict[str, int] = field(default_factory=dict)
    at_step: int = 0
    export: Callable[[Path], None] | None = None

    def count(self, event: str, times: int, said: str) -> None:
        """Count an event; the first of its kind is told."""
        if times and event not in self.counts:
            self.screen.note(f"{said} (counted as {event} in the log)")
        if times:
            self.counts[event] = self.counts.get(event, 0) + times

    def restore(self, progress: Progress) -> None:
        """Stand where a checkpoint was written."""
        self.loader.load_state_dict(progress.stream)
        self.micro_batch = min(self.micro_batch, progress.micro_batch)
        self.counts = dict(progress.counts)
        if self.loader.rank == 0:
            self.means.extend(progress.means)
        else:  # what the first process has counted is counted once
            self.loader.faults = FaultCounts(self.recipe.max_bad_share)

    def progress(self, step: int) -> Progress:
        """What a checkpoint keeps of it."""
        return Progress(
            step,
            self.loader.slot,
            self.micro_batch,
            self.loader.state_dict(),
            self.means.state(),
            self.counts,
        )

    def slots(self, micro_batch: int) -> list[int]:
        """Slots of a micro-batch of the current step, by its number on this process."""
        loader = self.loader
        first = self.at_step + (micro_batch * loader.ranks + loader.rank) * loader.batch_size
        return list(range(first, first + loader.batch_size))

    def sample_ids(self, slots: Iterable[int]) -> list[str]:
        """Samples of the stream by record id, or file and line."""
        drawn = self.loader.stream.draw(Share(), lambda sample: sample, slots)
        return [
            one.sample.record_id if isinstance(one.sample, DepthSample) else one.sample.source_id
            for one in drawn
        ]


class DepthTrainer(Trainer):  # type: ignore[misc, unused-ignore]
    """Trains by a recipe; what is logged, probed and saved when is decided by callbacks.

    Args:
        model: DepthVLMForConditionalGeneration, frozen as its stage asks.
        arguments: of transformers' Trainer.
        run: the run.
        checkpoint: to go on from; None: from the start.
    """

    optimizer: Any

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        arguments: TrainingArguments,
        run: Run,
        checkpoint: Path | None = None,
        callbacks: Any = None,  # noqa: ANN401
    ) -> None:
        super().__init__(model=model, args=arguments, train_dataset=run.loader.stream, callbacks=callbacks)
        self.run, self._checkpoint, self._window = run, checkpoint, list[Batch]()
        self._fresh = Means()
        self._step_weights = Weights(0, 0)

    def get_train_dataloader(self) -> Any:  # noqa: ANN401
        """The stream, dealt out to processes already; it stands where the run stands."""
        return self.run.loader

    def create_optimizer(self, model: Any = None) -> Any:  # noqa: ANN401
        """AdamW over what is trained, the head at a rate of its own."""
        recipe = self.run.recipe
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(
                parameter_groups(self.model if model is None else model, recipe),
                lr=recipe.learning_rate,
                betas=(recipe.adam_beta1, recipe.adam_beta2),
                eps=recipe.adam_epsilon,
                weight_decay=recipe.weight_decay,
            )
        return self.optimizer

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], None]:
        """The micro-batches of a step, and before any is run, what its losses are means over."""
        self.run.at_step = self.run.loader.slot
        batches = [{**next(epoch_iterator), "slots": self.run.slots(n)} for n in range(num_batches)]
        own = sum(map(weights_of, batches), Weights(0, 0))
        labels = sum(label is not None for batch in batches for label in depth_labels(batch))
        self.run.count("images_without_depth", labels - int(own.images), "an image without valid depth")
        self._step_weights = Weights(*self._summed([own.tokens, own.images]))
        self._window = []
        return batches, None

    def training_step(
        self,
        model: Any,  # noqa: ANN401
        inputs: Batch,
        num_items_in_batch: Any = None,  # noqa: ANN401
    ) -> torch.Tensor:
        """Forward and backward of a micro-batch; where memory runs out, the step anew in smaller pieces.

        Raises:
            CheckError: a loss that is not finite, or one sample alone that does not fit.
            PartialError: memory ran out on one of several processes.
        """
        if self._checkpoint is not None:
            # The loader drew from the random state that the checkpoint had left for the model.
            self._load_rng_state(str(self._checkpoint))
            self._checkpoint = None
        training_mode(self.accelerator.unwrap_model(model), self.run.recipe)
        self._window.append(inputs)
        pending, total = [inputs], torch.zeros((), device=self.args.device)
        while True:
            try:
                for piece in self._pieces(pending):
                    total = total + self._run_piece(model, piece)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                text = str(error).partition("\n")[0]
            else:
                return total
            self._halve(model, text)
            pending, total = list(self._window), torch.zeros_like(total)

    def _pieces(self, batches: list[Batch]) -> list[Batch]:
        return [piece for batch in batches for piece in split(batch, self.run.micro_batch)]

    def _run_piece(self, model: Any, piece: Batch) -> torch.Tensor:  # noqa: ANN401
        recipe, weights = self.run.recipe, weights_of(piece)
        arguments = {name: value for name, value in piece.items() if name not in TOLD}
        arguments = self._prepare_inputs(arguments)
        if recipe.stage == 1:
            del arguments["labels"]
            arguments |= {"backbone_no_grad": True, "lm": False}
        several = self.run.steps.world > 1
        output = model(**arguments, supervised_logits=True, keep_head_in_graph=several, use_cache=False)
        loss = weighted_loss(output, weights, self._step_weights, recipe.depth_loss_weight)
        if loss is None:
            return torch.zeros((), device=self.args.device)
        if not bool(torch.isfinite(loss)):
            raise self.not_finite("loss", piece["slots"])
        measure(output, {**piece, **arguments}, weights, self._fresh)
        del output
        # Gradients are averaged over processes, and the step's loss is their sum.
        self.accelerator.backward(loss * self.run.steps.world)
        return loss.detach()

    def not_finite(self, what: str, slots: Iterable[int] | None = None) -> CheckError:
        """The error for a loss or gradient that is no number; nothing was stepped or saved with it.

        Args:
            what: loss or gradient.
            slots: of the samples it came of; None: all of the step's.
        """
        ids = self.run.sample_ids(range(self.run.at_step, self.run.loader.slot) if slots is None else slots)
        shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        return CheckError(
            f"the {what} is not finite",
            where=f"step {self.state.global_step + 1}, samples {shown}",
            why="no step was made with it, and no checkpoint holds it",
            next_step="look at those samples; a new run may need a lower rate: -o learning_rate=...",
        )

    def take_means(self) -> None:
        """Count the step that was just made into the running means."""
        self.run.means.extend(self._fresh.state())
        self._fresh.clear()

    def gather_means(self) -> None:
        """Bring the running means of all processes to the first."""
        if self.run.steps.world == 1:
            return
        states: list[Any] = [None] * self.run.steps.world
        dist.all_gather_object(states, self.run.means.state())
        self.run.means.clear()
        if self.run.loader.rank == 0:
            for state in states:
                self.run.means.extend(state)

    def floating_point_ops(self, inputs: Any) -> int:  # noqa: ANN401
        """Not counted: the count of stock's Trainer knows neither the tower nor the head."""
        return 0

    def _halve(self, model: Any, text: str) -> None:  # noqa: ANN401
        run, size = self.run, self.run.micro_batch
        step = self.state.global_step + 1
        if size == 1:
            raise CheckError(
                "out of memory with one sample at once",
                where=f"step {step}",
                why=text,
                next_step="a new run with -o max_pixels=... or -o gradient_checkpointing=true",
            )
        if run.steps.world > 1:
            raise PartialError(
                f"out of memory on process {run.loader.rank} with {size} samples at once",
                where=f"step {step}",
                why="the other processes are amid the same step; the last checkpoint is kept",
                next_step=f"the same command with --resume -o micro_batch={size // 2}",
            )
        run.micro_batch = size // 2
        model.zero_grad()
        self._fresh.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        run.counts["out_of_memory"] = run.counts.get("out_of_memory", 0) + 1
        run.screen.note(
            f"out of memory at step {step}: from here on {run.micro_batch} samples at once, not {size}, with "
            "twice the accumulation; the step is made again and nothing is lost"
        )

    def _summed(self, values: list[float]) -> list[float]:
        if self.run.steps.world == 1:
            return values
        tensor = torch.tensor(
            values, dtype=torch.float64, device="cpu" if self.args.use_cpu else self.args.device
        )
        dist.all_reduce(tensor)
        return [float(value) for value in tensor]

    def _get_output_dir(self, trial: Any) -> str:  # noqa: ANN401
        return str(self.run.out / ".writing")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:  # noqa: ANN401
        run, step = self.run, self.state.global_step
        self.gather_means()
        if self.is_world_process_zero():
            begin_writing(run.out)
        self._wait()
        super()._save_checkpoint(model, trial)
        grown = Path(self._get_output_dir(trial)) / f"checkpoint-{step}"
        if self.is_world_process_zero():
            write_progress(grown, run.progress(step))
            if run.export is not None:
                run.export(grown / MODEL_FOLDER)
        self._wait()
        if self.is_world_process_zero():
            publish(grown, run.out, run.recipe.keep)
        self._wait()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write what is trained; stock's Trainer saves sharded parameters beside their optimiser."""
        if output_dir is None or self.is_fsdp_enabled or not self.args.should_save:
            return
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        tensors = {name: p.detach().cpu().contiguous() for name, p in trained_parameters(self.model).items()}
        save_file(tensors, Path(output_dir) / TRAINED_FILE, metadata={"format": "pt"})

    def take_finished(self, checkpoint: Path, step: int) -> None:
        """Stand at the end of a run that has no step left to make."""
        self._load_from_checkpoint(str(checkpoint))
        self.state.global_step = step

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ANN401
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        parameters = trained_parameters(self.model)
        stored = load_trained(Path(resume_from_checkpoint), list(parameters))
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(stored[name])

    def _wait(self) -> None:
        self.accelerator.wait_for_everyone()


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or bool(should_reduce_batch_size(error))
