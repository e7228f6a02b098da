"""Training samples, and the converted sets they are read from: rows at random, or one after the other."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from depthvlm_bench.conventions import IntArray
from depthvlm_bench.depthvlm.training.faults import BadSampleError
from depthvlm_bench.depthvlm.training.labels import depth_label
from depthvlm_bench.depthvlm.training.order import kept
from depthvlm_bench.errors import CheckError, DataMissingError, UsageError, unknown_name
from depthvlm_bench.frames import UInt8Array
from depthvlm_bench.records.files import reading
from depthvlm_bench.records.prompts import DENSE_PROMPT, load_prompt
from depthvlm_bench.records.reader import (
    TRAINING_COLUMNS,
    RecordSet,
    TrainingItem,
    find_sets,
    training_item,
    training_rows,
)

Message = dict[str, Any]
RawRow = Mapping[str, Any]

SAMPLE_COLUMNS = (
    *TRAINING_COLUMNS,
    *("dataset", "depth_kind", "valid_min", "valid_max", "prompt_id", "messages", "answer"),
)
# Footers are small, and waited for one by one they take minutes on a network disk.
FOOTER_READERS = 8


@dataclass(frozen=True, eq=False)
class DepthSample:
    """A picture with the depth of its pixels.

    Attributes:
        record_id: the record's name.
        dataset: the name of its set.
        picture: (h, w, 3) uint8 RGB, the canonical picture.
        messages: chat form; the picture is a placeholder part, the answer the last turn.
        depth_label_m: (h, w) float32, m, 0 where there is no valid depth.
    """

    record_id: str
    dataset: str
    picture: UInt8Array
    messages: Sequence[Message]
    depth_label_m: torch.Tensor


@dataclass(frozen=True, eq=False)
class ChatSample:
    """A conversation, with or without pictures, that supervises language alone.

    Attributes:
        source_id: file and line, or row.
        dataset: the name of its file.
        messages: chat form; each picture is a placeholder part.
        pictures: RGB, in the order of their placeholders.
    """

    source_id: str
    dataset: str
    messages: Sequence[Message]
    pictures: tuple[Image.Image, ...]


Sample = DepthSample | ChatSample


class Source(Protocol):
    """Samples in groups that are read at once; its rows are numbered within each group."""

    @property
    def name(self) -> str:
        """Of the set or file."""
        ...

    @property
    def group_rows(self) -> IntArray:
        """(G,) how many rows each group has; none is empty."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What must not change between a checkpoint and its resumption; JSON."""
        ...

    def read(self, group: int, rows: Sequence[int]) -> dict[int, Any]:
        """Rows of a group, still encoded, in memory of their own; BadSampleError where it is damaged."""
        ...

    def sample(self, raw: Any) -> Sample:  # noqa: ANN401 - whatever `read` gave
        """The sample of an encoded row; BadSampleError where it cannot be used."""
        ...


