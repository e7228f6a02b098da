"""Finding the sets that a command is about: by name, or all; what is left out is said."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthvlm_bench.errors import DataMissingError, UsageError, unknown_name

if TYPE_CHECKING:
    from depthvlm_bench.cards import Role
    from depthvlm_bench.records.reader import RecordSet


def choose_sets(
    data: Path, names: tuple[str, ...], role: "Role", *, required: bool = True
) -> "list[RecordSet]":
    """Sets by name, or all finished ones of a role.

    Raises:
        DataMissingError: no such set (with the nearest name), or none at all where one is required.
    """
    from depthvlm_bench.records.reader import RecordSet, find_sets

    if names:
        return [RecordSet(_folder(data, name), role) for name in dict.fromkeys(names)]
    there = find_sets(data, role)
    for plan in sorted(data.glob(f"*/plan-{role}.parquet")):
        if plan.parent not in [records.folder for records in there]:
            click.echo(
                f"left out: {plan.parent.name} {role} is not finished (dvbench convert resumes it)", err=True
            )
    if not there and required:
        raise DataMissingError(
            f"no converted {role} set", where=data, next_step="dvbench convert DATASET --root DIR"
        )
    return there


def set_folders(data: Path, names: tuple[str, ...]) -> list[Path]:
    """Folders of sets, finished or not, by name or path; all of them where none is named."""
    from depthvlm_bench.convert.verify import roles_of

    if names:
        return [_by_path(data, name) for name in dict.fromkeys(names)]
    there = [path.parent for path in sorted(data.glob("*/data")) if roles_of(path.parent)]
    if not there:
        raise DataMissingError("no converted set", where=data, next_step="dvbench convert, or --data FOLDER")
    return there


def _by_path(data: Path, name: str) -> Path:
    from depthvlm_bench.convert.verify import roles_of

    path = Path(name)
    return path if len(path.parts) > 1 and path.is_dir() and roles_of(path) else _folder(data, name)


def _folder(data: Path, name: str) -> Path:
    folder = data / name
    known = sorted(path.parent.name for path in data.glob("*/data"))
    if name not in known:
        hint = unknown_name("set", name, known).why
        raise DataMissingError(
            f"no converted set {name!r}", where=data, why=hint, next_step="dvbench convert makes sets"
        )
    return folder


def selected(sets: "list[RecordSet]", where: str | None) -> "list[RecordSet]":
    """The sets that have records of a selection; the others are named, and none at all is an error."""
    from depthvlm_bench.scoring.scorer import wanted_rows

    chosen = [records for records in sets if wanted_rows(records, where)]
    left_out = [records.name for records in sets if records not in chosen]
    if not chosen:
        raise UsageError(f"--where {where!r} selects no image", where=", ".join(left_out))
    if left_out:
        click.echo(f"no image of --where {where!r} in {', '.join(left_out)}", err=True)
    return chosen
