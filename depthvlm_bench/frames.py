"""What a converter hands over: frame references, frames with their depth, and the contracts of a source."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from depthvlm_bench.cards import DatasetCard, Role, Tags
from depthvlm_bench.conventions import FLAG_OCCLUSION_SUSPECT, UINT16_MAX, BoolArray, FloatArray
from depthvlm_bench.errors import FrameError, SkipReason
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import PixelAffine
from depthvlm_bench.geometry.lens import Lens, undo_lens
from depthvlm_bench.geometry.lidar import Projection, occlusion_suspects

UInt16Array = npt.NDArray[np.uint16]
UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

# Ray kinds are what the paper's scripts made of two datasets; only compat sets may hold them.
DepthKind = Literal["z", "ray", "ray_homogeneous"]

# What Pillow raises for a file that is no picture, or a broken or absurdly large one.
PICTURE_ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def picture_fault(error: Exception) -> str:
    """What a picture error says, the same in every run: Pillow names the buffer by its address."""
    return "no picture that can be read" if isinstance(error, UnidentifiedImageError) else str(error)


POINT_DEPTH_SCALE = 256.0
FINE_UV_STEP_PX, COARSE_UV_STEP_PX = 1 / 16, 1 / 8
FINE_UV_MAX_SIZE_PX = 4095
COARSE_UV_MAX_SIZE_PX = 8191


@dataclass(frozen=True)
class Split:
    """A split as asked for: our role, filled from one of the dataset's own splits."""

    role: Role
    source: str


@dataclass(frozen=True)
class FrameRef:
    """One frame of a raw tree, by name; made without opening a picture.

    Attributes:
        time: integer that orders the frames of a scene (time stamp or index, unit of the dataset).
        camera, scene: '' where the dataset has one camera, or scenes are unknown.
        group: what the image budget is balanced over.
        locator: small JSON with all that `Source.read` needs (relative POSIX paths, pose, K where cheap).
        tags: what is known of this frame beyond the card's tags.
    """

    dataset: str
    split: Split
    scene: str
    camera: str
    frame: str
    time: int
    group: str
    locator: Mapping[str, Any]
    tags: Tags = field(default_factory=Tags)

    @property
    def id(self) -> str:
        """The record's name, 'dataset/split/scene/camera/frame', with '-' for empty parts."""
        return "/".join([self.dataset, self.split.role, self.scene or "-", self.camera or "-", self.frame])

    @property
    def order_key(self) -> tuple[str, int, str, str]:
        """(scene, time, camera, frame): one sweep serves its cameras in a row."""
        return (self.scene, self.time, self.camera, self.frame)


@dataclass(frozen=True)
class Skip:
    """Something that was left out, under one of the closed list of reasons.

    Attributes:
        group: for a whole group that is not on disk (`missing_scene`): its name. It keeps its share of the
            image budget, so that a tree that lacks scenes gives a subset of the full set, not another set.
    """

    id: str
    reason: SkipReason
    detail: str
    group: str = ""