class DepthSource:
    """One split of a converted set.

    Args:
        records: the split; training splits, or an evaluation split made with --allow-overlap.
        drop_flags: LiDAR points with any of these flag bits give no label; 0: all do, as in the paper.

    Raises:
        CheckError: a shard cannot be opened.
        DataMissingError: a shard is gone, or the split has no record.
    """

    def __init__(self, records: RecordSet, *, drop_flags: int = 0) -> None:
        self.records, self._drop_flags = records, drop_flags
        self._shards = records.shards
        with ThreadPoolExecutor(FOOTER_READERS) as pool:
            sizes = list(pool.map(_group_sizes, self._shards))
        places = [(shard, group) for shard, rows in enumerate(sizes) for group, n in enumerate(rows) if n]
        self._places = np.asarray(places, dtype=np.int64).reshape(-1, 2)
        self.group_rows: IntArray = np.asarray([n for rows in sizes for n in rows if n], dtype=np.int64)
        self._starts = np.cumsum(self.group_rows) - self.group_rows
        self._groups: dict[int, dict[int, RawRow]] = {}
        if not len(self.group_rows):
            raise DataMissingError(f"set {self.name!r} has no {records.role} record", where=records.folder)

    @property
    def name(self) -> str:
        """The set's name."""
        return self.records.name

    @property
    def identity(self) -> dict[str, Any]:
        """Name, size and content of the split."""
        return {"name": self.name, "rows": len(self), "content": self.records.manifest_hash}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_groups": {}}  # kept rows are views of memory, which no other process has

    def __len__(self) -> int:
        """How many records it has."""
        return int(self.group_rows.sum())

    def __getitem__(self, row: int) -> DepthSample:
        """The sample of a row in plan order; the last groups that were read are kept for the next call.

        Raises:
            IndexError: there is no such row.
            BadSampleError: it cannot be used.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        rows = kept(self._groups, group, lambda: self.read(group, range(int(self.group_rows[group]))))
        return self.sample(rows[row - int(self._starts[group])])

    def samples(self) -> Iterator[DepthSample]:
        """All samples in plan order; memory stays at one row group, and a bad sample is an error."""
        for group, count in enumerate(self.group_rows):
            for raw in self.read(group, range(int(count))).values():
                yield self.sample(raw)

    def read(self, group: int, rows: Sequence[int]) -> dict[int, RawRow]:
        """Rows of a row group as they are stored; only these stay in memory."""
        shard, number = self._places[group]
        path = self._shards[shard]
        try:
            with reading(path):
                with pq.ParquetFile(path) as file:
                    table = file.read_row_group(int(number), columns=list(SAMPLE_COLUMNS), use_threads=False)
                own = table.take(pa.array(rows, pa.int64()))
                return dict(zip(rows, training_rows(own), strict=True))
        except CheckError as error:
            raise BadSampleError("unreadable", f"{path.name} row group {number}", error.why) from error

    def sample(self, raw: RawRow) -> DepthSample:
        """Decode a row's picture and make its label."""
        record_id = str(raw["id"])
        if raw["depth_kind"] not in (None, "z"):
            raise BadSampleError("not_z_depth", record_id, f"its depth is {raw['depth_kind']}")
        try:
            item = training_item(raw)
            label_m = self._label(raw, item)
        except CheckError as error:
            raise BadSampleError("unreadable", record_id, f"{error.what}: {error.why}") from error
        if not label_m.any():
            limits = f"{raw['valid_min']} to {raw['valid_max']} m"
            raise BadSampleError("no_valid_depth", record_id, f"no depth from {limits} in the picture")
        return DepthSample(record_id, self.name, item.picture, record_messages(raw), label_m)

    def _label(self, raw: RawRow, item: TrainingItem) -> torch.Tensor:
        height, width, _ = item.picture.shape
        label_m = depth_label(
            item.depth,
            item.view_from_source,
            (width, height),
            valid_min_m=raw["valid_min"],
            valid_max_m=raw["valid_max"],
            drop_flags=self._drop_flags,
        )
        return torch.from_numpy(label_m)


def record_messages(row: RawRow) -> list[Message]:
    """The conversation of a record, its answer as the last turn; that of its prompt where it stores none."""
    asked, answer = row["messages"], row["answer"]
    if asked is None:
        prompt = load_prompt(row["prompt_id"] or DENSE_PROMPT)
        asked, answer = prompt.messages(), prompt.answer
    messages = [
        {"role": turn["role"], "content": [_part(part) for part in turn["content"]]} for turn in asked
    ]
    return [*messages, {"role": "assistant", "content": answer}] if answer else messages


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if value is not None}


def _group_sizes(shard: Path) -> list[int]:
    with reading(shard):
        footer = pq.read_metadata(shard)
    return [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]


def open_sets(data: Path, names: Sequence[str] = (), *, drop_flags: int = 0) -> list[DepthSource]:
    """The training splits of some sets, or of all sets, below a data folder.

    Raises:
        UsageError: a set is named that is not there, or twice.
        DataMissingError: there is none at all.
    """
    found = {records.name: records for records in find_sets(data, "train")}
    if not found:
        raise DataMissingError(
            "no training split is converted here", where=data, next_step="dvbench convert SET --split train"
        )
    if len(set(names)) < len(names):
        raise UsageError("a set is named twice", where=data, why=", ".join(names))
    for name in names:
        if name not in found:
            raise unknown_name("training set", name, found, next_step=f"dvbench convert {name} --split train")
    return [DepthSource(found[name], drop_flags=drop_flags) for name in names or sorted(found)]
