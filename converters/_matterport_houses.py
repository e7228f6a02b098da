"""Where the houses of a Matterport3D tree are, and which split each is in."""

from collections.abc import Mapping
from pathlib import Path

from depthvlm_bench.cards import DatasetCard, official_names
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._roots import refuse, require
from depthvlm_bench.errors import CheckError, DataMissingError

PARAMETERS, COLOR, DEPTH = (
    f"undistorted_{kind}" for kind in ("camera_parameters", "color_images", "depth_images")
)
# Above a house's folder: nothing, or what the download script and its archives make of it.
ABOVE = ("", "*/", "scans/*/", "v1/scans/", "v1/scans/*/")
FOREIGN = {
    f"{above}*/{pattern}": meaning
    for above in ABOVE
    for pattern, meaning in {
        "undistorted_*.zip": "archives that are not unpacked",
        "matterport_color_images": "the distorted pictures, without the undistorted ones",
        "*.glb": "meshes (for Habitat), not pictures",
        "matterport_skybox_images": "panoramas without depth",
    }.items()
}


def house_folders(root: Path, dataset: str) -> dict[str, str]:
    """House -> its folder relative to the root, POSIX; of all houses that have a folder of any kind.

    Raises:
        DataMissingError: there is no house, or the root is one.
        CheckError: a house is there twice.
    """
    found = {
        path.parent
        for above in ABOVE
        for kind in (PARAMETERS, COLOR, DEPTH)
        for path in root.glob(f"{above}*/{kind}")
        if path.is_dir() and not path.parent.name.startswith((".", "__"))
    }
    if not found:
        _refuse_root(root, dataset)
    folders: dict[str, str] = {}
    for folder in sorted(found):
        relative = folder.relative_to(root).as_posix()
        if folders.setdefault(folder.name, relative) != relative:
            both = f"{folders[folder.name]} and {relative}"
            remedy = "keep one of them, whole, or move the folders of its kinds together"
            raise CheckError(f"{folder.name} is there twice", where=root, why=both, next_step=remedy)
    return folders


def _refuse_root(root: Path, dataset: str) -> None:
    if (root / COLOR).is_dir():
        raise DataMissingError(
            "this is one house of Matterport3D, not the folder of houses",
            where=root,
            next_step=f"--root {root.absolute().parent}",
        )
    refuse(root, dataset, FOREIGN)
    require(root / "v1" / "scans", dataset)
    raise DataMissingError(
        f"no HOUSE/{COLOR}/ in this {dataset} tree",
        where=root,
        next_step=f"dvbench datasets {dataset} shows the expected tree",
    )


def lacking(tree: RawTree, folders: Mapping[str, str], house: str) -> list[str]:
    """What a house needs and has not."""
    if (folder := folders.get(house)) is None:
        return [f"{house}/"]
    needed = (f"{folder}/{COLOR}", f"{folder}/{DEPTH}", f"{folder}/{PARAMETERS}/{house}.conf")
    return [path for path in needed if not tree.path(path).exists()]


def require_whole(
    tree: RawTree, folders: Mapping[str, str], lists: Mapping[str, list[str]], dataset: str
) -> None:
    """DataMissingError where houses of the lists are on disk and none of them has all that it needs."""
    listed = [house for houses in lists.values() for house in houses if house in folders]
    faults = [lacking(tree, folders, house) for house in listed]
    if faults and all(faults):
        raise DataMissingError(
            f"no house of this {dataset} tree is whole",
            where=tree.root,
            why=f"the first lacks {faults[0][0]}",
            next_step=f"download {PARAMETERS}, {COLOR} and {DEPTH}, and unpack their archives where they are",
        )


def split_lists(tree: RawTree, card: DatasetCard) -> dict[str, list[str]]:
    """Houses of each split: of scenes_SPLIT.txt at the root where there is one, else of the package.

    Raises:
        CheckError: a house is in two splits.
    """
    lists: dict[str, list[str]] = {}
    split_of: dict[str, str] = {}
    for split in (split for splits in card.splits.values() for split in splits):
        lists[split] = tree.names(f"scenes_{split}.txt") or official_names(card.name)[split]
        for house in lists[split]:
            if split_of.setdefault(house, split) != split:
                raise CheckError(
                    f"{house} is in two splits",
                    where=tree.root / f"scenes_{split}.txt",
                    why=f"it is in {split_of[house]} and in {split}: training and evaluation may overlap",
                    next_step="remove the scenes_*.txt of this tree: the split comes with the package",
                )
    return lists
