"""Photographs of a user's own: pixels upright and in RGB, and a camera from what is known of the lens."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import ExifTags, Image, ImageOps

from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.frames import PICTURE_ERRORS, picture_fault
from depthvlm_bench.geometry.camera import UNKNOWN_FOCAL_FACTOR, PinholeCamera, estimated_camera

# Diagonal of the 36 x 24 mm frame that equivalent focal lengths refer to (CIPA DCG-001).
FULL_FRAME_DIAGONAL_MM = math.hypot(36.0, 24.0)
# Millimetres in a unit of FocalPlaneResolutionUnit.
PLANE_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0}
SAME_SHAPE = 0.01
CONVERTED = ("L", "P", "1", "CMYK", "YCbCr", "HSV")
TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
# Orientations whose rows are the upright picture's columns.
LYING = (5, 6, 7, 8)
GIVE_IT = "give --fx PX or --fov DEGREES"

Known = Literal["fx", "fov", "exif", "assumed"]


def as_rgb(picture: Image.Image, where: object = "") -> Image.Image:
    """A picture in RGB; what is transparent becomes white, as in the paper's programs.

    Raises:
        UsageError: its values are no colours (16-bit and float pictures, which hold depth as a rule).
    """
    if picture.mode == "RGB":
        return picture
    if picture.mode in TRANSPARENT or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        white = Image.new("RGB", picture.size, (255, 255, 255))
        white.paste(clear, mask=clear.getchannel("A"))
        return white
    _require_colours(picture.mode, where)
    return picture.convert("RGB")


def _require_colours(mode: str, where: object) -> None:
    if mode not in ("RGB", *CONVERTED, *TRANSPARENT):
        raise UsageError(
            f"a picture of mode {mode!r} is no photograph",
            where=where,
            why="16-bit and float values are depth as a rule, and no rule says how they become colours",
            next_step="give the RGB picture, or save it as 8-bit RGB",
        )


@dataclass(frozen=True)
class Photo:
    """A photograph before its pixels are decoded.

    Attributes:
        size: (width, height) upright, px.
        orientation: the EXIF tag; 1: the pixels are stored upright.
        exif_fx_px: focal length by its EXIF data; None: they do not tell.
        exif_says: how they tell it, or why they do not.
    """

    path: Path
    size: tuple[int, int]
    orientation: int
    exif_fx_px: float | None
    exif_says: str

    def picture(self) -> Image.Image:
        """Upright RGB pixels without metadata; CheckError where they cannot be read."""
        try:
            with Image.open(self.path) as image:
                upright = ImageOps.exif_transpose(image)
                rgb = as_rgb(upright, self.path)
                rgb.load()
        except PICTURE_ERRORS as error:
            raise _unreadable(self.path, error) from error
        rgb.info.clear()
        return rgb


@dataclass(frozen=True)
class Lens:
    """A photograph's camera, and how its focal length is known; `says` is the same in words."""

    camera: PinholeCamera
    known: Known
    says: str


def open_photo(path: Path) -> Photo:
    """What a photograph's header says.

    Raises:
        DataMissingError: no such file.
        CheckError: no picture that can be read.
        UsageError: of a mode that holds no colours.
    """
    if not path.is_file():
        raise DataMissingError("no such photograph", where=path)
    try:
        with Image.open(path) as image:
            exif = image.getexif()
            found = exif.get(ExifTags.Base.Orientation, 1)
            fx_px, says = exif_focal(exif.get_ifd(ExifTags.IFD.Exif), image.size)
            mode, (width, height) = image.mode, image.size
    except PICTURE_ERRORS as error:
        raise _unreadable(path, error) from error
    _require_colours(mode, path)
    orientation = found if found in range(1, 9) else 1
    size = (height, width) if orientation in LYING else (width, height)
    return Photo(path, size, orientation, fx_px, says)


def _unreadable(path: Path, error: Exception) -> CheckError:
    return CheckError("a photograph cannot be read", where=path, why=picture_fault(error))


