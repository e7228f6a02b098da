"""Small pictures described as data: flat shapes on a ground, the same pixels on every machine."""

from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw

from depthvlm_bench.errors import UsageError


@dataclass(frozen=True)
class Shape:
    """One shape.

    Attributes:
        kind: disc and box fill the rectangle `at`; line joins its two corners; triangle stands in it.
        colour: as Pillow names colours.
        at: left, top, right, bottom, px.
        width_px: of a line.
    """

    kind: Literal["disc", "box", "line", "triangle"]
    colour: str
    at: tuple[int, int, int, int]
    width_px: int = 8


@dataclass(frozen=True)
class Drawing:
    """A picture: its size (width, height) in px, its ground, and shapes from back to front."""

    size: tuple[int, int] = (320, 256)
    ground: str = "white"
    shapes: tuple[Shape, ...] = ()

    def picture(self) -> Image.Image:
        """The picture, RGB.

        Raises:
            UsageError: a colour that Pillow does not know.
        """
        try:
            picture = Image.new("RGB", self.size, self.ground)
            pen = ImageDraw.Draw(picture)
            for shape in self.shapes:
                _draw(pen, shape)
        except ValueError as error:
            raise UsageError("a drawing cannot be made", why=str(error)) from error
        return picture


def _draw(pen: ImageDraw.ImageDraw, shape: Shape) -> None:
    left, top, right, bottom = shape.at
    if shape.kind == "disc":
        pen.ellipse(shape.at, fill=shape.colour)
    elif shape.kind == "box":
        pen.rectangle(shape.at, fill=shape.colour)
    elif shape.kind == "line":
        pen.line(shape.at, fill=shape.colour, width=shape.width_px)
    else:
        pen.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=shape.colour)
