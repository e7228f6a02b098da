"""What is drawn on top: rings and discs with labels, and the legend strip."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from depthvlm_bench.viz.colour import Scale

Rgb = tuple[int, int, int]
Box = tuple[float, float, float, float]

HIT_RGB, MISS_RGB, PLAIN_RGB = (0, 220, 110), (255, 45, 60), (255, 255, 255)
INK_RGB, PAPER_RGB, FAINT_RGB = (28, 30, 36), (255, 255, 255), (110, 114, 122)
SMOOTHING = 3
LEGEND_HEIGHT_PX, BAR_HEIGHT_PX = 58, 16


@dataclass(frozen=True)
class Mark:
    """A point drawn on a picture.

    Attributes:
        ring: its outline's colour.
        fill: colour of its inside; None: the picture shows through.
        crossed: whether a cross is drawn in: a miss, told without colour.
        label: text beside it, left out where it would hide another.
    """

    u_px: float
    v_px: float
    ring: Rgb
    fill: Rgb | None = None
    crossed: bool = False
    label: str = ""


def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The one font, which Pillow carries; plain ASCII only."""
    return ImageFont.load_default(size_px)


def draw_marks(picture: Image.Image, marks: Sequence[Mark], radius_px: int, text_px: int) -> Image.Image:
    """A picture with marks drawn in, smoothed, and as many labels as have room."""
    large = (picture.width * SMOOTHING, picture.height * SMOOTHING)
    layer = Image.new("RGBA", large)
    pen = ImageDraw.Draw(layer)
    for mark in marks:
        _draw_mark(pen, mark, radius_px)
    smooth = layer.resize(picture.size, Image.Resampling.BOX)
    drawn = Image.alpha_composite(picture.convert("RGBA"), smooth).convert("RGB")
    _draw_labels(drawn, marks, radius_px, text_px)
    return drawn


def _draw_mark(pen: ImageDraw.ImageDraw, mark: Mark, radius_px: int) -> None:
    """One mark on the enlarged layer: a dark rim below, so that it shows on any ground."""
    u, v = ((axis + 0.5) * SMOOTHING for axis in (mark.u_px, mark.v_px))
    radius, stroke = radius_px * SMOOTHING, 2 * SMOOTHING
    pen.ellipse(_around(u, v, radius + SMOOTHING), outline=(0, 0, 0, 255), width=stroke + 2 * SMOOTHING)
    pen.ellipse(_around(u, v, radius), fill=mark.fill, outline=mark.ring, width=stroke)
    if mark.crossed:
        arm = radius * 0.6
        for sign in (-1, 1):
            pen.line((u - arm, v - sign * arm, u + arm, v + sign * arm), fill=mark.ring, width=stroke)


def _around(u: float, v: float, radius: float) -> Box:
    return (u - radius, v - radius, u + radius, v + radius)


def _draw_labels(picture: Image.Image, marks: Sequence[Mark], radius_px: int, text_px: int) -> None:
    """Labels right of their marks, else left; none over another label or mark."""
    pen, face = ImageDraw.Draw(picture), font(text_px)
    taken = [_around(mark.u_px, mark.v_px, radius_px) for mark in marks]
    for mark in marks:
        left, top, right, bottom = pen.textbbox((0, 0), mark.label, font=face, anchor="lm", stroke_width=2)
        for start in (mark.u_px + radius_px + 5, mark.u_px - radius_px - 5 - right):
            box = (start + left, mark.v_px + top, start + right, mark.v_px + bottom)
            if mark.label and _fits(box, picture.size) and not any(_overlap(box, other) for other in taken):
                place = (start, mark.v_px)
                pen.text(place, mark.label, PLAIN_RGB, face, "lm", stroke_width=2, stroke_fill=INK_RGB)
                taken.append(box)
                break


def _fits(box: Box, size: tuple[int, int]) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= size[0] and box[3] <= size[1]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def legend(scale: Scale, width: int, note: str = "") -> Image.Image:
    """A strip (LEGEND_HEIGHT_PX, width): the title, the bar with its marks, and a note at the right."""
    strip = Image.new("RGB", (width, LEGEND_HEIGHT_PX), PAPER_RGB)
    pen, face = ImageDraw.Draw(strip), font(17)
    pen.text((0, 14), scale.title, INK_RGB, face, "lm")
    left = round(pen.textlength(scale.title, font=face)) + 22
    right = width - 22 - (round(pen.textlength(note, font=face)) + 22 if note else 0)
    pen.text((width, 14), note, FAINT_RGB, face, "rm")
    bar = scale.ramp.colours(np.tile(np.linspace(0, 1, right - left), (BAR_HEIGHT_PX, 1)))
    strip.paste(Image.fromarray(bar), (left, 6))
    free_from = 0.0
    ticks = [(left + position * (right - left - 1), label) for position, label in scale.ticks()]
    last = ticks[-1][0] - pen.textlength(ticks[-1][1], font=face) / 2 - 8
    for place, label in ticks:
        half = pen.textlength(label, font=face) / 2
        pen.line((place, 6 + BAR_HEIGHT_PX, place, 10 + BAR_HEIGHT_PX), fill=INK_RGB)
        if place - half >= free_from and (place + half <= last or place == ticks[-1][0]):
            pen.text((place, 36), label, INK_RGB, face, "mm")
            free_from = place + half + 8
    return strip