def exif_focal(tags: Mapping[int, Any], size: tuple[int, int]) -> tuple[float | None, str]:
    """Focal length of a picture by its EXIF tags, px, and how it is told.

    The 35 mm equivalent comes first: it is that of the picture, over its diagonal, whatever the sensor.

    Args:
        tags: of the Exif directory.
        size: (width, height) of the stored pixels.
    """
    taken = [_number(tags.get(tag)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    if all(taken) and not _same_shape(size, (taken[0], taken[1])):
        return None, f"it was cropped: taken at {taken[0]:.0f}x{taken[1]:.0f}"
    equivalent_mm = _number(tags.get(ExifTags.Base.FocalLengthIn35mmFilm))
    if equivalent_mm:
        fx_px = equivalent_mm / FULL_FRAME_DIAGONAL_MM * math.hypot(*size)
        return fx_px, f"{equivalent_mm:g} mm in 35 mm terms"
    focal_mm, per_unit = (
        _number(tags.get(tag)) for tag in (ExifTags.Base.FocalLength, ExifTags.Base.FocalPlaneXResolution)
    )
    unit_mm = PLANE_UNIT_MM.get(int(_number(tags.get(ExifTags.Base.FocalPlaneResolutionUnit)) or 2))
    if focal_mm and per_unit and unit_mm and all(taken):
        fx_px = focal_mm * per_unit / unit_mm * max(size) / max(taken)
        return fx_px, f"{focal_mm:g} mm on a sensor of {per_unit / unit_mm:g} px/mm"
    return None, f"a focal length of {focal_mm:g} mm, but no sensor size" if focal_mm else "no focal length"


def _number(value: Any) -> float:  # noqa: ANN401 - whatever EXIF holds
    """A tag as a number; 0, the mark for unknown, where it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return number if math.isfinite(number) and number > 0 else 0.0


def _same_shape(size: tuple[int, int], taken: tuple[float, float]) -> bool:
    aspects = max(size) / min(size), max(taken) / min(taken)
    return abs(aspects[0] / aspects[1] - 1) < SAME_SHAPE


def lens_of(
    photo: Photo, *, fx_px: float | None = None, fov_deg: float | None = None, must_exif: bool = False
) -> Lens:
    """A photograph's camera: as given, else from EXIF, else the one declared guess.

    Args:
        photo: its pixels are taken as square, and its upright middle as the principal point.
        fx_px: focal length.
        fov_deg: horizontal field of view.
        must_exif: refuse to guess.

    Raises:
        UsageError: a focal length or field of view that no lens has.
        DataMissingError: EXIF data are asked for and do not tell.
    """
    width, height = photo.size
    if fx_px is not None:
        if not 0 < fx_px < math.inf:
            raise UsageError(f"--fx {fx_px:g} is no focal length in pixels")
        return Lens(_centred(width, height, fx_px), "fx", f"focal length {fx_px:g} px as given")
    if fov_deg is not None:
        if not 0 < fov_deg < 180:
            raise UsageError(
                f"--fov {fov_deg:g} is no field of view", why="it lies between 0 and 180 degrees"
            )
        focal_px = width / 2 / math.tan(math.radians(fov_deg) / 2)
        return Lens(
            _centred(width, height, focal_px),
            "fov",
            f"focal length {focal_px:.1f} px from {fov_deg:g} degrees",
        )
    if photo.exif_fx_px is not None:
        says = f"focal length {photo.exif_fx_px:.1f} px from EXIF ({photo.exif_says})"
        return Lens(_centred(width, height, photo.exif_fx_px), "exif", says)
    if must_exif:
        raise DataMissingError(
            "EXIF data do not tell the focal length", where=photo.path, why=photo.exif_says, next_step=GIVE_IT
        )
    guess = estimated_camera(width, height)
    says = (
        f"no focal length is known (EXIF: {photo.exif_says}): {guess.fx_px:.1f} px assumed, "
        f"{UNKNOWN_FOCAL_FACTOR:g} times the longer side; depth is as wrong as that is — {GIVE_IT}"
    )
    return Lens(guess, "assumed", says)


def _centred(width: int, height: int, focal_px: float) -> PinholeCamera:
    return PinholeCamera(width, height, focal_px, focal_px, (width - 1) / 2, (height - 1) / 2)
