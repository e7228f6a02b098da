"""The contact sheet of a set: picture and depth of several records on one scale, and what was answered."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from depthvlm_bench.viz.colour import scale_of
from depthvlm_bench.viz.marks import INK_RGB, LEGEND_HEIGHT_PX, PAPER_RGB, draw_marks, font
from depthvlm_bench.viz.overlay import depth_picture, resized
from depthvlm_bench.viz.panels import FEW_POINTS, GAP_PX, HEAD_PX, head, legends, rings, tile_size
from depthvlm_bench.viz.shown import Shown

SHEET_TILE_PX, SHEET_COLUMNS, CAPTION_PX = 330, 3, 30
RING_PX, SMALL_RING_PX, CAPTION_FONT_PX = 6, 4, 15


def sheet_size(tiles: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(width, height) of a contact sheet of pictures of these sizes; every cell holds picture and depth."""
    cell_width, cell_height = _cell(tiles)
    rows = math.ceil(len(tiles) / _columns(len(tiles)))
    height = HEAD_PX + rows * (cell_height + CAPTION_PX + GAP_PX // 2) + LEGEND_HEIGHT_PX + GAP_PX // 2
    return _columns(len(tiles)) * (cell_width + GAP_PX) + GAP_PX, height


def _columns(records: int) -> int:
    return min(SHEET_COLUMNS, records)


def _cell(pictures: Sequence[tuple[int, int]]) -> tuple[int, int]:
    sizes = [tile_size(size, SHEET_TILE_PX) for size in pictures]
    return 2 * max(width for width, _ in sizes) + 2, max(height for _, height in sizes)


def contact_sheet(records: Sequence[Shown], title: str, facts: str) -> Image.Image:
    """Picture and depth of several records of a set, all on one scale of depth.

    Records with a prediction have their asked points marked, hits green and misses red and crossed, and their
    delta1 below them.
    """
    pictures = [shown.picture.size for shown in records]
    scale = scale_of(np.concatenate([shown.depth_m for shown in records]))
    (cell_width, cell_height), sheet = _cell(pictures), Image.new("RGB", sheet_size(pictures), PAPER_RGB)
    head(sheet, title, facts)
    columns = _columns(len(records))
    for index, shown in enumerate(records):
        left = GAP_PX + index % columns * (cell_width + GAP_PX)
        top = HEAD_PX + index // columns * (cell_height + CAPTION_PX + GAP_PX // 2)
        size = tile_size(shown.picture.size, SHEET_TILE_PX)
        sheet.paste(_picture(shown, size), (left, top))
        sheet.paste(Image.fromarray(depth_picture(shown, scale, size)), (left + size[0] + 2, top))
        _caption(sheet, shown, (left, top + cell_height + CAPTION_PX // 2), cell_width)
    legends(sheet, [scale], "grey: no depth")
    return sheet


def _picture(shown: Shown, size: tuple[int, int]) -> Image.Image:
    picture = Image.fromarray(resized(shown.picture, size))
    if shown.asked.prediction_m is None:
        return picture
    marks = [replace(mark, label="") for mark in rings(shown, size)]
    return draw_marks(picture, marks, RING_PX if len(marks) <= FEW_POINTS else SMALL_RING_PX, CAPTION_FONT_PX)


def _caption(sheet: Image.Image, shown: Shown, place: tuple[int, int], width: int) -> None:
    """A record's name without its set, its start left out where it is too long; its delta1 before it."""
    pen, face = ImageDraw.Draw(sheet), font(CAPTION_FONT_PX)
    hits = shown.asked.hits
    score = "" if hits is None or not len(hits) else f"{hits.mean():.2f}   "
    text = "/".join(part for part in shown.id.split("/")[2:] if part != "-")
    whole = text
    while pen.textlength(score + text, font=face) > width:
        whole = whole[1:]
        text = f"...{whole}"
    pen.text(place, score + text, INK_RGB, face, "lm")
