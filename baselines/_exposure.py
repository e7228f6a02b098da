"""What a published list of training data says of each dataset here."""

from collections.abc import Mapping

from depthvlm_bench.predict.contracts import Exposure

DATASETS = (
    *("argoverse2", "ddad", "eth3d", "hm3d", "ibims1", "matterport3d", "nuscenes", "nyuv2", "nyuv2-sun"),
    *("scannetpp", "sunrgbd", "taskonomy", "waymo"),
)


def trained_on(*seen: str, unknown: tuple[str, ...] = ()) -> Mapping[str, Exposure]:
    """Exposure by dataset, for a model whose source lists all that it was trained on.

    Args:
        seen: in that list, whichever split of them.
        unknown: of which the list does not say.
    """
    table: dict[str, Exposure] = dict.fromkeys(DATASETS, "no")
    return table | dict.fromkeys(unknown, "unknown") | dict.fromkeys(seen, "yes")
