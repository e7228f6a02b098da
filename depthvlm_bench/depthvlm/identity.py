"""What a checkpoint folder is, told by its files alone: recognised and hashed without loading anything."""

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from depthvlm_bench.errors import DataMissingError
from depthvlm_bench.hashing import sha256_file, sha256_json
from depthvlm_bench.records.files import reading

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
# Files beside the weights that decide what is answered.
SETTINGS = (
    *(CONFIG, "preprocessor_config.json", "chat_template.jinja", "chat_template.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
)
OWN_TYPE, STOCK_TYPE, HEAD_PREFIX = "depthvlm_qwen3_vl", "qwen3_vl", "depth_head."
FETCH_AGAIN = "fetch the checkpoint again"


def has_depth_head(folder: Path) -> bool:
    """Whether a folder holds a DepthVLM checkpoint: of our model type, or Qwen3-VL with tensors of a head.

    Raises:
        CheckError: its config.json, or what names its tensors, is damaged.
    """
    kind = _read_json(folder / CONFIG).get("model_type")
    if kind != STOCK_TYPE:
        return bool(kind == OWN_TYPE)
    return any(name.startswith(HEAD_PREFIX) for name in tensor_names(folder))


def tensor_names(folder: Path) -> set[str]:
    """Names of the stored tensors, from the index, or from the head of the one weight file; empty without."""
    if (folder / INDEX).is_file():
        return set(_read_json(folder / INDEX).get("weight_map", {}))
    path = folder / WEIGHTS
    if not path.is_file():
        return set()
    # A safetensors file begins with the length of its header, 8 bytes, little-endian; the header is JSON.
    with reading(path, FETCH_AGAIN), path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        return set(json.loads(file.read(length))) - {"__metadata__"}


def content_sha256(folder: Path) -> str:
    """Hash of all that decides a checkpoint's answers: weights, configuration, tokenizer, chat template.

    Raises:
        DataMissingError: no weights, or fewer files than the index names.
    """
    files = [*_weight_files(folder), *filter(Path.is_file, (folder / name for name in SETTINGS))]
    with ThreadPoolExecutor(max_workers=4) as pool:
        hashes = list(pool.map(_sha256, files))
    return sha256_json(dict(zip((path.name for path in files), hashes, strict=True)))


def _weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX
    names = set(_read_json(index)["weight_map"].values()) if index.is_file() else {WEIGHTS}
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing:
        raise DataMissingError(
            f"{len(missing)} of {len(names)} weight files are not there",
            where=folder / missing[0],
            why="only safetensors are read",
            next_step=FETCH_AGAIN,
        )
    return sorted(folder / name for name in names)


def _sha256(path: Path) -> str:
    """A file's hash; large files of the hub's cache are named by theirs and need no reading."""
    blob = path.resolve()
    if blob.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return blob.name
    with reading(path, FETCH_AGAIN):
        return sha256_file(path)


def _read_json(path: Path) -> Mapping[str, Any]:
    with reading(path, FETCH_AGAIN):
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content.get("")
        return content
