"""Metric3D in its own environment: canonical depth of pictures padded to the network's size, then metres.

Runs in the worker, see depthvlm_bench/predict/isolated/worker.py; the model is asked as its repository's
hubconf.py asks it.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import interpolate, pad

if TYPE_CHECKING:
    from depthvlm_bench.predict.isolated.wire import Answer, Array, Picture

# Of the three channels, values 0 to 255; pictures are padded with the mean.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
# Focal length of the camera that the network answers for, px.
CANONICAL_FX_PX = 1000.0
MAX_M = 300.0


def load(options: dict[str, Any], answer: type[Answer]) -> Metric3D:
    """Build the network from the cloned code and fill it from the weight file."""
    model = torch.hub.load(options["code"][0], options["entry"], source="local", pretrain=False)
    (path,) = options["weights"].values()
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state_dict"]
    missing = model.load_state_dict(state, strict=False).missing_keys
    if missing:
        # hubconf.py leaves such tensors random without a word.
        raise ValueError(f"{len(missing)} tensors are not in {path}: {', '.join(missing[:4])}")
    device = options["device"]
    if not device.startswith("cuda"):
        _leave_the_gpu(model.depth_model.decoder, device)
    return Metric3D(model.to(device).eval(), device, tuple(options["input_size"]), answer)


def _leave_the_gpu(decoder: torch.nn.Module, device: str) -> None:
    """Make two constants of the decoder where the network is: its code names the GPU, whatever it is told."""

    def bins_of(number: int) -> torch.Tensor:
        nearest, farthest = math.log(decoder.min_val), math.log(decoder.max_val)
        return torch.linspace(nearest, farthest, number, device=device).exp()

    decoder.get_bins = bins_of
    decoder.create_mesh_grid = partial(decoder.create_mesh_grid, device=device)


class Metric3D:
    """The network and the size (height, width) it sees."""

    def __init__(
        self, model: torch.nn.Module, device: str, size: tuple[int, int], answer: type[Answer]
    ) -> None:
        self.model, self.device, self.size, self.answer = model, device, size, answer

    def predict(self, pictures: list[Picture]) -> list[Answer]:
        """One map a picture, of the part of the network's map that the picture covers."""
        shrunk = [self._shrink(picture.rgb) for picture in pictures]
        batch = torch.stack([self._padded(rgb) for rgb in shrunk]).to(self.device)
        with torch.no_grad():
            canonical = self.model.inference({"input": batch})[0]
        return [
            self.answer(self._metres(values[0], rgb.shape[1:], picture))
            for values, rgb, picture in zip(canonical, shrunk, pictures)  # noqa: B905 - Python 3.9
        ]

    def _scale(self, height: int, width: int) -> float:
        return min(self.size[0] / height, self.size[1] / width)

    def _shrink(self, rgb: Array) -> torch.Tensor:
        """(3, h, w) float, values 0 to 255 in whole steps as OpenCV gives them."""
        height, width = rgb.shape[:2]
        scale = self._scale(height, width)
        values = torch.from_numpy(rgb.copy()).permute(2, 0, 1).float()
        inner = (int(height * scale), int(width * scale))
        return interpolate(values[None], size=inner, mode="bilinear", align_corners=False)[0].round()

    def _margins(self, height: int, width: int) -> tuple[int, int]:
        return (self.size[0] - height) // 2, (self.size[1] - width) // 2

    def _padded(self, values: torch.Tensor) -> torch.Tensor:
        height, width = values.shape[1:]
        top, left = self._margins(height, width)
        mean, std = (torch.tensor(of)[:, None, None] for of in (MEAN, STD))
        margins = (left, self.size[1] - width - left, top, self.size[0] - height - top)
        return pad((values - mean) / std, margins)  # zero: the mean

    def _metres(self, canonical: torch.Tensor, inner: tuple[int, int], picture: Picture) -> Array:
        height, width = inner
        top, left = self._margins(height, width)
        assert picture.camera is not None  # its cards require one
        fx, fy, _, _ = picture.camera
        factor = (fx + fy) / 2 * self._scale(*picture.rgb.shape[:2]) / CANONICAL_FX_PX
        covered = canonical[top : top + height, left : left + width].float()
        metres: Array = (covered * factor).clamp(0, MAX_M).cpu().numpy()
        return metres
