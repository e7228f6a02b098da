"""dvbench efficiency: what a full depth map costs, by the way it is made."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthvlm_bench.cli.common import console, examples, json_option, option_option, print_json

if TYPE_CHECKING:
    from PIL.Image import Image

    from depthvlm_bench.depthvlm.cost.pictures import Picture
    from depthvlm_bench.depthvlm.cost.rows import Row
    from depthvlm_bench.predict.contracts import View

# One released model of each way, the other size of the first, and a stock backbone asked point by point.
COMPARED = ("depthvlm-4b", "depthvlm-8b", "youtu-vl-4b", "depthlm-12b", "qwen3-vl-4b")
CANONICAL = "1342x1006"
GREY = (127, 127, 127)
EXAMPLES = (
    "dvbench efficiency",
    "dvbench efficiency depthvlm-4b depthlm-12b --picture photo.jpg --focal 1430 --device rtx4090",
    "dvbench efficiency --measure runs/my-training/final -o device=cuda",
)
NOTE = (
    "One full depth map of one picture. TFLOP: matrix products and convolutions, attention in full; x: TFLOP "
    "over the first row's. ~ marks seconds estimated for {device}. All else in computed rows follows from "
    "the models' sizes; measured rows ran here. Formulas: docs/efficiency.md"
)


@click.command("efficiency", epilog=examples(*EXAMPLES))
@click.argument("models", nargs=-1, metavar="[MODEL|CHECKPOINT]...")
@click.option(
    "--picture",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The picture; measured models see it.",
)
@click.option("--size", help="WIDTHxHEIGHT, where no picture is at hand.  [default: 1342x1006]")
@click.option("--focal", type=float, default=1000.0, show_default=True, help="Its focal length, px.")
@click.option("--device", default="h100", show_default=True, help="Declared device of the estimates.")
@click.option("--answer-tokens", type=click.IntRange(min=1), help="Length of a reply, to ask for another.")
@click.option("--profile", type=click.Choice(["native", "reference_v1"]), default="native", show_default=True)
@click.option("--measure", "measured", multiple=True, metavar="MODEL|DIR", help="Run this model here too.")
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True, help="Timed runs of each.")
@click.option(
    "--questions",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Pixels asked of a measured point model, and again twice as many.",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print markdown instead of a table.")
@option_option
@json_option
def command(
    models: tuple[str, ...],
    file: Path | None,
    size: str | None,
    focal: float,
    device: str,
    answer_tokens: int | None,
    profile: str,
    measured: tuple[str, ...],
    runs: int,
    questions: int,
    as_markdown: bool,
    pairs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare what one full depth map costs: seconds, operations, tokens, memory.

    Without MODEL, those of the paper's comparison. They are computed from the models' sizes and need neither
    weights nor torch; --measure runs a model of `dvbench models`, or a checkpoint, through its own adapter.
    """
    from depthvlm_bench.depthvlm.cost import rows as table
    from depthvlm_bench.depthvlm.cost.pictures import Picture
    from depthvlm_bench.depthvlm.cost.sheets import load_device
    from depthvlm_bench.depthvlm.cost.ways import map_costs
    from depthvlm_bench.errors import UsageError

    if pairs and len(measured) != 1:
        raise UsageError("-o goes with one --measure", where=" ".join(pairs))
    if file and size:
        raise UsageError("--picture and --size exclude each other", where=file)
    shown, declared = _open(file) if file else None, load_device(device)
    picture = Picture(shown.size if shown else parse_size(size), focal)
    costs = [
        cost
        for name in models or (() if measured else COMPARED)
        for cost in map_costs(find_model(name).answering(answer_tokens), picture, profile)  # type: ignore[arg-type]
    ]
    found = [table.computed_row(cost, declared) for cost in costs]
    if measured:
        view = _view(shown, picture)
        found += [_measure(name, pairs, view, runs, questions) for name in measured]
    if as_json:
        print_json({"picture": vars(picture), "profile": profile, "rows": table.as_json(found)})
    elif as_markdown:
        click.echo(table.markdown(table.HEADERS, table.cells(found)))
    else:
        _print_table(found)
        click.echo(NOTE.format(device=declared.told))


def find_model(name: str) -> Any:  # noqa: ANN401 - CostModel, which is imported late
    """A model with a cost sheet, or the checkpoint in a folder of that name."""
    from depthvlm_bench.depthvlm.cost.sheets import load_cost_model

    if not Path(name).is_dir():
        return load_cost_model(name)
    from depthvlm_bench.depthvlm.cost.checkpoints import read_checkpoint

    return read_checkpoint(Path(name))


def parse_size(text: str | None) -> tuple[int, int]:
    """WIDTHxHEIGHT, px; None: the paper's canonical picture of ScanNet++."""
    from depthvlm_bench.errors import UsageError

    text = text or CANONICAL
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UsageError(f"{text!r} is not WIDTHxHEIGHT", next_step=f"--size {CANONICAL}")
    return int(width), int(height)


def _open(file: Path) -> "Image":
    """A picture as it is meant to be seen, RGB."""
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        return ImageOps.exif_transpose(opened).convert("RGB")


def _view(shown: "Image | None", picture: "Picture") -> "View":
    """What a measured model is shown: the file's picture, or grey of the same size."""
    from PIL import Image

    from depthvlm_bench.geometry.camera import PinholeCamera
    from depthvlm_bench.predict.contracts import View

    (width, height), focal_px = picture.size, picture.focal_px
    camera = PinholeCamera(width, height, focal_px, focal_px, (width - 1) / 2, (height - 1) / 2)
    return View("picture", shown or Image.new("RGB", picture.size, GREY), camera)


def _measure(name: str, pairs: tuple[str, ...], view: "View", runs: int, questions: int) -> "Row":
    from depthvlm_bench.cli.chosen_model import choose_model
    from depthvlm_bench.depthvlm.cost.measure import measure
    from depthvlm_bench.depthvlm.cost.rows import measured_row

    model, options = choose_model(name, None, pairs)
    done = measure(model, options, view, runs=runs, questions=questions)
    return measured_row(done, Path(name).resolve().name if Path(name).is_dir() else name)


def _print_table(rows: "list[Row]") -> None:
    from rich.table import Table

    from depthvlm_bench.depthvlm.cost.rows import HEADERS, cells

    shown = Table(box=None, pad_edge=False)
    for number, header in enumerate(HEADERS):
        text = number in (0, 1, len(HEADERS) - 1)
        shown.add_column(header, justify="left" if text else "right", no_wrap=number == 0)
    for line in cells(rows):
        shown.add_row(*line)
    console().print(shown)
