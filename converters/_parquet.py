"""Rows of a parquet file, found by key and decoded a few at a time, however large its row groups are."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.errors import FrameError, SkipReason
from depthvlm_bench.frames import Float32Array

BATCH_ROWS = 5  # a frame's cameras, or its lasers
BUFFER_BYTES = 2**20
Row = dict[str, pa.Scalar]


class ParquetRows:
    """An open parquet file; rows asked for in about the file's order are decoded in one pass.

    Args:
        path: the file.
        where: its name in errors.
        missing: skip reason where there is no such file.
    """

    def __init__(self, path: Path, where: str, missing: SkipReason) -> None:
        self.where = where
        self._pass: tuple[int, list[str]] | None = None
        self._batches: Iterator[tuple[int, Any]] = iter(())
        # A frame's rows lie together in any order, and a batch may end among them.
        self._kept: deque[tuple[int, Any]] = deque(maxlen=2)
        with self._readable(missing):
            self._file = pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES)
            self._names = set(self._file.schema_arrow.names)
            metadata = self._file.metadata
            rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])

    def keys(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Values of some (small) columns, row by row."""
        self._require(columns)
        with self._readable("unreadable"):
            table = self._file.read(columns=list(columns))
            yield from zip(*(table.column(name).to_pylist() for name in columns), strict=True)

    def row(self, number: int, columns: Sequence[str]) -> Row:
        """Columns of one row, numbered over the whole file; asking for other columns begins a new pass."""
        self._require(columns)
        with self._readable("unreadable"):
            first, batch = self._batch_with(number, list(columns))
        return {name: batch.column(name)[number - first] for name in columns}

    def close(self) -> None:
        """Let go of the file."""
        self._pass, self._batches = None, iter(())
        self._kept.clear()
        self._file.close()

    def _batch_with(self, number: int, columns: list[str]) -> tuple[int, Any]:
        """(first row, batch) that holds a row: one that is kept, one further on, or one of another pass."""
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        if self._pass != (group, columns) or number < self._kept[0][0]:
            self._kept.clear()
            self._batches = self._row_group(group, columns)
        self._pass = None  # a pass that fails is not gone on with
        while not (holding := [kept for kept in self._kept if 0 <= number - kept[0] < len(kept[1])]):
            self._kept.append(next(self._batches))
        self._pass = group, columns
        return holding[0]

    def _row_group(self, group: int, columns: list[str]) -> Iterator[tuple[int, Any]]:
        first = int(self._starts[group])
        for batch in self._file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
            yield first, batch
            first += len(batch)

    def _require(self, columns: Sequence[str]) -> None:
        if absent := [name for name in columns if name not in self._names]:
            raise FrameError("unreadable", f"{self.where} has no column {', '.join(absent)}")

    @contextmanager
    def _readable(self, missing: SkipReason) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise FrameError(missing, self.where) from error
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, StopIteration) as error:
            raise FrameError("unreadable", f"{self.where}: {error}") from error


def numbers(row: Row, column: str) -> FloatArray | None:
    """A number or list of numbers as float64 (N,), whatever its type; None for null."""
    cell = row[column]
    if not cell.is_valid:
        return None
    listed = cell.values if hasattr(cell, "values") else pa.array([cell.as_py()])
    return np.asarray(listed.to_numpy(zero_copy_only=False), dtype=np.float64)


def array(row: Row, column: str, where: str) -> Float32Array | None:
    """A flattened array (columns NAME.values and NAME.shape) as float32 of its shape; None for null.

    Raises:
        FrameError: `unreadable` where values and shape do not fit together.
    """
    values, shape = row[f"{column}.values"], row[f"{column}.shape"]
    if not (values.is_valid and shape.is_valid):
        return None
    flat = np.asarray(values.values.to_numpy(zero_copy_only=False), dtype=np.float32)
    try:
        return flat.reshape([int(length) for length in shape.as_py()])
    except ValueError as error:
        raise FrameError("unreadable", f"{where}: {column}: {error}") from error
