"""Where the segments of a Waymo Open v2 tree are, and which of them each split has."""

from pathlib import Path

from depthvlm_bench.cards import DatasetCard, official_names
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._roots import refuse, require
from depthvlm_bench.converters._waymo_tables import COMPONENTS

TFRECORDS = ("*.tfrecord", "*/*.tfrecord", "*/*/*.tfrecord")


def require_pictures(root: Path, card: DatasetCard) -> None:
    """DataMissingError for another release, or where no SPLIT/camera_image is below the root."""
    splits = [split for splits in card.splits.values() for split in splits]
    if not any((root / split / "camera_image").is_dir() for split in splits):
        refuse(root, card.name, dict.fromkeys(TFRECORDS, "tfrecords (Perception v1 or Motion)"))
        near = (root.name, root.parent.name, *(p.parent.name for p in root.glob("*/*/camera_image")))
        require(root / next((n for n in near if n in splits), splits[0]) / "camera_image", card.name)


def official(dataset: str, source_split: str) -> set[str]:
    """Names of an evaluation split's segments; none of training, which is whatever its folder holds."""
    return set(official_names(dataset).get(source_split, ()))


def on_disk(tree: RawTree, source_split: str) -> set[str]:
    """Names of the segments of which any table is there; hidden files are decoys that archives leave."""
    found = (tree.root / source_split).glob("*/*.parquet")
    return {p.stem for p in found if p.parent.name in COMPONENTS and not p.name.startswith(".")}
