"""dvbench power: which gap between two models a set of some size can find."""

import click

from depthvlm_bench.cli.common import examples, json_option, print_json

EXAMPLES = (
    "dvbench power --images 1000 --points 10 --delta1 0.9 --gap 0.01",
    "dvbench power --images 100 --points 100 --delta1 0.9 --rho 0.3 --correlation 0.7 --json",
)


@click.command("power", epilog=examples(*EXAMPLES))
@click.option("--images", type=int, required=True, help="Images of the set.")
@click.option("--points", type=int, required=True, help="Points asked an image.")
@click.option("--delta1", type=float, required=True, help="Score of the better model, e.g. 0.9.")
@click.option(
    "--rho", type=float, default=0.3, show_default=True, help="Correlation of two hits of one image."
)
@click.option("--gap", type=float, help="A true gap, e.g. 0.01: how probably is it found?")
@click.option(
    "--correlation",
    type=float,
    default=0.0,
    show_default=True,
    help="Correlation of the two models' true scores of an image; 0 is the cautious choice.",
)
@json_option
def command(
    images: int, points: int, delta1: float, rho: float, gap: float | None, correlation: float, as_json: bool
) -> None:
    """Say what the paired test of two models at 5 % finds on a set, before the hours are spent."""
    from dataclasses import asdict

    from depthvlm_bench.scoring.paired import WANTED_POWER, Design, can_be_significant, power

    design = Design(images, points, delta1, rho, correlation)
    found = power(design, gap)
    if as_json:
        print_json({"design": asdict(design), "power": asdict(found)})
        return
    click.echo(f"95 % interval of one model: {delta1:.3f} ± {found.half_width:.4f}")
    least = "none that is below delta1" if found.smallest_gap is None else f"{found.smallest_gap:.4f}"
    if not can_be_significant(images):
        least = "none, fewer than 6 images give no p < 5 %"
    click.echo(f"smallest gap found with {WANTED_POWER:.0%}: {least}")
    if found.found is not None:
        click.echo(f"a gap of {gap} is found with {found.found:.1%}")
        click.echo(f"the worse model scores higher with {found.wrong_order:.1%}")
