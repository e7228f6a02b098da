"""SUN RGB-D without its NYU scenes: pictures of four sensors from nine sources, official test split."""

from dataclasses import dataclass

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.converters._sunrgbd import NYU, Decoding, DepthName, SceneFolders
from depthvlm_bench.converters._sunrgbd_list import PICTURES
from depthvlm_bench.frames import Converter, FrameRef, Split

CARD = builtin_card("sunrgbd")


@dataclass(frozen=True)
class Options:
    """depth: raw as measured, or bfx with holes filled. decoding: official, or the paper's stored / 8000."""

    depth: DepthName = "raw"
    decoding: Decoding = "official"


class SunRgbdSource(SceneFolders):
    """All scene folders of the list but those of kv1/NYUdata, which nyuv2-sun has."""

    card = CARD
    patterns = ("*/*/*", "xtion/sun3ddata/*/*/*")

    def ref(self, split: Split, key: str, rank: int) -> FrameRef | None:
        """Camera: the sensor. Group: SENSOR/SOURCE. Frame: the rest of the path, as folder names repeat."""
        sensor, source, *rest = key.split("/")
        group = f"{sensor}/{source}"
        if group == NYU:
            return None
        frame = "__".join([source, *rest])
        return FrameRef(CARD.name, split, "", sensor, frame, rank, group, {"folder": f"{PICTURES}/{key}"})


# The paper reads the filled depth of a dataset whose bits it does not rotate back: beyond 8.192 m it wraps.
CONVERTER = Converter(CARD, SunRgbdSource, Options, compat=Options("bfx", "paper"), free=("depth",))
