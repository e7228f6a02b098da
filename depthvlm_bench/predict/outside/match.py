"""Which file belongs to which record: by id, else by the frame's name where that is unique."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.hashing import sha256_file, sha256_json
from depthvlm_bench.predict.outside.answers import ROWS
from depthvlm_bench.predict.outside.declared import DECLARATION_FILE
from depthvlm_bench.predict.outside.maps import READERS

SHOWN = 20


@dataclass(frozen=True)
class Files:
    """What lies in a folder of predictions, by path; hidden files are left alone.

    Attributes:
        home: what names are relative to.
        others: files of no known form.
    """

    home: Path
    maps: tuple[Path, ...]
    answers: tuple[Path, ...]
    others: tuple[Path, ...]

    def name(self, path: Path) -> str:
        """A file's name below the folder, POSIX."""
        return path.relative_to(self.home).as_posix()

    def hash(self, paths: Iterable[Path]) -> str:
        """What identifies predictions: names, sizes and content of their files, in the order of the names."""
        rows = sorted((self.name(path), path.stat().st_size, sha256_file(path)) for path in paths)
        return sha256_json(rows)


@dataclass(frozen=True)
class Match:
    """Record id -> map, and the files that belong to no record."""

    found: dict[str, Path]
    strangers: tuple[Path, ...]


def find_files(folder: Path) -> Files:
    """List a folder (or take the one file), by form.

    Raises:
        DataMissingError: there is no such folder, or nothing to score in it.
        UsageError: it holds maps and point answers, and one run is one of them.
    """
    if not folder.exists():
        raise DataMissingError("no such folder of predictions", where=folder)
    home = folder if folder.is_dir() else folder.parent
    below = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    plain = [path for path in below if path.is_file() and not _hidden(path, home)]
    plain = [path for path in plain if path.name != DECLARATION_FILE]
    maps = tuple(path for path in plain if path.suffix.lower() in READERS)
    answers = tuple(path for path in plain if path.suffix.lower() in ROWS)
    if not maps and not answers:
        raise _no_predictions(folder, plain)
    if maps and answers:
        raise UsageError(
            "a folder holds maps and point answers",
            where=folder,
            why=f"for instance {maps[0].name} and {answers[0].name}; a run is one or the other",
            next_step="give them folders of their own",
        )
    return Files(home, maps, answers, tuple(path for path in plain if path not in {*maps, *answers}))


def _no_predictions(folder: Path, others: Sequence[Path]) -> DataMissingError:
    there = f"it holds {len(others)} other files, for instance {others[0].name}" if others else "it is empty"
    if not folder.is_dir():
        there = "its suffix is another"
    return DataMissingError(
        "no predictions here",
        where=folder,
        why=f"looked for {' '.join([*READERS, *ROWS])}; {there}",
        next_step="docs/predictions.md has the forms",
    )


def _hidden(path: Path, home: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(home).parts)


def match_maps(files: Files, frames: Mapping[str, str]) -> Match:
    """Give each map its record.

    A file is a record's by the id as sub-folders, or with '/' written '__' or '_'; else by the frame's name,
    where several records share it by those whose id holds the file's folders in their order.

    Args:
        files: the folder.
        frames: record id -> the name of its frame.

    Raises:
        CheckError: a file fits two records, or two files one record; both are named.
    """
    by_name, by_frame = _names(frames)
    found: dict[str, Path] = {}
    strangers = []
    for path in files.maps:
        name = PurePosixPath(files.name(path))
        bare = name.as_posix()[: -len(name.suffix)]
        fitting = by_name.get(bare) or by_name.get(bare.rpartition("/")[2])
        fitting = fitting or _by_folders(by_frame.get(bare.rpartition("/")[2], []), name.parts[:-1])
        if len(fitting) > 1:
            raise _two_records(path, fitting)
        if not fitting:
            strangers.append(path)
        elif fitting[0] in found:
            raise _two_files(fitting[0], found[fitting[0]], path)
        else:
            found[fitting[0]] = path
    return Match(found, tuple(strangers))


def match_ids(places: Mapping[str, str], frames: Mapping[str, str]) -> dict[str, str]:
    """Ids as given in point answers -> records: the id itself, written as in file names, or a unique frame.

    Args:
        places: id as given -> where it stands, for errors.
        frames: record id -> the name of its frame.

    Raises:
        CheckError: an id fits two records; both are named.
    """
    by_name, by_frame = _names(frames)
    found = {}
    for given, place in places.items():
        fitting = by_name.get(given) or by_frame.get(given) or []
        if len(fitting) > 1:
            raise CheckError(
                f"the id {given!r} fits two records: {_both(fitting)}",
                where=place,
                next_step="write the record's whole id, or use --set",
            )
        if fitting:
            found[given] = fitting[0]
    return found


def _names(frames: Mapping[str, str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    by_name: dict[str, list[str]] = defaultdict(list)
    by_frame: dict[str, list[str]] = defaultdict(list)
    for record, frame in frames.items():
        for written in dict.fromkeys([record, record.replace("/", "__"), record.replace("/", "_")]):
            by_name[written].append(record)
        by_frame[frame].append(record)
    return by_name, by_frame


def _by_folders(records: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Records of a shared frame name, narrowed by the file's folders where these name one of them."""
    if len(records) < 2:
        return list(records)
    return [record for record in records if _holds(record.split("/"), folders)] or list(records)


def _holds(parts: Sequence[str], folders: Sequence[str]) -> bool:
    rest = iter(parts)
    return all(folder in rest for folder in folders)


def _two_records(path: Path, records: Sequence[str]) -> CheckError:
    named = f"{records[0].replace('/', '__')}{path.suffix}"
    return CheckError(
        f"a file fits two records: {_both(records)}",
        where=path,
        next_step=f"name it by the record's id, e.g. {named}, or use --set",
    )


def _both(records: Sequence[str]) -> str:
    more = f" and {len(records) - 2} more" if len(records) > 2 else ""
    return f"{records[0]} and {records[1]}{more}"


def _two_files(record: str, first: Path, second: Path) -> CheckError:
    return CheckError(
        f"two files are predictions of {record}: {first.name} and {second.name}",
        where=second,
        why=f"the first is {first}",
        next_step="remove one of them",
    )


def listing(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
