"""Reading sets: small tables, streamed rows, and the picture a model sees."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from depthvlm_bench.cards import Role
from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.frames import Depth, Picture, UInt8Array
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import PixelAffine, ViewGrid, focal_grid, native_grid
from depthvlm_bench.records.backends import PixelMemory, decode_rgb
from depthvlm_bench.records.codec import (
    decode_depth,
    decode_picture,
    decode_source_picture,
    record_grid,
    source_camera,
)
from depthvlm_bench.records.files import reading
from depthvlm_bench.records.pictures import render
from depthvlm_bench.records.receipts import shard_file

InputMode = Literal["canonical", "native", "preferred"]


@dataclass(frozen=True)
class RecordSet:
    """One split of a converted set, by its folder `<data>/<set>`.

    Raises:
        DataMissingError: the split is not there or not finished.
    """

    folder: Path
    role: Role

    def __post_init__(self) -> None:
        """Refuse a split that was not converted to the end."""
        if not (self.folder / f"_SUCCESS-{self.role}").is_file():
            started = (self.folder / f"plan-{self.role}.parquet").is_file()
            state = "its conversion was not finished" if started else "it was not converted"
            raise DataMissingError(
                f"set {self.name!r} has no {self.role} split",
                where=self.folder,
                why=state,
                next_step="run (or run again) dvbench convert",
            )

    @property
    def name(self) -> str:
        """The set's name: the name of its folder."""
        return self.folder.name

    @cached_property
    def info(self) -> dict[str, Any]:
        """The split's entry in dataset.json."""
        path = self.folder / "dataset.json"
        with reading(path):
            described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            split: dict[str, Any] = described["splits"][self.role]
        return split

    @property
    def manifest_hash(self) -> str:
        """What pins the split's content."""
        return str(self.info["manifest_hash"])

    @property
    def shards(self) -> list[Path]:
        """Parquet files of the split, in plan order.

        Raises:
            DataMissingError: one of them is gone; a set is never read in part.
        """
        with reading(self.folder / "dataset.json"):
            number = int(self.info["shards"])
        paths = [self.folder / "data" / shard_file(self.role, index, number) for index in range(number)]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise DataMissingError(
                f"{len(missing)} of {number} shards of {self.name} {self.role} are gone",
                where=missing[0],
                next_step="dvbench convert makes them again",
            )
        return paths

    def points(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The split without pixels, one row an image, in plan order (evaluation splits only)."""
        path = self.folder / f"points-{self.role}.parquet"
        with reading(path):
            return pq.read_table(path, columns=columns)

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Stream rows in plan order with the given columns; memory stays at one row group."""
        for shard in self.shards:
            with reading(shard):
                file = pq.ParquetFile(shard)
            with file:
                for group in range(file.num_row_groups):
                    with reading(shard):
                        rows = file.read_row_group(group, columns=columns).to_pylist()
                    yield from rows

    def training_items(self) -> Iterator["TrainingItem"]:
        """Stream what a training step needs, in plan order; memory stays at one row group."""
        for shard in self.shards:
            with reading(shard):
                file = pq.ParquetFile(shard)
            with file:
                for group in range(file.num_row_groups):
                    with reading(shard):
                        table = file.read_row_group(group, columns=list(TRAINING_COLUMNS), use_threads=False)
                    yield from map(training_item, training_rows(table))


@dataclass(frozen=True)
class SourceView:
    """A picture ready for a model, with its camera and its place in the source picture.

    Attributes:
        picture: RGB.
        camera: intrinsics of `picture`.
        view_from_source: source coordinates -> coordinates in `picture`.
    """

    picture: Image.Image
    camera: PinholeCamera
    view_from_source: PixelAffine


VIEW_COLUMNS = (
    "id",
    "image",
    "source_image",
    *("width", "height", "full_width", "full_height", "crop_left", "crop_top"),
    *(f"source_{name}" for name in ("width", "height", "fx", "fy", "cx", "cy")),
    "lens",
)


def view_of(
    row: Mapping[str, Any], mode: InputMode = "canonical", preferred_focal_px: float | None = None
) -> SourceView:
    """A record's picture at the canonical, native or a preferred focal length, one resize from the source.

    Args:
        row: a record with at least VIEW_COLUMNS.
        mode: which picture.
        preferred_focal_px: the model's focal length, for mode 'preferred'.

    Raises:
        UsageError: native or preferred asked of a set that was stored without source pixels.
    """
    camera = source_camera(row)
    grid = _grid(row, camera, mode, preferred_focal_px)
    stored = row["image"]
    if mode == "canonical" and stored is not None:
        with reading(row["id"]):
            picture = decode_picture(stored["bytes"], "image")
        _require_size(picture.size, grid, row["id"])
    elif row["source_image"] is None:
        raise UsageError(
            f"input {mode!r} needs source pixels and the set has none",
            where=row["id"],
            next_step="convert it again without --no-source-image, or use --input canonical",
        )
    else:
        with reading(row["id"]):
            picture = render(decode_source_picture(row), grid)
    return SourceView(picture, camera.seen_through(grid), grid.view_from_source)


DEPTH_COLUMNS = ("depth", "depth_scale", "depth_affine", "depth_points", "depth_uv_step")
TRAINING_COLUMNS = (*VIEW_COLUMNS, *DEPTH_COLUMNS)
VIEWED_COLUMNS = ["image", "source_image", "depth_points"]


@dataclass(frozen=True, eq=False)
class TrainingItem:
    """What a training step needs of a record.

    Attributes:
        picture: (h, w, 3) uint8, the canonical picture.
        camera: intrinsics of `picture`.
        depth: as stored, on its own grid or as points of the source picture.
        view_from_source: source coordinates -> coordinates in `picture`.
    """

    id: str
    picture: UInt8Array
    camera: PinholeCamera
    depth: Depth
    view_from_source: PixelAffine


def training_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows of a table with TRAINING_COLUMNS; pictures and LiDAR points are views of it, never copied."""
    for batch in table.to_batches():
        viewed = [batch.column(name) for name in VIEWED_COLUMNS]
        for index, row in enumerate(batch.drop_columns(VIEWED_COLUMNS).to_pylist()):
            image, source, lists = (column[index] for column in viewed)
            row["image"] = {"bytes": _octets(image["bytes"])} if image.is_valid else None
            row["source_image"] = _octets(source) if source.is_valid else None
            row["depth_points"] = {n: lists[n].values.to_numpy() for n in lists} if lists.is_valid else None
            yield row


def _octets(value: pa.BinaryScalar) -> memoryview:
    return memoryview(value.as_buffer()).cast("B")  # it calls its octets signed, which decoders refuse


def training_item(row: Mapping[str, Any], memory: PixelMemory | None = None) -> TrainingItem:
    """The canonical picture as an array, and the depth, of a record with at least TRAINING_COLUMNS.

    Args:
        row: one of `training_rows`, or of `RecordSet.rows`.
        memory: where given, the picture may lie in it, and then holds until the next item is made with it.

    Raises:
        CheckError: the record is damaged.
    """
    stored, grid = row["image"], record_grid(row)
    if stored is None:
        pixels = np.asarray(view_of(row).picture)
    else:
        with reading(row["id"]):
            pixels = decode_rgb(Picture(stored["bytes"], "image"), memory)
        _require_size((pixels.shape[1], pixels.shape[0]), grid, row["id"])
    camera = source_camera(row).seen_through(grid)
    return TrainingItem(row["id"], pixels, camera, depth_of(row), grid.view_from_source)


def _require_size(size: tuple[int, int], grid: ViewGrid, where: str) -> None:
    if size != (grid.width, grid.height):
        raise CheckError(
            "stored picture does not have its declared size",
            where=where,
            why=f"{size} instead of {(grid.width, grid.height)}",
            next_step="dvbench verify the set",
        )


def _grid(
    row: Mapping[str, Any], camera: PinholeCamera, mode: InputMode, preferred_focal_px: float | None
) -> ViewGrid:
    if mode == "canonical":
        return record_grid(row)
    if mode == "native":
        return native_grid(camera.width, camera.height)
    if preferred_focal_px is None:
        raise UsageError("this model declares no preferred focal length", next_step="use --input canonical")
    return focal_grid(camera.width, camera.height, camera.fx_px, focal_px=preferred_focal_px)


def depth_of(row: Mapping[str, Any]) -> Depth:
    """The stored depth of a record; CheckError where it is damaged."""
    with reading(row["id"]):
        return decode_depth(row)


def find_sets(data: Path, role: Role) -> list[RecordSet]:
    """All finished splits of a role under a data folder, by name."""
    return [RecordSet(marker.parent, role) for marker in sorted(data.glob(f"*/_SUCCESS-{role}"))]
