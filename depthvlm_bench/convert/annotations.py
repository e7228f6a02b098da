"""The paper's published annotations as a source: a JSONL file over a folder of rgb/ and depth/."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from depthvlm_bench.cards import DatasetCard
from depthvlm_bench.errors import CheckError, DataMissingError, FrameError
from depthvlm_bench.frames import (
    Converter,
    DepthGrid,
    Frame,
    FrameRef,
    LayoutItem,
    NoOptions,
    Picture,
    Skip,
    Split,
)
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import PixelAffine
from depthvlm_bench.records.pictures import decode_depth_png
from depthvlm_bench.sampling.compat import ListedPoints

PUBLISHED = "published"
NEEDED = (
    "image",
    "depth_path",
    "original_rgb_size",
    "original_fx",
    "canonical_size",
    "pixel_coords",
    "depth",
)
MASKS = ("mask_valid_path", "mask_invalid_path", "mask_transp_path")
DEFAULT_DEPTH_SCALE = 1000.0


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
        return sorted({str(_scene(record)) for _, _, record in self._records()} - {""})

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """One frame a line, in list order by its row."""
        for row, line, record in self._records():
            path = PurePosixPath(str(record["image"]))
            scene, camera = str(_scene(record)), str(record.get("camera", ""))
            locator = {"row": row, "line": line}
            yield FrameRef(self.card.name, split, scene, camera, path.stem, row, scene, locator)

    def read(self, ref: FrameRef) -> Frame:
        """Picture, a camera of which only fx is known, and the depth file as the paper's code reads it."""
        record = json.loads(ref.locator["line"])
        picture = Picture(*self._bytes(record["image"], "rgb", "missing_image"))
        width, height = picture.size
        fx_px = float(record["original_fx"])
        try:
            camera = PinholeCamera(width, height, fx_px, fx_px, (width - 1) / 2, (height - 1) / 2)
        except ValueError as error:
            raise FrameError("bad_intrinsics", f"{ref.id}: {error}") from error
        if record.get("depth_format"):
            raise FrameError("unreadable", f"{ref.id}: depth format {record['depth_format']} is not a PNG")
        encoded, path = self._bytes(record["depth_path"], "depth", "missing_depth")
        values = decode_depth_png(encoded, path)
        masked = self._masked(record, values.shape)
        cleaned = np.where(masked, np.uint16(0), values)
        source_from_depth = PixelAffine.resize((values.shape[1], values.shape[0]), (width, height))
        scale = float(record.get("depth_scale") or DEFAULT_DEPTH_SCALE)
        depth = DepthGrid(cleaned, scale, source_from_depth, None if masked.any() else encoded)
        wide, high = record["canonical_size"]
        return Frame(ref, picture, camera, depth, True, canonical_size=(wide, high), unmasked=values)

    def layout(self) -> Iterator[LayoutItem]:
        """The two folders."""
        for name in ("rgb", "depth"):
            yield LayoutItem(f"{name}/*", sum(1 for _ in (self.root / name).glob("*")), required=False)

    def close(self) -> None:
        """Nothing is held open."""

    def _records(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """(row, line, record) of each line; CheckError for a line that is no record of the paper's format."""
        lines = self.annotations.read_text(encoding="utf-8").splitlines()
        for row, line in enumerate(line for line in lines if line.strip()):
            try:
                record = json.loads(line)
                missing = [name for name in NEEDED if name not in record]
            except (ValueError, TypeError) as error:
                raise CheckError(
                    "a line is no JSON record", where=f"{self.annotations}:{row + 1}", why=str(error)
                ) from error
            if missing:
                raise CheckError(
                    "a line is no annotation of the paper's format",
                    where=f"{self.annotations}:{row + 1}",
                    why=f"it lacks {', '.join(missing)}",
                )
            yield row, line, record

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
            good = np.asarray(Picture(encoded, path).decode().convert("L")) > 0
            if good.shape != shape:
                raise FrameError("size_mismatch", f"{path} is {good.shape[::-1]}, depth {shape[::-1]}")
            masked |= ~good
        return masked


def _scene(record: Mapping[str, Any]) -> str:
    return str(record.get("scene_id") or record.get("scene") or "")


def listed_points(ref: FrameRef) -> ListedPoints:
    """The points of a frame's line; the line itself is kept with them."""
    record = json.loads(ref.locator["line"])
    xy = tuple((int(column), int(row)) for column, row in record["pixel_coords"])
    return ListedPoints(ref.locator["row"], xy, tuple(map(float, record["depth"])), ref.locator["line"])
