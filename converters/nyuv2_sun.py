"""NYUv2 as the paper had it: SUN RGB-D's copy of the NYU scenes, 561x427 with filled depth up to 8 m."""

from collections.abc import Iterator
from dataclasses import dataclass

from depthvlm_bench.cards import builtin_card, official_names
from depthvlm_bench.converters._sunrgbd import NYU, Decoding, DepthName, SceneFolders
from depthvlm_bench.converters._sunrgbd_list import PICTURES
from depthvlm_bench.frames import Converter, FrameRef, LayoutItem, Split

CARD = builtin_card("nyuv2-sun")


@dataclass(frozen=True)
class Options:
    """depth: bfx with holes filled, or raw as measured. decoding: official, or the paper's stored / 8000."""

    depth: DepthName = "bfx"
    decoding: Decoding = "official"


class Nyuv2SunSource(SceneFolders):
    """The scene folders kv1/NYUdata/NYU0001 ..., numbered as the 1,449 labelled pictures of NYUv2."""

    card = CARD
    patterns = (f"{NYU}/*",)

    def ref(self, split: Split, key: str, rank: int) -> FrameRef | None:
        """Frame: the folder's name. The copy does not say which pictures show one room."""
        source, _, frame = key.rpartition("/")
        if source != NYU:
            return None
        return FrameRef(CARD.name, split, "", "", frame, rank, "", {"folder": f"{PICTURES}/{key}"})

    def layout(self) -> Iterator[LayoutItem]:
        """The list and its scenes, and how many of these the official NYUv2 test list has."""
        yield from super().layout()
        frames = {ref.frame for ref in self.refs(Split("eval", "test"))}
        common = len(frames & set(official_names(CARD.name)["test"]))
        note = (
            f"of {len(frames)} in {self.list_file}: all of them, or the two lists are of different releases"
        )
        yield LayoutItem("scenes of the official NYUv2 test list", common, note=note)


CONVERTER = Converter(CARD, Nyuv2SunSource, Options, compat=Options(decoding="paper"))
