"""Probe sets: fixed questions that are asked of a model as it trains, from `manifests/probes/` or a file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from depthvlm_bench.config import load_toml
from depthvlm_bench.depthvlm.training.drawing import Drawing
from depthvlm_bench.errors import UsageError, unknown_name
from depthvlm_bench.hashing import sha256_json


@dataclass(frozen=True)
class Question:
    """One question of a family, with or without a picture before it."""

    id: str
    family: str
    text: str
    picture: Drawing | None = None


@dataclass(frozen=True)
class ProbeSet:
    """A probe: its name, where it comes from, and its questions."""

    name: str
    source: str
    question: tuple[Question, ...]

    def __post_init__(self) -> None:
        """Refuse a probe that says nothing, or the same twice."""
        twice = [key for key, times in Counter(asked.id for asked in self.question).items() if times > 1]
        if not self.question or twice:
            why = f"twice: {', '.join(twice)}" if twice else "it has no question"
            raise UsageError(f"probe {self.name!r} cannot be asked", why=why)

    @property
    def hash(self) -> str:
        """SHA-256 of all that is asked."""
        return sha256_json(self.question)


def probe_names() -> list[str]:
    """Names of the probes that ship with the package."""
    folder = files("depthvlm_bench.manifests") / "probes"
    return sorted(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))


def load_probe(name: str) -> ProbeSet:
    """A probe by name or by the path of a .toml file.

    Raises:
        UsageError: no such probe, an unknown key in it, or nothing to ask.
    """
    path = Path(name)
    if name in probe_names():
        return load_toml(ProbeSet, files("depthvlm_bench.manifests") / "probes" / f"{name}.toml")
    if path.suffix == ".toml" and path.is_file():
        return load_toml(ProbeSet, path)
    raise unknown_name("probe", name, probe_names(), next_step="or give the path of a .toml file")


@dataclass(frozen=True)
class Reply:
    """A greedy reply.

    Attributes:
        tokens: with the end of turn, where it came in time.
        text: what a user would read.
        log_likelihood: of these tokens under the model that gave them, mean a token, nats.
    """

    tokens: tuple[int, ...]
    text: str
    log_likelihood: float


@dataclass(frozen=True)
class ProbeReport:
    """How a model's replies stand to those of the base model.

    Attributes:
        constant_share: share of replies that are the depth answer.
        modal_share: share of the most frequent reply, whichever it is.
        modal_reply: that reply.
        unchanged_share: share of replies equal to the base model's.
        token_agreement: share of the base replies' tokens that the model, led through them, would also have
            said, mean over questions.
        likelihood_drift: log-likelihood of the base replies, now minus then, nats a token; mean over
            questions.
        unchanged_by_family: `unchanged_share` of each family.
    """

    constant_share: float
    modal_share: float
    modal_reply: str
    unchanged_share: float
    token_agreement: float
    likelihood_drift: float
    unchanged_by_family: dict[str, float]


def report_on(
    probe: ProbeSet,
    base: Sequence[Reply],
    now: Sequence[Reply],
    led: Sequence[tuple[float, float]],
    constant: str,
) -> ProbeReport:
    """Compare replies with those of the base model.

    Args:
        probe: what was asked.
        base: replies before training.
        now: replies of the model at hand.
        led: for each question, agreement and mean log-likelihood of the model led through the base reply.
        constant: the depth answer.
    """
    texts = [_plain(reply.text) for reply in now]
    same = [reply.text == before.text for reply, before in zip(now, base, strict=True)]
    modal, times = Counter(texts).most_common(1)[0]
    families: dict[str, list[bool]] = {}
    for asked, kept in zip(probe.question, same, strict=True):
        families.setdefault(asked.family, []).append(kept)
    drift = [after - before.log_likelihood for (_, after), before in zip(led, base, strict=True)]
    return ProbeReport(
        constant_share=texts.count(_plain(constant)) / len(texts),
        modal_share=times / len(texts),
        modal_reply=modal,
        unchanged_share=_mean(same),
        token_agreement=_mean([agreement for agreement, _ in led]),
        likelihood_drift=_mean(drift),
        unchanged_by_family={family: _mean(kept) for family, kept in families.items()},
    )


def breach(
    report: ProbeReport, base: Sequence[Reply], max_constant_share: float, min_unchanged_share: float
) -> str:
    """What the gate has to say; empty where nothing.

    A base model that gave one reply to many questions is not blamed for going on so.
    """
    before = max(Counter(_plain(reply.text) for reply in base).values()) / len(base)
    worst = max(report.constant_share, report.modal_share)
    if worst > max_constant_share and worst > before:
        return f"{worst:.0%} of the probe's replies are one and the same: {report.modal_reply!r}"
    if report.unchanged_share < min_unchanged_share:
        return f"only {report.unchanged_share:.0%} of the probe's replies are still those of the base model"
    return ""


def _plain(text: str) -> str:
    return " ".join(text.split())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
