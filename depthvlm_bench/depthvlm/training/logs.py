"""What a run tells: JSON objects, one a line, in `log.jsonl`; the same in TensorBoard; and running means."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from depthvlm_bench.records.files import whole_file

LOG_FILE = "log.jsonl"
REPLIES_FILE = "replies.jsonl"
BOARD_FOLDER = "tensorboard"
Kind = Literal["train", "probe", "event"]


class Means:
    """Weighted means that gather between two lines of the log; their sums survive a checkpoint."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, name: str, total: float, weight: float = 1.0) -> None:
        """Add a sum of `weight` values."""
        held = self._sums[name]
        held[0] += total
        held[1] += weight

    def extend(self, other: Mapping[str, Iterable[float]]) -> None:
        """Add all that another state holds."""
        for name, (total, weight) in other.items():
            self.add(name, total, weight)

    def state(self) -> dict[str, list[float]]:
        """Sums and weights, as JSON keeps them to the last bit."""
        return {name: list(held) for name, held in self._sums.items()}

    def means(self) -> dict[str, float]:
        """Mean of each name that has any weight, sorted by name."""
        return {name: total / weight for name, (total, weight) in sorted(self._sums.items()) if weight}

    def clear(self) -> None:
        """Begin anew."""
        self._sums.clear()


class RunLog:
    """Writes the log of a run; on resuming, lines after the checkpoint are taken back first.

    Args:
        out: folder of the run.
        step: the step the run begins after; 0: a new one.
        board: also write for TensorBoard, where it is installed.
    """

    def __init__(self, out: Path, *, step: int = 0, board: bool = True) -> None:
        self.out = out
        for name in (LOG_FILE, REPLIES_FILE):
            _take_back(out / name, step)
        self._board = _board(out / BOARD_FOLDER, step) if board else None

    @property
    def has_board(self) -> bool:
        """Whether TensorBoard is written too."""
        return self._board is not None

    def write(self, kind: Kind, step: int, values: Mapping[str, Any]) -> None:
        """One line; numbers go to TensorBoard as `kind/name`."""
        _append(self.out / LOG_FILE, {"kind": kind, "step": step, **values})
        if self._board is not None:
            for name, number in _numbers(values):
                self._board.add_scalar(f"{kind}/{name}", number, step)
            self._board.flush()

    def replies(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """The probe's replies in words, one line each."""
        for row in rows:
            _append(self.out / REPLIES_FILE, {"step": step, **row})

    def close(self) -> None:
        """End TensorBoard's file."""
        if self._board is not None:
            self._board.close()


def read_log(out: Path, kind: Kind | None = None, name: str = LOG_FILE) -> list[dict[str, Any]]:
    """Lines of a run's log, of one kind or all; a last line that was cut off by a kill is left out."""
    path = out / name
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if text.endswith("\n"):
            lines.append(json.loads(text))
    return [line for line in lines if kind is None or line.get("kind") == kind]


def _take_back(path: Path, step: int) -> None:
    if not path.is_file():
        return
    kept = [line for line in read_log(path.parent, name=path.name) if line["step"] <= step]
    with whole_file(path) as temporary:
        temporary.write_text("".join(_line(line) for line in kept), encoding="utf-8")


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(row))


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + name, float(value)


def _board(folder: Path, step: int) -> Any:  # noqa: ANN401 - tensorboard may not be there
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
