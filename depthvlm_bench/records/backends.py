"""What makes training pictures: Pillow alone, or simplejpeg and torch; fixed in a set's plan.

Evaluation pictures are Pillow's in every set. The fast backend decodes to the same pixels, resizes within one
grey level of Pillow's BILINEAR, and encodes as Pillow does.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import simplejpeg
from PIL import Image

from depthvlm_bench.errors import UsageError, unknown_name
from depthvlm_bench.frames import Frame, Picture, UInt8Array
from depthvlm_bench.geometry.grids import ViewGrid
from depthvlm_bench.geometry.lens import undo_lens
from depthvlm_bench.records.pictures import render

PILLOW, TORCH = "pillow", "simplejpeg+torch"
# What a backend's pixels depend on, beside Pillow.
BACKEND_LIBRARIES: dict[str, tuple[str, ...]] = {PILLOW: (), TORCH: ("simplejpeg", "torch")}


class Backend(Protocol):
    """Makes canonical pictures; its memory may be reused, so use one picture before making the next."""

    def canonical(self, frame: Frame, grid: ViewGrid) -> Image.Image:
        """The canonical picture of a frame, RGB or RGBX; FrameError `unreadable` if its file is broken."""
        ...


class PillowBackend:
    """The normative decode and resize."""

    def canonical(self, frame: Frame, grid: ViewGrid) -> Image.Image:
        """One Pillow BILINEAR resize of the source, then the crop."""
        return render(frame.source_picture(), grid)


class TorchBackend:
    """simplejpeg's decode and torch's antialiased resize, in memory that is taken once.

    Fresh memory for each picture would cost as much as the work: the system hands it over page by page.
    Pixels have four bytes, as Pillow's own pictures do, so that Pillow encodes them without a copy.
    """

    def __init__(self) -> None:
        self._torch: Any = import_module("torch")
        self._source, self._resized = PixelMemory(), PixelMemory()

    def canonical(self, frame: Frame, grid: ViewGrid) -> Image.Image:
        """One resize of the source within a grey level of Pillow's, then the crop."""
        source = decode_into(self._source, frame.picture)
        if frame.lens is not None:
            source[..., :3] = undo_lens(source[..., :3], frame.camera, frame.lens)
        full = self.resize(source, grid.full_width, grid.full_height)
        seen = full[grid.top : grid.top + grid.height, grid.left : grid.left + grid.width]
        size = (grid.width, grid.height)
        return Image.frombuffer("RGBX", size, np.ascontiguousarray(seen), "raw", "RGBX", 0, 1)

    def resize(self, source: UInt8Array, width: int, height: int) -> UInt8Array:
        """RGBX pixels (h, w, 4) at another size, antialiased bilinear; the last call's are overwritten."""
        resized = self._resized.take(width, height)
        planes, out = (self._torch.from_numpy(a).permute(2, 0, 1)[None] for a in (source, resized))
        # The public interpolate() takes no output, and its fresh one is laid out in planes, which is slower.
        self._torch.ops.aten._upsample_bilinear2d_aa.out(planes, [height, width], False, out=out)
        return resized


class PixelMemory:
    """Memory for the largest picture so far."""

    def __init__(self) -> None:
        self._bytes: UInt8Array = np.empty(0, dtype=np.uint8)

    def take(self, width: int, height: int, channels: int = 4) -> UInt8Array:
        """Room (height, width, channels) uint8, of whatever content; it is what the last call gave out."""
        needed = width * height * channels
        if len(self._bytes) < needed:
            self._bytes = np.empty(needed, dtype=np.uint8)
        return self._bytes[:needed].reshape(height, width, channels)


def decode_into(memory: PixelMemory, picture: Picture) -> UInt8Array:
    """RGBX pixels (h, w, 4) of a picture, the same that Pillow decodes.

    What is not plain YCbCr JPEG, or not without fault, is Pillow's to decode or to refuse.
    """
    pixels = memory.take(*picture.size)
    if decode_plain(picture, "RGBX", pixels) is None:
        pixels[..., :3] = np.asarray(picture.decode())
    return pixels


def decode_rgb(picture: Picture, memory: PixelMemory | None = None) -> UInt8Array:
    """RGB pixels (h, w, 3) of a picture, the same that Pillow decodes; FrameError `unreadable` if broken.

    Args:
        picture: of any kind.
        memory: where given, the pixels may lie in it, and then hold until it is used again.
    """
    pixels = decode_plain(picture, "RGB", memory.take(*picture.size, 3) if memory else None)
    return pixels if pixels is not None else np.asarray(picture.decode())


def decode_plain(picture: Picture, layout: str, pixels: UInt8Array | None) -> UInt8Array | None:
    """simplejpeg's decode, into `pixels` where given; None for what is no faultless YCbCr JPEG.

    Args:
        picture: of any kind.
        layout: RGB or RGBX.
        pixels: (h, w, 3 or 4) for the result.
    """
    width, height = picture.size
    try:
        if simplejpeg.decode_jpeg_header(picture.encoded)[:3] != (height, width, "YCbCr"):
            return None
        return np.asarray(simplejpeg.decode_jpeg(picture.encoded, layout, buffer=pixels))
    except ValueError:
        return None


def best_backend() -> str:
    """The fastest backend that is installed here; torch is not imported for that."""
    return TORCH if find_spec("torch") is not None else PILLOW


def open_backend(name: str) -> Backend:
    """The backend of a name.

    Raises:
        UsageError: there is no such backend, or it is not installed here.
    """
    if name not in BACKEND_LIBRARIES:
        raise unknown_name("picture backend", name, BACKEND_LIBRARIES)
    if name == PILLOW:
        return PillowBackend()
    try:
        return TorchBackend()
    except (ImportError, OSError) as error:
        raise UsageError(
            f"this set's pictures are made with {name}",
            why=f"torch cannot be loaded here: {str(error).splitlines()[0]}",
            next_step="pip install torch, or --replan to make the whole set anew without it",
        ) from error
