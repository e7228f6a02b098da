"""dvbench models: what can be evaluated."""

from dataclasses import asdict

import click

from depthvlm_bench.cli.common import console, examples, json_option, print_json


@click.command("models", epilog=examples("dvbench models", "dvbench models --json"))
@json_option
def command(as_json: bool) -> None:
    """List the models: what kind they are, whether they use the camera, under which licence."""
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
                else f"pip install 'depthvlm-bench[{card.extra}]'"
                if card.extra
                else "-"
            )
            table.add_row(card.id, card.kind, card.camera, needs, card.licence, card.summary)
        console().print(table)
    for _, item in found:
        if isinstance(item, CheckError):
            click.echo(f"error: {item.one_line()}", err=True)
