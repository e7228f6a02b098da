"""Readers of one depth map: npy, npz, 16-bit png, tiff, pfm, exr; each to metres as declared."""

import re
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from depthvlm_bench.errors import CheckError, DataMissingError, FrameError, UsageError
from depthvlm_bench.frames import PICTURE_ERRORS
from depthvlm_bench.predict.outside.declared import Declaration
from depthvlm_bench.records.pictures import decode_depth_png

Raw = npt.NDArray[Any]
Resize = Literal["bilinear", "nearest"]
RESIZE_RULES: tuple[Resize, ...] = ("bilinear", "nearest")
ARRAY_NAMES = ("depth", "pred", "depth_m")
EXR_CHANNELS = ("Z", "Y", "depth", "V", "R")
PFM_HEADER = re.compile(rb"(P[Ff])\s+(\d+)\s+(\d+)\s+([-+0-9.eE]+)[ \t\r]*\n")
READING_ERRORS = (*PICTURE_ERRORS, EOFError, LookupError, zipfile.BadZipFile, zlib.error, FrameError)


@dataclass(frozen=True, eq=False)
class StoredMap:
    """A map as its file holds it, in metres.

    Attributes:
        depth_m: (h, w) float32, along z or the ray as declared, NaN where the file holds 0 or NaN.
        said: what the file itself says: its form and the type of its values.
        resize: the rule that a map kept by `dvbench eval --keep-maps` says; None: any other.
    """

    depth_m: npt.NDArray[np.float32]
    said: str
    resize: Resize | None = None


def read_map(path: Path, declaration: Declaration) -> StoredMap:
    """Read one depth map by its suffix.

    Raises:
        CheckError: the file is broken, no map (h, w), or holds no numbers.
        UsageError: it holds integers and nothing says how many make a metre.
        DataMissingError: the package that reads its form is not installed.
    """
    try:
        raw, form = READERS[path.suffix.lower()](path)
        resize = _own_resize(path)
    except READING_ERRORS as error:
        why = getattr(error, "strerror", None) or getattr(error, "detail", None) or str(error)
        raise CheckError("a depth map cannot be read", where=path, why=why or type(error).__name__) from error
    said = f"{form} {raw.dtype}"
    if raw.ndim != 2 or not raw.size:
        raise CheckError(
            "a depth map must be an array (h, w)",
            where=path,
            why=f"its shape is {raw.shape}",
            next_step="save one map a file, without batch or channel axis",
        )
    if raw.dtype.kind not in "fiu":
        raise CheckError("a depth map must hold real numbers", where=path, why=f"it holds {raw.dtype}")
    return StoredMap(_to_metres(raw, path, declaration), said, resize)


def _to_metres(raw: Raw, path: Path, declaration: Declaration) -> npt.NDArray[np.float32]:
    integer = raw.dtype.kind in "iu"
    if integer and declaration.integer_units_a_metre is None:
        raise UsageError(
            "an integer depth map needs a declared scale",
            where=path,
            why=f"it holds {raw.dtype} and nothing says how many units make a metre",
            next_step="-o png_scale=1000, or png_scale in predictions.toml",
        )
    with np.errstate(over="ignore"):
        metres = declaration.metres(raw, integer=integer)
        return np.where(raw == 0, np.nan, metres).astype(np.float32)


def _read_npy(path: Path) -> tuple[Raw, str]:
    return np.asarray(np.load(path, allow_pickle=False)), "npy"


def _read_npz(path: Path) -> tuple[Raw, str]:
    with np.load(path, allow_pickle=False) as arrays:
        names = list(arrays.files)
        chosen = names if len(names) == 1 else [name for name in ARRAY_NAMES if name in names]
        if len(chosen) != 1:
            raise CheckError(
                "an npz must hold one array, or one named depth, pred or depth_m",
                where=path,
                why=f"it holds {', '.join(names) or 'none'}",
            )
        if "crop" in names:
            raise CheckError(
                "a map of a part of the picture cannot be scored from its file",
                where=path,
                why=f"it has a crop: {arrays['crop'].tolist()}",
                next_step="save it filled up with NaN, without `crop`",
            )
        return np.asarray(arrays[chosen[0]]), f"npz {chosen[0]}"


def _own_resize(path: Path) -> Resize | None:
    if path.suffix.lower() != ".npz":
        return None
    with np.load(path, allow_pickle=False) as arrays:
        said = str(arrays["resize"]) if "resize" in arrays.files else ""
    return next((rule for rule in RESIZE_RULES if said == rule), None)


def _read_png(path: Path) -> tuple[Raw, str]:
    return decode_depth_png(path.read_bytes(), path.name), "png"


def _read_tiff(path: Path) -> tuple[Raw, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tags; what keeps pixels from being read is raised
        with Image.open(path) as image:
            mode, values = image.mode, np.asarray(image)
    if mode not in ("F", "I;16", "I;16B", "I;16L"):
        raise CheckError(
            "a TIFF map must be float32 or uint16, one channel", where=path, why=f"its mode is {mode}"
        )
    return values.astype(np.float32 if mode == "F" else np.uint16), "tiff"


def _read_pfm(path: Path) -> tuple[Raw, str]:
    """Portable float map: rows from the bottom up, little-endian where the scale is negative.

    The size of the scale is kept as said and never applied, as all common readers do.
    Source: www.pauldebevec.com/Research/HDR/PFM.
    """
    data = path.read_bytes()
    header = PFM_HEADER.match(data)
    if header is None:
        raise CheckError("not a PFM file", where=path, why="its header is not Pf, width, height, scale")
    letters, width, height, scale = header[1], int(header[2]), int(header[3]), float(header[4])
    if letters == b"PF":
        raise CheckError("a PFM map must have one channel", where=path, why="PF says three")
    body = data[header.end() :]
    if len(body) != 4 * width * height:
        why = f"{width}x{height} needs {4 * width * height} bytes, it has {len(body)}"
        raise CheckError("a PFM file of the wrong length", where=path, why=why)
    values = np.frombuffer(body, dtype="<f4" if scale < 0 else ">f4").reshape(height, width)
    return values[::-1].astype(np.float32), f"pfm (scale {scale:g}, not applied)"


def _read_exr(path: Path) -> tuple[Raw, str]:
    try:
        open_exr = import_module("OpenEXR").File
    except ImportError as error:
        raise DataMissingError(
            "OpenEXR is not installed",
            where=path,
            why="it reads .exr maps",
            next_step="pip install 'depthvlm-bench[exr]'",
        ) from error
    try:
        with open_exr(str(path), separate_channels=True) as file:
            channels = {name: np.array(channel.pixels) for name, channel in file.channels().items()}
    except RuntimeError as error:  # what the C++ library's own exceptions become
        raise CheckError("a depth map cannot be read", where=path, why=str(error)) from error
    chosen = (
        next(iter(channels)) if len(channels) == 1 else next((n for n in EXR_CHANNELS if n in channels), "")
    )
    if not chosen or {"R", "G", "B"} <= channels.keys():
        raise CheckError(
            "an EXR map must have one channel, or one named Z, Y, depth or V",
            where=path,
            why=f"it has {', '.join(channels) or 'none'}",
        )
    return channels[chosen], f"exr {chosen}"


READERS: dict[str, Callable[[Path], tuple[Raw, str]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".png": _read_png,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
    ".pfm": _read_pfm,
    ".exr": _read_exr,
}
