"""Raw trees to convert in benchmarks, with photographs that are made."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SCENE, FRAMES = "0123456789", 8
PHOTO_SIZE, DEPTH_SIZE = (1920, 1440), (256, 192)
FX_PX = 1431.0


def photo(size: tuple[int, int], seed: int) -> Image.Image:
    """Shapes of all sizes with a sensor's noise: about as many JPEG bytes a pixel as a photograph."""
    rng = np.random.default_rng(seed)
    width, height = size
    total = np.zeros((height, width, 3))
    for cells in (4, 16, 64, 256):
        rows = max(1, cells * height // width)
        layer = Image.fromarray(rng.integers(0, 256, (rows, cells, 3), dtype=np.uint8))
        total += (np.asarray(layer.resize(size, Image.Resampling.BICUBIC)) - 127.5) * cells**-0.5
    grey = 127.5 + total * 1.2 + rng.normal(0, 4, (height, width, 1))
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """A camera's file."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def room_depth_mm(seed: int) -> npt.NDArray[np.uint16]:
    """Depth (192, 256) of a slanted wall with noise and holes."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[: DEPTH_SIZE[1], : DEPTH_SIZE[0]]
    depth = 1500 + 9 * u + 4 * v + rng.normal(0, 3, u.shape)
    return np.where(rng.random(u.shape) < 0.02, 0, depth).astype(np.uint16)


def write_scannetpp(root: Path) -> None:
    """A ScanNet++ training tree of one scene with made photographs."""
    iphone = root / "data" / SCENE / "iphone"
    for folder in (iphone / "rgb", iphone / "depth", root / "splits"):
        folder.mkdir(parents=True)
    intrinsic = [[FX_PX, 0, PHOTO_SIZE[0] / 2], [0, FX_PX, PHOTO_SIZE[1] / 2], [0, 0, 1]]
    names = [f"frame_{60 * index:06d}" for index in range(FRAMES)]
    for seed, name in enumerate(names):
        (iphone / "rgb" / f"{name}.jpg").write_bytes(jpeg(photo(PHOTO_SIZE, seed), 80))
        Image.fromarray(room_depth_mm(seed)).save(iphone / "depth" / f"{name}.png")
    entries = {name: {"intrinsic": intrinsic} for name in names}
    (iphone / "pose_intrinsic_imu.json").write_text(json.dumps(entries))
    (root / "splits" / "nvs_sem_train.txt").write_text(f"{SCENE}\n")


def copy_argoverse2(real: Path, root: Path) -> None:
    """A real log's tables and sweeps, its pictures replaced by made ones of their sizes at quality 90."""
    shutil.copytree(real, root, ignore=shutil.ignore_patterns("*.jpg"))
    for seed, path in enumerate(sorted(real.rglob("*.jpg"))):
        with Image.open(path) as there:
            size = there.size
        (root / path.relative_to(real)).write_bytes(jpeg(photo(size, seed), 90))
