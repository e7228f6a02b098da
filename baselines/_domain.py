"""Whether a record shows a room or a street, by what its dataset says: told to models that are a pair."""

from typing import Literal

from depthvlm_bench.cards import builtin_card, official_names
from depthvlm_bench.errors import UsageError

Domain = Literal["indoor", "outdoor"]
DOMAINS: tuple[Domain, Domain] = ("indoor", "outdoor")
SCENE = 2


def domain_of(record: str) -> Domain:
    """Domain of a record, from its id `dataset/split/scene/camera/frame`.

    Raises:
        UsageError: its dataset has both and does not say which scenes are indoors, or is not ours.
    """
    parts = record.split("/")
    try:
        kind = builtin_card(parts[0]).kind
        if kind != "mixed":
            return kind
        return "indoor" if parts[SCENE] in official_names(parts[0])["indoor"] else "outdoor"
    except (FileNotFoundError, LookupError) as error:
        raise UsageError(
            "nothing says whether this is indoors or outdoors",
            where=record,
            why=f"the card of {parts[0]!r} does not tell",
            next_step="take a model of one domain: its name ends in -indoor-SIZE or -outdoor-SIZE",
        ) from error
