"""Protocols: frozen files that say how predictions become a score, hashed into every result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from depthvlm_bench.config import load_toml
from depthvlm_bench.errors import unknown_name
from depthvlm_bench.hashing import sha256_json

DEFAULT_PROTOCOL = "dvbench-1"


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: percentile bootstrap over `unit`; `scene` means scenes where they repeat."""

    unit: Literal["image", "scene"]
    resamples: int
    level: float
    seed: int


@dataclass(frozen=True)
class Protocol:
    """One `manifests/protocols/NAME.toml`.

    Attributes:
        readout: which of a prediction's values is scored.
        points: which point list of the record is asked.
        truth: which depth a point is compared with.
        dense: where dense truth lies: on the depth's own grid, or resized to the canonical picture; none: no
            maps are scored.
        ratio: threshold of delta1, strict.
        missing: what an absent or non-positive answer is: a miss, dropped from the denominator, or (unsigned)
            compared without a look at its sign.
        precision: arithmetic of the ratio.
        aggregation: means, from the inside out; first `image`, or `point` where all points weigh alike.
        set_kinds: kinds of sets it may score.
        ranked_kinds: kinds of sets whose scores are ranked.
        datasets: the datasets it is defined on; empty: any.
        set_options: options of the converter that its truth needs, as `-o` takes them.
    """

    name: str
    title: str
    description: str
    readout: Literal["nearest", "compat_index", "depthlm_text"]
    points: Literal["points", "listed"]
    truth: Literal["depth_m", "compat_gt_m"]
    dense: Literal["grid", "canonical", "none"]
    ratio: float
    missing: Literal["miss", "drop", "unsigned"]
    precision: Literal["float64", "float32"]
    aggregation: tuple[str, ...]
    set_kinds: tuple[str, ...]
    ranked_kinds: tuple[str, ...]
    bootstrap: Bootstrap
    datasets: tuple[str, ...] = ()
    set_options: dict[str, str] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 of all it says; what it leaves open has no part in it."""
        left_open: dict[str, Any] = {"datasets": (), "set_options": {}}
        return sha256_json({k: v for k, v in asdict(self).items() if v != left_open.get(k, ...)})

    def refuses(self, set_kind: str, dataset: str, options: Mapping[str, Any]) -> str:
        """Why a set cannot be scored under it; empty if it can.

        Args:
            set_kind: strict, compat, published or overlap.
            dataset: the set's dataset.
            options: of its converter.
        """
        if set_kind not in self.set_kinds:
            return f"it takes {', '.join(self.set_kinds)} sets, this one is {set_kind}"
        if self.datasets and dataset not in self.datasets:
            return f"it is defined on {', '.join(self.datasets)}"
        other = {k: v for k, v in self.set_options.items() if str(options.get(k)) != v}
        wanted = " ".join(f"-o {name}={value}" for name, value in other.items())
        return f"its truth needs a set converted with {wanted}" if other else ""


def protocol_names() -> list[str]:
    """Names of the protocols that ship with the package."""
    folder = files("depthvlm_bench.manifests") / "protocols"
    return sorted(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))


def protocol_differences(a: Protocol, b: Protocol) -> dict[str, tuple[Any, Any]]:
    """Keys in which two protocols differ, with both values; names and texts aside."""
    first, second = asdict(a), asdict(b)
    said = ("name", "title", "description")
    return {key: (first[key], second[key]) for key in first if key not in said and first[key] != second[key]}


@cache
def load_protocol(name: str) -> Protocol:
    """The protocol of a name; UsageError with a hint for an unknown one."""
    if name not in protocol_names():
        raise unknown_name(
            "protocol", name, protocol_names(), next_step="leave --protocol out for the default"
        )
    return load_toml(Protocol, files("depthvlm_bench.manifests") / "protocols" / f"{name}.toml")
