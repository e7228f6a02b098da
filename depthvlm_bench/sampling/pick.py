"""Which images an evaluation set holds: a balanced budget over groups, a hashed pick within each."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from depthvlm_bench.frames import FrameRef
from depthvlm_bench.hashing import hash64
from depthvlm_bench.sampling.draw import SEED


def allocate(sizes: Mapping[str, int], budget: int, dataset: str, seed: str = SEED) -> dict[str, int]:
    """Spread a budget evenly over groups, each capped by its size; what small groups leave goes on.

    The remainder of an even division goes to the groups of lowest hash.

    Args:
        sizes: group -> number of frames.
        budget: images wanted in all.

    Returns:
        group -> images; the sum is min(budget, all frames).
    """
    quota = dict.fromkeys(sizes, 0)
    open_groups = sorted(sizes, key=lambda group: (hash64(seed, dataset, group), group))
    remaining = min(budget, sum(sizes.values()))
    while remaining:
        base, extra = divmod(remaining, len(open_groups))
        for rank, group in enumerate(open_groups):
            given = min(base + (rank < extra), sizes[group] - quota[group])
            quota[group] += given
            remaining -= given
        open_groups = [group for group in open_groups if quota[group] < sizes[group]]
    return quota


@dataclass
class Pick:
    """The chosen frames, and how many of the wanted ones had no substitute."""

    refs: list[FrameRef] = field(default_factory=list)
    replaced: int = 0
    dropped: int = 0


def pick_images(
    refs: Sequence[FrameRef],
    budget: int,
    eligible: Callable[[FrameRef], bool],
    seed: str = SEED,
    *,
    absent_groups: Collection[str] = (),
) -> Pick:
    """Choose images of an evaluation set.

    A group's frames, in order, are cut into as many equal intervals as it gives images. Each interval gives
    its eligible frame of lowest hash; an interval without one takes the group's next unused frame of lowest
    hash. No choice depends on another image, so a broken frame changes only itself.

    Args:
        refs: all frames of the split, of one dataset.
        budget: images wanted.
        eligible: whether a frame can be used; asked once a frame and only of frames that are considered.
        absent_groups: groups that belong to the split and are not on disk; they keep their share of the
            budget, which is dropped, so that what is there gives the same images as in the whole split.

    Returns:
        the chosen frames in order_key order.
    """
    groups: dict[str, list[FrameRef]] = {}
    for ref in sorted(refs, key=lambda r: r.order_key):
        groups.setdefault(ref.group, []).append(ref)
    dataset = refs[0].dataset if refs else ""
    sizes = dict.fromkeys(absent_groups, budget) | {group: len(frames) for group, frames in groups.items()}
    quota = allocate(sizes, budget, dataset, seed)
    result = Pick(dropped=sum(quota[group] for group in absent_groups if group not in groups))
    for group in sorted(groups):
        _pick_group(groups[group], quota[group], eligible, seed, result)
    result.refs.sort(key=lambda r: r.order_key)
    return result


def _pick_group(
    frames: list[FrameRef], count: int, eligible: Callable[[FrameRef], bool], seed: str, result: Pick
) -> None:
    def by_hash(ref: FrameRef) -> tuple[int, str]:
        return hash64(seed, ref.dataset, ref.id), ref.id

    tried: set[str] = set()

    def first_eligible(pool: Sequence[FrameRef]) -> FrameRef | None:
        for ref in sorted(pool, key=by_hash):
            if ref.id not in tried:
                tried.add(ref.id)
                if eligible(ref):
                    return ref
        return None

    unserved = 0
    for j in range(count):
        interval = frames[j * len(frames) // count : (j + 1) * len(frames) // count]
        lowest = min(interval, key=by_hash)
        chosen = first_eligible(interval)
        unserved += chosen is None
        result.replaced += chosen is not None and chosen is not lowest
        result.refs += [chosen] if chosen else []
    for _ in range(unserved):
        chosen = first_eligible(frames)
        result.replaced += chosen is not None
        result.dropped += chosen is None
        result.refs += [chosen] if chosen else []
