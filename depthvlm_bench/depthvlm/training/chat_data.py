"""Files of chat examples, as sources of samples: JSON lines, JSON, parquet, and `datasets` saved on disk."""

import json
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from depthvlm_bench.conventions import IntArray
from depthvlm_bench.depthvlm.training.chat_turns import chat_sample
from depthvlm_bench.depthvlm.training.data import ChatSample, Source
from depthvlm_bench.depthvlm.training.faults import BadSampleError
from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.records.files import reading

GROUP_ROWS = 32
# So many examples are looked at when a file is opened: one of another form is to be told at once.
PROBED = 100
CHAT_COLUMNS = ("messages", "images", "image")
FORMS = "JSON lines (.jsonl), a JSON list (.json), parquet, or a folder written by datasets' save_to_disk"


class Example(NamedTuple):
    """An example before it is understood: where it stands, and its value, still JSON where it is bytes."""

    where: str
    value: Any


class ChatFile(ABC):
    """What all forms have in common.

    Attributes:
        path: of the file or folder.
        group_rows: (G,) examples of each group.
        empty: blank lines that were passed over.
    """

    empty = 0

    def __init__(self, path: Path, group_rows: Iterable[int]) -> None:
        self.path = path
        self.group_rows: IntArray = np.asarray(list(group_rows), dtype=np.int64)

    @property
    def name(self) -> str:
        """File name without its ending."""
        return self.path.stem

    @property
    def identity(self) -> dict[str, Any]:
        """Name and size; the content of large files is not hashed."""
        return {"name": self.path.name, "rows": len(self)}

    def __len__(self) -> int:
        """How many examples it has, good or bad."""
        return int(self.group_rows.sum())

    @abstractmethod
    def examples(self, group: int, rows: Sequence[int]) -> Iterable[Example]:
        """Some examples of a group."""

    def read(self, group: int, rows: Sequence[int]) -> dict[int, Example]:
        """Some examples of a group.

        Raises:
            BadSampleError: the file is not what it was when it was opened.
        """
        try:
            with reading(self.path):
                return dict(zip(rows, self.examples(group, rows), strict=True))
        except CheckError as error:
            raise BadSampleError("unreadable", f"{self.path.name} group {group}", error.why) from error

    def sample(self, raw: Example) -> ChatSample:
        """The sample of an example."""
        value = _parsed(raw) if isinstance(raw.value, bytes) else raw.value
        return chat_sample(value, raw.where, dataset=self.name, folder=self.path.parent)


def _parsed(raw: Example) -> object:
    try:
        return json.loads(raw.value)
    except (ValueError, RecursionError) as error:
        raise BadSampleError("malformed", raw.where, f"not JSON: {error}") from error


class JsonLines(ChatFile):
    """One example a line; only the place of every 32nd line is kept."""

    def __init__(self, path: Path) -> None:
        starts, numbers, filled, offset = array("q"), array("q"), 0, 0
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    self.empty += 1
                else:
                    if filled % GROUP_ROWS == 0:
                        starts.append(offset)
                        numbers.append(number)
                    filled += 1
                offset += len(line)
        super().__init__(path, _sizes(filled))
        self._starts, self._numbers = [*starts, offset], numbers

    @property
    def identity(self) -> dict[str, Any]:
        """Name, examples and bytes."""
        return super().identity | {"bytes": self._starts[-1]}

    def examples(self, group: int, rows: Sequence[int]) -> Iterable[Example]:
        """Lines of a group, counted without the blank ones."""
        with self.path.open("rb") as file:
            file.seek(self._starts[group])
            text = file.read(self._starts[group + 1] - self._starts[group])
        numbered = enumerate(text.split(b"\n"), self._numbers[group])
        filled = [Example(f"{self.path}:{number}", line) for number, line in numbered if line.strip()]
        return [filled[row] for row in rows]


class JsonList(ChatFile):
    """One JSON list of examples, kept in memory whole."""

    def __init__(self, path: Path) -> None:
        try:
            listed = json.loads(path.read_bytes())
        except ValueError as error:
            raise UsageError("not JSON", where=path, why=str(error)) from error
        if not isinstance(listed, list):
            raise UsageError("a JSON list of examples is expected", where=path, why=type(listed).__name__)
        super().__init__(path, _sizes(len(listed)))
        self._listed = listed

    def examples(self, group: int, rows: Sequence[int]) -> Iterable[Example]:
        """Elements of the list."""
        indices = [group * GROUP_ROWS + row for row in rows]
        return [Example(f"{self.path}[{index}]", self._listed[index]) for index in indices]


