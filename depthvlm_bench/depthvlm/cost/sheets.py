"""The sizes that costs are computed from: `manifests/cost/*.toml`, or the config of a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal

from depthvlm_bench.config import load_toml
from depthvlm_bench.errors import unknown_name

Way = Literal["one-pass", "pixel-query", "token-grid"]
Dtype = Literal["float32", "bfloat16"]
Size = tuple[int, int]
DTYPE_BYTES: Mapping[Dtype, int] = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention: ranks of the two factored projections, sizes of one head's parts."""

    q_rank: int
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int


@dataclass(frozen=True)
class Decoder:
    """A language model of gated MLPs and grouped-query or latent attention.

    Attributes:
        hidden, mlp: widths.
        head_dim: of one query and key head.
        tied: whether the output projection is the embedding.
        qk_norm: whether queries and keys have a norm of their own.
    """

    hidden: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    qk_norm: bool = False
    latent: Latent | None = None

    @property
    def value_dim(self) -> int:
        """Size of one value head."""
        return self.latent.value_dim if self.latent else self.head_dim


@dataclass(frozen=True)
class Tower:
    """A vision transformer and its connector to the language model.

    Attributes:
        frames: how often a picture is repeated in time before it is cut into patches.
        merge: side of the square of patches that become one token.
        gated: whether the MLP has a gate beside its two projections.
        bias: whether the linear layers of a block have one.
        norm: kind of norm in the blocks.
        position_rows: rows of a learned position table.
        norm_before, norm_after: whether one more norm stands before or after the blocks.
        window_px: side of an attention window; 0: every layer attends to the whole picture.
        full_layers: layers that attend to the whole picture in spite of the windows.
        connector_norm: the connector's norm, over one patch's features; None: it has none.
        connector_inner: width between the connector's two linear layers: that of its input, or the decoder's.
        taps: further connectors, whose norm is over one token's features (DeepStack).
    """

    width: int
    mlp: int
    layers: int
    heads: int
    patch_px: int
    frames: int = 1
    merge: int = 1
    gated: bool = False
    bias: bool = True
    patch_bias: bool = True
    norm: Literal["layer", "rms"] = "layer"
    position_rows: int = 0
    norm_before: bool = False
    norm_after: bool = False
    window_px: int = 0
    full_layers: int = 0
    connector_norm: Literal["layer", "rms"] | None = None
    connector_inner: Literal["in", "out"] = "in"
    taps: int = 0


@dataclass(frozen=True)
class PictureRule:
    """How a picture is resized before it is cut into patches.

    Attributes:
        rule: nearest: each side to the nearest multiple, within limits of area; fit: shrunk into a square,
            then each side up to the next multiple.
        smallest_px, largest_px: limits of area.
        row_tokens: tokens that end a row of picture tokens.
    """

    rule: Literal["nearest", "fit"]
    multiple_px: int
    smallest_px: int = 0
    largest_px: int = 0
    longest_edge_px: int = 0
    row_tokens: int = 0


@dataclass(frozen=True)
class Architecture:
    """One `manifests/cost/ARCHITECTURE.toml`; from_memory: which of its figures were read nowhere."""

    decoder: Decoder
    tower: Tower
    picture: PictureRule
    source: str
    from_memory: tuple[str, ...] = ()


@dataclass(frozen=True)
class Head:
    """A depth head's widths; inputs: taps that the MLP head concatenates."""

    kind: Literal["dpt", "mlp"] = "dpt"
    features: int = 256
    out_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    mlp_hidden: int = 1024
    inputs: int = 1


@dataclass(frozen=True)
class ModelSheet:
    """One table of `manifests/cost/models.toml`: how a model makes a full depth map.

    Attributes:
        architecture: name of the file with its sizes.
        way: a head over the whole picture, a question a pixel, or a value a cell of tokens.
        focal_px: focal length that pictures are brought to before the model sees them.
        tokens_before, tokens_after: prompt tokens before and after the picture's.
        answer_tokens: tokens of one reply, its end included.
        head: kind of depth head, where it has one.
        cell_px: side of a cell of the token grid, px of the picture it is shown.
        profile_multiple_px: the first of two resizes of the `reference_v1` profile; 0: it has no profiles.
        queries_together: questions decoded in one batch.
        source: where this is stated.
        estimated: the figures that were judged, not counted.
    """

    architecture: str
    way: Way
    focal_px: float
    tokens_before: int
    tokens_after: int
    answer_tokens: int
    source: str
    head: Literal["dpt", "mlp"] | None = None
    cell_px: int = 16
    profile_multiple_px: int = 0
    queries_together: int = 1
    estimated: tuple[str, ...] = ()


@dataclass(frozen=True)
class CostModel:
    """A model sheet with the sizes that it names."""

    name: str
    sheet: ModelSheet
    sizes: Architecture
    head: Head | None = None

    def answering(self, tokens: int | None) -> "CostModel":
        """The same with replies of another length; None: as it is."""
        return self if tokens is None else replace(self, sheet=replace(self.sheet, answer_tokens=tokens))


@dataclass(frozen=True)
class Device:
    """What a device is taken to sustain: for estimates, an assumption wherever the note says nothing else."""

    title: str
    dtype: Dtype
    sustained_tflop_s: float
    bandwidth_gb_s: float
    memory_gb: float
    note: str

    @property
    def told(self) -> str:
        """What is declared, in a few words."""
        return f"{self.title}, {self.sustained_tflop_s:g} TFLOP/s in {self.dtype} ({self.note})"


@dataclass(frozen=True)
class _Models:
    models: dict[str, ModelSheet]


@dataclass(frozen=True)
class _Devices:
    devices: dict[str, Device]


def model_names() -> list[str]:
    """Models with a cost sheet, in the order of the file."""
    return list(_sheets())


def load_cost_model(name: str) -> CostModel:
    """A model's sheet and sizes; UsageError with a hint for an unknown name."""
    sheets = _sheets()
    if name not in sheets:
        raise unknown_name("model with a cost sheet", name, sheets, next_step="dvbench efficiency lists them")
    sheet = sheets[name]
    head = Head(sheet.head) if sheet.head else None
    return CostModel(name, sheet, load_architecture(sheet.architecture), head)


@cache
def load_architecture(name: str) -> Architecture:
    """The sizes of one `manifests/cost/ARCHITECTURE.toml`."""
    return load_toml(Architecture, _folder() / f"{name}.toml")


@cache
def devices() -> dict[str, Device]:
    """Declared devices by name."""
    return load_toml(_Devices, _folder() / "devices.toml").devices


def load_device(name: str) -> Device:
    """One declared device; UsageError with a hint for an unknown name."""
    if name not in devices():
        raise unknown_name("declared device", name, devices())
    return devices()[name]


@cache
def _sheets() -> dict[str, ModelSheet]:
    return load_toml(_Models, _folder() / "models.toml").models


def _folder() -> Traversable:
    return files("depthvlm_bench.manifests") / "cost"
