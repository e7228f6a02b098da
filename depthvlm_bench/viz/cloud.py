"""A record, or a prediction of it, as a point cloud in the camera frame: a PLY file, or a window of Open3D.

The file is ours (twelve lines, no dependency); looking at it is Open3D's, in the extra `viz`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from depthvlm_bench.conventions import FloatArray, pixel_index
from depthvlm_bench.errors import UsageError
from depthvlm_bench.frames import scorable
from depthvlm_bench.geometry.camera import inside
from depthvlm_bench.records.codec import source_camera
from depthvlm_bench.records.files import whole_file
from depthvlm_bench.records.reader import depth_of, view_of
from depthvlm_bench.viz.colour import INVALID_RGB, RgbArray
from depthvlm_bench.viz.shown import ShownMap

VERTEX = np.dtype([(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")])


@dataclass(frozen=True)
class Cloud:
    """Points of a record.

    Attributes:
        points_cam: (N, 3) m, camera frame of the source picture: x right, y down, z forward.
        rgb: (N, 3) colour of the source pixel below each; grey outside the picture.
    """

    points_cam: FloatArray
    rgb: RgbArray


def cloud_of(row: Mapping[str, Any]) -> Cloud:
    """Every usable depth (in the valid range, no occlusion suspect) times the ray through its pixel.

    Raises:
        UsageError: the record's depths are not z-depths.
    """
    if row["depth_kind"] != "z":
        raise UsageError(f"no cloud of {row['depth_kind']} depth", where=row["id"], why="it needs z-depth")
    depth = depth_of(row)
    usable = scorable(depth, row["valid_min"], row["valid_max"])
    u_src, v_src = (axis[usable] for axis in depth.source_pixels())
    points_cam = depth.depth_m[usable, None] * source_camera(row).rays(u_src, v_src)
    return Cloud(points_cam, _colours(row, u_src, v_src))


def predicted_cloud(row: Mapping[str, Any], predicted: ShownMap) -> Cloud:
    """Every answer of a dense prediction times the ray through its pixel, by the record's own camera."""
    height, width = predicted.depth_m.shape
    known = ~np.isnan(predicted.depth_m)
    v, u = (axis[known] for axis in np.mgrid[:height, :width])
    u_src, v_src = predicted.view_from_source.inverse().apply(u, v)
    points_cam = predicted.depth_m[known, None] * source_camera(row).rays(u_src, v_src)
    return Cloud(points_cam, _colours(row, u_src, v_src))


def _colours(row: Mapping[str, Any], u_src: FloatArray, v_src: FloatArray) -> RgbArray:
    view = view_of(row, "canonical" if row["source_image"] is None else "native")
    u, v = view.view_from_source.apply(u_src, v_src)
    seen = inside(u, v, *view.picture.size)
    rgb = np.full((len(u), 3), INVALID_RGB, np.uint8)
    rgb[seen] = np.asarray(view.picture)[pixel_index(v[seen]), pixel_index(u[seen])]
    return rgb


def write_ply(path: Path, cloud: Cloud) -> None:
    """Write a cloud as binary little-endian PLY: x, y, z float32; red, green, blue uint8."""
    kinds = {"<f4": "float", "|u1": "uchar"}
    properties = [f"property {kinds[VERTEX[name].str]} {name}" for name in VERTEX.names or ()]
    head = ["ply", "format binary_little_endian 1.0", "comment camera frame: x right, y down, z forward, m"]
    head += [f"element vertex {len(cloud.points_cam)}", *properties, "end_header", ""]
    vertices = np.empty(len(cloud.points_cam), VERTEX)
    for axis, (place, colour) in enumerate((("x", "red"), ("y", "green"), ("z", "blue"))):
        vertices[place], vertices[colour] = cloud.points_cam[:, axis], cloud.rgb[:, axis]
    with whole_file(path) as temporary:
        temporary.write_bytes("\n".join(head).encode("ascii") + vertices.tobytes())


def look_at(cloud: Cloud, title: str) -> None:
    """Open a window on a cloud, seen from the camera; UsageError with the pip command without Open3D."""
    if find_spec("open3d") is None:
        raise UsageError(
            "a window on a cloud needs Open3D",
            next_step="pip install 'depthvlm-bench[viz]', or --out FILE.ply for any other viewer",
        )
    o3d = import_module("open3d")
    # Open3D looks along -z with y up.
    seen = cloud.points_cam * (1.0, -1.0, -1.0)
    shape = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(seen))
    shape.colors = o3d.utility.Vector3dVector(cloud.rgb / 255.0)
    o3d.visualization.draw_geometries([shape], window_name=title)
