"""Depth Pro (arXiv 2410.02073): canonical inverse depth, in metres by a given or estimated focal length."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from depthvlm_bench.baselines._checkpoints import (
    Found,
    LoadOptions,
    Weights,
    find_weights,
    identity,
    picture_settings,
    read_config,
)
from depthvlm_bench.baselines._exposure import trained_on
from depthvlm_bench.baselines._transformers import as_map, ask, load_model, machine, resized
from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict.contracts import DenseMap, Identity, Model, ModelCard, View

WEIGHTS = Weights(
    title="Depth Pro",
    model_type="depth_pro",
    model_class="DepthProForDepthEstimation",
    published={"apple/DepthPro-hf": "de816c8ce7168afcb231f96d501d72b869d0beda"},
)
# Inverse depth is kept within these before it is turned round, 1/m: 10 km at most, 0.1 mm at least.
INVERSE_MIN, INVERSE_MAX = 1e-4, 1e4
BILINEAR = 2
SOURCE = (
    "arXiv 2410.02073 tables 15 and 17; what its DINOv2 encoders saw without depth is in arXiv 2304.07193"
)


@dataclass(frozen=True)
class DepthProOptions(LoadOptions):
    """focal: whose focal length makes metres; auto: the camera's where it is known, else the estimate."""

    focal: Literal["auto", "given", "estimated"] = "auto"


@dataclass(frozen=True)
class PictureSettings:
    """How pictures are prepared: (value - mean) / std of each channel, then one resize to a given size.

    The aspect is not kept. The arithmetic of transformers' DepthProImageProcessor, which needs torchvision.

    Attributes:
        mean, std: of the three channels, values 0 to 255.
        height, width: what the model sees, px.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    height: int
    width: int

    @classmethod
    def of(cls, found: Found) -> "PictureSettings":
        """Those of a checkpoint; UsageError where they ask for anything else."""
        settings = picture_settings(found)
        whole = all(settings.get(f"do_{step}", True) for step in ("rescale", "normalize", "resize"))
        if not whole or settings.get("resample", BILINEAR) != BILINEAR:
            raise UsageError(
                f"{found.name} wants its pictures prepared in an unknown way",
                where=found.folder,
                why="Depth Pro's are normalised, then resized bilinearly",
            )
        levels = 1.0 / settings["rescale_factor"]
        mean, std = (tuple(v * levels for v in settings[name]) for name in ("image_mean", "image_std"))
        return cls(mean, std, settings["size"]["height"], settings["size"]["width"])

    def prepare(self, picture: Image.Image) -> Any:  # noqa: ANN401 - a tensor
        """A picture as the model sees it, (1, 3, height, width) float32."""
        import torch
        from torch.nn.functional import interpolate

        values = torch.from_numpy(np.array(picture, np.float32)).permute(2, 0, 1)
        mean, std = (torch.tensor(of)[:, None, None] for of in (self.mean, self.std))
        size = (self.height, self.width)
        return interpolate(((values - mean) / std)[None], size=size, mode="bilinear", align_corners=False)


class DepthProPredictor:
    """Turns canonical inverse depth into metres, by the focal length of each picture."""

    def load(self, options: DepthProOptions) -> None:
        """Load the checkpoint."""
        found = find_weights(WEIGHTS, options)
        self.focal = options.focal
        self.settings = PictureSettings.of(found)
        self.model = load_model(WEIGHTS, found, options)

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        """One map a view at the view's size; its text gives the field of view that the model estimates.

        Raises:
            UsageError: a focal length that is neither given nor estimated by this checkpoint.
        """
        import torch

        said = ask(self.model, torch.cat([self.settings.prepare(view.picture) for view in views]))
        seen = said.field_of_view
        fov_deg = [None] * len(views) if seen is None else seen.float().tolist()
        return [self._map(*of) for of in zip(said.predicted_depth, fov_deg, views, strict=True)]

    def _map(self, canonical: Any, fov_deg: float | None, view: View) -> DenseMap:  # noqa: ANN401 - a tensor
        width, height = view.picture.size
        given = view.camera is not None and self.focal != "estimated"
        scale = width / self._focal_px(fov_deg, view)
        inverse = resized(canonical.float() * scale, (height, width), "bilinear")
        used = ", not used" if given else ""
        text = None if fov_deg is None else f"horizontal field of view {fov_deg:.3f} degrees estimated{used}"
        possible = fov_deg if fov_deg is not None and 0 < fov_deg < 180 else None
        return as_map(1.0 / inverse.clamp(INVERSE_MIN, INVERSE_MAX), text, possible)

    def _focal_px(self, fov_deg: float | None, view: View) -> float:
        """The camera's, or the estimate, as the options say."""
        if view.camera is not None and self.focal != "estimated":
            return view.camera.fx_px
        if self.focal == "given":
            raise _no_focal(view, "the camera is unknown, and -o focal=given asks for its focal length")
        if fov_deg is None:
            raise _no_focal(view, "none is given, and this checkpoint estimates none")
        return focal_from_fov(view.picture.width, fov_deg)


def _no_focal(view: View, why: str) -> UsageError:
    what = "Depth Pro needs a focal length to answer in metres"
    return UsageError(what, where=view.id, why=why, next_step="--camera known, or another checkpoint")


def focal_from_fov(width_px: int, fov_deg: float) -> float:
    """Focal length of a horizontal field of view, px; NaN for what no lens has."""
    if not 0 < fov_deg < 180:
        return math.nan
    return 0.5 * width_px / math.tan(0.5 * math.radians(fov_deg))


def identify(options: DepthProOptions) -> Identity:
    """The checkpoint and the options."""
    return identity(find_weights(WEIGHTS, options), options, machine(options.device))


def recognises(folder: Path) -> bool:
    """Whether a folder is a Depth Pro checkpoint."""
    return read_config(folder).get("model_type") == WEIGHTS.model_type


DEPTH_PRO = Model(
    ModelCard(
        id="depth-pro",
        family="depth-pro",
        kind="dense",
        summary="sharp metric depth at 1536 x 1536; estimates the focal length where none is given",
        licence="apple-amlr (research only)",
        camera="optional",
        extra="models",
        repos=WEIGHTS.published,
        max_batch=4,
        trained_on=trained_on(),
        trained_on_source=SOURCE,
    ),
    DepthProPredictor,
    DepthProOptions,
    identify=identify,
    recognises=recognises,
)
