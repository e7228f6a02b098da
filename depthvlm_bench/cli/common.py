"""What commands share: the workspace, common options, progress on screen, JSON output."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

    from depthvlm_bench.progress import Advance

F = TypeVar("F", bound=Callable[..., Any])

workspace_option = click.option(
    "--workspace",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="DVBENCH_HOME",
    default=Path("dvbench"),
    show_default="$DVBENCH_HOME, else ./dvbench",
    help="Folder that holds data/, runs/ and results/.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
root_option = click.option(
    "--root", type=click.Path(path_type=Path), required=True, help="Folder of the raw tree, as downloaded."
)
option_option = click.option(
    "-o",
    "--option",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the dataset's reader or the model.",
)


data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that holds set folders.  [default: WORKSPACE/data]",
)
protocol_option = click.option("--protocol", "protocol_name", default="dvbench-1", show_default=True)
where_option = click.option("--where", help="Only records of these tags, e.g. 'indoor & real'.")
input_option = click.option(
    "--input",
    "input_mode",
    type=click.Choice(["canonical", "native", "preferred"]),
    help="Which picture is shown.  [default: canonical; native where the camera is unknown]",
)
camera_option = click.option(
    "--camera", type=click.Choice(["known", "unknown"]), default="known", show_default=True
)


def out_option(what: str, default: str) -> Callable[[F], F]:
    """--out, said for what it holds in the command at hand."""
    return click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        help=f"Folder for {what}.  [default: {default}]",
    )


def examples(*lines: str) -> str:
    """The end of a command's help: `click.command(epilog=examples(...))`."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def console() -> "Console":
    """The console that tables are printed on; wide enough for them where the output is not a terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def print_json(value: object) -> None:
    """Print a listing as JSON."""
    click.echo(json.dumps(value, indent=2, default=str))


class ScreenProgress:
    """Progress on stderr: a bar with rate and time left on a terminal, plain lines elsewhere."""

    def __init__(self, *, every_s: float = 10.0) -> None:
        self.every_s = every_s
        self._screen: Console | None = None

    def note(self, text: str) -> None:
        """One line; above the bar where there is one."""
        if self._screen is not None:
            self._screen.print(text, markup=False, highlight=False)
        else:
            click.echo(text, err=True)

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator["Advance"]:
        """Show one stage."""
        if sys.stderr.isatty():
            with self._bar(title, total, unit) as advance:
                yield advance
            return
        done, start, last, detail = 0, time.monotonic(), time.monotonic(), ""

        def advance_plainly(more: int, detail_now: str = "") -> None:
            nonlocal done, last, detail
            done, detail = done + more, detail_now or detail
            if time.monotonic() - last >= self.every_s:
                last = time.monotonic()
                rate = done / (last - start)
                left = f"{(total - done) / rate:.0f} s left" if rate > 0 else "time left unknown"
                parts = [
                    f"{title}: {done}/{total}",
                    f"{rate:.1f} {unit}s/s",
                    left,
                    *([detail] * bool(detail)),
                ]
                self.note(", ".join(parts))

        yield advance_plainly

    @contextmanager
    def _bar(self, title: str, total: int, unit: str) -> Iterator["Advance"]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
        )
        self._screen = Console(stderr=True)
        with Bar(*columns, console=self._screen, transient=True) as bar:
            task = bar.add_task(title, total=total, rate="", detail="")

            def advance(more: int, detail: str = "") -> None:
                speed_now = bar.tasks[0].speed
                rate = f"{speed_now:.1f} {unit}s/s" if speed_now else ""
                bar.update(task, advance=more, rate=rate, detail=detail or bar.tasks[0].fields["detail"])

            try:
                yield advance
            finally:
                self._screen = None
