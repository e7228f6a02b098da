"""Predictions on disk: append-only parts of a run, readable while it runs, each whole or absent."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from depthvlm_bench.cards import Role
from depthvlm_bench.config import from_mapping
from depthvlm_bench.errors import CheckError, DataMissingError
from depthvlm_bench.hashing import sha256_json
from depthvlm_bench.records.files import reading, sweep_temporaries, write_json
from depthvlm_bench.records.reader import InputMode
from depthvlm_bench.records.writer import write_table
from depthvlm_bench.scoring.aligned import ALIGNED_METRICS
from depthvlm_bench.scoring.statistics import STATISTICS_FIELDS
from depthvlm_bench.scoring.structure import STRUCTURE_METRICS

PREDICTION_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("list", pa.string()),
        ("point_index", pa.int32()),
        ("nearest_m", pa.float64()),
        ("bilinear_m", pa.float64()),
        ("compat_index_m", pa.float64()),
        ("in_map", pa.bool_()),
        ("outcome", pa.string()),
        ("raw_text", pa.string()),
        ("usage", pa.string()),
        # Of the view: as the model estimates it, and as it is; null where it estimates none.
        ("fov_deg", pa.float64()),
        ("true_fov_deg", pa.float64()),
    ]
)
ARROW_TYPES = {"int64": pa.int64(), "float64": pa.float64(), "list<int64>": pa.list_(pa.int64())}
# Per-image sums over the whole depth: our statistics, aligned figures, structure (null where it was not asked
# for, NaN where there is none), and the paper's counts on listed sets.
DENSE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        *((name, ARROW_TYPES[kind]) for name, kind in STATISTICS_FIELDS.items()),
        *((name, pa.float64()) for name in (*ALIGNED_METRICS, *STRUCTURE_METRICS)),
        *((name, pa.int64()) for name in ("compat_asked", "compat_answered", "compat_within_1_25")),
    ]
)


@dataclass(frozen=True)
class RunSpec:
    """All that identifies a run: a change of any of it is another run.

    Attributes:
        options: the model's options, without paths.
        fit: training set -> manifest hash, for fitted models.
        track: whether the model was given the camera.
        loaded: which weights, and in what precision (`Identity.loaded`); empty for models without.
    """

    model: str
    model_version: int
    kind: str
    options: dict[str, Any]
    fit: dict[str, str]
    set_name: str
    role: Role
    manifest_hash: str
    input: InputMode
    track: str
    loaded: dict[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """The run's identity; runs of models without weights keep the one they had before there were any."""
        return sha256_json({k: v for k, v in asdict(self).items() if k != "loaded" or v})

    @property
    def label(self) -> str:
        """The model as people name it: with its options, and what it was fitted on."""
        return model_label(self.model, self.options, self.fit)


def model_label(model: str, options: Mapping[str, Any], fit: Mapping[str, str]) -> str:
    """`row-prior (fit: nuscenes)`, `constant (depth_m=3.0)`."""
    said = [f"{name}={value}" for name, value in sorted(options.items())]
    said += [f"fit: {', '.join(sorted(fit))}"] if fit else []
    return f"{model} ({'; '.join(said)})" if said else model


class RunStore:
    """The folder of one run: `runs/<set>/<model>--<hash>/`.

    Parts are numbered; the dense part of a number is written before its prediction part, whose presence
    says that both are whole.
    """

    def __init__(self, runs: Path, spec: RunSpec) -> None:
        self.spec = spec
        self.folder = runs / spec.set_name / f"{spec.model}--{spec.hash[:12]}"

    def open(self, provenance: dict[str, Any]) -> None:
        """Make the folder on the first call; later calls find the same run and clean up after a kill."""
        if not (self.folder / "run.json").is_file():
            write_json(
                self.folder / "run.json", {"schema": 1, "spec": asdict(self.spec), "provenance": provenance}
            )
        sweep_temporaries(self.folder)

    @property
    def provenance(self) -> dict[str, Any]:
        """What the run recorded of its making."""
        path = self.folder / "run.json"
        with reading(path, "delete the run's folder and predict again"):
            described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return dict(described["provenance"])

    def parts(self) -> list[Path]:
        """Finished prediction parts in order."""
        return sorted(self.folder.glob("predictions-*.parquet"))

    def done(self) -> dict[str, set[str]]:
        """Records whose predictions are there, by point list."""
        by_list: dict[str, set[str]] = {}
        for part in self.parts():
            with reading(part, "delete it and run again"):
                table = pq.read_table(part, columns=["id", "list"])
            for record, name in zip(table["id"].to_pylist(), table["list"].to_pylist(), strict=True):
                by_list.setdefault(name, set()).add(record)
        return by_list

    def append(self, predictions: Sequence[dict[str, Any]], dense: Sequence[dict[str, Any]]) -> None:
        """Add a part."""
        parts = self.parts()
        number = int(parts[-1].stem.split("-")[-1]) + 1 if parts else 0
        if self.spec.kind == "dense":
            path = self.folder / f"dense-{number:05d}.parquet"
            write_table(path, pa.Table.from_pylist(list(dense), DENSE_SCHEMA))
        path = self.folder / f"predictions-{number:05d}.parquet"
        write_table(path, pa.Table.from_pylist(list(predictions), PREDICTION_SCHEMA))

    def predictions(self) -> pa.Table:
        """All prediction rows."""
        return self._read("predictions", PREDICTION_SCHEMA, ("id", "list", "point_index"))

    def dense(self) -> pa.Table:
        """All per-image dense counts whose part is finished."""
        return self._read("dense", DENSE_SCHEMA, ("id",))

    def _read(self, name: str, schema: pa.Schema, key: Sequence[str]) -> pa.Table:
        numbers = [part.stem.split("-")[-1] for part in self.parts()]
        paths = [self.folder / f"{name}-{number}.parquet" for number in numbers]
        if name == "dense" and self.spec.kind != "dense":
            paths = []
        tables = []
        for path in paths:
            with reading(path, "delete both parts of that number and run dvbench eval again"):
                tables.append(pq.read_table(path, schema=schema))
        table = pa.concat_tables(tables) if tables else schema.empty_table()
        if table.group_by(list(key)).aggregate([]).num_rows != len(table):
            raise CheckError(
                "a run holds the same prediction twice",
                where=self.folder,
                why="two processes wrote into one run",
                next_step="delete the run's folder and predict again",
            )
        return table


def read_run(folder: Path) -> RunStore:
    """The run of a folder; DataMissingError where there is none."""
    path = folder / "run.json"
    if not path.is_file():
        raise DataMissingError("no run here", where=folder, next_step="dvbench eval makes runs")
    with reading(path, "delete the run's folder and predict again"):
        spec = from_mapping(RunSpec, json.loads(path.read_text(encoding="utf-8"))["spec"], path)
    return RunStore(folder.parent.parent, spec)


def find_runs(runs: Path) -> list[RunStore]:
    """All runs below a folder, by set and model."""
    return [read_run(path.parent) for path in sorted(runs.glob("*/*/run.json"))]
