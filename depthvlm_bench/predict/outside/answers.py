"""Point answers from CSV, JSONL or parquet: one row a point, each read once and only once."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from depthvlm_bench.errors import CheckError
from depthvlm_bench.predict.outside.declared import Declaration
from depthvlm_bench.predict.runner import POINT_LISTS

NEEDED, OPTIONAL = ("id", "point_index"), ("list", "raw_text")
VALUES = ("value", "value_m")

Placed = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        value_m: metres along z or the ray as declared; None where nothing was answered.
        place: file and line, for errors.
    """

    value_m: float | None
    raw_text: str | None
    place: str


ByList = dict[str, dict[str, dict[int, Answer]]]


@dataclass(frozen=True)
class Answers:
    """All answers of a folder: list -> record id -> point index -> answer."""

    by_list: ByList

    def ids(self, name: str) -> set[str]:
        """Records with at least one answer in a list."""
        return set(self.by_list.get(name, {}))

    def places(self) -> dict[str, str]:
        """Every id, with the place of one of its answers."""
        return {
            record: next(iter(given.values())).place
            for by_id in self.by_list.values()
            for record, given in by_id.items()
        }

    def under(self, names: Mapping[str, str]) -> "Answers":
        """The same with ids replaced by `names`, id as given -> id of the record; others stay.

        Raises:
            CheckError: a point is answered under two names of its record.
        """
        by_list: ByList = {}
        for name, by_id in self.by_list.items():
            for record, given in by_id.items():
                for index, answer in given.items():
                    _put(by_list, name, names.get(record, record), index, answer)
        return Answers(by_list)

    def check_sizes(self, sizes: Mapping[str, Mapping[str, int]]) -> None:
        """Refuse indices beyond a record's points; sizes is list -> id -> how many (CheckError)."""
        for name, by_id in self.by_list.items():
            for record in by_id.keys() & sizes.get(name, {}).keys():
                last = max(by_id[record])
                if last >= sizes[name][record]:
                    raise CheckError(
                        f"point_index {last} of {record} does not exist",
                        where=by_id[record][last].place,
                        why=f"its list {name!r} has {sizes[name][record]} points, counted from 0",
                    )


def read_answers(paths: Sequence[Path], declaration: Declaration) -> Answers:
    """Read all answer files of a folder.

    Ids are compared with the records' and never used as paths.

    Raises:
        CheckError: a file or row that cannot be read, a column too few or too many, a point answered twice.
    """
    by_list: ByList = {}
    for path in paths:
        for place, row in _rows(path):
            _put(by_list, *_parse(place, row, declaration))
    return Answers(by_list)


def _put(by_list: ByList, name: str, record: str, index: int, answer: Answer) -> None:
    earlier = by_list.setdefault(name, {}).setdefault(record, {}).setdefault(index, answer)
    if earlier is not answer:
        raise CheckError(
            f"point {index} of {record} is answered twice",
            where=answer.place,
            why=f"its first answer is {earlier.place}",
            next_step="keep one of them",
        )


def _rows(path: Path) -> Iterator[Placed]:
    try:
        yield from ROWS[path.suffix.lower()](path)
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckError("point answers cannot be read", where=path, why=why) from error


def _csv_rows(path: Path) -> Iterator[Placed]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        _check_columns(path, reader.fieldnames or ())
        for row in reader:
            place = f"{path}:{reader.line_num}"
            if None in row or None in row.values():
                raise CheckError(
                    "a row has not as many fields as the header", where=place, next_step="is the file whole?"
                )
            yield place, {key: value if value.strip() else None for key, value in row.items()}


def _jsonl_rows(path: Path) -> Iterator[Placed]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise CheckError("not a line of JSON", where=place, why=str(error)) from error
            if not isinstance(row, dict):
                raise CheckError("a line must be a JSON object", where=place, why=f"got {line.strip()[:40]}")
            _check_columns(place, tuple(row))
            yield place, row


def _parquet_rows(path: Path) -> Iterator[Placed]:
    with pq.ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow.names)
        start = 0
        for batch in file.iter_batches():
            for number, row in enumerate(batch.to_pylist(), start=start):
                yield f"{path} row {number}", row
            start += batch.num_rows


ROWS: dict[str, Callable[[Path], Iterator[Placed]]] = {
    ".csv": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".parquet": _parquet_rows,
}


def _check_columns(where: object, names: Sequence[str]) -> None:
    missing = [name for name in NEEDED if name not in names]
    missing += [] if set(VALUES) & set(names) else ["value"]
    unknown = [name for name in names if name not in (*NEEDED, *OPTIONAL, *VALUES)]
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if not missing and not unknown and not twice and not set(VALUES) <= set(names):
        return
    faults = {"missing": missing, "unknown": unknown, "given twice": twice}
    told = [f"{what}: {', '.join(map(str, which))}" for what, which in faults.items() if which]
    raise CheckError(
        "point answers with other columns than asked for",
        where=where,
        why="; ".join(told) or "it has both value and value_m",
        next_step="id, point_index, value or value_m; list and raw_text if wanted",
    )


def _parse(place: str, row: Mapping[str, Any], declaration: Declaration) -> tuple[str, str, int, Answer]:
    record, name = row["id"], row.get("list") or "points"
    if not isinstance(record, str) or not record:
        raise CheckError("an answer without the id of its record", where=place, why=f"got {record!r}")
    if name not in POINT_LISTS:
        raise CheckError(f"unknown list {name!r}", where=place, why=f"known: {', '.join(POINT_LISTS)}")
    index = _number(row["point_index"], place, "point_index")
    if index is None or not np.isfinite(index) or index < 0 or index != int(index):
        raise CheckError("point_index must be 0, 1, 2 ...", where=place, why=f"got {row['point_index']!r}")
    column = next(column for column in VALUES if column in row)
    value = _number(row[column], place, column)
    if value is not None and column == "value":
        value = float(declaration.metres(value))
    text = row.get("raw_text")
    return name, record, int(index), Answer(value, None if text is None else str(text), place)


def _number(value: object, place: str, column: str) -> float | None:
    """A number, NaN and infinity included; None stays None. Text is never searched for a number."""
    if value is None:
        return None
    try:
        if isinstance(value, bool) or "_" in str(value):
            raise ValueError
        return float(str(value))
    except ValueError as error:
        raise CheckError(
            f"{column} must be a number",
            where=place,
            why=f"got {str(value)[:60]!r}",
            next_step="leave it empty where nothing was answered; texts go into raw_text",
        ) from error
