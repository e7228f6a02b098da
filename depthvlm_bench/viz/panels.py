"""One picture of a record: what it shows, what was measured, what was asked, what was answered."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from depthvlm_bench.frames import DepthGrid
from depthvlm_bench.viz.colour import DepthScale, RatioScale, RgbArray, Scale, scale_of
from depthvlm_bench.viz.marks import (
    FAINT_RGB,
    HIT_RGB,
    INK_RGB,
    LEGEND_HEIGHT_PX,
    MISS_RGB,
    PAPER_RGB,
    PLAIN_RGB,
    Mark,
    Rgb,
    draw_marks,
    font,
    legend,
)
from depthvlm_bench.viz.overlay import depth_picture, dimmed, error_picture, overlay_picture, resized
from depthvlm_bench.viz.scatter import scatter
from depthvlm_bench.viz.shown import Asked, Shown

COLUMNS = 3
TILE_PX = 720
GAP_PX, HEAD_PX, TITLE_PX = 24, 84, 36
RING_PX, DISC_PX, LABEL_PX = 8, 10, 17
FEW_POINTS = 40

Tile = tuple[str, Image.Image]


def tile_size(picture: tuple[int, int], longest: int = TILE_PX) -> tuple[int, int]:
    """(width, height) of a picture whose longer side is `longest`."""
    scale = longest / max(picture)
    return max(1, round(picture[0] * scale)), max(1, round(picture[1] * scale))


def panel_size(picture: tuple[int, int], *, predicted: bool, dense: bool = False) -> tuple[int, int]:
    """(width, height) of a record's panel: a row of three tiles, two with a prediction, one more if dense."""
    width, height = tile_size(picture)
    rows = 1 + predicted + dense
    row_height = TITLE_PX + height + GAP_PX
    legends = LEGEND_HEIGHT_PX + GAP_PX // 2
    return COLUMNS * (width + GAP_PX) + GAP_PX, HEAD_PX + rows * row_height + legends


def record_panel(shown: Shown, model: str = "", scale: DepthScale | None = None) -> Image.Image:
    """One picture of a record: picture, depth, overlay; below them prediction, error and scatter, if given.

    A dense prediction has a third row: its map, and its error wherever there is truth.

    Args:
        shown: the record; with a prediction if its `asked` has one.
        model: whose prediction, for the title.
        scale: of depth; default: that of the record's depths and points.
    """
    predicted = shown.asked.prediction_m is not None
    size, scale = tile_size(shown.picture.size), scale or scale_of(shown.depth_m)
    tiles = _truth_tiles(shown, scale, size)
    if predicted:
        tiles += _prediction_tiles(shown, scale, size) + _map_tiles(shown, scale, size)
    dense = predicted and shown.predicted is not None
    panel = Image.new("RGB", panel_size(shown.picture.size, predicted=predicted, dense=dense), PAPER_RGB)
    head(panel, shown.id, "   |   ".join(filter(None, (describe(shown), score_line(shown.asked, model)))))
    for index, (title, tile) in enumerate(tiles):
        left = GAP_PX + index % COLUMNS * (size[0] + GAP_PX)
        top = HEAD_PX + index // COLUMNS * (TITLE_PX + size[1] + GAP_PX)
        ImageDraw.Draw(panel).text((left, top + 16), title, INK_RGB, font(20), "lm")
        panel.paste(tile, (left, top + TITLE_PX))
    scales: list[Scale] = [scale, RatioScale()] if predicted else [scale]
    legends(panel, scales, "grey: no depth")
    return panel


def describe(shown: Shown) -> str:
    """The facts of a record in one line."""
    depth = shown.depth
    usable = int(shown.usable.sum())
    if isinstance(depth, DepthGrid):
        height, width = depth.values.shape
        share = 100 * usable / max(len(shown.usable), 1)
        measured = f"depth grid {width} x {height}, {share:.3g} % valid"
    else:
        suspects = int((depth.flags & 1).astype(bool).sum())
        measured = f"{usable} LiDAR points ({suspects} occlusion suspects left out)"
    spread = ""
    if usable:
        low, middle, high = np.quantile(shown.depth_m, [0, 0.5, 1])
        spread = f"   |   {low:.2f} to {high:.2f} m, median {middle:.2f} m"
    width, height = shown.picture.size
    return f"{width} x {height}, fx {shown.fx_px:.0f} px   |   {measured}{spread}"


