"""Reading the frames that a plan considers, most of them by an engine's workers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from depthvlm_bench.cards import DatasetCard
from depthvlm_bench.convert.request import ConvertRequest, kept_open
from depthvlm_bench.convert.settings import SetSettings
from depthvlm_bench.engines.contract import Advance, Died, Done, Engine, Failed, Stop
from depthvlm_bench.errors import DvbenchError, FrameError, PartialError
from depthvlm_bench.frames import Converter, Frame, FrameRef, Skip, Source

# What a plan wants of a frame that could be read, never None; FrameError where it cannot be used.
Judge = Callable[[Frame, DatasetCard, SetSettings], Any]

# Fewer are read before workers have started.
FEW = 64


@contextmanager
def frame_boundary(ref_id: str, skips: list[Skip]) -> Iterator[None]:
    """The one place where a frame's failure, whatever it is, becomes a counted skip."""
    try:
        yield
    except FrameError as error:
        skips.append(Skip(ref_id, error.reason, error.detail))
    except (DvbenchError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - a reader may fail in any way on a broken file
        skips.append(Skip(ref_id, "unreadable", f"{type(error).__name__}: {error}"))


@dataclass(frozen=True)
class Verdict:
    """What became of a frame: an outcome, or a skip that says why there is none."""

    outcome: Any = None
    skip: Skip | None = None


def read_and_judge(
    source: Source, card: DatasetCard, settings: SetSettings, judge: Judge, ref: FrameRef
) -> Verdict:
    """Read a frame to the end, its picture decoded, and judge it."""
    skips: list[Skip] = []
    outcome = None
    with frame_boundary(ref.id, skips):
        frame = source.read(ref)
        frame.picture.decode()
        outcome = judge(frame, card, settings)
    return Verdict(outcome, *skips)


@dataclass(frozen=True)
class Crew:
    """Who reads beside this process, and what they open: a converter as registered, and the request."""

    engine: Engine
    converter: Converter
    request: ConvertRequest


@dataclass(frozen=True)
class CandidateWork:
    """The judging of some frames, by their numbers, wherever it is sent."""

    converter: Converter
    request: ConvertRequest
    settings: SetSettings
    judge: Judge
    refs: tuple[FrameRef, ...]

    def __call__(self, index: int, advance: Advance) -> Verdict:
        """Judge one frame."""
        source, card = kept_open(self.converter, self.request)
        verdict = read_and_judge(source, card, self.settings, self.judge, self.refs[index])
        advance(1)
        return verdict


@dataclass
class Candidates:
    """Verdicts on the frames of one plan, each read once.

    Attributes:
        crew: None: every frame is read here, when it is asked for.
    """

    source: Source
    card: DatasetCard
    settings: SetSettings
    judge: Judge
    crew: Crew | None = None
    known: dict[str, Verdict] = field(default_factory=dict)

    def read_ahead(self, refs: Sequence[FrameRef], advance: Advance) -> None:
        """Let the crew read frames that are certain to be asked for; what is left out is not skipped yet.

        Raises:
            PartialError: a frame killed its workers.
            DvbenchError, OSError: the first that was raised.
        """
        if self.crew is None or not self.crew.engine.leaves_the_process or len(refs) < FEW:
            return
        crew = self.crew
        work = CandidateWork(crew.converter, crew.request, self.settings, self.judge, tuple(refs))
        events = crew.engine.run(work, range(len(refs)), Stop(), lambda _item, _more: None)
        with closing(events):
            for event in events:
                match event:
                    case Done(index, verdict, _):
                        self.known[refs[index].id] = verdict
                        advance(verdict.outcome is not None)
                    case Failed(_, error):
                        raise error
                    case Died(index, times, given_up=True):
                        raise PartialError(
                            f"a frame killed its workers {times} times while the set was planned",
                            where=refs[index].id,
                            why="left out, it would be another set",
                            next_step="fewer --workers leave each more memory; "
                            "--workers 1 shows what the reader says",
                        )

    def outcome(self, ref: FrameRef, skips: list[Skip], advance: Advance) -> Any:  # noqa: ANN401 - the judge's
        """What the judge made of a frame, read now if it was not; None, and a skip, where it is of no use."""
        verdict = self.known.get(ref.id)
        if verdict is None:
            verdict = read_and_judge(self.source, self.card, self.settings, self.judge, ref)
            self.known[ref.id] = verdict
            advance(verdict.outcome is not None)
        if verdict.skip is not None:
            skips.append(verdict.skip)
        return verdict.outcome
