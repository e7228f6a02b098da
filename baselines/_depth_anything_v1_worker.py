"""Depth Anything v1 metric in its own environment: the authors' ZoeDepth fork, one domain's weights.

Runs in the worker, see depthvlm_bench/predict/isolated/worker.py. The fork's own builder first loads weights
that are overwritten afterwards; here the network is put together from its classes with the same arguments.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from depthvlm_bench.predict.isolated.wire import Answer, Picture

# Data sets whose settings the fork keeps for each domain: they hold the greatest depth.
DATASET = {"indoor": "nyu", "outdoor": "kitti"}


def load(options: dict[str, Any], answer: type[Answer]) -> DepthAnything:
    """Build the network of a domain and fill it from the weight file."""
    os.chdir(options["code"][0])  # the fork finds DINOv2's code from here
    from zoedepth.models.base_models.depth_anything import DepthAnythingCore
    from zoedepth.models.base_models.dpt_dinov2.dpt import DPT_DINOv2
    from zoedepth.models.zoedepth.zoedepth_v1 import ZoeDepth
    from zoedepth.utils.config import get_config

    config = dict(get_config("zoedepth", "eval", DATASET[options["domain"]]))
    core = DepthAnythingCore(
        DPT_DINOv2(out_channels=[256, 512, 1024, 1024], use_clstoken=False),
        trainable=False,
        fetch_features=True,
        freeze_bn=True,
        keep_aspect_ratio=False,
        img_size=config["img_size"],
    )
    core.set_output_channels()
    model = ZoeDepth(core, **config)
    (path,) = options["weights"].values()
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("model", state)
    model.load_state_dict({name[7:] if name.startswith("module.") else name: v for name, v in state.items()})
    device = options["device"]
    return DepthAnything(model.to(device).eval(), device, options["flip"], answer)


class DepthAnything:
    """The network; it resizes and normalises pictures itself."""

    def __init__(self, model: torch.nn.Module, device: str, flip: bool, answer: type[Answer]) -> None:
        self.model, self.device, self.flip, self.answer = model, device, flip, answer

    def predict(self, pictures: list[Picture]) -> list[Answer]:
        """One map a picture at the picture's size."""
        return [self._ask(picture) for picture in pictures]

    def _ask(self, picture: Picture) -> Answer:
        rgb = torch.from_numpy(picture.rgb.copy()).permute(2, 0, 1)[None].float().to(self.device) / 255
        with torch.no_grad():
            depth_m = self.model(rgb)["metric_depth"]
            if self.flip:
                mirrored = self.model(rgb.flip(-1))["metric_depth"].flip(-1)
                depth_m = (depth_m + mirrored) / 2
            # The network shrinks the picture corner to corner, and so it has to grow again.
            grown = interpolate(depth_m, size=rgb.shape[-2:], mode="bilinear", align_corners=True)
        return self.answer(grown[0, 0].float().cpu().numpy())
