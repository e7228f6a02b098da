"""MoGe-2 (arXiv 2507.02546): metric geometry of open-domain pictures."""

from dataclasses import dataclass

from depthvlm_bench.baselines._exposure import trained_on
from depthvlm_bench.baselines._isolated import Isolated, IsolatedOptions, check_level, isolated_model
from depthvlm_bench.predict.contracts import ModelCard
from depthvlm_bench.predict.isolated.weights import Published

PUBLISHED = Published("Ruicheng/moge-2-vitl-normal", "main", ("model.pt",))


@dataclass(frozen=True)
class MoGeOptions(IsolatedOptions):
    """How MoGe-2 is asked.

    Attributes:
        resolution_level: of its token range, from the least (0) to the most (9).
        num_tokens: instead of a level.
        half: mixed half precision, as its command line may use; float32 is what its evaluation defaults to.
    """

    resolution_level: int = 9
    num_tokens: int | None = None
    half: bool = False

    def __post_init__(self) -> None:
        """Refuse other levels (UsageError)."""
        check_level(self.resolution_level)


MOGE_2 = isolated_model(
    Isolated(
        ModelCard(
            id="moge-2",
            family="moge",
            kind="dense",
            summary="ViT-Large with normals; estimates the field of view where none is given",
            licence="MIT (code; the weights' is on their page)",
            camera="optional",
            isolation="worker",
            repos=PUBLISHED.repos,
            max_batch=1,
            trained_on=trained_on("argoverse2", "taskonomy", "waymo", "scannetpp"),
            trained_on_source="configs/train/v2.json of microsoft/MoGe; what its DINOv2 encoder saw without "
            "depth is in arXiv 2304.07193",
        ),
        PUBLISHED,
        "_moge_worker.py",
        {},
    ),
    MoGeOptions,
)
