"""UniDepth v1 and v2 in their own environment: metres and, where no camera is given, its focal length.

Runs in the worker, see depthvlm_bench/predict/isolated/worker.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from depthvlm_bench.predict.isolated.wire import Answer, Picture

# UniDepth's first pixel has its centre at (0.5, 0.5).
CENTRE = 0.5


def load(options: dict[str, Any], answer: type[Answer]) -> UniDepth:
    """The model of a version, from the folder of its files."""
    from unidepth import models

    folder = Path(next(iter(options["weights"].values()))).parent
    device = options["device"]
    kind = {"v1": models.UniDepthV1, "v2": models.UniDepthV2}[options["version"]]
    model = kind.from_pretrained(str(folder)).to(device).eval()
    if options["version"] == "v2":
        model.resolution_level = options["resolution_level"]
        model.interpolation_mode = "bilinear"
    return UniDepth(model, device, options["camera_argument"], answer)


class UniDepth:
    """A model and what it calls the camera."""

    def __init__(
        self, model: torch.nn.Module, device: str, camera_argument: str, answer: type[Answer]
    ) -> None:
        self.model, self.device, self.camera_argument, self.answer = model, device, camera_argument, answer

    def predict(self, pictures: list[Picture]) -> list[Answer]:
        """One map a picture at the picture's size; those of one size are asked about together."""
        answers: dict[int, Any] = {}
        kinds = [(picture.rgb.shape, picture.camera is None) for picture in pictures]
        for kind in dict.fromkeys(kinds):
            alike = [index for index, of in enumerate(kinds) if of == kind]
            asked = self._ask([pictures[index] for index in alike])
            answers.update(zip(alike, asked))  # noqa: B905 - Python 3.9
        return [answers[index] for index in range(len(pictures))]

    def _ask(self, pictures: list[Picture]) -> list[Answer]:
        # 8-bit values: v1 guesses from the range of any others whether to normalise them.
        rgb = torch.stack([torch.from_numpy(picture.rgb.copy()).permute(2, 0, 1) for picture in pictures])
        given = {}
        if pictures[0].camera is not None:
            matrices = [picture.intrinsics(CENTRE) for picture in pictures]
            given = {self.camera_argument: torch.tensor(matrices, dtype=torch.float32)}
        with torch.no_grad():
            said = self.model.infer(rgb.to(self.device), **given)
        # `points` mix two cameras where one is given (v1); z is right either way.
        maps = said["depth"].float().cpu().numpy()
        focal = [None] * len(pictures) if given else said["intrinsics"][:, 0, 0].float().tolist()
        return [self.answer(depth_m[0], fx_px) for depth_m, fx_px in zip(maps, focal)]  # noqa: B905 - 3.9
