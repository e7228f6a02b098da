"""dvbench protocol: how predictions become a score."""

from dataclasses import asdict

import click

from depthvlm_bench.cli.common import examples, json_option, print_json


@click.group(
    "protocol", epilog=examples("dvbench protocol show", "dvbench protocol diff dvbench-1 depthvlm-compat-1")
)
def command() -> None:
    """Show the protocols, or how two of them differ."""


@command.command("show", epilog=examples("dvbench protocol show", "dvbench protocol show depthvlm-compat-1"))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
def show(names: tuple[str, ...], as_json: bool) -> None:
    """Show protocols key by key; all of them if none is named."""
    from depthvlm_bench.scoring.protocol import load_protocol, protocol_names

    protocols = [load_protocol(name) for name in names or protocol_names()]
    if as_json:
        print_json([asdict(protocol) | {"hash": protocol.hash} for protocol in protocols])
        return
    for number, protocol in enumerate(protocols):
        click.echo(("\n" if number else "") + f"{protocol.name}  {protocol.hash[:12]}")
        click.echo(protocol.description.strip())
        for key, value in asdict(protocol).items():
            if key not in ("name", "description"):
                click.echo(f"  {key:<13}{_text(value)}")


@command.command(
    "diff",
    epilog=examples(
        "dvbench protocol diff dvbench-1 depthvlm-compat-1",
        "dvbench protocol diff dvbench-1 depthvlm-compat-1 --json",
    ),
)
@click.argument("first")
@click.argument("second")
@json_option
def diff(first: str, second: str, as_json: bool) -> None:
    """Show the keys in which two protocols differ."""
    from depthvlm_bench.scoring.protocol import load_protocol, protocol_differences

    found = protocol_differences(load_protocol(first), load_protocol(second))
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo(f"{first} and {second} are the same rules")
        return
    width = max([len(first), *(len(_text(a)) for a, _ in found.values())]) + 2
    click.echo(f"{'':<15}{first:<{width}}{second}")
    for key, (a, b) in found.items():
        click.echo(f"{key:<15}{_text(a):<{width}}{_text(b)}")


def _text(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)
