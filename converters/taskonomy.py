"""Taskonomy as Omnidata releases it: photographs of 537 buildings, turned to points of their meshes.

Any of the dataset's own lists (tiny, medium, full, fullplus) can be named by -o splits_csv=FILE; the packaged
one is fullplus, which the paper trains on. It names buildings that the release has no pictures of.
"""

from pathlib import Path

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.converters._omnidata import OmnidataSource
from depthvlm_bench.converters._omnidata_lists import one_hot_entry
from depthvlm_bench.converters._omnidata_view import Options
from depthvlm_bench.converters._roots import refuse
from depthvlm_bench.frames import Converter

CARD = builtin_card("taskonomy")
VIEWS = "point_*_domain_rgb.png"

# What a root without rgb/taskonomy may hold instead.
OTHER_RELEASES = {
    f"rgb/{VIEWS}": "one building's archive, unpacked without taskonomy/BUILDING/ around it",
    f"rgb/*/{VIEWS}": "buildings right below rgb/, without taskonomy/ between",
    f"*/rgb/{VIEWS}": "one folder a building, as the sample model has it",
    "*_rgb.tar": "archives that are not unpacked",
    "*__taskonomy__*.tar": "archives that are not unpacked",
    "*/*__taskonomy__*.tar": "archives that are not unpacked",
}


def open_tree(root: Path, options: Options) -> OmnidataSource:
    """A folder that `omnitools.download ... --components taskonomy --dest FOLDER` filled."""
    if not (root / "rgb" / CARD.name).is_dir():
        refuse(root, CARD.name, OTHER_RELEASES)
    return OmnidataSource(root, options, CARD, one_hot_entry)


CONVERTER = Converter(CARD, open_tree, Options)
