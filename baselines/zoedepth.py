"""ZoeDepth (arXiv 2302.12288): one backbone, a metric head for rooms and one for streets, no camera."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthvlm_bench.baselines._checkpoints import LoadOptions, Weights, find_weights, identity, read_config
from depthvlm_bench.baselines._exposure import trained_on
from depthvlm_bench.baselines._transformers import as_map, ask, load_model, load_processor, machine, resized
from depthvlm_bench.predict.contracts import DenseMap, Identity, Model, ModelCard, View

WEIGHTS = Weights(
    title="ZoeDepth",
    model_type="zoedepth",
    model_class="ZoeDepthForDepthEstimation",
    published={"Intel/zoedepth-nyu-kitti": "f364d4c7936e91f465abba182208dd68142bf0ca"},
)
PROCESSOR = "ZoeDepthImageProcessor"
# A reflected border of int(BORDER * sqrt(side / 2)) px on every side: depth_model.py of isl-org/ZoeDepth.
BORDER = 3
SOURCE = (
    "arXiv 2302.12288: metric depth of NYU Depth v2 and KITTI, after relative depth of the twelve sets of "
    "MiDaS v3.1 (README of isl-org/MiDaS), NYU Depth v2 and KITTI among them"
)


@dataclass(frozen=True)
class ZoeDepthOptions(LoadOptions):
    """flip: ask about the mirrored picture too and average both maps, as the authors' own `infer` does."""

    flip: bool = True


class ZoeDepthPredictor:
    """Asks about one picture at a time: a batch votes for one head, and its pictures change each other."""

    def load(self, options: ZoeDepthOptions) -> None:
        """Load the checkpoint with its own image processor."""
        found = find_weights(WEIGHTS, options)
        self.flip = options.flip
        self.processor = load_processor(found, PROCESSOR)
        self.model = load_model(WEIGHTS, found, options)

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        """One map a view at the view's size; its text names the head that answered."""
        return [self._map(view) for view in views]

    def _map(self, view: View) -> DenseMap:
        pixels = self.processor(images=view.picture, return_tensors="pt")["pixel_values"]
        said = ask(self.model, pixels)
        depth_m, domains = said.predicted_depth[0].float(), [self._domain(said)]
        if self.flip:
            mirrored = ask(self.model, pixels.flip(-1))
            depth_m = (depth_m + mirrored.predicted_depth[0].float().flip(-1)) / 2
            domains.append(self._domain(mirrored))
        text = ", mirrored ".join(dict.fromkeys(filter(None, domains)))
        return as_map(self._uncovered(depth_m, view), f"domain {text}" if text else None)

    def _domain(self, said: Any) -> str | None:  # noqa: ANN401 - the model's output
        """Name of the head that was voted for; None where there is but one."""
        if said.domain_logits is None:
            return None
        return str(self.model.config.bin_configurations[int(said.domain_logits[0].argmax())]["name"])

    def _uncovered(self, depth_m: Any, view: View) -> Any:  # noqa: ANN401 - tensors
        """The map at the picture's size, without the border that was put around it."""
        width, height = view.picture.size
        top, left = (border_px(side) if self.processor.do_pad else 0 for side in (height, width))
        whole = resized(depth_m, (height + 2 * top, width + 2 * left), "bicubic")
        return whole[top : top + height, left : left + width]


def border_px(side_px: int) -> int:
    """Width of the border on either end of a side, px."""
    return int(BORDER * math.sqrt(side_px / 2))


def identify(options: ZoeDepthOptions) -> Identity:
    """The checkpoint, the options, and which code prepares the pictures."""
    found = find_weights(WEIGHTS, options)
    return identity(found, options, machine(options.device), pictures=f"{PROCESSOR}Pil")


def recognises(folder: Path) -> bool:
    """Whether a folder is a ZoeDepth checkpoint."""
    return read_config(folder).get("model_type") == WEIGHTS.model_type


ZOEDEPTH = Model(
    ModelCard(
        id="zoedepth",
        family="zoedepth",
        kind="dense",
        summary="ZoeD-M12-NK: a head for rooms (10 m) and one for streets (80 m), chosen by the model",
        licence="MIT",
        camera="unsupported",
        extra="models",
        repos=WEIGHTS.published,
        max_batch=1,
        trained_on=trained_on("nyuv2", "nyuv2-sun"),
        trained_on_source=SOURCE,
    ),
    ZoeDepthPredictor,
    ZoeDepthOptions,
    identify=identify,
    recognises=recognises,
)
