"""The constant answer: row 1 of the paper's table, a fingerprint of the data free of any model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from depthvlm_bench.frames import NoOptions
from depthvlm_bench.predict.contracts import DenseMap, Model, ModelCard, View


@dataclass(frozen=True)
class ConstantOptions:
    """depth_m: what is answered everywhere, m."""

    depth_m: float = 2.0


class ConstantPredictor:
    """Answers one depth for every pixel of every picture; 2.0 m where nothing else is said."""

    depth_m = 2.0

    def load(self, options: ConstantOptions | NoOptions) -> None:
        """Take the constant."""
        if isinstance(options, ConstantOptions):
            self.depth_m = options.depth_m

    def predict(self, views: Sequence[View]) -> list[DenseMap]:
        """A single value, seen as a map of each view's own size."""
        value = np.float32(self.depth_m)
        return [DenseMap(np.broadcast_to(value, view.picture.size[::-1])) for view in views]


def _card(name: str, summary: str) -> ModelCard:
    return ModelCard(name, "naive", "dense", summary, licence="Apache-2.0", camera="ignored", max_batch=32)


CONSTANT = Model(_card("constant", "one depth everywhere (-o depth_m=3)"), ConstantPredictor, ConstantOptions)
CONSTANT_2M = Model(_card("constant-2m", "2.0 m everywhere: the paper's first row"), ConstantPredictor)
