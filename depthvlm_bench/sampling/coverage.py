"""How much of a picture has no ground truth: what no score on it can see."""

import numpy as np

from depthvlm_bench.conventions import pixel_index
from depthvlm_bench.frames import Depth, scorable
from depthvlm_bench.geometry.camera import inside
from depthvlm_bench.geometry.grids import ViewGrid

# Cells of this size make dense grids and sparse LiDAR comparable: about two beams of an automotive LiDAR.
CELL_PX = 32


def area_without_truth(depth: Depth, grid: ViewGrid, valid_min_m: float, valid_max_m: float) -> float:
    """Share of the canonical picture's area in cells (32 x 32 px) where no depth may be asked; 0 to 1.

    Args:
        depth: as it is stored.
        grid: source picture -> canonical picture.
        valid_min_m, valid_max_m: inclusive range.
    """
    u, v = grid.view_from_source.apply(*depth.source_pixels())
    seen = scorable(depth, valid_min_m, valid_max_m) & inside(u, v, grid.width, grid.height)
    heights, widths = (np.diff([*range(0, size, CELL_PX), size]) for size in (grid.height, grid.width))
    covered = np.zeros((len(heights), len(widths)), dtype=bool)
    covered[pixel_index(v[seen]) // CELL_PX, pixel_index(u[seen]) // CELL_PX] = True
    return float(1 - (np.outer(heights, widths) * covered).sum() / (grid.width * grid.height))
