"""Dense maps kept beside a run's scores, as the model gave them, in the form `dvbench score` reads."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.predict.store import RunSpec
from depthvlm_bench.records.files import reading, whole_file

MAPS_FOLDER = "maps"
DECLARATION = """# What `dvbench score --predictions` has to know of maps kept by `dvbench eval --keep-maps`.
model = {model}
covers = {covers}
camera = {camera}
"""


def map_path(run: Path, record: str) -> Path:
    """Where a record's map lies below a run's folder; it need not exist."""
    return run / MAPS_FOLDER / f"{record.replace('/', '__')}.npz"


def keep_map(run: Path, record: str, dense: DenseMap) -> None:
    """Store one map, whole or not at all: `depth_m` (h, w) float32 before any resize, `resize`, and `crop`.

    `crop` (left, top, width, height) in the view's pixels is there only if the map has one.
    """
    arrays: dict[str, Any] = {"depth_m": np.asarray(dense.depth_m, np.float32), "resize": dense.resize}
    arrays |= {} if dense.crop is None else {"crop": np.array(dense.crop, np.int64)}
    with whole_file(map_path(run, record)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def declare_maps(run: Path, spec: RunSpec) -> None:
    """Write predictions.toml beside the maps, so that they are read as the picture they were made on.

    Maps of a picture at a preferred focal length are declared as such, which `dvbench score` refuses.
    """
    covers = json.dumps(spec.input)
    text = DECLARATION.format(model=json.dumps(spec.model), covers=covers, camera=json.dumps(spec.track))
    with whole_file(run / MAPS_FOLDER / "predictions.toml") as temporary:
        temporary.write_text(text, encoding="utf-8")


def kept_map(run: Path, record: str) -> DenseMap | None:
    """A record's kept map; None where there is none. CheckError where it is damaged."""
    path = map_path(run, record)
    if not path.is_file():
        return None
    with reading(path, "delete it; dvbench eval --keep-maps --out NEW makes it again"):
        with np.load(path, allow_pickle=False) as arrays:
            depth_m, resize = arrays["depth_m"], str(arrays["resize"])
            crop = arrays["crop"].tolist() if "crop" in arrays.files else None
        left, top, width, height = crop or (0, 0, 0, 0)
    placed = (left, top, width, height) if crop else None
    return DenseMap(depth_m, placed, "nearest" if resize == "nearest" else "bilinear")


def kept_of(run: Path, records: Iterable[str]) -> int:
    """How many of the records have a kept map."""
    return sum(map_path(run, record).is_file() for record in records)
