"""ETH3D's files: where its archives leave a scene's folders, its raw depth maps and its masks."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthvlm_bench.cards import official_names
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._roots import check_rights, refuse, require
from depthvlm_bench.errors import CheckError, DataMissingError, FrameError
from depthvlm_bench.frames import Float32Array
from depthvlm_bench.records.marks import decode_mask

PICTURES = "images/dslr_images_undistorted"
PINHOLE = "dslr_calibration_undistorted"
LENS = "dslr_calibration_jpg"
DEPTH = "ground_truth_depth/dslr_images"
MASKS = "masks_for_images/dslr_images"
UNDISTORTED_7Z, ORIGINAL_7Z = "multi_view_training_dslr_undistorted.7z", "multi_view_training_dslr_jpg.7z"
ARCHIVES = {
    PICTURES: UNDISTORTED_7Z,
    PINHOLE: UNDISTORTED_7Z,
    LENS: f"{ORIGINAL_7Z} (its calibration is enough: depth is that of the original, distorted pictures)",
    DEPTH: "SCENE_dslr_depth.7z of each scene",
}
# Scene folders lie in the root, in a folder for each archive, or in one for each kind of archive.
LEVELS = ("", "*/", "*/*/")
OTHER_RELEASES = {
    "*/images/rig_*": "ETH3D's low-resolution many-view pictures",
    "*/disp0GT.pfm": "ETH3D's two-view pictures",
    "*_dslr_*.7z": "archives that are not unpacked",
}


def scene_folders(root: Path, dataset: str) -> dict[str, dict[str, str]]:
    """Folders of each scene below a root: scene -> kind -> path relative to the root, POSIX.

    A scene's name is that of the folder above, without an archive's suffix (`office_dslr_depth`).

    Raises:
        DataMissingError: no scene has one of the kinds that are needed.
        CheckError: a scene has two folders of one kind.
    """
    found: dict[str, dict[str, str]] = {}
    for kind in (*ARCHIVES, MASKS):
        for path in sorted({path for level in LEVELS for path in root.glob(f"{level}*/{kind}")}):
            relative = path.relative_to(root)
            if not path.is_dir() or any(part.startswith((".", "__MACOSX")) for part in relative.parts):
                continue
            scene = path.parents[kind.count("/")].name.partition("_dslr_")[0]
            kinds = found.setdefault(scene, {})
            if not path.samefile(root / kinds.setdefault(kind, relative.as_posix())):
                both = f"{kinds[kind]} and {relative.as_posix()}"
                again = "take one of them out of the root"
                raise CheckError(f"scene {scene} is there twice", where=root, why=both, next_step=again)
    _require_all(root, dataset, found)
    return found


def _require_all(root: Path, dataset: str, found: dict[str, dict[str, str]]) -> None:
    if not found:
        refuse(
            root,
            dataset,
            {f"{level}{p}": meaning for level in LEVELS for p, meaning in OTHER_RELEASES.items()},
        )
        scenes = sorted({name.partition("/")[0] for name in official_names(dataset)["dslr"]})
        inside = root.resolve().name  # a scene's own folder, given as the root
        require(root / (inside if inside in scenes else scenes[0]) / DEPTH, dataset, root)
    there = [kind for kind in ARCHIVES if any(kind in kinds for kinds in found.values())]
    for kind in (kind for kind in ARCHIVES if kind not in there):
        check_rights(root, dataset)
        raise DataMissingError(
            f"no scene of this {dataset} tree has {kind}/",
            where=root,
            why=f"{len(found)} scenes found, with {', '.join(there) or 'masks only'}",
            next_step=f"unpack {ARCHIVES[kind]} below the root",
        )


def raw_depth(tree: RawTree, relative: str, size: tuple[int, int]) -> Float32Array:
    """A headerless little-endian float32 depth map, (h, w) metres, +inf where nothing was measured; mapped.

    Raises:
        FrameError: `missing_depth`; `size_mismatch` where it is no map of (width, height).
    """
    path, (width, height) = tree.path(relative), size
    try:
        found, expected = path.stat().st_size, 4 * width * height
        if found != expected:
            said = f"{found} bytes, {width}x{height} float32 are {expected}"
            raise FrameError("size_mismatch", f"{relative}: {said}")
        return np.memmap(path, "<f4", "r", shape=(height, width))
    except FileNotFoundError as error:
        raise FrameError("missing_depth", relative) from error
    except OSError as error:
        raise FrameError("unreadable", f"{relative}: {error.strerror}") from error


def mask(tree: RawTree, relative: str, size: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
    """Where the scan shows something else than the picture, (h, w); None where the picture has no mask.

    Any value but 0 marks a pixel: the values are bit flags (1 and 2), as the dataset's own tools use them.
    """
    if not tree.path(relative).is_file():
        return None
    values = decode_mask(tree.read(relative, "missing_depth"), relative, (size[1], size[0]))
    return np.asarray(values != 0)
