"""What `dvbench models NAME --cost` prints: one model taken apart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from depthvlm_bench.cli.common import console, examples, json_option, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from depthvlm_bench.depthvlm.cost.breakdown import Breakdown


def cost_command(name: str) -> click.Command:
    """The command `dvbench models NAME`, for one name or checkpoint."""

    from depthvlm_bench.cli.efficiency import find_model
    from depthvlm_bench.errors import UsageError

    @click.command(name, epilog=examples("dvbench models depthvlm-4b --cost"))
    @click.option("--cost", is_flag=True, help="Parameters, TFLOP, memory and seconds by part.")
    @click.option("--size", help="WIDTHxHEIGHT of the picture.  [default: 1342x1006]")
    @click.option("--focal", type=float, default=1000.0, show_default=True, help="Its focal length, px.")
    @click.option(
        "--profile", type=click.Choice(["native", "reference_v1"]), default="native", show_default=True
    )
    @json_option
    def command(cost: bool, size: str | None, focal: float, profile: str, as_json: bool) -> None:
        """Take a model apart: what a full depth map costs, by part, and what each figure stands on."""
        if not cost:
            find_model(name)
            raise UsageError(f"nothing is asked of {name}", next_step=f"dvbench models {name} --cost")
        show_cost(name, size=size, focal_px=focal, profile=profile, as_json=as_json)

    return command


def show_cost(
    name: str,
    *,
    size: str | None = None,
    focal_px: float = 1000.0,
    profile: str = "native",
    as_json: bool = False,
) -> None:
    """Print one model's cost.

    Args:
        name: a model with a cost sheet, or the folder of a checkpoint.
        size: WIDTHxHEIGHT of the picture; None: the paper's canonical 1342x1006.
        focal_px: its focal length, px.
        profile: native or reference_v1, for models that have profiles.
        as_json: JSON in place of tables.
    """
    from depthvlm_bench.cli.efficiency import find_model, parse_size
    from depthvlm_bench.depthvlm.cost.breakdown import break_down
    from depthvlm_bench.depthvlm.cost.pictures import Picture

    picture = Picture(parse_size(size), focal_px)
    found = break_down(find_model(name), picture, profile)  # type: ignore[arg-type]
    if as_json:
        print_json(found.as_json())
        return
    width, height = found.model_size
    click.echo(
        f"{name}, {found.way}: {found.questions:,} x {found.prompt_tokens:,} prompt tokens, "
        f"{found.picture_tokens:,} of them the picture's {width}x{height} px"
    )
    for table in (_parameters(found), _flops(found), _memory(found), _seconds(found)):
        console().print()
        console().print(table)
    _sources(found)


def _parameters(found: "Breakdown") -> "Table":
    whole = sum(found.parameters.values())
    lines = [(part, f"{n:,}", f"{n / whole:.2%}") for part, n in found.parameters.items() if n]
    return _table("computed", ("parameters", "number", "share"), [*lines, ("all", f"{whole:,}", "")])


def _flops(found: "Breakdown") -> "Table":
    from depthvlm_bench.depthvlm.cost.rows import TERA, short

    whole = sum(found.prefill.values()) + sum(found.decode.values())
    lines = [(part, short(n / TERA), f"{n / whole:.2%}") for part, n in found.prefill.items()]
    if found.decode:
        steps = sum(found.decode.values())
        lines.append(("decode steps", short(steps / TERA), f"{steps / whole:.2%}"))
    lines += [
        ("all", short(whole / TERA), ""),
        ("of one prompt: language attention, causal", short(found.causal_attention / TERA), ""),
        ("of one prompt: lm_head at every position", short(found.all_logits / TERA), ""),
    ]
    return _table("computed", ("full depth map", "TFLOP", "share"), lines)


def _memory(found: "Breakdown") -> "Table":
    from depthvlm_bench.depthvlm.cost.rows import GIGA, short

    dtypes = list(found.peak)
    lines = [
        (part, *(short(found.peak[dtype][part] / GIGA) for dtype in dtypes)) for part in found.peak[dtypes[0]]
    ]
    lines.append(("peak", *(short(sum(found.peak[dtype].values()) / GIGA) for dtype in dtypes)))
    headers = ("memory, GB (depth head in float32)", *dtypes)
    return _table("computed", headers, lines)


def _seconds(found: "Breakdown") -> "Table":
    from depthvlm_bench.depthvlm.cost.rows import duration, short

    lines = [
        (
            estimate.device,
            f"{estimate.dtype}, {short(estimate.sustained_tflop_s)} TFLOP/s ({estimate.note})",
            f"~{short(estimate.seconds)}{duration(estimate.seconds)}",
            "yes" if estimate.fits else "no",
        )
        for estimate in found.devices
    ]
    return _table("estimate", ("device", "declared sustained rate", "seconds", "fits"), lines)


def _sources(found: "Breakdown") -> None:
    click.echo(f"\nsource: {found.source}")
    for title, notes in (("from memory", found.from_memory), ("judged, not counted", found.estimated)):
        if notes:
            click.echo(f"{title}: {'; '.join(notes)}")


def _table(origin: str, headers: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> "Table":
    """A table whose first header says what its figures are."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(f"{headers[0]} [{origin}]".replace("[", "\\["))
    for header in headers[1:]:
        table.add_column(header, justify="right")
    for line in lines:
        table.add_row(*line)
    return table
