"""Weights of models in workers: found, fetched and hashed here, so that a worker reads files and no hub."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from depthvlm_bench.errors import DataMissingError, UsageError
from depthvlm_bench.hashing import sha256_file, sha256_json

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
BLOB_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Published:
    """Where a model's weights are published.

    Attributes:
        repository: on the hub.
        revision: of it.
        files: those that the model is made of, the weights first.
        kind: what kind of repository.
    """

    repository: str
    revision: str
    files: tuple[str, ...]
    kind: Literal["model", "space"] = "model"

    @property
    def repos(self) -> dict[str, str]:
        """Repository -> revision, for the card."""
        return {self.repository: self.revision}


@dataclass(frozen=True)
class FoundWeights:
    """Weights on this machine.

    Attributes:
        name: of the repository, or of the folder or file.
        commit: of the repository; None: one's own.
        paths: as in `Published.files`.
    """

    name: str
    commit: str | None
    paths: Mapping[str, Path]

    @property
    def main(self) -> Path:
        """The first of the files: the weights."""
        return next(iter(self.paths.values()))

    def content_sha256(self) -> str:
        """Hash of all files."""
        return sha256_json({name: _sha256(path) for name, path in self.paths.items()})


def find_weights(published: Published, checkpoint: str | None, revision: str | None) -> FoundWeights:
    """The weights that options ask for; fetched from the hub where they are not on this machine.

    Args:
        published: the model's own.
        checkpoint: a folder with the same files, the weight file itself, or another repository; None: the
            published one.
        revision: of a repository; None: the published one.

    Raises:
        DataMissingError: a file is not there, or the hub does not give it.
        UsageError: a revision of something that has none.
    """
    if checkpoint is not None and _is_local(checkpoint):
        if revision is not None:
            raise UsageError("only a repository has revisions", where=checkpoint, next_step="leave it out")
        return _own(published, Path(checkpoint).expanduser())
    repository = checkpoint or published.repository
    if repository != published.repository and revision is None:
        raise UsageError(
            "a hub repository without a revision",
            where=repository,
            why="what a branch holds can change, and results with it",
            next_step="give the commit: -o revision=COMMIT",
        )
    paths = _fetch(repository, revision or published.revision, published)
    main = next(iter(paths.values()))
    return FoundWeights(repository, _commit(main), paths)


def is_cached(published: Published) -> bool:
    """Whether the published weights are on this machine; nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache

    where = (published.repository, published.revision, published.kind)
    return all(
        isinstance(try_to_load_from_cache(where[0], name, revision=where[1], repo_type=where[2]), str)
        for name in published.files
    )


def _is_local(checkpoint: str) -> bool:
    return Path(checkpoint).expanduser().exists() or not HUB_NAME.fullmatch(checkpoint)


def _own(published: Published, path: Path) -> FoundWeights:
    if path.is_file() and len(published.files) == 1:
        return FoundWeights(path.name, None, {published.files[0]: path})
    paths = {name: path / name for name in published.files}
    for found in paths.values():
        if not found.is_file():
            raise DataMissingError(
                "no such weights", where=found, why=f"needed are {', '.join(published.files)}"
            )
    return FoundWeights(path.resolve().name, None, paths)


def _fetch(repository: str, revision: str, published: Published) -> dict[str, Path]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    try:
        return {
            name: Path(hf_hub_download(repository, name, revision=revision, repo_type=published.kind))
            for name in published.files
        }
    except (OSError, HFValidationError) as error:
        raise DataMissingError(
            "the weights cannot be fetched",
            where=f"{repository}@{revision}",
            why=str(error).strip().partition("\n")[0],
            next_step="check the network, or name a folder on this machine: --checkpoint DIR",
        ) from error


def _commit(path: Path) -> str | None:
    """The commit in a path of the hub's cache: .../snapshots/COMMIT/..."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def _sha256(path: Path) -> str:
    """A file's hash; large files of the hub's cache are named by theirs and need no reading."""
    blob = path.resolve()
    named = blob.parent.name == "blobs" and BLOB_NAME.fullmatch(blob.name)
    return blob.name if named else sha256_file(path)
