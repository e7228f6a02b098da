"""Asking models in transformers: their own classes and processors, and maps finished in float32."""

import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from depthvlm_bench.baselines._checkpoints import PICTURES, Found, LoadOptions, Weights, picture_settings
from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.predict.contracts import DenseMap

# Parameters without a part in the answer: of masked pre-training, and of the coarsest fusion, which has
# nothing to add.
IDLE = re.compile(r"(^|\.)mask_token$|fusion_stage\.(layers|intermediate)\.0\.residual_layer1\.")
NAMES_SHOWN = 4


def load_model(weights: Weights, found: Found, options: LoadOptions) -> Any:  # noqa: ANN401 - a transformers model
    """The model in eval mode on its device, loaded by its class's own from_pretrained.

    Raises:
        UsageError: a device that is not there, or a configuration that the class refuses.
        CheckError: weights of the model are missing in the checkpoint, or of another shape.
    """
    import torch
    import transformers

    device = usable_device(options.device)
    try:
        model, report = getattr(transformers, weights.model_class).from_pretrained(
            found.folder,
            dtype=getattr(torch, options.dtype),
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"{found.name} cannot be loaded", where=found.folder, why=_first_line(error)
        ) from error
    _check_report(found, report)
    return model.to(device).eval()


def _check_report(found: Found, report: Mapping[str, Any]) -> None:
    """Refuse tensors that transformers would fill with random numbers, with no more than a warning."""
    missing = sorted(name for name in map(str, report["missing_keys"]) if not IDLE.search(name))
    wrong = missing + sorted(map(str, report["mismatched_keys"]))
    if wrong:
        more = f" and {len(wrong) - NAMES_SHOWN} more" if len(wrong) > NAMES_SHOWN else ""
        raise CheckError(
            f"{len(wrong)} of the model's tensors are not in {found.name} as they should be",
            where=found.folder,
            why=", ".join(wrong[:NAMES_SHOWN]) + more,
            next_step="fetch the checkpoint again; its class in transformers may have changed since",
        )


def load_processor(found: Found, name: str) -> Any:  # noqa: ANN401 - a transformers image processor
    """The checkpoint's own image processor, by the variant that needs Pillow alone.

    Args:
        found: the checkpoint; a processor made without its settings prepares pictures in another way.
        name: as in preprocessor_config.json.

    Raises:
        DataMissingError: there are no settings.
        UsageError: they are of another processor.
    """
    import transformers

    kind = str(picture_settings(found).get("image_processor_type", name)).removesuffix("Fast")
    if kind != name:
        where = found.folder / PICTURES
        raise UsageError(
            f"{found.name} wants pictures of another kind", where=where, why=f"{kind}, not {name}"
        )
    return getattr(transformers, f"{name}Pil").from_pretrained(found.folder, local_files_only=True)


def ask(model: Any, pixel_values: Any) -> Any:  # noqa: ANN401 - a transformers model, a tensor, an output
    """What the model makes of prepared pictures (n, 3, h, w), without gradients."""
    import torch

    with torch.inference_mode():
        return model(pixel_values=pixel_values.to(model.device, model.dtype))


def resized(values: Any, size: tuple[int, int], mode: str) -> Any:  # noqa: ANN401 - tensors
    """A map (h, w) at (height, width): half-pixel centres, no antialiasing, in float32.

    Args:
        values: of any precision.
        size: (height, width).
        mode: bilinear or bicubic.
    """
    from torch.nn.functional import interpolate

    return interpolate(values.float()[None, None], size=size, mode=mode, align_corners=False)[0, 0]


def as_map(depth_m: Any, text: str | None = None, fov_deg: float | None = None) -> DenseMap:  # noqa: ANN401 - a tensor
    """A finished map (h, w) as a prediction."""
    return DenseMap(np.ascontiguousarray(depth_m.float().cpu().numpy()), text=text, fov_deg=fov_deg)


def usable_device(name: str) -> str:
    """A torch device by name; `auto`: the GPU where there is one. UsageError where it is not usable."""
    import torch

    device = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"device {device!r} is not usable here", why=_first_line(error), next_step="use cpu"
        ) from error
    return device


def machine(device: str) -> dict[str, Any]:
    """What a model runs on: recorded, and no part of what identifies a run."""
    import torch

    name = usable_device(device)
    gpu = torch.cuda.get_device_name(name) if name.startswith("cuda") else None
    return {"device": name, "gpu": gpu, "torch": version("torch"), "threads": torch.get_num_threads()}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
