"""Habitat-Matterport 3D as Omnidata renders it: views of 900 textured meshes, black where a mesh has holes.

The pictures are not those of a Habitat simulator of one's own: unit, cameras and names are Omnidata's. Splits
are those of the meshes' own metadata.csv (train and val; there is no test split with meshes).
"""

from pathlib import Path

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.converters._omnidata import OmnidataSource
from depthvlm_bench.converters._omnidata_lists import Row, one_hot_entry
from depthvlm_bench.converters._omnidata_view import Options
from depthvlm_bench.converters._roots import refuse
from depthvlm_bench.frames import Converter

CARD = builtin_card("hm3d")

# What a root without rgb/hm3d may hold instead.
OTHER_RELEASES = {
    f"{above}{pattern}": meaning
    for above in ("", "*/")
    for pattern, meaning in {
        "*/*.glb": "the meshes of Habitat-Matterport 3D, not pictures of them",
        "hm3d-*.tar": "archives of the meshes, not pictures of them",
        "*__hm3d__*.tar": "archives that are not unpacked",
    }.items()
}


def metadata_entry(row: Row) -> tuple[str, str]:
    """Scene and split of a row of metadata.csv, or of Omnidata's own list train_val_test_hm3d.csv."""
    return (row["scene"], row["split"]) if "split" in row else one_hot_entry(row)


def open_tree(root: Path, options: Options) -> OmnidataSource:
    """A folder that `omnitools.download ... --components hm3d --dest FOLDER` filled."""
    if not (root / "rgb" / CARD.name).is_dir():
        refuse(root, CARD.name, OTHER_RELEASES)
    return OmnidataSource(root, options, CARD, metadata_entry)


CONVERTER = Converter(CARD, open_tree, Options)
