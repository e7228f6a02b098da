"""A training run from a request to a model: data, model, trainer, and where an earlier run was left."""

import json
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import PrinterCallback, ProgressCallback, TrainingArguments

from depthvlm_bench.depthvlm.inference import load_tokenizer
from depthvlm_bench.depthvlm.loading import load_depthvlm
from depthvlm_bench.depthvlm.preprocess import checkpoint_limits
from depthvlm_bench.depthvlm.training.chat_data import chat_sources
from depthvlm_bench.depthvlm.training.checkpoints import MODEL_FOLDER, latest, read_progress
from depthvlm_bench.depthvlm.training.collate import Collator
from depthvlm_bench.depthvlm.training.data import open_sets
from depthvlm_bench.depthvlm.training.estimate import head_options
from depthvlm_bench.depthvlm.training.export import write_model
from depthvlm_bench.depthvlm.training.freeze import count, freeze
from depthvlm_bench.depthvlm.training.loader import SampleLoader
from depthvlm_bench.depthvlm.training.logs import LOG_FILE, RunLog
from depthvlm_bench.depthvlm.training.lora import add_lora
from depthvlm_bench.depthvlm.training.mixing import MixedStream, MixSettings
from depthvlm_bench.depthvlm.training.probe import Prober
from depthvlm_bench.depthvlm.training.probe_set import load_probe
from depthvlm_bench.depthvlm.training.recipe import Recipe, Steps, differences, plan_steps
from depthvlm_bench.depthvlm.training.trainer import DepthTrainer, Run
from depthvlm_bench.depthvlm.training.watch import Watch
from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.progress import Progress, Silent
from depthvlm_bench.records.files import only_one, reading, write_json

RUN_FILE = "run.json"


@dataclass(frozen=True)
class TrainRequest:
    """What is to be trained on what.

    Attributes:
        recipe: all figures.
        base: folder of the checkpoint that is trained.
        fresh_head: the base is a stock Qwen3-VL, and gets a head.
        data: folder of converted sets.
        sets: names; empty: all with a training split.
        weights: share of each set among depth samples; None: every image of the union is equally likely.
        chat: files of conversations to mix in.
        out: folder of the run.
        resume: go on from the last checkpoint in it.
        cpu: train on the CPU even where there is a GPU.
    """

    recipe: Recipe
    base: Path
    fresh_head: bool
    data: Path
    out: Path
    sets: tuple[str, ...] = ()
    weights: Mapping[str, float] | None = None
    chat: tuple[Path, ...] = ()
    resume: bool = False
    cpu: bool = False


@dataclass(frozen=True)
class TrainSummary:
    """How a run ended.

    Attributes:
        model: folder of the model for use.
        steps: optimiser steps in all.
        resumed_from: step it went on from; 0: it was a new run.
        bad_samples: samples that were replaced, by reason.
    """

    model: Path
    steps: int
    resumed_from: int
    bad_samples: dict[str, int]


def open_stream(request: TrainRequest) -> MixedStream:
    """The samples of a request.

    Raises:
        DataMissingError: no training set, or no chat file.
        UsageError: unknown sets, weights that do not fit them, or conversations in stage 1.
    """
    recipe = request.recipe
    if request.chat and recipe.stage == 1:
        raise UsageError(
            "stage 1 trains on depth alone", why="--mix-chat has none", next_step="leave it to stage 2"
        )
    sets = open_sets(request.data, request.sets, drop_flags=recipe.drop_flags)
    settings = MixSettings(request.weights, recipe.chat_share, recipe.seed, recipe.window_rows)
    return MixedStream(sets, chat_sources(request.chat), settings)


def world_of(request: TrainRequest) -> tuple[int, int]:
    """This process's number and how many there are, as torchrun or accelerate started them."""
    state = PartialState(cpu=request.cpu)
    return state.process_index, state.num_processes


def leave() -> None:
    """Close the connections between processes; to be called once all that they do together is done."""
    PartialState().destroy_process_group()


