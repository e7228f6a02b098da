"""A prediction on a photograph as files: depth as npy and 16-bit PNG, in colour, and as a point cloud."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from depthvlm_bench.conventions import INVALID_RAW, UINT16_MAX
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import cropped_grid
from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.predict.readout import ViewMap, to_view
from depthvlm_bench.records.files import whole_file
from depthvlm_bench.records.pictures import encode_depth_png
from depthvlm_bench.viz.cloud import Cloud, write_ply
from depthvlm_bench.viz.colour import DepthScale, scale_of
from depthvlm_bench.viz.marks import LEGEND_HEIGHT_PX, PAPER_RGB, legend

# Units a metre of the 16-bit PNG: millimetres up to 65.5 m, else the field's 1/256 m up to 256 m.
FINE_UNITS, COARSE_UNITS = 1000.0, 256.0
LEGEND_MIN_PX = 320


@dataclass(frozen=True)
class Written:
    """What was written of one photograph.

    Attributes:
        files: kind -> path.
        depth_scale: units a metre of the 16-bit PNG, where 0 is unknown.
        range_m: least and greatest depth; None: the map holds none.
        beyond: pixels that are known but too far for the PNG, stored as unknown there.
        points: in the cloud.
    """

    files: dict[str, Path]
    depth_scale: float
    range_m: tuple[float, float] | None
    beyond: int
    points: int


def write_prediction(
    folder: Path, name: str, picture: Image.Image, camera: PinholeCamera, dense: DenseMap
) -> Written:
    """Write NAME.npy, NAME.depth.png, NAME.colour.png and NAME.ply.

    Args:
        folder: made if need be.
        name: stem of the files.
        picture, camera: the photograph.
        dense: what a model gave for it.
    """
    kinds = {"npy": "npy", "png": "depth.png", "colour": "colour.png", "cloud": "ply"}
    files = {kind: folder / f"{name}.{ending}" for kind, ending in kinds.items()}
    depth_m = to_view(dense, *picture.size)
    known = np.isfinite(depth_m) & (depth_m > 0)
    values, scale = png_values(depth_m)
    cloud = photo_cloud(picture, camera, dense, depth_m)
    with whole_file(files["npy"]) as temporary, temporary.open("wb") as file:
        np.save(file, depth_m)
    with whole_file(files["png"]) as temporary:
        temporary.write_bytes(encode_depth_png(values))
    with whole_file(files["colour"]) as temporary:
        coloured(depth_m).save(temporary, "PNG")
    write_ply(files["cloud"], cloud)
    found = depth_m[known]
    span = (float(found.min()), float(found.max())) if len(found) else None
    beyond = int((known & (values == INVALID_RAW)).sum())
    return Written(files, scale, span, beyond, len(cloud.points_cam))


def png_values(depth_m: ViewMap) -> tuple[npt.NDArray[np.uint16], float]:
    """Integers (h, w) of a 16-bit PNG, 0 where depth is unknown or too far, and their units a metre."""
    known = np.isfinite(depth_m) & (depth_m > 0)
    farthest = float(depth_m[known].max()) if known.any() else 0.0
    scale = FINE_UNITS if round(farthest * FINE_UNITS) <= UINT16_MAX else COARSE_UNITS
    units = np.rint(np.where(known, depth_m, 0.0).astype(np.float64) * scale)
    return np.where(units <= UINT16_MAX, units, INVALID_RAW).astype(np.uint16), scale


def coloured(depth_m: ViewMap, scale: DepthScale | None = None) -> Image.Image:
    """The map in colour, with a legend below it where there is room for one."""
    scale = scale or scale_of(depth_m)
    shown = Image.fromarray(scale.colours(depth_m))
    if shown.width < LEGEND_MIN_PX:
        return shown
    canvas = Image.new("RGB", (shown.width, shown.height + LEGEND_HEIGHT_PX), PAPER_RGB)
    canvas.paste(shown, (0, 0))
    canvas.paste(legend(scale, shown.width), (0, shown.height))
    return canvas


def photo_cloud(picture: Image.Image, camera: PinholeCamera, dense: DenseMap, depth_m: ViewMap) -> Cloud:
    """Every depth times the ray through its pixel, in the camera frame.

    Points are those of the model's own map where that is the coarser one, through the intrinsics that hold on
    its grid; what it was enlarged by adds points, but nothing that was measured.
    """
    height, width = np.shape(dense.depth_m)
    if dense.crop is None and width * height < depth_m.size:
        depth_m = np.asarray(dense.depth_m, np.float32)
        camera = camera.seen_through(cropped_grid(picture.size, (width, height)))
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    known = np.isfinite(depth_m) & (depth_m > 0)
    v, u = np.nonzero(known)
    points_cam = depth_m[known, None].astype(np.float64) * camera.rays(u, v)
    return Cloud(points_cam, np.asarray(picture)[known])
