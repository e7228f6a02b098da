"""A checkpoint folder before any weight is read: its configuration, its tensors' names and shapes."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError, safe_open

from depthvlm_bench.errors import CheckError, DataMissingError, UsageError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
HEAD_PREFIX = "depth_head."
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# What is fetched of a hub repository: no code, no pickles.
FETCHED = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model", "LICENSE*", "README.md")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
NAMES_SHOWN = 6

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """What lies in a folder.

    Attributes:
        folder: where.
        config: its config.json.
        shapes: tensor name -> shape.
    """

    folder: Path
    config: Mapping[str, Any]
    shapes: Mapping[str, Shape]

    @property
    def head_shapes(self) -> dict[str, Shape]:
        """Tensors of the depth head, without their prefix."""
        return {
            name.removeprefix(HEAD_PREFIX): shape
            for name, shape in self.shapes.items()
            if name.startswith(HEAD_PREFIX)
        }


def find_checkpoint(path_or_repo: str | Path, revision: str | None = None) -> Path:
    """The folder of a checkpoint: itself, or a hub repository's files at a pinned revision.

    Raises:
        UsageError: a repository without a revision, or a revision of a folder.
        DataMissingError: there is neither such a folder nor, within reach, such a repository.
    """
    folder = Path(path_or_repo).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise UsageError("a folder has no revisions", where=folder, next_step="leave the revision out")
        return folder
    name = str(path_or_repo)
    if folder.exists() or not HUB_NAME.fullmatch(name) or name.startswith("."):
        raise DataMissingError(
            "no such checkpoint folder", where=name, next_step="name a folder, or a hub repository OWNER/NAME"
        )
    if revision is None:
        raise UsageError(
            "a hub repository without a revision",
            where=name,
            why="what a branch holds can change, and results with it",
            next_step="give the commit as revision, or name a folder on this machine",
        )
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(FETCHED)))
    except (OSError, HFValidationError) as error:
        raise DataMissingError(
            "the hub repository cannot be fetched",
            where=f"{name}@{revision}",
            why=str(error).strip().partition("\n")[0],
            next_step="check the name, the revision and the network, or name a folder on this machine",
        ) from error


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read names and shapes of a folder's tensors; no weight, and never a pickle.

    Raises:
        DataMissingError: no config.json, no safetensors, or a shard that the index names and is not there.
        CheckError: pickled weights only, an unreadable file, or an index that contradicts its shards.
    """
    if not (folder / CONFIG).is_file():
        adapter = (folder / ADAPTER).is_file()
        raise DataMissingError(
            "the folder holds an adapter, no model" if adapter else "the folder holds no model",
            where=folder,
            why=f"there is no {CONFIG}",
            next_step="merge the adapter into its base model first"
            if adapter
            else "name a checkpoint's folder",
        )
    return Checkpoint(folder, _read_json(folder / CONFIG), _read_shapes(folder))


def some(names: Iterable[str]) -> str:
    """The first few of a list of names, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - NAMES_SHOWN} more" if len(listed) > NAMES_SHOWN else ""
    return ", ".join(listed[:NAMES_SHOWN]) + more


def _read_shapes(folder: Path) -> dict[str, Shape]:
    if (folder / WEIGHTS).is_file():
        return _tensor_shapes(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        return _sharded_shapes(folder)
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if pickled:
        raise CheckError(
            "weights are pickled",
            where=folder / pickled[0],
            why="a pickle can run any code; only safetensors are read",
            next_step=f"save the model again as {WEIGHTS}",
        )
    raise DataMissingError("the folder holds no weights", where=folder, why=f"neither {WEIGHTS} nor {INDEX}")


def _sharded_shapes(folder: Path) -> dict[str, Shape]:
    listed = _read_json(folder / INDEX).get("weight_map")
    if not isinstance(listed, dict) or not all(Path(str(name)).name == name for name in listed.values()):
        raise CheckError("the index of the weights lists no files", where=folder / INDEX)
    absent = {name for name in listed.values() if not (folder / name).is_file()}
    if absent:
        raise DataMissingError(
            f"shards are missing: {some(absent)}", where=folder, next_step="fetch them again"
        )
    found: dict[str, Shape] = {}
    for shard in sorted(set(listed.values())):
        shapes = _tensor_shapes(folder / shard)
        wrong = {name for name, file in listed.items() if file == shard} ^ shapes.keys()
        if wrong:
            raise CheckError(f"index and shard differ in {some(wrong)}", where=folder / shard)
        found |= shapes
    return found


def _tensor_shapes(path: Path) -> dict[str, Shape]:
    try:
        with safe_open(path, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise CheckError(
            "weights are damaged", where=path, why=str(error), next_step="fetch the file again"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckError("not readable as JSON", where=path, why=str(error)) from error
    if not isinstance(content, dict):
        raise CheckError("not a JSON object", where=path)
    return content
