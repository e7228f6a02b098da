"""Recipes: every figure of a training run, as TOML in `manifests/recipes/` or a file of one's own."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from depthvlm_bench.config import load_toml, parse_options
from depthvlm_bench.errors import UsageError, unknown_name
from depthvlm_bench.hashing import sha256_json

# The language model's linear layers; the head has no adapters, it is trained whole.
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# FSDP shards these one by one; tower, head and embeddings are one more unit, which every process runs once a
# micro-batch. As units of their own they would be gathered as often as a process has pictures, and processes
# with different numbers of them would wait for each other for ever.
FSDP_UNITS = ("Qwen3VLTextDecoderLayer",)
# Smaller pictures are enlarged by the model's preprocessing.
LEAST_PIXELS = 65_536
# What a resumed run may change: none of it moves the loss curve.
FREE_ON_RESUME = frozenset(
    {
        *("source", "micro_batch", "workers", "max_bad_share", "log_every", "save_every", "keep"),
        *("save_dtype", "save_models"),
        *("probe", "probe_every", "probe_batch", "probe_tokens", "gate", "max_constant_share"),
        "min_unchanged_share",
    }
)


@dataclass(frozen=True)
class Recipe:
    """One training stage.

    Attributes:
        stage: 1 trains the depth head alone; 2 the language model and the head, never the vision tower.
        source: where the figures come from.
        epochs: passes over the depth images; `steps`, where given, decides instead.
        learning_rate: at its peak; the head's is this times `head_rate_multiplier`.
        warmup_ratio: share of the steps in which the rate rises from 0.
        schedule: after the warm-up: cosine to 0, or constant.
        global_batch: samples an optimiser step, over all processes and accumulation.
        micro_batch: samples at once on a process; what it is never changes what is learnt.
        depth_loss_weight: the loss is lm + this * SILog.
        chat_share: share of samples drawn from --mix-chat, where any is given.
        window_rows: rows that are shuffled together, well above the global batch.
        drop_flags: LiDAR points with any of these flag bits give no label; 0: all do, as in the paper.
        max_bad_share: of samples that cannot be used; beyond it the run ends.
        max_length: longer samples, in tokens with pictures, are replaced by others; None: none is.
        profile: preprocessing of pictures, as the model will be asked later.
        max_pixels: pictures with more are shrunk to fit; None: the model's own limit.
        depth_head: kind of a fresh head (stage 1 from a stock backbone).
        head_features: width of a fresh DPT head.
        head_channels: widths of its four levels.
        weights: dtype of all that is frozen; what is trained is kept in float32.
        autocast: run the forward pass in bfloat16; the losses stay in float32.
        gradient_checkpointing: recompute the language model's layers in the backward pass.
        lora_rank: rank of adapters on the language model, merged in at the end; 0: it is trained in full.
        lora_alpha: adapters are added times this / rank.
        sharding: fsdp shards model and optimiser over the processes of torchrun; none: each holds all.
        save_dtype: of the model for use; its head is always float32.
        save_models: every checkpoint also holds a model that `dvbench eval --model` takes.
        probe: name of a probe set in manifests/probes, or a file; None: answers are not watched.
        probe_every: steps between probes; 0: never.
        max_constant_share: the gate speaks where more of the probe's replies are one and the same.
        min_unchanged_share: the gate speaks where fewer replies are those of the base model.
        gate: warn, or stop the run (a checkpoint is written first).
    """

    stage: Literal[1, 2]
    source: str
    learning_rate: float
    warmup_ratio: float
    global_batch: int
    micro_batch: int
    epochs: float = 1.0
    steps: int | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    head_rate_multiplier: float = 1.0
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    seed: int = 42
    depth_loss_weight: float = 1.0
    chat_share: float = 0.2
    window_rows: int = 4096
    drop_flags: int = 0
    max_bad_share: float = 0.01
    max_length: int | None = None
    workers: int = 4
    profile: str = "native"
    max_pixels: int | None = None
    depth_head: Literal["dpt", "mlp"] = "dpt"
    head_features: int = 256
    head_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    weights: Literal["bfloat16", "float32"] = "bfloat16"
    autocast: bool = True
    attention: str = "sdpa"
    gradient_checkpointing: bool = False
    lora_rank: int = 0
    lora_alpha: float = 0.0
    lora_dropout: float = 0.0
    lora_targets: tuple[str, ...] = LORA_TARGETS
    sharding: Literal["none", "fsdp"] = "none"
    sharded_units: tuple[str, ...] = FSDP_UNITS
    log_every: int = 10
    save_every: int = 1000
    keep: int = 3
    save_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    save_models: bool = False
    probe: str | None = None
    probe_every: int = 0
    probe_batch: int = 8
    probe_tokens: int = 32
    gate: Literal["warn", "stop"] = "warn"
    max_constant_share: float = 0.5
    min_unchanged_share: float = 0.0

    def __post_init__(self) -> None:
        """Refuse figures that no run can have."""
        for name in ("learning_rate", "global_batch", "micro_batch", "epochs", "max_grad_norm", "log_every"):
            _require(getattr(self, name) > 0, name, "must be above 0", self)
        for name in ("save_every", "keep", "head_features", "window_rows", "probe_batch", "probe_tokens"):
            _require(getattr(self, name) >= 1, name, "must be at least 1", self)
        for name in (
            "warmup_ratio",
            "chat_share",
            "max_bad_share",
            "max_constant_share",
            "min_unchanged_share",
        ):
            _require(0 <= getattr(self, name) <= 1, name, "must lie between 0 and 1", self)
        for name in ("workers", "lora_rank", "probe_every", "depth_loss_weight", "head_rate_multiplier"):
            _require(getattr(self, name) >= 0, name, "must not be below 0", self)
        _require(self.steps is None or self.steps >= 1, "steps", "must be at least 1", self)
        large = self.max_pixels is None or self.max_pixels >= LEAST_PIXELS
        _require(large, "max_pixels", f"must be at least {LEAST_PIXELS}", self)
        _require(len(self.head_channels) == 4, "head_channels", "takes four widths", self)
        _require(self.stage == 2 or not self.lora_rank, "lora_rank", "goes with stage 2", self)
        _require(not self.lora_rank or self.lora_alpha > 0, "lora_alpha", "must be above 0 with LoRA", self)
        lora_sharded = self.lora_rank and self.sharding == "fsdp"
        _require(not lora_sharded, "sharding", "fsdp does not go with lora_rank: adapters fit a card", self)

    @property
    def hash(self) -> str:
        """SHA-256 of all figures; not of the text that says where they come from."""
        return sha256_json({**asdict(self), "source": ""})

    @property
    def probes(self) -> bool:
        """Whether answers are watched."""
        return self.probe is not None and self.probe_every > 0


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = files("depthvlm_bench.manifests") / "recipes"
    return sorted(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))


def load_recipe(name: str, pairs: Sequence[str] = (), *, stage: int | None = None) -> Recipe:
    """A recipe by name or file, with options of the command line over it.

    Args:
        name: one of `recipe_names()`, or the path of a TOML file.
        pairs: KEY=VALUE.
        stage: the stage that is asked for; None: whichever the recipe has.

    Raises:
        UsageError: unknown recipe or key (with the nearest), a figure out of range, another stage.
    """
    path = Path(name)
    if name in recipe_names():
        recipe = load_toml(Recipe, files("depthvlm_bench.manifests") / "recipes" / f"{name}.toml")
    elif path.suffix == ".toml" and path.is_file():
        recipe = load_toml(Recipe, path)
    else:
        raise unknown_name("recipe", name, recipe_names(), next_step="or give the path of a .toml file")
    if stage is not None and recipe.stage != stage:
        raise UsageError(
            f"recipe {name!r} is for stage {recipe.stage}",
            why=f"--stage {stage} was asked",
            next_step=f"--recipe {name.replace(f'stage{recipe.stage}', f'stage{stage}')}",
        )
    return parse_options(Recipe, pairs, f"-o of {name}", defaults=recipe)


def differences(before: dict[str, Any], now: Recipe) -> dict[str, tuple[Any, Any]]:
    """Figures that a resumed run would change and must not, with the value before and now.

    Args:
        before: what `asdict` gave when the run began, after a trip through JSON.
        now: the recipe of the resumed run.
    """
    today = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(now).items()}
    return {
        key: (before.get(key), value)
        for key, value in today.items()
        if key not in FREE_ON_RESUME and before.get(key) != value
    }


@dataclass(frozen=True)
class Steps:
    """How many samples go where.

    Attributes:
        samples: in one pass: depth images, and the chat samples that come between them.
        world: processes.
        micro_batch: samples at once on each.
        accumulation: micro-batches a step on each.
        steps: optimiser steps.
    """

    samples: int
    world: int
    micro_batch: int
    accumulation: int
    steps: int

    @property
    def global_batch(self) -> int:
        """Samples a step, over all processes."""
        return self.world * self.micro_batch * self.accumulation


def plan_steps(recipe: Recipe, samples: int, world: int) -> Steps:
    """Divide the global batch over processes and accumulation, and count the steps.

    Args:
        recipe: with `global_batch`, `micro_batch` and `epochs` or `steps`.
        samples: in one pass.
        world: processes.

    Raises:
        UsageError: the global batch does not divide.
    """
    at_once = recipe.micro_batch * world
    if recipe.global_batch % at_once:
        raise UsageError(
            f"a global batch of {recipe.global_batch} does not divide over {world} processes "
            f"with {recipe.micro_batch} samples at once",
            next_step=_nearest_division(recipe.global_batch, recipe.micro_batch, world),
        )
    steps = recipe.steps or max(1, math.ceil(samples * recipe.epochs / recipe.global_batch))
    return Steps(samples, world, recipe.micro_batch, recipe.global_batch // at_once, steps)


def _nearest_division(global_batch: int, micro_batch: int, world: int) -> str:
    if global_batch % world == 0:
        each = global_batch // world
        fits = max(size for size in range(1, min(each, micro_batch) + 1) if each % size == 0)
        return f"-o micro_batch={fits}"
    rounded = max(1, round(global_batch / (micro_batch * world))) * micro_batch * world
    return f"-o global_batch={rounded}, or another number of processes"


def _require(holds: bool | int, name: str, rule: str, recipe: Recipe) -> None:
    if not holds:
        raise UsageError(
            f"{name} {rule}", where=f"recipe of stage {recipe.stage}", why=f"it is {getattr(recipe, name)!r}"
        )
