"""Depth Anything v2 metric (arXiv 2406.09414): indoor and outdoor weights in three sizes, and pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from depthvlm_bench.baselines._checkpoints import (
    Found,
    LoadOptions,
    Weights,
    find_weights,
    identity,
    read_config,
)
from depthvlm_bench.baselines._domain import DOMAINS, Domain, domain_of
from depthvlm_bench.baselines._exposure import trained_on
from depthvlm_bench.baselines._transformers import as_map, ask, load_model, load_processor, machine, resized
from depthvlm_bench.predict.contracts import DenseMap, Identity, Model, ModelCard, View

PROCESSOR = "DPTImageProcessor"
SIZES = {"s": "Small", "b": "Base", "l": "Large"}
REVISIONS = {
    ("indoor", "s"): "8078d68a9c75a972131914f6afd0c1723be0da7f",
    ("indoor", "b"): "c6d9784685727bfc6d0a7b5452ce94afaee1e7f5",
    ("indoor", "l"): "d2fc6a93601aabb1139a3bf0ebfcb4e89c67817f",
    ("outdoor", "s"): "fd2c22027eaf20374204f14099b8341e1925ad39",
    ("outdoor", "b"): "5b575fded0346068343a6d96d0ce3ab6dbc9fb49",
    ("outdoor", "l"): "4eab4cf1983c2801c515804005214de56a4b67cc",
}
# The least depth that the authors train on and score; bicubic resizing can fall below.
NEAREST_M = 0.001
TUNED_ON = {"indoor": "Hypersim, at most 20 m", "outdoor": "Virtual KITTI 2, at most 80 m"}
SOURCE = (
    "arXiv 2406.09414 table 7 (five synthetic sets, 62 million pictures without measured depth), then "
    "Hypersim or Virtual KITTI 2; what its DINOv2 encoder saw without depth is in arXiv 2304.07193"
)
NON_COMMERCIAL = "see the repository; CC-BY-NC-4.0 for the release it is tuned from"
LICENCES = {"s": "Apache-2.0", "b": NON_COMMERCIAL, "l": NON_COMMERCIAL}

Published = Mapping[str, str]


@dataclass(frozen=True)
class PairOptions:
    """How a pair is loaded.

    Attributes:
        indoor, outdoor: a folder, or a hub repository ORG/NAME of each; null: the published ones.
        dtype: of the weights; maps are finished in float32 whatever it is.
        device: a torch device; auto: the GPU where there is one.
    """

    indoor: str | None = None
    outdoor: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "auto"

    def of(self, domain: Domain) -> LoadOptions:
        """Options of one of the two."""
        checkpoint = self.indoor if domain == "indoor" else self.outdoor
        return LoadOptions(checkpoint, None, self.dtype, self.device)


def weights_of(published: Published) -> Weights:
    """The family's weights, with these published ones."""
    return Weights("Depth Anything metric", "depth_anything", "DepthAnythingForDepthEstimation", published)


