"""Prediction against truth, both axes logarithmic: hits lie in the band around the diagonal."""

import math
from dataclasses import replace
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from depthvlm_bench.scoring.metrics import DELTA1_RATIO
from depthvlm_bench.viz.colour import DepthScale, scale_of
from depthvlm_bench.viz.marks import FAINT_RGB, HIT_RGB, INK_RGB, MISS_RGB, PAPER_RGB, Mark, draw_marks, font
from depthvlm_bench.viz.shown import Asked

LEFT_PX, BOTTOM_PX, MARGIN_PX = 74, 62, 16
BAND_RGB, FRAME_RGB = (226, 244, 233), (196, 199, 206)
DOT_RADIUS_PX: Final = 6
WIDENED: Final = 4.0
TICK_ROOM: Final = 0.08


class _Axes:
    """A square plot at the right of its axis labels; both axes show `scale`."""

    def __init__(self, scale: DepthScale, size: tuple[int, int]) -> None:
        self.scale = scale
        self.side = min(size[0] - LEFT_PX, size[1] - BOTTOM_PX) - MARGIN_PX
        self.left = (size[0] - LEFT_PX - MARGIN_PX - self.side) // 2 + LEFT_PX
        self.top = MARGIN_PX

    def place(self, truth_m: float, prediction_m: float) -> tuple[float, float]:
        across, up = self._share(truth_m), self._share(prediction_m)
        return self.left + across * self.side, self.top + (1 - up) * self.side

    def _share(self, depth_m: float) -> float:
        """Beyond the limits a dot lies on the frame."""
        return float(self.scale.position(depth_m))

    @property
    def frame(self) -> tuple[float, float, float, float]:
        return (self.left, self.top, self.left + self.side, self.top + self.side)


def scatter(asked: Asked, scale: DepthScale, size: tuple[int, int]) -> Image.Image:
    """A plot (h, w) of the answered points; the band is delta1's, max(p / g, g / p) < 1.25."""
    scale = _wide_enough(asked, scale)
    axes = _Axes(scale, size)
    picture = Image.new("RGB", size, PAPER_RGB)
    pen = ImageDraw.Draw(picture)
    _band(picture, axes)
    for position, label in scale.ticks():
        if position in (0.0, 1.0) or TICK_ROOM < position < 1 - TICK_ROOM:
            _tick(pen, axes, position, label)
    pen.rectangle(axes.frame, outline=FRAME_RGB)
    middle, face = axes.left + axes.side / 2, font(19)
    pen.text((middle, axes.top + axes.side + 46), "truth, m", INK_RGB, face, "mm")
    _upright(picture, "prediction, m", (axes.left - 60, axes.top + axes.side // 2))
    return draw_marks(picture, _dots(asked, axes), DOT_RADIUS_PX, 14)


def _wide_enough(asked: Asked, scale: DepthScale) -> DepthScale:
    """The scale widened to what was answered, at most WIDENED times on either side."""
    answers = asked.truth_m * asked.ratio
    usable = np.clip(answers[~np.isnan(answers)], scale.near_m / WIDENED, scale.far_m * WIDENED)
    wide = scale_of([scale.near_m, scale.far_m, *usable], share=1.0)
    return replace(scale, near_m=wide.near_m, far_m=wide.far_m)


def _dots(asked: Asked, axes: _Axes) -> list[Mark]:
    hits, answers = asked.hits, asked.prediction_m
    if hits is None or answers is None:
        return []
    rows = zip(asked.truth_m, answers, hits, ~np.isnan(asked.ratio), strict=True)
    return [
        Mark(*axes.place(truth, answer), INK_RGB, HIT_RGB if hit else MISS_RGB)
        for truth, answer, hit, usable in rows
        if usable
    ]


def _band(picture: Image.Image, axes: _Axes) -> None:
    """Drawn pixel by pixel, so that it is right on either kind of scale."""
    near, far, side = axes.scale.near_m, axes.scale.far_m, axes.side
    share = np.linspace(0, 1, side)
    depth = near * (far / near) ** share if axes.scale.log else near + (far - near) * share
    apart = np.abs(np.log(depth[::-1, None] / depth))
    colour = np.where((apart < math.log(DELTA1_RATIO))[..., None], BAND_RGB, PAPER_RGB).astype(np.uint8)
    colour[np.arange(side)[::-1], np.arange(side)] = FAINT_RGB
    picture.paste(Image.fromarray(colour), (axes.left, axes.top))


def _tick(pen: ImageDraw.ImageDraw, axes: _Axes, position: float, label: str) -> None:
    face, bottom = font(17), axes.top + axes.side
    across, up = axes.left + position * axes.side, bottom - position * axes.side
    pen.line((across, bottom, across, bottom + 5), fill=INK_RGB)
    pen.text((across, bottom + 18), label, INK_RGB, face, "mm")
    pen.line((axes.left - 5, up, axes.left, up), fill=INK_RGB)
    pen.text((axes.left - 10, up), label, INK_RGB, face, "rm")


def _upright(picture: Image.Image, text: str, centre: tuple[int, int]) -> None:
    """Text that reads upward."""
    face = font(19)
    width = math.ceil(ImageDraw.Draw(picture).textlength(text, font=face))
    strip = Image.new("RGB", (width, 24), PAPER_RGB)
    ImageDraw.Draw(strip).text((0, 12), text, INK_RGB, face, "lm")
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    picture.paste(turned, (centre[0] - turned.width // 2, centre[1] - turned.height // 2))