def train(request: TrainRequest, screen: Progress) -> TrainSummary:
    """Train, or go on training, and write the model.

    Raises:
        UsageError: a run is there already, or a resumed one would change what it learns.
        CheckError: loss or gradient not finite, too many bad samples, or the gate stopped the run.
        PartialError: memory ran out on one of several processes.
    """
    rank, world = world_of(request)
    first = rank == 0
    screen = screen if first else Silent()
    stream = open_stream(request)
    steps = plan_steps(request.recipe, stream.epoch_slots, world)
    request.out.mkdir(parents=True, exist_ok=True)
    held = only_one(request.out, "this run is being trained by another process") if first else nullcontext()
    with held:
        checkpoint = _begin(request, first=first, screen=screen)
        return _train(request, steps, stream, rank, checkpoint, screen)


def _begin(request: TrainRequest, *, first: bool, screen: Progress) -> Path | None:
    """The checkpoint to go on from, if any; the run's figures are kept beside it."""
    path, recipe, checkpoint = request.out / RUN_FILE, request.recipe, latest(request.out)
    before: dict[str, Any] = {}
    # A run that failed before its first line, for want of a model say, is none yet.
    if path.is_file() and (checkpoint is not None or (request.out / LOG_FILE).is_file()):
        with reading(path, "train anew in another folder"):
            before = json.loads(path.read_text(encoding="utf-8"))
    PartialState().wait_for_everyone()
    if before and not request.resume:
        raise UsageError("there is a run already", where=request.out, next_step="--resume, or another --out")
    changed = differences(before["recipe"], recipe) if before else {}
    if changed:
        raise UsageError(
            "a resumed run keeps its figures",
            where=request.out,
            why="; ".join(f"{name} was {was}, is {now}" for name, (was, now) in changed.items()),
            next_step="resume with the recipe it began with, or another --out",
        )
    if first and not before:
        described = {"recipe": asdict(recipe), "recipe_hash": recipe.hash, "base": str(request.base)}
        write_json(path, described)
    if request.resume:
        screen.note(f"resumed from {checkpoint.name}" if checkpoint else "no checkpoint yet: from the start")
    return checkpoint


def _train(
    request: TrainRequest,
    steps: Steps,
    stream: MixedStream,
    rank: int,
    checkpoint: Path | None,
    screen: Progress,
) -> TrainSummary:
    recipe, tokenizer = request.recipe, load_tokenizer(request.base)
    run = _run(request, steps, stream, rank, tokenizer, screen)
    progress = read_progress(checkpoint) if checkpoint else None
    done = progress.step if progress else 0
    if progress:
        run.restore(progress)
    model = prepare_model(request)
    log = RunLog(request.out, step=done) if rank == 0 else None
    if log is not None and not log.has_board:
        screen.note("no TensorBoard: pip install tensorboard; log.jsonl holds the same figures")
    prober = _prober(request, tokenizer) if recipe.probes else None
    with screen.stage(f"stage {recipe.stage}", steps.steps, "step") as advance:
        advance(done)
        watch = Watch(log, prober, advance)
        trainer = DepthTrainer(model, _arguments(request, steps), run, checkpoint, [watch])
        watch.trainer = trainer
        if recipe.save_models and not trainer.is_fsdp_enabled:
            run.export = partial(_export, request, trainer)
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        if done < steps.steps:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        elif checkpoint:
            trainer.take_finished(checkpoint, done)
    if log is not None:
        log.close()
    if watch.stopped:
        raise CheckError(
            "the probe's gate stopped the run",
            where=request.out,
            why=watch.stopped,
            next_step="mix conversations in (--mix-chat), or let it only warn: --resume -o gate=warn",
        )
    _finish(request, trainer)
    bad = dict(run.loader.faults.bad)
    return TrainSummary(request.out / MODEL_FOLDER, trainer.state.global_step, done, bad)


def prepare_model(request: TrainRequest) -> Any:  # noqa: ANN401 - transformers has no types
    """The model as its stage trains it: loaded, with a fresh head or adapters where asked, and frozen."""
    recipe = request.recipe
    model = load_depthvlm(
        request.base,
        dtype=recipe.weights,
        attention=recipe.attention,
        init_head=request.fresh_head,
        head_options=head_options(recipe) if request.fresh_head else None,
        head_seed=recipe.seed,
    )
    if recipe.lora_rank:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            add_lora(model, recipe)
    model.config.depth_loss_weight = recipe.depth_loss_weight
    model.head_autocast = recipe.autocast
    freeze(model, recipe)
    if recipe.gradient_checkpointing:
        _checkpoint_layers(model)
    return model