@dataclass(frozen=True)
class Picture:
    """A source picture: its file bytes, decoded on demand. EXIF rotation is never applied.

    Attributes:
        encoded: the file's bytes.
        path: where it came from, relative to the raw tree's root, POSIX.
    """

    encoded: bytes
    path: str

    @cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) from the header; FrameError `unreadable` if it is not a picture."""
        try:
            with Image.open(io.BytesIO(self.encoded)) as image:
                return image.size
        except PICTURE_ERRORS as error:
            raise FrameError("unreadable", f"{self.path}: {picture_fault(error)}") from error

    @cached_property
    def sha256(self) -> str:
        """Hash of the file bytes."""
        return hashlib.sha256(self.encoded).hexdigest()

    def decode(self) -> Image.Image:
        """RGB pixels without metadata; FrameError `unreadable` if truncated or broken."""
        try:
            with Image.open(io.BytesIO(self.encoded)) as image:
                rgb = image.convert("RGB")
        except PICTURE_ERRORS as error:
            raise FrameError("unreadable", f"{self.path}: {picture_fault(error)}") from error
        rgb.info.clear()
        return rgb


@dataclass(frozen=True, eq=False)
class DepthGrid:
    """Depth on its own raster.

    Attributes:
        values: (h, w) uint16, 0 = invalid, official masks and invalid codes already applied; float32 only in
            compat sets of float sources, whose truth must not be quantised.
        depth_scale: units a metre; depth in metres is values / depth_scale.
        source_from_depth: depth pixel -> source picture coordinates.
        source_png: PNG bytes that decode to exactly `values`, or None where there are none.
    """

    values: UInt16Array | Float32Array
    depth_scale: float
    source_from_depth: PixelAffine
    source_png: bytes | None = None

    def __post_init__(self) -> None:
        """Refuse anything but a uint16 or float32 raster (ValueError)."""
        if self.values.ndim != 2 or self.values.dtype not in (np.uint16, np.float32):
            raise ValueError(
                f"expected (h, w) uint16 or float32, got {self.values.shape} {self.values.dtype}"
            )

    @classmethod
    def from_metres(cls, depth_m: npt.ArrayLike, depth_scale: float, source_from_depth: PixelAffine) -> Self:
        """Quantise a depth map (h, w) in metres, round half up; non-finite, non-positive and too far -> 0."""
        metres = np.asarray(depth_m, dtype=np.float64)
        usable = np.isfinite(metres) & (metres > 0)
        raw = np.floor(np.where(usable, metres, 0.0) * depth_scale + 0.5)
        values = np.where(raw <= UINT16_MAX, raw, 0).astype(np.uint16)
        return cls(values, depth_scale, source_from_depth)

    @property
    def depth_m(self) -> FloatArray:
        """(h*w,) float64 depths, row-major, 0 where invalid."""
        return self.values.ravel().astype(np.float64) / self.depth_scale

    def source_pixels(self) -> tuple[FloatArray, FloatArray]:
        """(h*w,) source coordinates of the grid's pixel centres, row-major."""
        height, width = self.values.shape
        v, u = np.divmod(np.arange(height * width), width)
        return self.source_from_depth.apply(u, v)

    @property
    def flags(self) -> UInt8Array:
        """(h*w,) point flags; grids define none."""
        return np.zeros(self.values.size, dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class DepthPoints:
    """LiDAR depth as a point list in the source picture, at most one point a pixel, row-major.

    Attributes:
        u_raw, v_raw: (N,) uint16; u = u_raw * uv_step_px - 0.5 keeps the pixel of the measured coordinate.
        z_raw: (N,) uint16; depth in metres is z_raw / depth_scale.
        flags: (N,) uint8, bits as in conventions.
        uv_step_px: 1/16, or 1/8 for pictures above 4,095 px.
    """

    u_raw: UInt16Array
    v_raw: UInt16Array
    z_raw: UInt16Array
    flags: UInt8Array
    uv_step_px: float
    depth_scale: float = POINT_DEPTH_SCALE

    @classmethod
    def from_projection(cls, projection: Projection, camera: PinholeCamera) -> Self:
        """Quantise projected points and flag occlusion suspects; depth beyond uint16 is dropped."""
        longest = max(camera.width, camera.height)
        if longest > COARSE_UV_MAX_SIZE_PX:
            raise FrameError("size_mismatch", f"{longest} px is more than point coordinates can hold")
        fine = longest <= FINE_UV_MAX_SIZE_PX
        step = FINE_UV_STEP_PX if fine else COARSE_UV_STEP_PX
        raw = np.floor((np.array([projection.u_px, projection.v_px]) + 0.5) / step)
        z_raw = np.floor(projection.depth_m * POINT_DEPTH_SCALE + 0.5)
        kept = (z_raw >= 1) & (z_raw <= UINT16_MAX)
        (u_raw, v_raw), z_raw = raw[:, kept].astype(np.uint16), z_raw[kept].astype(np.uint16)
        points = cls(u_raw, v_raw, z_raw, np.zeros(len(z_raw), np.uint8), step)
        u, v = points.source_pixels()
        points.flags[occlusion_suspects(u, v, points.depth_m)] |= FLAG_OCCLUSION_SUSPECT
        return points

    @property
    def depth_m(self) -> FloatArray:
        """(N,) float64 depths."""
        return self.z_raw.astype(np.float64) / self.depth_scale

    def source_pixels(self) -> tuple[FloatArray, FloatArray]:
        """(N,) source coordinates."""
        u_raw, v_raw = self.u_raw.astype(np.float64), self.v_raw.astype(np.float64)
        return u_raw * self.uv_step_px - 0.5, v_raw * self.uv_step_px - 0.5


Depth = DepthGrid | DepthPoints


def scorable(depth: Depth, valid_min_m: float, valid_max_m: float) -> BoolArray:
    """Which depths may be asked or scored: in the inclusive range and no occlusion suspect; (N,) bool."""
    metres = depth.depth_m
    in_range = (metres > 0) & (metres >= valid_min_m) & (metres <= valid_max_m)
    return np.asarray(in_range & ((depth.flags & FLAG_OCCLUSION_SUSPECT) == 0))


@dataclass(frozen=True)
class Frame:
    """One frame as read: picture, camera and depth, before any resizing.

    Attributes:
        camera: intrinsics of the source frame (undistorted, source size).
        camera_assumed: whether part of the intrinsics was assumed rather than read.
        extra: small JSON kept in the record (times, dt, ego shift, masks applied).
        canonical_size: (width, height) that a published list gives its canonical picture; None: from fx.
        unmasked: (h, w) uint16 depth before the official masks, if any; the paper reads its truth there.
        lens: the lens of `picture`, undone in `source_picture`; None where the picture is a pinhole's.
        depth_kind: what `depth` measures.
    """

    ref: FrameRef
    picture: Picture
    camera: PinholeCamera
    depth: Depth
    camera_assumed: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    canonical_size: tuple[int, int] | None = None
    unmasked: UInt16Array | None = None
    lens: Lens | None = None
    depth_kind: DepthKind = "z"

    def source_picture(self) -> Image.Image:
        """RGB pixels of the source frame, the lens undone; FrameError `unreadable` if the file is broken."""
        return undistorted(self.picture.decode(), self.camera, self.lens)

    def __post_init__(self) -> None:
        """Refuse a camera that is not the picture's (size_mismatch) or is no camera (bad_intrinsics)."""
        if self.picture.size != (self.camera.width, self.camera.height):
            raise FrameError(
                "size_mismatch",
                f"{self.picture.path}: picture is {self.picture.size}, "
                f"camera says {(self.camera.width, self.camera.height)}",
            )
        if not _is_plausible(self.camera):
            raise FrameError("bad_intrinsics", f"{self.picture.path}: no camera has {self.camera}")


def undistorted(picture: Image.Image, camera: PinholeCamera, lens: Lens | None) -> Image.Image:
    """The source frame of a decoded picture: itself, or warped once where it has a lens."""
    return picture if lens is None else Image.fromarray(undo_lens(np.asarray(picture), camera, lens))


def _is_plausible(camera: PinholeCamera) -> bool:
    """Fields of view of 1 to 157 degrees, pixels at most thrice as high as wide, a centre near the picture.

    Catches normalised and mistyped intrinsics, which would ask for canonical pictures of any size.
    """
    wide, high = camera.fx_px / camera.width, camera.fy_px / camera.fx_px
    centred = -1 <= camera.cx_px / camera.width <= 2 and -1 <= camera.cy_px / camera.height <= 2
    return 0.1 <= wide <= 60 and 1 / 3 <= high <= 3 and centred


@dataclass(frozen=True)
class LayoutItem:
    """One thing a raw tree must or may hold, as found: for `doctor`."""

    pattern: str
    found: int
    required: bool = True
    note: str = ""


class Source(Protocol):
    """A raw tree opened for reading. It owns its caches (per log or scene) and is used by one process."""

    def source_splits(self) -> Sequence[str]:
        """The dataset's own splits that this tree has frames of."""
        ...

    def scenes(self, source_split: str) -> Iterable[str]:
        """Scene names of a source split, cheaply; empty where scenes are unknown."""
        ...

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """Stream the frames of a split, in any order, without opening pictures; what is missing is a Skip."""
        ...

    def read(self, ref: FrameRef) -> Frame:
        """Read one frame; raises FrameError with its reason where that cannot be."""
        ...

    def layout(self) -> Iterable[LayoutItem]:
        """What of the expected tree is there."""
        ...

    def close(self) -> None:
        """Let go of files and caches."""
        ...


@dataclass(frozen=True)
class NoOptions:
    """For converters that leave no choice."""


@dataclass(frozen=True)
class Converter:
    """How one dataset is read.

    Attributes:
        card: the dataset's card.
        open: (root, options) -> Source; raises DataMissingError where the tree is not one of this dataset.
        options_type: frozen dataclass of the reader's own options, hashed into the receipts.
        version: raised whenever the same raw tree yields other records.
        compat: options under which frames are made as the paper's scripts made them, faults included; None:
            as by default.
        free: options of `compat` that any set may have; the rest of it goes with compat sampling alone.
    """

    card: DatasetCard
    open: Callable[[Path, Any], Source]
    options_type: type = NoOptions
    version: int = 1
    compat: Any = None
    free: tuple[str, ...] = ()


def locator_json(ref: FrameRef) -> str:
    """The locator as it is kept in the plan."""
    return json.dumps(ref.locator, sort_keys=True, separators=(",", ":"))
