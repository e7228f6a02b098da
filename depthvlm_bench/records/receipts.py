"""Receipts: what proves that a shard was written to the end, from which rows and by what."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from depthvlm_bench.config import from_mapping
from depthvlm_bench.errors import UsageError
from depthvlm_bench.frames import Skip
from depthvlm_bench.records.backends import BACKEND_LIBRARIES, PILLOW
from depthvlm_bench.records.files import write_json

RECORD_VERSION = 1
# Libraries whose release can change any shard's bytes; a backend adds its own.
CODEC_LIBRARIES = ("pillow", "pyarrow")


def codec_versions(backend: str = PILLOW) -> dict[str, str]:
    """Versions here of what makes the pictures and tables of a set; `absent` where one is not installed."""
    return {name: _version(name) for name in (*CODEC_LIBRARIES, *BACKEND_LIBRARIES.get(backend, ()))}


@cache  # asked once a shard; a search of all that is installed takes a millisecond
def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"


def shard_file(role: str, shard: int, shards: int) -> str:
    """File name of a shard, from the plan alone: datasets reads the split's name off this form."""
    return f"{role}-{shard:05d}-of-{shards:05d}.parquet"


@dataclass(frozen=True)
class ShardReceipt:
    """One finished shard.

    Attributes:
        key: hash of the plan rows, settings, codec backend and library versions that made it.
        file: file name under data/.
        rows: records written.
        sha256, bytes: of the file.
        skips: frames left out, with reasons.
        versions: of the libraries that encoded it.
    """

    key: str
    file: str
    rows: int
    sha256: str
    bytes: int
    skips: tuple[Skip, ...]
    versions: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write `receipts/<shard>.json` under the set's folder."""
        write_json(receipt_path(folder, self.file), asdict(self))

    def holds(self, folder: Path, key: str) -> bool:
        """Whether its shard is there and is the one that is wanted (by size; verify hashes)."""
        path = folder / "data" / self.file
        return self.key == key and path.is_file() and path.stat().st_size == self.bytes


def receipt_path(folder: Path, file: str) -> Path:
    """Where a shard's receipt lies."""
    return folder / "receipts" / Path(file).with_suffix(".json").name


def read_receipt(folder: Path, file: str) -> ShardReceipt | None:
    """The receipt of a shard, or None where there is none that can be read."""
    try:
        mapping: Any = json.loads(receipt_path(folder, file).read_text(encoding="utf-8"))
        return from_mapping(ShardReceipt, mapping, file) if isinstance(mapping, dict) else None
    except (FileNotFoundError, ValueError, UsageError):
        return None


def count_reasons(skips: Iterable[Skip]) -> dict[str, int]:
    """Skips by reason, sorted by name."""
    return dict(sorted(Counter(skip.reason for skip in skips).items()))


def reasons_text(counts: Mapping[str, int]) -> str:
    """Counts as a user reads them: `2 missing_depth, 1 unreadable`."""
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"


def merge_counts(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Sum of several counts by reason."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))