def _checkpoint_layers(model: Any) -> None:  # noqa: ANN401
    """Recompute layers in the backward pass; not reentrant, as embeddings may need no gradient under LoRA."""
    options = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


def _run(
    request: TrainRequest,
    steps: Steps,
    stream: MixedStream,
    rank: int,
    tokenizer: Any,  # noqa: ANN401
    screen: Progress,
) -> Run:
    recipe = request.recipe
    collator: Any = Collator(
        tokenizer,
        supervise=recipe.stage == 2,
        profile=recipe.profile,  # type: ignore[arg-type]  # checked by prepare
        max_pixels=recipe.max_pixels or checkpoint_limits(request.base).most,
        max_length=recipe.max_length,
    )
    loader = SampleLoader(
        stream,
        collator,
        batch_size=steps.micro_batch,
        rank=rank,
        ranks=steps.world,
        workers=recipe.workers,
        max_bad_share=recipe.max_bad_share,
        pin_memory=torch.cuda.is_available() and not request.cpu,
    )
    return Run(recipe, steps, request.out, loader, screen, steps.micro_batch)


def _prober(request: TrainRequest, tokenizer: Any) -> Prober:  # noqa: ANN401
    recipe = request.recipe
    return Prober(
        load_probe(str(recipe.probe)),
        tokenizer,
        recipe.profile,
        recipe.max_pixels,
        recipe.probe_batch,
        recipe.probe_tokens,
    )


def _arguments(request: TrainRequest, steps: Steps) -> TrainingArguments:
    recipe = request.recipe
    sharded = (
        {"fsdp": True, "fsdp_config": _fsdp(recipe)} if recipe.sharding == "fsdp" and steps.world > 1 else {}
    )
    arguments = TrainingArguments(
        output_dir=str(request.out),
        per_device_train_batch_size=steps.micro_batch,
        gradient_accumulation_steps=steps.accumulation,
        max_steps=steps.steps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine" if recipe.schedule == "cosine" else "constant_with_warmup",
        warmup_steps=math.ceil(recipe.warmup_ratio * steps.steps),
        max_grad_norm=0.0,  # clipped in the watch, where head and language model are looked at apart
        bf16=recipe.autocast,
        seed=recipe.seed,
        use_cpu=request.cpu,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        ignore_data_skip=True,  # the stream stands where the checkpoint left it
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        fsdp=True if sharded else None,  # type: ignore[arg-type, unused-ignore]
        fsdp_config=_fsdp(recipe) if sharded else None,
    )
    # More GPUs than processes: stock's DataParallel would take them all; here a process has one.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _fsdp(recipe: Recipe) -> dict[str, Any]:
    return {
        "version": 2,
        "transformer_layer_cls_to_wrap": list(recipe.sharded_units),
        "state_dict_type": "SHARDED_STATE_DICT",
        "reshard_after_forward": True,
    }


def _finish(request: TrainRequest, trainer: DepthTrainer) -> None:
    """Write the model for use, once training is over."""
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if trainer.is_fsdp_enabled else None
    if trainer.is_world_process_zero():
        _export(request, trainer, request.out / MODEL_FOLDER, state)
    PartialState().wait_for_everyone()  # a process that left early would end the others' connections


def _export(request: TrainRequest, trainer: DepthTrainer, folder: Path, state: Any = None) -> None:  # noqa: ANN401
    provenance = {
        "base": str(request.base),
        "steps": trainer.state.global_step,
        "processes": trainer.run.steps.world,
        "stream": trainer.run.loader.stream.identity,
        "bad_samples": dict(trainer.run.loader.faults.bad),
        "trained": asdict(count(trainer.model)),
    }
    model = trainer.accelerator.unwrap_model(trainer.model)
    write_model(model, request.recipe, request.base, folder, provenance=provenance, state=state)