class DepthAnythingPredictor:
    """One checkpoint for every picture; pictures that the model sees at one size are asked about together."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def load(self, options: LoadOptions) -> None:
        """Load the checkpoint with its own image processor."""
        found = find_weights(self.weights, options)
        self.processor = load_processor(found, PROCESSOR)
        self.model = load_model(self.weights, found, options)

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        """One map a view at the view's size, from NEAREST_M to the checkpoint's greatest depth."""
        import torch

        prepared = [
            self.processor(images=view.picture, return_tensors="pt")["pixel_values"] for view in views
        ]
        maps: dict[int, DenseMap] = {}
        for shape in dict.fromkeys(pixels.shape for pixels in prepared):
            alike = [index for index, pixels in enumerate(prepared) if pixels.shape == shape]
            said = ask(self.model, torch.cat([prepared[index] for index in alike]))
            for index, depth_m in zip(alike, said.predicted_depth, strict=True):
                maps[index] = self._finished(depth_m, views[index])
        return [maps[index] for index in range(len(views))]

    def _finished(self, depth_m: Any, view: View) -> DenseMap:  # noqa: ANN401 - a tensor
        width, height = view.picture.size
        # The head cannot leave its range; bicubic resizing can, at edges.
        grown = resized(depth_m, (height, width), "bicubic")
        return as_map(grown.clamp(NEAREST_M, float(self.model.config.max_depth)))


class DomainPairPredictor:
    """Indoor weights for rooms and outdoor weights for streets, as each picture's dataset says.

    Args:
        published: of each domain.
    """

    def __init__(self, published: Mapping[Domain, Published]) -> None:
        self.predictors = {domain: DepthAnythingPredictor(weights_of(of)) for domain, of in published.items()}

    def load(self, options: PairOptions) -> None:
        """Load both checkpoints."""
        for domain, predictor in self.predictors.items():
            predictor.load(options.of(domain))

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        """One map a view, by the weights of its domain; its text names them."""
        domains = [domain_of(view.id) for view in views]
        maps: dict[int, DenseMap] = {}
        for domain in dict.fromkeys(domains):
            alike = [index for index, of in enumerate(domains) if of == domain]
            answers = self.predictors[domain].predict([views[index] for index in alike])
            for index, answer in zip(alike, answers, strict=True):
                maps[index] = DenseMap(answer.depth_m, text=f"domain {domain}")
        return [maps[index] for index in range(len(views))]


def identify(weights: Weights, domain: Domain | None, options: LoadOptions) -> Identity:
    """The checkpoint, and that it is the one for every set, indoors and outdoors."""
    found = find_weights(weights, options)
    policy = {"domain_policy": "one", "domain": domain}
    return identity(found, options, machine(options.device), **policy, **_known(found))


def identify_pair(published: Mapping[Domain, Published], options: PairOptions) -> Identity:
    """Both checkpoints, and that a picture's dataset decides between them."""
    label: dict[str, Any] = {}
    loaded: dict[str, Any] = {"domain_policy": "dataset"}
    both = {domain: find_weights(weights_of(published[domain]), options.of(domain)) for domain in DOMAINS}
    runs_on = machine(options.device)
    for domain, found in both.items():
        one = identity(found, options.of(domain), runs_on, **_known(found))
        label |= {domain if name == "checkpoint" else name: said for name, said in one.options.items()}
        loaded[domain] = one.loaded
    return Identity(label, loaded, runs_on)


def _known(found: Found) -> dict[str, Any]:
    return {"max_depth_m": float(found.config.get("max_depth") or 1.0), "pictures": f"{PROCESSOR}Pil"}


def recognises(folder: Path) -> bool:
    """Whether a folder is of this kind; a relative one is, and is refused by name when it is read."""
    return read_config(folder).get("model_type") == "depth_anything"


def published_of(domain: Domain, size: str) -> dict[str, str]:
    """Repository -> revision of the weights of a domain and size."""
    name = f"depth-anything/Depth-Anything-V2-Metric-{domain.capitalize()}-{SIZES[size]}-hf"
    return {name: REVISIONS[domain, size]}


def _one(domain: Domain, size: str) -> Model:
    weights = weights_of(published_of(domain, size))
    return Model(
        _card(
            f"depth-anything-v2-metric-{domain}-{size}",
            f"{domain} weights for every set, indoors and outdoors ({TUNED_ON[domain]})",
            LICENCES[size],
            weights.published,
        ),
        partial(DepthAnythingPredictor, weights),
        LoadOptions,
        identify=partial(identify, weights, domain),
    )


def _pair(size: str) -> Model:
    both = {domain: published_of(domain, size) for domain in DOMAINS}
    return Model(
        _card(
            f"depth-anything-v2-metric-{size}",
            "indoor or outdoor weights as the dataset says, which other models are not told",
            LICENCES[size],
            {repo: revision for of in both.values() for repo, revision in of.items()},
        ),
        partial(DomainPairPredictor, both),
        PairOptions,
        identify=partial(identify_pair, both),
    )


def _own() -> Model:
    weights = weights_of({})
    return Model(
        _card("depth-anything-v2-metric", "a metric checkpoint of one's own (--model DIR)", "its own", {}),
        partial(DepthAnythingPredictor, weights),
        LoadOptions,
        identify=partial(identify, weights, None),
        recognises=recognises,
    )


def _card(name: str, summary: str, licence: str, repos: Published) -> ModelCard:
    return ModelCard(
        id=name,
        family="depth-anything-v2",
        kind="dense",
        summary=summary,
        licence=licence,
        camera="unsupported",
        extra="models",
        repos=repos,
        max_batch=8,
        trained_on=trained_on() if repos else {},
        trained_on_source=SOURCE if repos else "",
    )


INDOOR_S, INDOOR_B, INDOOR_L = (_one("indoor", size) for size in SIZES)
OUTDOOR_S, OUTDOOR_B, OUTDOOR_L = (_one("outdoor", size) for size in SIZES)
PAIR_S, PAIR_B, PAIR_L = (_pair(size) for size in SIZES)
OWN = _own()
