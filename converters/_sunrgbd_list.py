"""SUN RGB-D's root and its split list allsplit.mat: which scene folder is in which split."""

from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.io import loadmat

from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._mat import MAT_ERRORS
from depthvlm_bench.converters._roots import refuse, require
from depthvlm_bench.errors import CheckError, DataMissingError

PICTURES = "SUNRGBD"
LISTS = ("SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat", "traintestSUNRGBD/allsplit.mat", "allsplit.mat")
FOREIGN = {
    "sunrgbd_trainval": "VoteNet's extract of SUN RGB-D",
    "SUNRGBDv2Test": "the LSUN challenge's test pictures",
    "image/train": "a segmentation copy of SUN RGB-D without its scene folders",
    "nyuv2_extracted": "the paper's extract of the NYU scenes",
    "nyu_depth_v2_labeled.mat": "NYU Depth V2 itself (dataset nyuv2)",
}


def open_tree(root: Path, dataset: str) -> RawTree:
    """The tree of a folder that holds SUNRGBD/; DataMissingError for another release or level."""
    if not (root / PICTURES).is_dir():
        refuse(root, dataset, FOREIGN)
    require(root / PICTURES, dataset)
    inner = root / PICTURES / PICTURES
    if inner.is_dir():
        raise DataMissingError(
            f"{PICTURES}.zip was unpacked one folder too deep",
            where=inner,
            why=f"kv1, kv2, realsense and xtion must lie in {root / PICTURES}",
            next_step=f"move what {inner} holds one folder up",
        )
    return RawTree(root)


def split_keys(root: Path, dataset: str) -> tuple[str, dict[str, list[str]]]:
    """The list's relative path, and split -> sorted scene folders below SUNRGBD/, for train and test.

    Raises:
        DataMissingError: there is no allsplit.mat.
        CheckError: it cannot be read, or lists a scene twice.
    """
    file = next((name for name in LISTS if (root / name).is_file()), LISTS[0])
    require(root / file, dataset, root)
    try:
        # Its third variable, trainvalsplit, cuts alltrain once more and is no split of its own.
        variables = loadmat(root / file, variable_names=["alltrain", "alltest"])
        cells = {split: variables[f"all{split}"].ravel() for split in ("train", "test")}
        keys = {split: sorted(scene_key(str(np.ravel(cell)[0])) for cell in cells[split]) for split in cells}
    except MAT_ERRORS as error:
        why, again = f"{type(error).__name__}: {error}", "unpack SUNRGBDtoolbox.zip again"
        raise CheckError(
            "the split list cannot be read", where=root / file, why=why, next_step=again
        ) from error
    _refuse_doubles(keys, root / file)
    return file, keys


def _refuse_doubles(keys: dict[str, list[str]], path: Path) -> None:
    every = sorted([*keys["train"], *keys["test"]])
    twice = [key for key, following in pairwise(every) if key == following]
    if twice:
        raise CheckError(
            f"the split list has {len(twice)} scenes twice",
            where=path,
            why=f"training and evaluation may overlap: {', '.join(twice[:3])}",
            next_step="unpack SUNRGBDtoolbox.zip again",
        )


def scene_key(path: str) -> str:
    """What follows SUNRGBD/ in a path that the list has from another machine; ValueError if no scene does."""
    key = path.partition(f"/{PICTURES}/")[2].rstrip("/")
    parts = PurePosixPath(key).parts
    if len(parts) < 3 or ".." in parts:
        raise ValueError(f"{path!r} is no scene below {PICTURES}/SENSOR/SOURCE/")
    return key
