"""Diagnostics of a run as tables for the terminal; colour only underlines what the numbers say."""

import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

from rich.columns import Columns
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from depthvlm_bench.scoring.diagnostics import Diagnostics, Fit, Group
from depthvlm_bench.viz.colour import ERROR_RAMP, Ramp

SCENES_SHOWN = 10
# ln 2: a log bias this large has the end's colour.
MOST_LOG_BIAS = math.log(2)
DELTA1_RAMP = Ramp.of(("#a8142a", "#f4d9a0", "#1a7a4c"), by_lightness=False)


def report(found: Diagnostics) -> RenderableType:
    """Overall, bias and scale, by distance, place, camera and scene; the worst samples."""
    scenes = sorted(found.by_scene, key=lambda group: (group.delta1, group.name))[:SCENES_SHOWN]
    left_out = f", the {SCENES_SHOWN} worst of {len(found.by_scene)}"
    parts: list[RenderableType] = [
        Text(headline(found)),
        _titled("by true distance", group_table("distance", found.by_distance)),
        _titled("by place in the picture (8 x 8; whole rows and columns at the edges)", _maps(found)),
    ]
    if len(found.by_camera) > 1:
        parts.append(_titled("by camera", group_table("camera", found.by_camera)))
    if len(found.by_scene) > 1:
        more = left_out if len(found.by_scene) > SCENES_SHOWN else ""
        parts.append(_titled(f"by scene{more}", group_table("scene", scenes)))
    parts.append(_titled("worst samples", group_table("record", found.worst)))
    return Stack(*parts)


def plain(found: object) -> Any:  # noqa: ANN401 - JSON
    """Diagnostics as JSON values: delta1 of each group beside its counts, null for NaN."""
    if isinstance(found, tuple):
        return [plain(item) for item in found]
    if isinstance(found, float):
        return None if math.isnan(found) else found
    if not isinstance(found, Diagnostics | Group | Fit):
        return found
    values = {field.name: plain(getattr(found, field.name)) for field in fields(found)}
    return values | ({"delta1": plain(found.delta1)} if isinstance(found, Group) else {})


def headline(found: Diagnostics) -> str:
    """The few lines that say how the run errs as a whole."""
    overall, fit = found.overall, found.fit
    partial = f", {found.missing} images missing" if found.missing else ""
    lines = [
        f"δ1 {_number(overall.delta1)} of all {overall.asked} asked points together, "
        f"{overall.answered} answered, {overall.images} images{partial}",
        f"bias: answers are {_number(fit.median_ratio)} x the truth (median), "
        f"median |log error| {_number(overall.median_abs_log)}",
        f"scale: slope of log p over log g {_number(fit.slope)} (1 keeps proportions, 0 is a constant)",
    ]
    return "\n".join(lines)


def group_table(kind: str, groups: Iterable[Group]) -> Table:
    """One line a group."""
    table = Table(box=None, pad_edge=False)
    table.add_column(kind, overflow="fold")
    for header in ("images", "asked", "answered", "δ1", "log bias", "median |log error|"):
        table.add_column(header, justify="right")
    for group in groups:
        counts = (str(number) for number in (group.images, group.asked, group.answered))
        errors = (_number(group.delta1), _signed(group.log_bias), _number(group.median_abs_log))
        table.add_row(group.name, *counts, *errors)
    return table


def _titled(title: str, body: RenderableType) -> Stack:
    return Stack(Text(f"\n{title}", style="bold"), body)


def _maps(found: Diagnostics) -> Columns:
    """delta1 and log bias as the picture lies, its top row on top; side by side where there is room."""
    hits = heat_map(found, lambda group: group.delta1, lambda value: value, DELTA1_RAMP, _number)
    bias = heat_map(found, lambda group: group.log_bias, _bias_position, ERROR_RAMP, _signed)
    titled = (("δ1", hits), ("log bias (below 0 too near, above 0 too far)", bias))
    return Columns([Stack(Text(title), table) for title, table in titled], padding=(0, 4))


def _bias_position(log_bias: float) -> float:
    return 0.5 + 0.5 * log_bias / MOST_LOG_BIAS


def heat_map(
    found: Diagnostics,
    value_of: Callable[[Group], float],
    position_of: Callable[[float], float],
    ramp: Ramp,
    text_of: Callable[[float], str],
) -> Table:
    """A number a cell on its colour; a dot where nothing was asked or answered.

    To the right each whole row, below each whole column, and everything in the corner.
    """
    table = Table.grid()
    edges = (*found.by_row, found.overall)
    for row, whole in zip((*found.by_place, found.by_column), edges, strict=True):
        values = [value_of(group) for group in (*row, whole)]
        cells = [_cell(value, position_of, ramp, text_of) for value in values]
        table.add_row(*cells[:-1], "  ", cells[-1])
        if whole is found.by_row[-1]:
            table.add_row()
    return table


def _cell(
    value: float, position_of: Callable[[float], float], ramp: Ramp, text_of: Callable[[float], str]
) -> Text:
    if math.isnan(value):
        return Text("     . ")
    red, green, blue = ramp.colours(position_of(value)).tolist()
    ink = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 128 else "white"
    return Text(f"{text_of(value):>6} ", Style.parse(f"{ink} on rgb({red},{green},{blue})"))


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.2f}"
