"""Records in the terminal: half blocks, two pixels a character; shades of characters without colour."""

import math
from itertools import pairwise

import numpy as np
from rich.color import Color
from rich.style import Style
from rich.table import Table
from rich.text import Text

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.viz.colour import DepthScale, RgbArray, scale_of
from depthvlm_bench.viz.overlay import resized
from depthvlm_bench.viz.shown import Shown

HALF_BLOCK = "▀"
NEAR_TO_FAR_SHADES = "@%#*+=-:."
MOST_COLUMNS = 160
POINTS_LISTED = 12


def text_rows(picture: tuple[int, int], columns: int) -> int:
    """How many lines a picture (width, height) takes; a character is twice as high as wide."""
    return max(1, math.ceil(columns * picture[1] / picture[0] / 2))


def half_blocks(rgb: RgbArray) -> list[Text]:
    """A picture (2 rows, columns, 3) as lines of half blocks: the upper pixel in front, the lower behind."""
    lines = []
    for upper, lower in zip(rgb[::2].tolist(), rgb[1::2].tolist(), strict=True):
        line = Text()
        for front, behind in zip(upper, lower, strict=True):
            line.append(HALF_BLOCK, Style(color=Color.from_rgb(*front), bgcolor=Color.from_rgb(*behind)))
        lines.append(line)
    return lines


def shades(depth_m: FloatArray, scale: DepthScale) -> list[Text]:
    """Depth (rows, columns) as characters, dense is near; blank where there is none."""
    position = scale.position(depth_m)
    index = np.where(np.isnan(position), -1, np.clip(position * len(NEAR_TO_FAR_SHADES), 0, 8)).astype(int)
    alphabet = NEAR_TO_FAR_SHADES + " "
    return [Text("".join(alphabet[place] for place in row)) for row in index.tolist()]


def record_lines(shown: Shown, columns: int, *, colour: bool, scale: DepthScale | None = None) -> list[Text]:
    """A record at the width of a terminal: picture and depth side by side, and the legend below.

    Without colour: depth alone, in characters. Lines of the picture: `text_rows` of a tile's columns.
    """
    scale, columns = scale or scale_of(shown.depth_m), min(columns, MOST_COLUMNS)
    if not colour:
        wide = min(columns, MOST_COLUMNS // 2)
        rows = text_rows(shown.picture.size, wide)
        return [*shades(shown.grid_at((wide, rows)), scale), plain_legend(scale)]
    wide = (columns - 1) // 2
    size = (wide, 2 * text_rows(shown.picture.size, wide))
    tiles = (half_blocks(resized(shown.picture, size)), half_blocks(scale.colours(shown.grid_at(size))))
    lines = [Text.assemble(picture, " ", depth) for picture, depth in zip(*tiles, strict=True)]
    return [*lines, legend_line(scale, columns)]


def legend_line(scale: DepthScale, columns: int) -> Text:
    """The limits in metres and the colours between them."""
    near, far = f"{scale.near_m:g} m ", f" {scale.far_m:g} m"
    bar = scale.ramp.colours(np.linspace(0, 1, max(2, columns - len(near) - len(far))))
    line = Text(near)
    for rgb in bar.tolist():
        line.append(" ", Style(bgcolor=Color.from_rgb(*rgb)))
    return line.append(far)


def plain_legend(scale: DepthScale) -> Text:
    """What each character means."""
    edges = np.linspace(0, 1, len(NEAR_TO_FAR_SHADES) + 1)
    ratio = scale.far_m / scale.near_m
    metres = scale.near_m * ratio**edges if scale.log else scale.near_m + (scale.far_m - scale.near_m) * edges
    spans = zip(NEAR_TO_FAR_SHADES, pairwise(metres), strict=True)
    return Text("  ".join(f"{sign} {low:.3g}-{high:.3g}" for sign, (low, high) in spans) + "  m; blank: none")


def point_table(shown: Shown) -> Table:
    """The asked points; with a prediction the worst first."""
    asked, ratio = shown.asked, shown.asked.ratio
    predicted = asked.prediction_m is not None
    error = np.where(np.isnan(ratio), np.inf, np.abs(np.log(ratio)))
    order = np.argsort(-error, kind="stable") if predicted else np.arange(len(ratio))
    more = len(order) - POINTS_LISTED
    table = Table(box=None, pad_edge=False, caption=f"and {more} more" if more > 0 else None)
    for header in ("point", "u", "v", "truth, m", *(("prediction, m", "ratio", "") if predicted else ())):
        table.add_column(header, justify="right")
    for index in order[:POINTS_LISTED].tolist():
        place = [f"{index}", f"{asked.u_px[index]:.1f}", f"{asked.v_px[index]:.1f}"]
        table.add_row(*place, f"{asked.truth_m[index]:.2f}", *_answer(shown, index))
    return table


def _answer(shown: Shown, index: int) -> list[str]:
    hits, ratio = shown.asked.hits, float(shown.asked.ratio[index])
    if hits is None:
        return []
    if math.isnan(ratio):
        return ["-", "-", "[red]no answer[/]"]
    verdict = "[green]hit[/]" if hits[index] else "[red]miss[/]"
    return [f"{ratio * shown.asked.truth_m[index]:.2f}", f"{ratio:.2f}", verdict]
