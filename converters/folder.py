"""Your own pictures: rgb/, depth/ and cameras.json. Also the shortest whole converter to learn from."""

import io
import json
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.converters._files import RawTree, check_aspect, metres_grid, png_grid
from depthvlm_bench.converters._roots import require
from depthvlm_bench.errors import CheckError, FrameError
from depthvlm_bench.frames import Converter, DepthGrid, Frame, FrameRef, LayoutItem, NoOptions, Skip, Split
from depthvlm_bench.geometry.camera import PinholeCamera

CARD = builtin_card("folder")
PICTURES = (".jpg", ".jpeg", ".png")


class FolderSource:
    """A folder that holds rgb/, depth/ and cameras.json, or eval/ and train/ that each do."""

    def __init__(self, root: Path, _options: NoOptions) -> None:
        self.folders = {n: n for n in ("eval", "train") if (root / n / "rgb").is_dir()} or {"eval": "."}
        self.root, self.tree = root, RawTree(root)
        for folder, needed in product(self.folders.values(), ("rgb", "depth", "cameras.json")):
            require(root / folder / needed, CARD.name)
        self.cameras = {folder: read_cameras(root / folder) for folder in self.folders.values()}

    def source_splits(self) -> list[str]:
        """The folders there are; a root without them is all `eval`."""
        return list(self.folders)

    def pictures(self, folder: str) -> Iterator[Path]:
        """Paths below rgb/ in order; hidden files are decoys that systems leave."""
        rgb = self.root / folder / "rgb"
        for path in sorted(rgb.rglob("*")):
            if path.suffix.lower() in PICTURES and not path.name.startswith("."):
                yield path.relative_to(rgb)

    def scenes(self, source_split: str) -> Iterable[str]:
        """Folders below rgb/."""
        return sorted({scene_of(path) for path in self.pictures(self.folders[source_split])} - {""})

    def index(self, split: Split) -> Iterator[FrameRef | Skip]:
        """One frame a picture; its folder below rgb/ is its scene."""
        folder = self.folders[split.source]
        for number, path in enumerate(self.pictures(folder)):
            scene, name = scene_of(path), path.with_suffix("").as_posix()
            locator = {"folder": folder, "name": name, "suffix": path.suffix}
            yield FrameRef(CARD.name, split, scene, "", path.stem, number, scene, locator)

    def read(self, ref: FrameRef) -> Frame:
        """Picture, its entry of cameras.json (or the default one), and depth of the same name."""
        folder, name, suffix = (ref.locator[key] for key in ("folder", "name", "suffix"))
        picture, known = self.tree.picture(f"{folder}/rgb/{name}{suffix}"), self.cameras[folder]
        camera, assumed = pinhole(known, name, picture.size)
        depth = self.depth(f"{folder}/depth/{name}", known["depth_scale"], picture.size)
        check_aspect(depth.values.shape, picture, f"{folder}/depth/{name}")
        return Frame(ref, picture, camera, depth, assumed)

    def depth(self, stem: str, depth_scale: float, size: tuple[int, int]) -> DepthGrid:
        """STEM.png, 16-bit in units of the scale, or STEM.npy in metres; over the whole picture."""
        if not self.tree.path(f"{stem}.npy").is_file():
            encoded, values = self.tree.depth_png(f"{stem}.png")
            return png_grid(encoded, values, values == 0, depth_scale, size)
        try:
            stored = io.BytesIO(self.tree.read(f"{stem}.npy", "missing_depth"))
            return metres_grid(np.load(stored, allow_pickle=False), depth_scale, size, CARD.valid_max_m)
        except (ValueError, LookupError, TypeError, EOFError) as error:
            raise FrameError("unreadable", f"{stem}.npy: {error}") from error

    def layout(self) -> Iterator[LayoutItem]:
        """Pictures, depth and cameras of each split."""
        for parts in product(self.folders.values(), ("rgb/**/*.*", "depth/**/*.*", "cameras.json")):
            yield LayoutItem("/".join(parts), self.tree.count("/".join(parts)))

    def close(self) -> None:
        """Nothing is held open."""


def scene_of(path: Path) -> str:
    """The folder of a picture below rgb/ as one name, '' for none."""
    return "_".join(path.parent.parts)


def read_cameras(folder: Path) -> dict[str, Any]:
    """cameras.json; CheckError for a file that is not what docs/datasets.md says."""
    path = folder / "cameras.json"
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not (float(known["depth_scale"]) > 0 and isinstance(known.get("cameras", {}), dict)):
            raise ValueError("depth_scale is not positive, or cameras is no table of names")
        if unknown := ", ".join(sorted(known.keys() - {"depth_scale", "default", "cameras"})):
            raise ValueError(f"it may hold depth_scale, default and cameras, not {unknown}")
    except (ValueError, LookupError, TypeError) as error:
        why = f"it lacks {error}" if isinstance(error, LookupError) else str(error)
        raise CheckError("no file of cameras", where=path, why=why, next_step="docs/datasets.md") from error
    return known


def pinhole(known: dict[str, Any], name: str, size: tuple[int, int]) -> tuple[PinholeCamera, bool]:
    """Intrinsics of a picture, and whether fy or the centre had to be assumed (square pixels, centred)."""
    entry = known.get("cameras", {}).get(name, known.get("default"))
    if entry is None:
        raise FrameError("missing_intrinsics", f"cameras.json has neither {name!r} nor a default")
    try:
        given = {"fy": entry["fx"], "cx": (size[0] - 1) / 2, "cy": (size[1] - 1) / 2} | entry
        if unknown := ", ".join(sorted(entry.keys() - {"fx", "fy", "cx", "cy"})):
            raise ValueError(f"fx, fy, cx and cy are known, not {unknown}")
        camera = PinholeCamera(*size, *(float(given[key]) for key in ("fx", "fy", "cx", "cy")))
    except (ValueError, LookupError, TypeError) as error:
        raise FrameError("bad_intrinsics", f"cameras.json, {name!r}: {error}") from error
    return camera, not {"fy", "cx", "cy"} <= entry.keys()


CONVERTER = Converter(CARD, FolderSource)
