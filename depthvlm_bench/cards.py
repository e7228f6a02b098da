"""Dataset cards: what is known of a dataset before a single file of it is read."""

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from typing import Literal

from depthvlm_bench.config import load_toml
from depthvlm_bench.hashing import sha256_json

Role = Literal["train", "eval"]


@dataclass(frozen=True)
class Licence:
    """Under which terms a dataset comes, and what of it may be published.

    Attributes:
        id: SPDX id where one exists, else a short name.
        url: the licence or terms page.
        login: whether an account or signature is needed to download.
        pixels: whether pictures and depth may be put on a hub under these terms.
        annotations: whether ids, intrinsics, points and their depths may be.
    """

    id: str
    url: str
    login: bool
    pixels: bool
    annotations: bool


@dataclass(frozen=True)
class Tags:
    """What a whole dataset's pictures have in common; null where it varies or is unknown."""

    environment: str | None = None
    real: bool | None = None
    view: str | None = None
    light: str | None = None
    weather: str | None = None
    density: str | None = None


# What a card says about a dataset without deciding what is made of it.
DESCRIPTIVE = frozenset(
    (
        "title",
        "kind",
        "licence",
        "homepage",
        "citation",
        "size",
        "tree",
        "paper_constant_2m",
        "source_split_images",
        "benchmark",
    )
)


@dataclass(frozen=True)
class DatasetCard:
    """One `manifests/datasets/NAME.toml`.

    Attributes:
        splits: role -> source splits in order of preference; the first present one is taken.
        images, points_per_image: the size of the full evaluation set.
        points_total: points of the full set where it is not images x points_per_image; the images of lowest
            hash in the official list (manifests/splits/NAME.json) have one more.
        grouping: what the image budget is balanced over.
        valid_min_m, valid_max_m: inclusive range for points and scoring, never applied to what is stored.
        near_m: LiDAR points nearer than this are returns from the rig itself.
        depth_scale: stored integer units per metre.
        max_canonical_edge: longer canonical sides are centre-cropped to this; null: never.
        compat_dataset: the dataset whose frames the paper's list of this one is made of; null: its own.
        compat_valid_max_m: the range that the paper's scripts apply, where it is another.
        published_depth_scale: units a metre in the paper's published lists, where they are others.
        paper_constant_2m: delta1 of the constant 2.0 m in the paper's table, a fingerprint of the data.
        benchmark: whether scores on it are ranked and enter means: not those on a copy of another set, or on
            one's own pictures.
        size, tree: how large the download is and what it must look like on disk.
    """

    name: str
    title: str
    kind: Literal["indoor", "outdoor", "mixed"]
    splits: dict[Role, tuple[str, ...]]
    grouping: Literal["scene", "scene_camera", "sensor", "none"]
    valid_min_m: float
    valid_max_m: float
    depth: Literal["grid", "points"]
    depth_scale: float
    licence: Licence
    homepage: str
    citation: str
    size: str
    tree: str
    depth_kind: Literal["z"] = "z"
    cameras: tuple[str, ...] = ()
    images: int | None = None
    points_per_image: int | None = None
    points_total: int | None = None
    near_m: float = 0.05
    max_canonical_edge: int | None = None
    compat_dataset: str | None = None
    compat_valid_max_m: float | None = None
    published_depth_scale: float | None = None
    paper_constant_2m: float | None = None
    benchmark: bool = True
    source_split_images: dict[str, int] = field(default_factory=dict)
    tags: Tags = field(default_factory=Tags)

    @property
    def content_hash(self) -> str:
        """Hash of what decides a set's content; a mended citation or licence changes no set."""
        return sha256_json({name: value for name, value in asdict(self).items() if name not in DESCRIPTIVE})

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles the dataset has, in the order of the card."""
        return tuple(self.splits)


@cache
def official_names(dataset: str) -> dict[str, list[str]]:
    """Official lists of a dataset by split, from manifests/splits/NAME.json: scenes, or frames."""
    text = (files("depthvlm_bench.manifests") / "splits" / f"{dataset}.json").read_text(encoding="utf-8")
    lists: dict[str, list[str]] = json.loads(text)
    return lists


def is_benchmark(dataset: str) -> bool:
    """Whether scores on a dataset are ranked; those of third parties are, within their own columns."""
    path = files("depthvlm_bench.manifests") / "datasets" / f"{dataset}.toml"
    return builtin_card(dataset).benchmark if path.is_file() else True


@cache
def builtin_card(name: str) -> DatasetCard:
    """The card of a dataset that ships with the package."""
    return load_toml(DatasetCard, files("depthvlm_bench.manifests") / "datasets" / f"{name}.toml")
