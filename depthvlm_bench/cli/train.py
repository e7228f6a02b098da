"""dvbench train: DepthVLM's two stages on converted sets, on one card or many."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthvlm_bench.cli.common import (
    ScreenProgress,
    data_option,
    examples,
    json_option,
    print_json,
    workspace_option,
)
from depthvlm_bench.errors import UsageError

if TYPE_CHECKING:
    from depthvlm_bench.depthvlm.training.recipe import Recipe
    from depthvlm_bench.depthvlm.training.run import TrainRequest

EXAMPLES = (
    "dvbench train --stage 1 --recipe one-24gb-stage1 --backbone Qwen3-VL-4B-Instruct --out runs/s1",
    "dvbench train --stage 2 --recipe one-24gb-stage2 --model runs/s1/model --mix-chat chat.jsonl --out s2",
)


@click.command("train", epilog=examples(*EXAMPLES))
@click.option(
    "--stage", type=click.IntRange(1, 2), required=True, help="1: the head. 2: language model and head."
)
@click.option("--recipe", "recipe_name", required=True, metavar="NAME|FILE", help="All figures, as TOML.")
@data_option
@click.option("--set", "set_names", multiple=True, help="A converted set.  [default: all training splits]")
@click.option(
    "--weights",
    metavar="A=2,B=1",
    help="Share of each set.  [default: every image of all sets equally likely]",
)
@click.option(
    "--mix-chat",
    "chat",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Conversations to mix in, so that language is kept: JSONL, JSON, parquet or a saved data set.",
)
@click.option("--chat-share", type=click.FloatRange(0, 1), help="Of all samples.  [default: the recipe's]")
@click.option("--backbone", metavar="DIR|ORG/NAME", help="A stock Qwen3-VL, which gets a fresh depth head.")
@click.option("--model", metavar="DIR|ORG/NAME", help="A checkpoint with a depth head.")
@click.option("--revision", help="Commit of a repository.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of this run."
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
@click.option("--cpu", is_flag=True, help="Train on the CPU even where there is a GPU.")
@click.option("--dry-run", is_flag=True, help="Say steps, samples, trained parameters, memory; do nothing.")
@click.option(
    "-o", "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="Another figure than the recipe's."
)
@workspace_option
@json_option
def command(
    stage: int,
    recipe_name: str,
    data: Path | None,
    set_names: tuple[str, ...],
    weights: str | None,
    chat: tuple[Path, ...],
    chat_share: float | None,
    backbone: str | None,
    model: str | None,
    revision: str | None,
    out: Path,
    resume: bool,
    cpu: bool,
    dry_run: bool,
    pairs: tuple[str, ...],
    workspace: Path,
    as_json: bool,
) -> None:
    """Train DepthVLM: stage 1 a depth head on a frozen Qwen3-VL, stage 2 head and language model together.

    The same command with --resume goes on where a run was stopped or killed. On several cards:
    torchrun --nproc-per-node 8 -m depthvlm_bench.cli.main train ...
    """
    from depthvlm_bench.depthvlm.training.recipe import load_recipe

    if chat_share is not None:
        pairs = (*pairs, f"chat_share={chat_share}")
    recipe = load_recipe(recipe_name, pairs, stage=stage)
    base, fresh_head = _base(stage, backbone, model)
    _require_torch()
    from depthvlm_bench.depthvlm.checkpoint import find_checkpoint
    from depthvlm_bench.depthvlm.training.run import TrainRequest

    request = TrainRequest(
        recipe=recipe,
        base=find_checkpoint(base, revision),
        fresh_head=fresh_head,
        data=data or workspace / "data",
        out=out,
        sets=set_names,
        weights=parse_weights(weights),
        chat=chat,
        resume=resume,
        cpu=cpu,
    )
    if dry_run:
        _dry_run(request, as_json=as_json)
    else:
        _train(request, as_json=as_json)


def parse_weights(text: str | None) -> dict[str, float] | None:
    """Shares of sets from `a=2,b=1`.

    Raises:
        UsageError: not of this form, a set twice, or a share that is no number above 0.
    """
    if text is None:
        return None
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not name or not equals or name in weights or not 0 < share < float("inf"):
            raise UsageError(
                f"--weights {part!r} is no share of a set",
                why="each set once, with a number above 0",
                next_step="--weights nuscenes=2,scannetpp=1",
            )
        weights[name] = share
    return weights


def _base(stage: int, backbone: str | None, model: str | None) -> tuple[str, bool]:
    """What is trained, and whether it gets a fresh head."""
    if (backbone is None) == (model is None):
        raise UsageError(
            "name what is trained: --backbone or --model",
            why="--backbone is a stock Qwen3-VL, --model a checkpoint with a depth head",
        )
    if backbone is not None and stage == 2:
        raise UsageError(
            "stage 2 begins with a trained head",
            why="--backbone has none",
            next_step="train stage 1 first, then --model OUT/model",
        )
    return (backbone, True) if backbone is not None else (str(model), False)


def _require_torch() -> None:
    lacking = [name for name in ("torch", "transformers", "accelerate") if find_spec(name) is None]
    if lacking:
        raise UsageError(
            f"training needs {', '.join(lacking)}", next_step='pip install "depthvlm-bench[train]"'
        )


def _train(request: "TrainRequest", *, as_json: bool) -> None:
    from transformers.utils import logging as library_logging

    from depthvlm_bench.depthvlm.training.run import leave, train, world_of

    library_logging.disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]
    logging.getLogger("transformers").setLevel(logging.ERROR)
    summary = train(request, ScreenProgress())
    rank, _ = world_of(request)
    leave()
    if rank > 0:
        return  # the first process tells it
    if as_json:
        print_json({**vars(summary), "model": str(summary.model)})
        return
    bad = ", ".join(f"{count} {reason}" for reason, count in summary.bad_samples.items())
    click.echo(f"{summary.steps} steps; samples replaced: {bad or 'none'}")
    click.echo(f"model  {summary.model}    (dvbench eval --model {summary.model})")
    click.echo(f"log    {request.out / 'log.jsonl'}    (tensorboard --logdir {request.out})")


def _dry_run(request: "TrainRequest", *, as_json: bool) -> None:
    from depthvlm_bench.depthvlm.training.estimate import estimate
    from depthvlm_bench.depthvlm.training.recipe import plan_steps
    from depthvlm_bench.depthvlm.training.run import open_stream, world_of

    stream, (rank, world) = open_stream(request), world_of(request)
    steps = plan_steps(request.recipe, stream.epoch_slots, world)
    needed = estimate(request.recipe, request.base, fresh_head=request.fresh_head, world=world)
    if rank:
        return
    said: dict[str, Any] = {
        "steps": steps.steps,
        "samples": steps.steps * steps.global_batch,
        "samples_an_epoch": stream.epoch_slots,
        "shares": stream.shares,
        "processes": world,
        "micro_batch": steps.micro_batch,
        "accumulation": steps.accumulation,
        "trained_head": needed.trainable.head,
        "trained_language": needed.trainable.language,
        "frozen": needed.trainable.frozen,
        "memory_gib": {
            "weights": round(needed.weights, 2),
            "optimiser": round(needed.optimiser, 2),
            "activations": round(needed.activations, 2),
            "total": round(needed.total, 2),
        },
        "recipe_hash": request.recipe.hash,
    }
    if as_json:
        print_json(said)
    else:
        _say(request.recipe, said)


def _say(recipe: "Recipe", said: dict[str, Any]) -> None:
    shares = ", ".join(f"{name} {share:.1%}" for name, share in said["shares"].items())
    memory = said["memory_gib"]
    click.echo(f"recipe      {recipe.source} ({said['recipe_hash'][:12]})")
    click.echo(f"samples     {said['samples_an_epoch']} an epoch: {shares}")
    click.echo(
        f"steps       {said['steps']} of {recipe.global_batch}: {said['processes']} processes x "
        f"{said['micro_batch']} at once x {said['accumulation']} accumulated"
    )
    click.echo(
        f"trained     head {said['trained_head']:,}, language model {said['trained_language']:,}; "
        f"frozen {said['frozen']:,}"
    )
    click.echo(
        f"memory      about {memory['total']} GiB a process: weights {memory['weights']}, "
        f"gradients and optimiser {memory['optimiser']}, activations {memory['activations']}"
    )
