"""The oracle reads the answers from the set itself: for tests of the harness, never for a leaderboard."""

from dataclasses import dataclass
from pathlib import Path

from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict.contracts import Model, ModelCard, PointAnswer, View
from depthvlm_bench.records.reader import RecordSet


@dataclass(frozen=True)
class OracleOptions:
    """set_folder: the evaluation set it looks the answers up in. factor: what it multiplies them by."""

    set_folder: Path | None = None
    factor: float = 1.0


class OraclePredictor:
    """Looks up the true depth of each asked pixel, at canonical or native size."""

    def load(self, options: OracleOptions) -> None:
        """Read the set's points."""
        if options.set_folder is None:
            raise UsageError(
                "the oracle has to be told where the answers are", next_step="-o set_folder=DATA/SET"
            )
        self.factor = options.factor
        self.depth_m: dict[tuple[str, float, float], float] = {}
        table = RecordSet(options.set_folder, "eval").points(["id", "points", "points_balanced"])
        for row in table.to_pylist():
            for point in (row["points"] or []) + (row["points_balanced"] or []):
                for u, v in ((point["u"], point["v"]), (point["u_src"], point["v_src"])):
                    self.depth_m[row["id"], u, v] = point["depth_m"]

    def ask(self, view: View, points_px: FloatArray) -> list[PointAnswer]:
        """The truth times the factor."""
        answers = []
        for u, v in points_px.tolist():
            depth_m = self.depth_m.get((view.id, u, v))
            unknown = PointAnswer(None, "unparsed", raw_text=f"no answer known at {u}, {v}")
            answers.append(unknown if depth_m is None else PointAnswer(depth_m * self.factor))
        return answers


ORACLE = Model(
    ModelCard(
        "oracle",
        "naive",
        "point",
        "the true depth, for tests of the harness (-o set_folder=DATA/SET)",
        licence="Apache-2.0",
        camera="ignored",
        for_tests=True,
    ),
    OraclePredictor,
    OracleOptions,
)
