"""Depth Anything v1 metric (arXiv 2401.10891): indoor and outdoor weights, and the pair of both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from depthvlm_bench.baselines._domain import DOMAINS, Domain, domain_of
from depthvlm_bench.baselines._exposure import trained_on
from depthvlm_bench.baselines._isolated import Isolated, IsolatedOptions, isolated_model
from depthvlm_bench.predict.contracts import DenseMap, Exposure, Identity, Model, ModelCard, View
from depthvlm_bench.predict.isolated.predictor import IsolatedPredictor
from depthvlm_bench.predict.isolated.weights import Published

SPACE, REVISION = "LiheYoung/Depth-Anything", "main"
TUNED_ON: Mapping[Domain, str] = {"indoor": "NYUv2, at most 10 m", "outdoor": "KITTI, at most 80 m"}
SEEN: Mapping[Domain, tuple[str, ...]] = {"indoor": ("nyuv2", "nyuv2-sun"), "outdoor": ()}
SOURCE = (
    "metric_depth/README.md of LiheYoung/Depth-Anything (tuned on {} from the relative model); what the "
    "relative model saw is in arXiv 2401.10891 table 1"
)


@dataclass(frozen=True)
class DepthAnythingV1Options(IsolatedOptions):
    """flip: average with the mirrored picture's answer, as the authors' evaluation does."""

    flip: bool = True


@dataclass(frozen=True)
class PairOptions(DepthAnythingV1Options):
    """indoor, outdoor: weight files of one's own; null: the published ones. `checkpoint` has no meaning."""

    indoor: str | None = None
    outdoor: str | None = None

    def of(self, domain: Domain) -> DepthAnythingV1Options:
        """Options of one of the two."""
        known = {field.name: getattr(self, field.name) for field in fields(DepthAnythingV1Options)}
        known["checkpoint"] = self.indoor if domain == "indoor" else self.outdoor
        return DepthAnythingV1Options(**known)


class DomainPairPredictor:
    """Indoor weights for rooms and outdoor weights for streets, as each picture's dataset says.

    A worker is started when its domain is first seen.

    Args:
        report: as of IsolatedPredictor.
    """

    def __init__(self, report: Callable[[str], None] | None = None) -> None:
        self.report = report
        self._loaded: dict[Domain, IsolatedPredictor] = {}

    def load(self, options: PairOptions) -> None:
        """Take the options."""
        self._options = options

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        """One map a view, by the weights of its domain."""
        return [self._of(domain_of(view.id)).predict([view])[0] for view in views]

    def _of(self, domain: Domain) -> IsolatedPredictor:
        if domain not in self._loaded:
            predictor = IsolatedPredictor(ISOLATED[domain].setup, self.report)
            predictor.load(self._options.of(domain))
            self._loaded[domain] = predictor
        return self._loaded[domain]


def identify_pair(options: PairOptions) -> Identity:
    """Both weights, and that a picture's dataset decides between them."""
    label: dict[str, Any] = {}
    loaded: dict[str, Any] = {"domain_policy": "dataset"}
    machine: dict[str, Any] = {}
    for domain in DOMAINS:
        one = ISOLATED[domain].identify(options.of(domain))
        label |= {domain if name == "checkpoint" else name: said for name, said in one.options.items()}
        loaded[domain], machine = one.loaded, one.machine
    return Identity(label, loaded, machine)


def _card(
    name: str, summary: str, published: Published, exposure: Mapping[str, Exposure], tuned_on: str
) -> ModelCard:
    return ModelCard(
        id=name,
        family="depth-anything-v1",
        kind="dense",
        summary=summary,
        licence="Apache-2.0",
        camera="unsupported",
        isolation="worker",
        repos=published.repos,
        max_batch=1,
        trained_on=exposure,
        trained_on_source=SOURCE.format(tuned_on),
    )


def _published(domain: Domain) -> Published:
    file = f"checkpoints_metric_depth/depth_anything_metric_depth_{domain}.pt"
    return Published(SPACE, REVISION, (file,), "space")


def _isolated(domain: Domain) -> Isolated:
    card = _card(
        f"depth-anything-v1-metric-{domain}",
        f"{domain} weights for every set, indoors and outdoors ({TUNED_ON[domain]})",
        _published(domain),
        trained_on(*SEEN[domain]),
        TUNED_ON[domain].partition(",")[0],
    )
    fixed = {"domain": domain, "domain_policy": "one"}
    return Isolated(card, _published(domain), "_depth_anything_v1_worker.py", fixed)


ISOLATED: Mapping[Domain, Isolated] = {domain: _isolated(domain) for domain in DOMAINS}
INDOOR, OUTDOOR = (isolated_model(ISOLATED[domain], DepthAnythingV1Options) for domain in DOMAINS)
PAIR = Model(
    _card(
        "depth-anything-v1-metric",
        "indoor or outdoor weights as the dataset says, which other models are not told",
        _published("indoor"),
        trained_on(*SEEN["indoor"]),
        "NYUv2 or KITTI",
    ),
    partial(DomainPairPredictor),
    PairOptions,
    identify=identify_pair,
)
