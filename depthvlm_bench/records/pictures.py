"""Pictures in and out: the normative resize, and encoders that write no metadata."""

import hashlib
import io

import numpy as np
from PIL import Image

from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import PICTURE_ERRORS, Float32Array, UInt16Array, picture_fault
from depthvlm_bench.geometry.grids import ViewGrid

CANONICAL_PNG_LEVEL = 1
DEPTH_PNG_LEVEL = 6
TRAIN_JPEG_QUALITY = 95
TIFF_MARKS = (b"II*\0", b"MM\0*")


def render(source: Image.Image, grid: ViewGrid) -> Image.Image:
    """The picture a model sees: one Pillow BILINEAR resize of the source, then the crop."""
    if source.size != (grid.source_width, grid.source_height):
        raise ValueError(f"picture is {source.size}, grid is for {(grid.source_width, grid.source_height)}")
    full = (grid.full_width, grid.full_height)
    resized = source if source.size == full else source.resize(full, Image.Resampling.BILINEAR)
    box = (grid.left, grid.top, grid.left + grid.width, grid.top + grid.height)
    return resized if (grid.width, grid.height) == full else resized.crop(box)


def encode_png(picture: Image.Image, level: int = CANONICAL_PNG_LEVEL) -> bytes:
    """Lossless PNG without any metadata."""
    buffer = io.BytesIO()
    picture.info.clear()
    picture.save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def encode_jpeg(picture: Image.Image) -> bytes:
    """JPEG of training quality without any metadata."""
    buffer = io.BytesIO()
    picture.info.clear()
    picture.save(buffer, "JPEG", quality=TRAIN_JPEG_QUALITY)
    return buffer.getvalue()


def encode_depth_png(values: UInt16Array) -> bytes:
    """16-bit greyscale PNG of a depth raster (h, w)."""
    return encode_png(Image.fromarray(values), DEPTH_PNG_LEVEL)


def encode_depth_tiff(values: Float32Array) -> bytes:
    """Deflated float32 TIFF of a depth raster (h, w)."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF", compression="tiff_adobe_deflate")
    return buffer.getvalue()


def decode_depth_raster(encoded: bytes, where: str) -> UInt16Array | Float32Array:
    """Values (h, w) of a stored depth raster: 16-bit PNG or float32 TIFF, else FrameError `unreadable`."""
    if encoded[:4] not in TIFF_MARKS:
        return decode_depth_png(encoded, where)
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.mode != "F":
                raise FrameError("unreadable", f"{where}: expected a float32 TIFF, found mode {image.mode}")
            return np.array(image, dtype=np.float32)
    except PICTURE_ERRORS as error:
        raise FrameError("unreadable", f"{where}: {picture_fault(error)}") from error


def decode_depth_png(encoded: bytes, where: str) -> UInt16Array:
    """Values (h, w) uint16 of a 16-bit greyscale PNG.

    Raises:
        FrameError: `unreadable` where it is broken or not 16-bit greyscale (an 8-bit preview, say).
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.mode not in ("I;16", "I;16B", "I"):
                raise FrameError("unreadable", f"{where}: expected 16-bit greyscale, found mode {image.mode}")
            values = np.asarray(image)
    except PICTURE_ERRORS as error:
        raise FrameError("unreadable", f"{where}: {picture_fault(error)}") from error
    wider = values.dtype != np.uint16
    if wider and (values.min(initial=0) < 0 or values.max(initial=0) > np.iinfo(np.uint16).max):
        raise FrameError("unreadable", f"{where}: values outside 16 bits")
    return values.astype(np.uint16)


def pixels_sha256(picture: Image.Image) -> str:
    """Hash of the RGB uint8 bytes, row-major."""
    return hashlib.sha256(np.asarray(picture, dtype=np.uint8).tobytes()).hexdigest()
