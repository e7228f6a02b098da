"""Depth Anything 3 in its own environment: network output times focal length over 300, or metres as they are.

Runs in the worker, see depthvlm_bench/predict/isolated/worker.py. The network is built from the package's
configuration and filled by hand: its `api` imports exporters that need much more, and chooses half precision.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from depthvlm_bench.predict.isolated.wire import Answer, Picture

# The focal length in px of the picture as the network sees it at which its output is metres.
UNIT_FOCAL_PX = 300.0
RULE = "upper_bound_resize"


def load(options: dict[str, Any], answer: type[Answer]) -> DepthAnything3:
    """Build the network of a name and fill it from the weight file."""
    from depth_anything_3.cfg import create_object, load_config
    from depth_anything_3.registry import MODEL_REGISTRY
    from safetensors.torch import load_file

    model = create_object(load_config(MODEL_REGISTRY[options["network"]]))
    (path,) = (path for name, path in options["weights"].items() if name.endswith(".safetensors"))
    prefix = "model."
    state = {k[len(prefix) :] if k.startswith(prefix) else k: v for k, v in load_file(path).items()}
    missing = model.load_state_dict(state, strict=False).missing_keys
    if missing:
        raise ValueError(f"{len(missing)} tensors are not in {path}: {', '.join(missing[:4])}")
    device = options["device"]
    return DepthAnything3(model.to(device).eval(), device, options, answer)


class DepthAnything3:
    """A network, the processor of its pictures, and whether its output is metres already."""

    def __init__(
        self, model: torch.nn.Module, device: str, options: dict[str, Any], answer: type[Answer]
    ) -> None:
        from depth_anything_3.utils.io.input_processor import InputProcessor

        self.model, self.device, self.answer = model, device, answer
        self.processor = InputProcessor()
        self.size, self.in_metres, self.dtype = options["size"], options["in_metres"], options["dtype"]

    def predict(self, pictures: list[Picture]) -> list[Answer]:
        """One map a picture; several at once would be taken for views of one scene."""
        return [self._ask(picture) for picture in pictures]

    def _ask(self, picture: Picture) -> Answer:
        matrix = None if picture.camera is None else np.array([picture.intrinsics(0.0)], dtype=np.float32)
        prepared, _, seen_by = self.processor(
            [picture.rgb], None, matrix, self.size, RULE, num_workers=1, print_progress=False
        )
        torch.manual_seed(picture.seed)  # the network draws pixels where it takes a quantile
        with torch.inference_mode(), self._precision():
            said = self.model(prepared[None].to(self.device).float(), export_feat_layers=[])
        depth = said["depth"].float().reshape(said["depth"].shape[-2:])
        if self.in_metres:
            # Of the estimated camera: a given one has no part in the answer.
            shown_width, width = depth.shape[-1], picture.rgb.shape[1]
            fx_px = float(said["intrinsics"].reshape(-1, 3, 3)[0, 0, 0]) * width / shown_width
            return self.answer(depth.cpu().numpy(), fx_px)
        focal_px = float(seen_by[0, 0, 0] + seen_by[0, 1, 1]) / 2
        return self.answer((depth * focal_px / UNIT_FOCAL_PX).cpu().numpy())

    def _precision(self) -> AbstractContextManager[Any]:
        if self.dtype == "float32":
            return nullcontext()
        cast: AbstractContextManager[Any] = torch.autocast(
            torch.device(self.device).type, dtype=getattr(torch, self.dtype)
        )
        return cast
