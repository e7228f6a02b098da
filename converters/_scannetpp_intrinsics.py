"""Intrinsics of ScanNet++'s iPhone frames: one JSON a scene, keyed by frame."""

import json
from typing import Any

from depthvlm_bench.converters._cameras import pinhole_from_matrix
from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import FrameRef
from depthvlm_bench.geometry.camera import PinholeCamera

INTRINSICS = "pose_intrinsic_imu.json"


def read_intrinsics(tree: RawTree, folder: str) -> tuple[dict[str, Any], str]:
    """K by frame name, and what is wrong where the file cannot be read; a frame's fault is its own."""
    path = f"{folder}/{INTRINSICS}"
    try:
        entries = json.loads(tree.read(path, "missing_intrinsics"))
        known = {n: entry.get("intrinsic") for n, entry in entries.items() if isinstance(entry, dict)}
        return dict.fromkeys(entries) | known, path
    except FrameError as error:
        return {}, error.detail
    except (ValueError, AttributeError, RecursionError) as error:
        return {}, f"{path}: {error}"


def pinhole(ref: FrameRef, size: tuple[int, int]) -> PinholeCamera:
    """The frame's intrinsics, refused where they cannot be those of a phone's wide camera at this size."""
    camera = pinhole_from_matrix(ref.locator["K"], size, f"{ref.frame} ({ref.locator['fault']})")
    if not 0.5 <= camera.fx_px / size[0] <= 1.5 or abs(camera.cx_px / (size[0] / 2) - 1) > 0.05:
        raise FrameError("bad_intrinsics", f"{ref.frame}: fx {camera.fx_px}, cx {camera.cx_px} for {size}")
    return camera
