"""An indoor demo set on disk in the layout of iBims-1 core_raw, and the exact truth behind it.

Format (checked on real files): rgb 8-bit PNG; depth uint16 PNG, metres = value * 50 / 65535, 0 = missing;
calib one line fx,fy,cx,cy; both masks 1-bit PNG whose non-zero pixels are good; imagelist.txt beside the
folder ibims1_core_raw.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from depthvlm_bench.demo.raycast import Pinhole, cast_camera
from depthvlm_bench.demo.render import render
from depthvlm_bench.demo.rooms import KINDS, Room, make_room
from depthvlm_bench.demo.shapes import Floats

Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

HEIGHT, WIDTH = 480, 640
STEPS_PER_M = 65535 / 50
CAMERAS = (
    Pinhole(553.25, 551.5, 351.5, 242.75, WIDTH, HEIGHT),
    Pinhole(618.0, 620.5, 297.25, 236.0, WIDTH, HEIGHT),
)


def ibims1_name(index: int) -> str:
    """File stem of image `index` (from 0), such as kitchen_01; independent of how many are written."""
    variant, kind = divmod(index, len(KINDS))
    return f"{KINDS[kind]}_{variant + 1:02d}"


def ibims1_truth(index: int, seed: int = 0) -> tuple[tuple[float, float, float, float], Floats]:
    """Exact camera and depth of image `index`, without any file.

    Returns (fx_px, fy_px, cx_px, cy_px) and the z-depth in metres (480, 640) float64 of the first surface
    along each pixel's ray, panes of glass included. The depth file agrees with it (to half a step) where its
    value is not 0 and both masks are non-zero; elsewhere it is wrong on purpose: a mask left out shows.
    """
    camera, room = _room(index, seed)
    hits = cast_camera(room.scene.primitives, camera, room.world_from_cam)
    return (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px), hits.t


def write_ibims1(root: Path, *, images: int = 6, seed: int = 0) -> None:
    """Write `images` rooms: `root`/imagelist.txt and the five folders of `root`/ibims1_core_raw."""
    raw = root / "ibims1_core_raw"
    for folder in ("rgb", "depth", "calib", "mask_invalid", "mask_transp"):
        (raw / folder).mkdir(parents=True, exist_ok=True)
    for index in range(images):
        _write_image(raw, index, seed)
    names = sorted(ibims1_name(index) for index in range(images))
    _write_text(root / "imagelist.txt", "".join(f"{name}\n" for name in names))


def _room(index: int, seed: int) -> tuple[Pinhole, Room]:
    variant, kind = divmod(index, len(KINDS))
    return CAMERAS[(index + variant) % len(CAMERAS)], make_room(KINDS[kind], variant, seed)


def _see_through(rgb: Bytes, opaque: Bools, camera: Pinhole, room: Room) -> Bytes:
    """The picture (480, 640, 3) with what stands behind the glass mixed into its colour."""
    solids = tuple(p for n, p in enumerate(room.scene.primitives) if n not in room.glass)
    behind, _ = render(replace(room.scene, primitives=solids), camera, room.world_from_cam)
    mixed = (0.45 * rgb + 0.55 * behind + 0.5).astype(np.uint8)
    return np.where(opaque[..., None], rgb, mixed)


def _write_image(raw: Path, index: int, seed: int) -> None:
    name = ibims1_name(index)
    camera, room = _room(index, seed)
    rgb, hits = render(room.scene, camera, room.world_from_cam)
    opaque = ~np.isin(hits.primitive, room.glass)
    rng = np.random.default_rng([seed, index, 1])
    valid = ~_spots(rng, 8, 12.0)
    depth_m = _scanned(hits.t, opaque, valid)
    depth_m[_spots(rng, 24, 7.0) | (rng.random(depth_m.shape) < 0.002)] = 0.0
    steps = np.floor(depth_m * STEPS_PER_M + 0.5).astype(np.uint16)
    Image.fromarray(_see_through(rgb, opaque, camera, room)).save(raw / "rgb" / f"{name}.png")
    Image.fromarray(steps).save(raw / "depth" / f"{name}.png")
    Image.fromarray(valid).save(raw / "mask_invalid" / f"{name}.png")
    Image.fromarray(opaque).save(raw / "mask_transp" / f"{name}.png")
    line = ",".join(f"{value:.2f}" for value in (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px))
    _write_text(raw / "calib" / f"{name}.txt", line + "\n")


def _scanned(exact_m: Floats, opaque: Bools, valid: Bools) -> Floats:
    """What a scanner reports: plausible but wrong through glass and in invalid spots, so a leak shows."""
    depth_m = np.where(opaque, exact_m, 1.5 * exact_m + 0.4)
    return np.where(valid, depth_m, 0.6 * depth_m)


def _spots(rng: np.random.Generator, count: int, radius_px: float) -> Bools:
    """A few elliptic spots, (480, 640), anywhere in the picture."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = np.zeros((HEIGHT, WIDTH), np.bool_)
    for _ in range(count):
        v, u = rng.uniform(0, HEIGHT), rng.uniform(0, WIDTH)
        a, b = rng.uniform(0.4, 1.0, 2) * radius_px
        inside |= ((rows - v) / a) ** 2 + ((columns - u) / b) ** 2 < 1.0
    return inside


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii", newline="\n")
