"""dvbench datasets: what can be converted."""

from dataclasses import asdict, fields
from inspect import cleandoc
from typing import TYPE_CHECKING

import click

from depthvlm_bench.cli.common import console, examples, json_option, print_json

if TYPE_CHECKING:
    from depthvlm_bench.cards import DatasetCard


@click.command("datasets", epilog=examples("dvbench datasets", "dvbench datasets nuscenes"))
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the datasets, or say where to get one, under which licence and as which tree."""
    from depthvlm_bench import registry
    from depthvlm_bench.errors import CheckError
    from depthvlm_bench.frames import Converter

    if name is not None:
        converter = registry.load_converter(name)
        print_json(asdict(converter.card)) if as_json else _print_card(converter.card, converter.options_type)
        return
    cards, faults = [], []
    for _, item in registry.each(registry.CONVERTERS):
        if isinstance(item, Converter):
            cards.append(item.card)
        elif isinstance(item, CheckError):
            faults.append(item)
    if as_json:
        print_json([asdict(card) for card in cards])
    else:
        _print_table(cards)
    for fault in faults:
        click.echo(f"error: {fault.one_line()}", err=True)


def _print_table(cards: "list[DatasetCard]") -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for header in ("dataset", "title", "kind", "splits", "images x points", "licence", "login"):
        table.add_column(header)
    for card in cards:
        size = _evaluation(card) if "eval" in card.roles else "-"
        login = "yes" if card.licence.login else "no"
        table.add_row(card.name, card.title, card.kind, ", ".join(card.roles), size, card.licence.id, login)
    console().print(table)


def _print_card(card: "DatasetCard", options_type: type) -> None:
    lines = {
        "dataset": f"{card.name} — {card.title}",
        "get it": f"{card.homepage}" + (" (account or signature needed)" if card.licence.login else ""),
        "size": card.size,
        "licence": f"{card.licence.id}, {card.licence.url}",
        "publish": f"pixels {_yes(card.licence.pixels)}, annotations {_yes(card.licence.annotations)}",
        "splits": "; ".join(f"{role} from {' | '.join(sources)}" for role, sources in card.splits.items()),
        "evaluation": _evaluation(card, " images", " points")
        if "eval" in card.roles
        else "not an evaluation set",
        "depth": f"{card.depth}, {card.depth_kind}-depth, valid {card.valid_min_m}-{card.valid_max_m} m",
        "cite": card.citation,
    }
    for label, text in lines.items():
        click.echo(f"{label:<11}{text}")
    for label, text in (("options", _options(options_type)), ("tree", card.tree.strip("\n"))):
        click.echo(label)
        for line in text.splitlines():
            click.echo(f"           {line}" if line else "")


def _options(options_type: type) -> str:
    """The reader's options with their defaults, and what they mean."""
    defaults = [f"-o {option.name}={_as_typed(option.default)}" for option in fields(options_type)]
    meaning = cleandoc(options_type.__doc__ or "").replace("\nAttributes:\n", "\n").replace("\n\n", "\n")
    return "\n".join(["  ".join(defaults), meaning]) if defaults else "none"


def _as_typed(value: object) -> str:
    """A default as -o takes it: true and false, none, lists with commas."""
    if isinstance(value, tuple):
        return ",".join(map(_as_typed, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _evaluation(card: "DatasetCard", images: str = "", points: str = "") -> str:
    """Images x points of the full evaluation set, '15-16' where some images have one more."""
    most = f"-{(card.points_per_image or 0) + 1}" if card.points_total is not None else ""
    return f"{card.images or 'all'}{images} x {card.points_per_image}{most}{points}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
