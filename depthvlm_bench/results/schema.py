"""The result file: one JSON a (model, set, manifest, protocol, mode, input, track), schema-versioned."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from depthvlm_bench.config import from_mapping
from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.hashing import sha256_json
from depthvlm_bench.predict.store import model_label
from depthvlm_bench.records.files import write_json
from depthvlm_bench.records.schema import TAGS
from depthvlm_bench.records.writer import write_table

RESULT_VERSION = 1
Mode = Literal["sparse", "dense"]

PER_IMAGE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("scene", pa.string()),
        ("camera", pa.string()),
        ("tags", TAGS),
        ("asked", pa.int64()),
        ("answered", pa.int64()),
        ("hits", pa.int64()),
        ("score", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Score:
    """A metric's value and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Counts:
    """How much was asked and answered.

    Attributes:
        images: images scored; images_missing: of the manifest's (and --where), without predictions.
        outcomes: answers by outcome; empty for dense scores.
    """

    images: int
    images_missing: int
    asked: int
    answered: int
    hits: int
    outcomes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One score with all that identifies it.

    Attributes:
        model, options, fit: what was run; `fit` maps training sets to their manifest hashes.
        kind: dense or point.
        images_of_the_full_set: how many images the whole benchmark set has; null: unknown.
        ranked: whether protocol, set kind, completeness and model allow a rank.
        complete: whether every image of the manifest (and --where) has its predictions.
        exposure: whether the model's training saw the dataset: yes, no or unknown.
        metrics: all others, means over images and pooled shares; null where nothing defines them.
        diagnostics: figures that are no score: delta1 by the other read-out.
        for_tests: whether the model only tests the harness; such results stand in no table.
        where: the record selection; null: all.
        run: hash of the run whose predictions were scored.
    """

    model: str
    kind: str
    options: dict[str, Any]
    fit: dict[str, str]
    set_name: str
    dataset: str
    set_kind: str
    source_split: str
    manifest_hash: str
    images_of_the_full_set: int | None
    protocol: str
    protocol_hash: str
    mode: Mode
    input: str
    track: str
    where: str | None
    ranked: bool
    complete: bool
    exposure: str
    for_tests: bool
    scores: dict[str, Score]
    metrics: dict[str, float | None]
    diagnostics: dict[str, float]
    counts: Counts
    run: str
    prompt_hash: str | None
    provenance: dict[str, Any]
    schema_version: int = RESULT_VERSION

    @property
    def subset(self) -> bool:
        """Whether the set holds fewer images than the full benchmark set."""
        full, images = self.images_of_the_full_set, self.counts.images + self.counts.images_missing
        return full is not None and self.where is None and images < full

    @property
    def predicted_at(self) -> str:
        """When its predictions were begun, ISO 8601; scoring them again changes nothing of it."""
        made_by = self.provenance.get("run", {})
        return str(made_by.get("created", self.provenance.get("created", "")))

    @property
    def identity(self) -> str:
        """Hash of what makes this result another one than its neighbours."""
        return sha256_json([self.run, self.protocol_hash, self.mode, self.where])

    @property
    def label(self) -> str:
        """The model as a table names it: with its options, and what it was fitted on."""
        return model_label(self.model, self.options, self.fit)


def result_path(results: Path, result: Result) -> Path:
    """`<results>/<set>/<model>--<mode>--<protocol>--<identity>.json`."""
    name = f"{result.model}--{result.mode}--{result.protocol}--{result.identity[:12]}.json"
    return results / result.set_name / name


def write_result(results: Path, result: Result, per_image: pa.Table) -> Path:
    """Write the per-image rows, then the JSON; returns the JSON's path."""
    path = result_path(results, result)
    write_table(path.with_suffix(".images.parquet"), per_image)
    write_json(path, asdict(result))
    return path


def read_result(path: Path) -> Result:
    """Read a result; CheckError where it is not one of this schema version."""
    try:
        mapping: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckError("not a result", where=path, why=str(error)) from error
    found = mapping.get("schema_version") if isinstance(mapping, dict) else None
    if found != RESULT_VERSION:
        raise CheckError(
            "result of another schema version",
            where=path,
            why=f"found {found}, this version reads {RESULT_VERSION}",
            next_step="dvbench score makes results anew; other files do not belong there",
        )
    try:
        return from_mapping(Result, mapping, path)
    except UsageError as error:
        raise CheckError(
            "damaged result", where=error.where, why=error.what, next_step="dvbench score makes it anew"
        ) from error


def read_results(folder: Path, on_fault: Callable[[CheckError], None]) -> Iterator[Result]:
    """All results below a folder, in the order of their paths; a file that is none is told and left out."""
    for path in sorted(folder.rglob("*.json")):
        try:
            yield read_result(path)
        except CheckError as error:
            on_fault(error)