def score_line(asked: Asked, model: str) -> str:
    """How many of the asked points a model hit; '' without a prediction."""
    hits = asked.hits
    if hits is None or not len(hits):
        return ""
    return f"{model or 'prediction'}: delta1 {hits.mean():.2f} ({hits.sum()} of {len(hits)} points)"


def _truth_tiles(shown: Shown, scale: DepthScale, size: tuple[int, int]) -> list[Tile]:
    kind = "points" if shown.grid is None else "grid"
    overlay = Image.fromarray(overlay_picture(shown, scale, size))
    points = len(shown.asked.truth_m)
    asked = f"overlay and the {points} asked points" if points else "overlay"
    return [
        ("picture", Image.fromarray(resized(shown.picture, size))),
        (f"depth ({kind})", Image.fromarray(depth_picture(shown, scale, size))),
        (asked, draw_marks(overlay, rings(shown, size), _radius(RING_PX, shown), LABEL_PX)),
    ]


def _prediction_tiles(shown: Shown, scale: DepthScale, size: tuple[int, int]) -> list[Tile]:
    asked, ground = shown.asked, dimmed(resized(shown.picture, size))
    answers, ratio = np.asarray(asked.prediction_m), asked.ratio
    said = [f"{answer:.1f}" if known else "none" for answer, known in zip(answers, ratio > 0, strict=True)]
    factors = [f"{factor:.2f}x" if factor > 0 else "none" for factor in ratio]
    predicted = _discs(shown, size, ground, scale.colours(answers), said)
    error = _discs(shown, size, ground, RatioScale().colours(ratio), factors)
    return [
        ("prediction at the asked points, m", predicted),
        ("error: prediction / truth", error),
        ("prediction against truth", scatter(asked, scale, size)),
    ]


def _map_tiles(shown: Shown, scale: DepthScale, size: tuple[int, int]) -> list[Tile]:
    predicted_m = shown.prediction_at(size)
    if predicted_m is None:
        return []
    return [
        ("predicted map", Image.fromarray(scale.colours(predicted_m))),
        ("error of the map: prediction / truth", Image.fromarray(error_picture(shown, predicted_m))),
    ]


def _radius(radius_px: int, shown: Shown) -> int:
    return radius_px if len(shown.asked.truth_m) <= FEW_POINTS else radius_px * 3 // 4


def rings(shown: Shown, size: tuple[int, int]) -> list[Mark]:
    """Asked points with their depth: green hits, red crossed misses, white where nothing was predicted."""
    asked = shown.asked
    hits = [None] * len(asked.truth_m) if asked.hits is None else asked.hits.tolist()
    ring: dict[bool | None, Rgb] = {None: PLAIN_RGB, True: HIT_RGB, False: MISS_RGB}
    rows = zip(*shown.at(asked.u_px, asked.v_px, size), asked.truth_m, hits, strict=True)
    return [Mark(u, v, ring[hit], None, hit is False, f"{depth_m:.1f}") for u, v, depth_m, hit in rows]


def _discs(
    shown: Shown, size: tuple[int, int], ground: RgbArray, colours: RgbArray, labels: Sequence[str]
) -> Image.Image:
    rows = zip(*shown.at(shown.asked.u_px, shown.asked.v_px, size), colours.tolist(), labels, strict=True)
    marks = [Mark(u, v, PLAIN_RGB, (r, g, b), label=label) for u, v, (r, g, b), label in rows]
    return draw_marks(Image.fromarray(ground), marks, _radius(DISC_PX, shown), LABEL_PX)


def head(panel: Image.Image, title: str, facts: str) -> None:
    """Write the title, as large as it fits, and a line of facts at the top."""
    pen = ImageDraw.Draw(panel)
    size = 26
    while pen.textlength(title, font=font(size)) > panel.width - 2 * GAP_PX and size > 12:
        size -= 1
    pen.text((GAP_PX, 28), title, INK_RGB, font(size), "lm")
    pen.text((GAP_PX, 62), facts, FAINT_RGB, font(18), "lm")


def legends(panel: Image.Image, scales: Sequence[Scale], note: str) -> None:
    """One strip a scale, side by side at the panel's foot."""
    width = (panel.width - GAP_PX * (len(scales) + 1)) // len(scales)
    top = panel.height - LEGEND_HEIGHT_PX - GAP_PX // 4
    for index, scale in enumerate(scales):
        said = note if index == 0 else "hit: 0.8x to 1.25x"
        panel.paste(legend(scale, width, said), (GAP_PX + index * (width + GAP_PX), top))
