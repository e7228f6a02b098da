"""dvbench models: what can be evaluated, and tiny checkpoints to try the ways with."""

from dataclasses import asdict
from pathlib import Path

import click

from depthvlm_bench.cli.common import console, examples, json_option, print_json

EXAMPLES = (
    "dvbench models",
    "dvbench models depthvlm-4b --cost",
    "dvbench models make-tiny depthvlm tiny-model --answer 2.0 && dvbench eval --model ./tiny-model",
)


class _ModelsGroup(click.Group):
    """Sub-commands, and beside them the name of any model."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A sub-command, or what can be said of the model of that name."""
        from depthvlm_bench.cli.model_cost import cost_command

        return super().get_command(ctx, cmd_name) or cost_command(cmd_name)


@click.group("models", cls=_ModelsGroup, invoke_without_command=True, epilog=examples(*EXAMPLES))
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the models: what kind they are, whether they use the camera, under which licence.

    With a model's name and --cost: what a full depth map of it costs, by part.
    """
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from depthvlm_bench import registry
    from depthvlm_bench.errors import CheckError
    from depthvlm_bench.predict.contracts import Model

    found = list(registry.each(registry.MODELS))
    cards = [item.card for _, item in found if isinstance(item, Model)]
    if as_json:
        print_json([asdict(card) for card in cards])
    else:
        table = Table(box=None, pad_edge=False)
        for header in ("model", "kind", "camera", "needs", "licence", "what it is"):
            table.add_column(header)
        for card in cards:
            needs = (
                "a training split"
                if card.fitted
                else f"dvbench env create {card.family}"
                if card.isolation == "worker"
                else f"pip install 'depthvlm-bench[{card.extra}]'"
                if card.extra
                else "-"
            )
            table.add_row(card.id, card.kind, card.camera, escape(needs), card.licence, card.summary)
        console().print(table)
    for _, item in found:
        if isinstance(item, CheckError):
            click.echo(f"error: {item.one_line()}", err=True)


@command.command("make-tiny", epilog=examples(EXAMPLES[-1]))
@click.argument("name", metavar="NAME")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--answer", "answer_m", type=float, metavar="METRES", help="Every pixel answers this depth.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random weights.")
def make_tiny_command(name: str, folder: Path, answer_m: float | None, seed: int) -> None:
    """Write a tiny random checkpoint to try the ways with.

    NAME is a model of `dvbench models` that runs in this process (zoedepth, depth-pro, ...), depthvlm, or
    qwen3vl for that without a depth head. It loads and runs as a real one does, in seconds on a CPU, and
    knows nothing.
    """
    from depthvlm_bench.predict.tiny import make_tiny

    make_tiny(name, folder, seed=seed, answer_m=answer_m)
    click.echo(f"wrote {folder}")
    if name == "depthvlm":
        click.echo(f"  dvbench eval --model {folder.resolve()} -o dtype=float32")
    elif name != "qwen3vl":
        click.echo(f"  dvbench eval --model {name} --checkpoint {folder.resolve()}")
