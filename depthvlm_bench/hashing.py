"""Canonical JSON and SHA-256: what identifies options, plans, manifests and protocols."""

import hashlib
import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


def canonical_json(value: object) -> str:
    """JSON with sorted keys, no white space and floats by repr; the same text on every machine.

    Raises:
        ValueError: NaN or infinity, which JSON cannot hold.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
    )


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever json can take
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} has no canonical JSON")


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_json(value: object) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return sha256_hex(canonical_json(value).encode())


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash64(*parts: str) -> int:
    """The one source of chance: first 8 bytes, little-endian, of SHA-256 over NUL-joined UTF-8 parts."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "little")
