"""Which scene is in which split, by the CSV files that Omnidata's two data sets are listed in."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

from depthvlm_bench.cards import DatasetCard
from depthvlm_bench.errors import CheckError, DataMissingError

Row = Mapping[str, str]
# A row's scene and split; ValueError or KeyError (a column) where the row does not say.
Entry = Callable[[Row], tuple[str, str]]
ONE_HOT = ("train", "val", "test")


def one_hot_entry(row: Row) -> tuple[str, str]:
    """Scene and split of a row id,train,val,test that has one 1 and two 0."""
    marks = [row[split] for split in ONE_HOT]
    if sorted(marks) != ["0", "0", "1"]:
        raise ValueError(f"{','.join(ONE_HOT)} is {','.join(marks)}: exactly one of them has to be 1")
    return row["id"], ONE_HOT[marks.index("1")]


def read_lists(path: Path, card: DatasetCard, entry: Entry) -> dict[str, list[str]]:
    """Scenes of each split, sorted, from a CSV with a header; lines may end in CR, CRLF or LF.

    Raises:
        DataMissingError: there is no such file.
        CheckError: a row names no scene, no known split, or a scene that another row put elsewhere.
    """
    known = [name for names in card.splits.values() for name in names]
    split_of: dict[str, str] = {}
    for number, row in _rows(path):
        try:
            scene, split = entry(row)
        except KeyError as error:
            raise _fault(path, number, f"no column {error}, only {', '.join(row)}") from error
        except ValueError as error:
            raise _fault(path, number, str(error)) from error
        if not scene or split not in known:
            raise _fault(path, number, f"scene {scene!r}, split {split!r}; splits are {', '.join(known)}")
        if split_of.setdefault(scene, split) != split:
            raise _fault(path, number, f"{scene} is in {split} and in {split_of[scene]}")
    return {name: sorted(s for s, split in split_of.items() if split == name) for name in known}


def _rows(path: Path) -> list[tuple[int, Row]]:
    """Rows with their line numbers; blank lines are left out."""
    if not path.is_file():
        raise DataMissingError(
            "no list of splits", where=path, next_step="-o splits_csv=FILE is relative to the root"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # read_text turns CR and CRLF into LF
    except UnicodeDecodeError as error:
        raise CheckError("a list of splits is not UTF-8 text", where=path, why=str(error)) from error
    reader = csv.DictReader(lines, restval="")
    return [(reader.line_num, {k: v.strip() for k, v in row.items() if isinstance(k, str)}) for row in reader]


def _fault(path: Path, number: int, why: str) -> CheckError:
    return CheckError("a list of splits cannot be used", where=f"{path}, line {number}", why=why)