class ParquetChat(ChatFile):
    """A parquet file with a column `messages`, read a row group at a time."""

    def __init__(self, path: Path) -> None:
        with reading(path, "write it anew"):
            footer = pq.read_metadata(path)
        self._columns = _chat_columns(footer.schema.to_arrow_schema().names, path)
        sizes = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        self._groups = [(group, sum(sizes[:group])) for group, size in enumerate(sizes) if size]
        super().__init__(path, [size for size in sizes if size])

    def examples(self, group: int, rows: Sequence[int]) -> Iterable[Example]:
        """Rows of a row group."""
        number, first = self._groups[group]
        with pq.ParquetFile(self.path) as file:
            table = file.read_row_group(number, columns=self._columns, use_threads=False)
        return _table_rows(table, rows, first, self.path)


class SavedDataset(ChatFile):
    """A data set of the `datasets` library, saved on disk; it is mapped, never loaded."""

    def __init__(self, path: Path) -> None:
        from datasets import Dataset, load_from_disk

        try:
            saved = load_from_disk(str(path))
        except (OSError, ValueError) as error:
            raise UsageError("not a data set saved by datasets", where=path, why=str(error)) from error
        if not isinstance(saved, Dataset):
            raise UsageError("a split must be named", where=path, next_step=f"one of {', '.join(saved)}")
        columns = _chat_columns(saved.column_names, path)
        self._saved = saved.select_columns(columns).with_format("arrow")
        super().__init__(path, _sizes(len(saved)))

    def examples(self, group: int, rows: Sequence[int]) -> Iterable[Example]:
        """Rows of the data set."""
        first = group * GROUP_ROWS
        return _table_rows(self._saved[first : first + GROUP_ROWS], rows, first, self.path)


def _table_rows(table: pa.Table, rows: Sequence[int], first: int, path: Path) -> Iterable[Example]:
    """Rows of a table, made to objects one by one: the pictures of a group are not all copied."""
    for row in rows:
        (value,) = table.slice(row, 1).to_pylist()
        yield Example(f"{path} row {first + row}", value)


def _sizes(count: int) -> list[int]:
    whole, rest = divmod(count, GROUP_ROWS)
    return [GROUP_ROWS] * whole + [rest] * bool(rest)


def _chat_columns(names: Sequence[str], path: Path) -> list[str]:
    if "messages" not in names:
        raise UsageError("no column `messages`", where=path, why=f"columns: {', '.join(names)}")
    return [name for name in CHAT_COLUMNS if name in names]


def open_chat(path: Path) -> ChatFile:
    """Examples of a file or folder.

    Raises:
        DataMissingError: it is not there, or holds no example.
        UsageError: its form is unknown, or none of its first examples is a conversation.
    """
    if not path.exists():
        raise DataMissingError("no such chat data", where=path)
    forms: Mapping[str, type[Any]] = {
        ".jsonl": JsonLines,
        ".ndjson": JsonLines,
        ".json": JsonList,
        ".parquet": ParquetChat,
    }
    form = SavedDataset if path.is_dir() else forms.get(path.suffix.lower())
    if form is None:
        raise UsageError("unknown form of chat data", where=path, why=f"read are {FORMS}")
    source: ChatFile = form(path)
    if not len(source):
        raise DataMissingError("no chat example", where=path, why=f"{source.empty} blank lines")
    _probe(source)
    return source


def _probe(source: ChatFile) -> None:
    """Refuse a file of which nothing can be used, by what is wrong with its first example."""
    first: BadSampleError | None = None
    looked_at = 0
    for group, count in enumerate(source.group_rows):
        for raw in source.read(group, range(min(int(count), PROBED - looked_at))).values():
            try:
                source.sample(raw)
            except BadSampleError as error:
                first = first or error
            else:
                return
            looked_at += 1
        if looked_at == PROBED:
            break
    if first is not None:
        why = f"the first of {looked_at} that were looked at: {first.fault.detail}"
        raise UsageError("chat data cannot be used", where=first.fault.where, why=why)


def chat_sources(paths: Sequence[Path]) -> list[Source]:
    """The files of `--mix-chat`."""
    return [open_chat(path) for path in paths]
