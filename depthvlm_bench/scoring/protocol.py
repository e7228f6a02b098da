"""Protocols: frozen files that say how predictions become a score, hashed into every result."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from depthvlm_bench.config import load_toml
from depthvlm_bench.errors import unknown_name
from depthvlm_bench.hashing import sha256_json

DEFAULT_PROTOCOL = "dvbench-1"


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: percentile bootstrap over `unit`."""

    unit: Literal["image"]
    resamples: int
    level: float
    seed: int


@dataclass(frozen=True)
class Protocol:
    """One `manifests/protocols/NAME.toml`.

    Attributes:
        readout: which of a prediction's values is scored.
        points: which point list of the record is asked.
        ratio: threshold of delta1, strict.
        missing: what an absent, non-finite or non-positive answer is.
        precision: arithmetic of the ratio.
        aggregation: means, from the inside out.
        set_kinds: kinds of sets it may score.
        ranked_kinds: kinds of sets whose scores are ranked.
    """

    name: str
    title: str
    description: str
    readout: Literal["nearest"]
    points: Literal["points"]
    ratio: float
    missing: Literal["miss"]
    precision: Literal["float64"]
    aggregation: tuple[str, ...]
    set_kinds: tuple[str, ...]
    ranked_kinds: tuple[str, ...]
    bootstrap: Bootstrap

    @property
    def hash(self) -> str:
        """SHA-256 of all it says."""
        return sha256_json(self)


def protocol_names() -> list[str]:
    """Names of the protocols that ship with the package."""
    folder = files("depthvlm_bench.manifests") / "protocols"
    return sorted(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))


@cache
def load_protocol(name: str) -> Protocol:
    """The protocol of a name; UsageError with a hint for an unknown one."""
    if name not in protocol_names():
        raise unknown_name(
            "protocol", name, protocol_names(), next_step="leave --protocol out for the default"
        )
    return load_toml(Protocol, files("depthvlm_bench.manifests") / "protocols" / f"{name}.toml")
