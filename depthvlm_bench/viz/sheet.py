"""The contact sheet of a set: picture and depth of several records on one scale."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from depthvlm_bench.viz.colour import scale_of
from depthvlm_bench.viz.marks import INK_RGB, LEGEND_HEIGHT_PX, PAPER_RGB, font
from depthvlm_bench.viz.overlay import depth_picture, resized
from depthvlm_bench.viz.panels import GAP_PX, HEAD_PX, head, legends, tile_size
from depthvlm_bench.viz.shown import Shown

SHEET_TILE_PX, SHEET_COLUMNS, CAPTION_PX = 330, 3, 30


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
    """Picture and depth of several records of a set, all on one scale of depth."""
    pictures = [shown.picture.size for shown in records]
    scale = scale_of(np.concatenate([shown.depth_m for shown in records]))
    (cell_width, cell_height), sheet = _cell(pictures), Image.new("RGB", sheet_size(pictures), PAPER_RGB)
    head(sheet, title, facts)
    columns = _columns(len(records))
    for index, shown in enumerate(records):
        left = GAP_PX + index % columns * (cell_width + GAP_PX)
        top = HEAD_PX + index // columns * (cell_height + CAPTION_PX + GAP_PX // 2)
        size = tile_size(shown.picture.size, SHEET_TILE_PX)
        sheet.paste(Image.fromarray(resized(shown.picture, size)), (left, top))
        sheet.paste(Image.fromarray(depth_picture(shown, scale, size)), (left + size[0] + 2, top))
        _caption(sheet, shown.id, (left, top + cell_height + CAPTION_PX // 2), cell_width)
    legends(sheet, [scale], "grey: no depth")
    return sheet


def _caption(sheet: Image.Image, record: str, place: tuple[int, int], width: int) -> None:
    """A record's name without its set, its start left out where it is too long."""
    pen, face = ImageDraw.Draw(sheet), font(15)
    text = "/".join(part for part in record.split("/")[2:] if part != "-")
    whole = text
    while pen.textlength(text, font=face) > width:
        whole = whole[1:]
        text = f"...{whole}"
    pen.text(place, text, INK_RGB, face, "lm")
