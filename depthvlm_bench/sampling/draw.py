"""The strict draw: which pixels of an image are asked, the same on every machine."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthvlm_bench.conventions import FloatArray, IntArray, pixel_index
from depthvlm_bench.frames import Depth, scorable
from depthvlm_bench.geometry.camera import PinholeCamera, inside
from depthvlm_bench.geometry.grids import ViewGrid
from depthvlm_bench.hashing import hash64

SEED = "42"
BALANCE_BINS = 5
BALANCE_PERCENTILES = (1.0, 99.0)


@dataclass(frozen=True)
class Candidates:
    """The pixels of one image that may be asked, in stored order (grids row-major).

    Attributes:
        u_px, v_px: (N,) canonical coordinates.
        u_src_px, v_src_px: (N,) source coordinates.
        depth_m: (N,) z-depth.
        ray_factor: (N,) ray distance over depth.
        flags: (N,) uint8.
        pixel: (N,) index of the canonical pixel; two candidates of one pixel are never both asked.
    """

    u_px: FloatArray
    v_px: FloatArray
    u_src_px: FloatArray
    v_src_px: FloatArray
    depth_m: FloatArray
    ray_factor: FloatArray
    flags: npt.NDArray[np.uint8]
    pixel: IntArray

    def __len__(self) -> int:
        """How many pixels may be asked."""
        return len(self.depth_m)


def candidates(
    depth: Depth, camera: PinholeCamera, grid: ViewGrid, valid_min_m: float, valid_max_m: float
) -> Candidates:
    """The askable pixels of a frame: valid, in range, no occlusion suspect, inside the canonical picture.

    Args:
        depth: the frame's depth as it is stored.
        camera: intrinsics of the source frame.
        grid: source picture -> canonical picture.
        valid_min_m, valid_max_m: inclusive range.
    """
    u_src, v_src = depth.source_pixels()
    u, v = grid.view_from_source.apply(u_src, v_src)
    chosen = np.flatnonzero(scorable(depth, valid_min_m, valid_max_m) & inside(u, v, grid.width, grid.height))
    u, v, u_src, v_src = u[chosen], v[chosen], u_src[chosen], v_src[chosen]
    return Candidates(
        u_px=u,
        v_px=v,
        u_src_px=u_src,
        v_src_px=v_src,
        depth_m=depth.depth_m[chosen],
        ray_factor=camera.ray_factor(u_src, v_src),
        flags=depth.flags[chosen],
        pixel=pixel_index(v) * grid.width + pixel_index(u),
    )


def draw_keys(dataset: str, record_id: str, count: int, seed: str = SEED) -> npt.NDArray[np.uint64]:
    """One 64-bit key a candidate: PCG64 seeded by the record's own hash, so no image disturbs another."""
    return np.random.PCG64(hash64(seed, dataset, record_id)).random_raw(count)


def draw(pool: Candidates, keys: npt.NDArray[np.uint64], count: int) -> IntArray:
    """The first `count` candidates in key order, skipping a canonical pixel already taken.

    Returns:
        indices into the pool; fewer than `count` where the pool has not enough distinct pixels.
    """
    return _distinct(np.argsort(keys, kind="stable"), pool.pixel, count)


def draw_balanced(pool: Candidates, keys: npt.NDArray[np.uint64], count: int) -> IntArray:
    """Like `draw`, but balanced over distance: five equal bins of log depth, served in turn by key order.

    The bins span the 1st to the 99th percentile of the pool's log depth; what lies outside joins the
    outer bins.
    """
    if not len(pool):
        return np.empty(0, dtype=np.int64)
    log_depth = np.log(pool.depth_m)
    low, high = np.percentile(log_depth, BALANCE_PERCENTILES)
    edges = np.linspace(low, high, BALANCE_BINS + 1)[1:-1]
    bin_of = np.digitize(log_depth, edges)
    order = np.argsort(keys, kind="stable")
    queues = [iter(order[bin_of[order] == i]) for i in range(BALANCE_BINS)]
    return _distinct(_in_turn(queues, pool.pixel), pool.pixel, count)


def _distinct(order: Iterable[np.int64], pixel: IntArray, count: int) -> IntArray:
    chosen: list[int] = []
    taken: set[int] = set()
    for index in order:
        if len(chosen) == count:
            break
        if int(pixel[index]) not in taken:
            taken.add(int(pixel[index]))
            chosen.append(int(index))
    return np.array(chosen, dtype=np.int64)


def _in_turn(queues: list[Iterator[np.int64]], pixel: IntArray) -> Iterator[np.int64]:
    """Serve the queues one after the other; a pixel already served does not use up its queue's turn."""
    served: set[int] = set()
    while queues:
        left = []
        for queue in queues:
            index = next((i for i in queue if int(pixel[i]) not in served), None)
            if index is not None:
                served.add(int(pixel[index]))
                left.append(queue)
                yield index
        queues = left
