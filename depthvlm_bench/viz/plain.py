"""A record as plain values, for JSON: what is drawn of it, in numbers."""

import math
from typing import Any

import numpy as np

from depthvlm_bench.viz.shown import Shown


def record_mapping(shown: Shown, model: str | None = None) -> dict[str, Any]:
    """Facts of a record and its asked points, in the canonical picture's pixels and in metres.

    Args:
        model: whose answers they are; None: there is no prediction, and none in the mapping.
    """
    metres = shown.depth_m
    width, height = shown.picture.size
    told = {"id": shown.id, "width": width, "height": height, "fx_px": shown.fx_px}
    told |= {"depths": len(shown.usable), "usable_depths": len(metres)}
    names = ("min_m", "median_m", "max_m")
    spread = np.quantile(metres, [0, 0.5, 1]).tolist() if len(metres) else [None] * 3
    told |= dict(zip(names, spread, strict=True))
    hits = shown.asked.hits
    if model is not None and hits is not None:
        told |= {"model": model, "delta1": float(hits.mean()) if len(hits) else None}
    return told | {"points": [_point(shown, index) for index in range(len(shown.asked.truth_m))]}


def _point(shown: Shown, index: int) -> dict[str, Any]:
    asked, hits = shown.asked, shown.asked.hits
    place = {"u": asked.u_px, "v": asked.v_px, "depth_m": asked.truth_m}
    point: dict[str, Any] = {name: float(values[index]) for name, values in place.items()}
    if asked.prediction_m is None or hits is None:
        return point
    answer = float(asked.prediction_m[index])
    return point | {"prediction_m": answer if math.isfinite(answer) else None, "hit": bool(hits[index])}
