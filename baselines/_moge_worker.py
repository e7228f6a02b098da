"""MoGe-2 in its own environment: metric depth, with the camera's field of view or its own.

Runs in the worker, see depthvlm_bench/predict/isolated/worker.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from depthvlm_bench.predict.isolated.wire import Answer, Picture


def load(options: dict[str, Any], answer: type[Answer]) -> MoGe:
    """The model from its weight file."""
    from moge.model.v2 import MoGeModel

    (path,) = options["weights"].values()
    device = options["device"]
    model = MoGeModel.from_pretrained(path).to(device).eval()
    asked = {
        "num_tokens": options["num_tokens"],
        "resolution_level": options["resolution_level"],
        "use_fp16": options["half"],
        # Every pixel is asked about: what the model would mask out is answered too, as in its own evaluation.
        "apply_mask": False,
    }
    return MoGe(model, device, asked, answer)


class MoGe:
    """The model and how it is asked."""

    def __init__(
        self, model: torch.nn.Module, device: str, asked: dict[str, Any], answer: type[Answer]
    ) -> None:
        self.model, self.device, self.asked, self.answer = model, device, asked, answer

    def predict(self, pictures: list[Picture]) -> list[Answer]:
        """One map a picture at the picture's size."""
        return [self._ask(picture) for picture in pictures]

    def _ask(self, picture: Picture) -> Answer:
        width = picture.rgb.shape[1]
        rgb = torch.from_numpy(picture.rgb.copy()).permute(2, 0, 1).float() / 255
        camera = picture.camera
        fov_deg = math.degrees(2 * math.atan2(width, 2 * camera[0])) if camera is not None else None
        said = self.model.infer(rgb.to(self.device), fov_x=fov_deg, **self.asked)
        # Intrinsics are in units of the picture's width.
        fx_px = None if camera is not None else float(said["intrinsics"][0, 0]) * width
        return self.answer(said["depth"].float().cpu().numpy(), fx_px)
