"""The paper's published annotations as a source: a JSONL file over a folder of rgb/ and depth/."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from depthvlm_bench.cards import DatasetCard
from depthvlm_bench.convert.annotation_lines import read_lines
from depthvlm_bench.errors import CheckError, DataMissingError, FrameError
from depthvlm_bench.frames import (
    Converter,
    DepthGrid,
    Float32Array,
    Frame,
    FrameRef,
    LayoutItem,
    NoOptions,
    Picture,
    Skip,
    Split,
    UInt16Array,
)
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import PixelAffine
from depthvlm_bench.records.pictures import decode_depth_png
from depthvlm_bench.sampling.compat import ListedPoints, nearest_resize

PUBLISHED = "published"
MASKS = ("mask_valid_path", "mask_invalid_path", "mask_transp_path")
DEFAULT_DEPTH_SCALE = 1000.0
RAW_FLOAT = "binary_float32"
RAW_FLOAT_SIZE = (6048, 4032)


def annotation_converter(card: DatasetCard, annotations: Path) -> Converter:
    """A converter that reads a dataset from a published list; the dataset is given, never guessed."""

    def open_annotations(root: Path, _options: object) -> AnnotationSource:
        return AnnotationSource(card, annotations, root)

    return Converter(card, open_annotations, NoOptions)


class AnnotationSource:
    """One JSONL file and the folder its paths are in."""

    def __init__(self, card: DatasetCard, annotations: Path, root: Path) -> None:
        if not annotations.is_file():
            raise DataMissingError("no annotation file", where=annotations)
        self.card, self.annotations, self.root = card, annotations, root

    def source_splits(self) -> Sequence[str]:
        """The list is its own split."""
        return [PUBLISHED]

    def scenes(self, source_split: str) -> Iterable[str]:
        """Scenes that the list names."""
        return sorted({_scene(record) for _, record in read_lines(self.annotations)} - {""})

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """One frame a line, in list order by its row."""
        lines = list(read_lines(self.annotations))
        self._require_own_scale(lines[0][1] if lines else {})
        names = _frame_names([record for _, record in lines])
        for row, ((line, record), name) in enumerate(zip(lines, names, strict=True)):
            scene, locator = _scene(record), {"row": row, "line": line}
            yield FrameRef(self.card.name, split, scene, _camera(record), name, row, scene, locator)

    def read(self, ref: FrameRef) -> Frame:
        """Picture, a camera of which only fx is known, and the depth file as the paper's code reads it."""
        record = json.loads(ref.locator["line"])
        picture = Picture(*self._bytes(record["image"], "rgb", "missing_image"))
        _require_size(picture.path, picture.size, record["original_rgb_size"])
        camera = _camera_of(ref, record)
        encoded, path = self._bytes(record["depth_path"], "depth", "missing_depth")
        values, scale = _raster(record, encoded, path)
        _require_size(path, values.shape[::-1], record.get("original_depth_size"))
        masked = self._masked(record, values.shape)
        cleaned = np.where(masked, values.dtype.type(0), values)
        source_from_depth = PixelAffine.resize((values.shape[1], values.shape[0]), picture.size)
        as_it_is = values.dtype == np.uint16 and not masked.any()
        depth = DepthGrid(cleaned, scale, source_from_depth, encoded if as_it_is else None)
        wide, high = record["canonical_size"]
        unmasked: Any = values if masked.any() else None
        return Frame(ref, picture, camera, depth, True, canonical_size=(wide, high), unmasked=unmasked)

    def layout(self) -> Iterator[LayoutItem]:
        """The two folders."""
        for name in ("rgb", "depth"):
            yield LayoutItem(f"{name}/*", sum(1 for _ in (self.root / name).glob("*")), required=False)

    def close(self) -> None:
        """Nothing is held open."""

    def _require_own_scale(self, record: Mapping[str, Any]) -> None:
        """CheckError for a list of another dataset: it would convert, to depths that mean nothing."""
        own = self.card.published_depth_scale or self.card.depth_scale
        found = float(record.get("depth_scale") or DEFAULT_DEPTH_SCALE)
        if record and not record.get("depth_format") and found != own:
            raise CheckError(
                f"this is no list of {self.card.name}",
                where=self.annotations,
                why=f"its depth_scale is {found:g}, lists of {self.card.name} have {own:g}",
                next_step="dvbench convert NAME with the dataset that the list is of",
            )

    def _bytes(self, relative: str, folder: str, missing: Any) -> tuple[bytes, str]:  # noqa: ANN401 - SkipReason
        """A file of the list, in its folder as published or straight below the root."""
        pure = PurePosixPath(str(relative).lstrip("/"))
        if ".." in pure.parts:
            raise FrameError("unreadable", f"{relative}: path leaves the folder")
        for path in (PurePosixPath(folder) / pure, pure):
            if (self.root / path).is_file():
                return (self.root / path).read_bytes(), path.as_posix()
        raise FrameError(missing, str(relative))

    def _masked(
        self, record: Mapping[str, Any], shape: tuple[int, ...]
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Where the list's masks say that depth is not to be trusted: mask value 0."""
        masked = np.zeros(shape, dtype=bool)
        for name in (name for name in MASKS if record.get(name)):
            encoded, path = self._bytes(record[name], "depth", "missing_depth")
            mask = np.asarray(Picture(encoded, path).decode().convert("L"))
            masked |= nearest_resize(mask, shape[1], shape[0]) == 0
        return masked


def _scene(record: Mapping[str, Any]) -> str:
    return str(record.get("scene_id") or record.get("scene") or "")


def _camera(record: Mapping[str, Any]) -> str:
    return str(record.get("camera") or "")


def _frame_names(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """File stems; the path in full where a scene and camera would have one name twice, as in SUN RGB-D."""
    paths = [PurePosixPath(record["image"].lstrip("/")).with_suffix("") for record in records]
    keys = [(_scene(r), _camera(r), path.stem) for r, path in zip(records, paths, strict=True)]
    times = Counter(keys)
    return [
        key[2] if times[key] == 1 else "_".join(path.parts) for key, path in zip(keys, paths, strict=True)
    ]


def _camera_of(ref: FrameRef, record: Mapping[str, Any]) -> PinholeCamera:
    """The camera as far as a list tells: fx; fy is taken to equal it, and the centre to be the picture's."""
    fx_px, (width, height) = record["original_fx"], record["original_rgb_size"]
    if fx_px is None or record["canonical_size"] is None:
        raise FrameError("missing_intrinsics", f"{ref.id}: the list has no focal length for it")
    try:
        return PinholeCamera(width, height, fx_px, fx_px, (width - 1) / 2, (height - 1) / 2)
    except (TypeError, ValueError) as error:
        raise FrameError("bad_intrinsics", f"{ref.id}: {error}") from error


def _raster(record: Mapping[str, Any], encoded: bytes, path: str) -> tuple[UInt16Array | Float32Array, float]:
    """Depth (h, w) and its units a metre: a 16-bit PNG, or ETH3D's raw float32 in metres without a header."""
    form = record.get("depth_format")
    if not form:
        return decode_depth_png(encoded, path), float(record.get("depth_scale") or DEFAULT_DEPTH_SCALE)
    if form != RAW_FLOAT:
        raise FrameError("unreadable", f"{path}: depth format {form} is not known")
    width, height = record.get("original_depth_size") or RAW_FLOAT_SIZE
    if len(encoded) != 4 * width * height:
        raise FrameError(
            "size_mismatch",
            f"{path} has {len(encoded)} bytes, {width}x{height} floats need {4 * width * height}",
        )
    depth_m = np.frombuffer(encoded, dtype="<f4").reshape(height, width)
    return np.where(np.isfinite(depth_m), depth_m, np.float32(0)).astype(np.float32), 1.0


def _require_size(path: str, size: tuple[int, ...], listed: Sequence[int] | None) -> None:
    """Points are scaled by the listed sizes: of a file with another size they would be other points."""
    if listed is not None and list(size) != list(listed):
        raise FrameError(
            "size_mismatch",
            f"{path} is {'x'.join(map(str, size))}, the list says {'x'.join(map(str, listed))}",
        )


def listed_points(ref: FrameRef) -> ListedPoints:
    """The points of a frame's line; the line itself is kept with them."""
    record = json.loads(ref.locator["line"])
    xy = tuple((int(column), int(row)) for column, row in record["pixel_coords"])
    return ListedPoints(ref.locator["row"], xy, tuple(map(float, record["depth"])), ref.locator["line"])
