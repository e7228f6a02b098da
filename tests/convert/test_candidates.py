"""Candidates read by workers: the plan is the one that a single process makes."""

import pytest
from engine_tasks import kill_the_reader, name_it, refuse
from raw_ibims1 import write_ibims1_tree
from raw_nuscenes import write_nuscenes_tree

from depthvlm_bench.convert import candidates
from depthvlm_bench.convert.candidates import Candidates, Crew, frame_boundary
from depthvlm_bench.convert.plan import index_frames
from depthvlm_bench.convert.request import ConvertRequest
from depthvlm_bench.convert.run import convert, open_source, plan_split, resolve_split
from depthvlm_bench.engines.here import ThisProcess
from depthvlm_bench.engines.local import LocalProcesses
from depthvlm_bench.errors import FrameError, PartialError, UsageError
from depthvlm_bench.frames import Split
from depthvlm_bench.progress import Silent
from depthvlm_bench.registry import load_converter


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(candidates, "FEW", 2)


@pytest.fixture(scope="module")
def nuscenes(tmp_path_factory):
    return write_nuscenes_tree(tmp_path_factory.mktemp("raw")).root


@pytest.fixture(scope="module")
def ibims1(tmp_path_factory):
    return write_ibims1_tree(tmp_path_factory.mktemp("raw")).root


class Counted(LocalProcesses):
    """Two workers, and the verdicts that came from them."""

    def __init__(self):
        super().__init__(2)
        self.came = 0

    def run(self, *arguments):
        for event in super().run(*arguments):
            self.came += 1
            yield event


def planned(name, request, crew=None):
    converter = load_converter(name)
    source = open_source(converter, request.root, request.options)
    chosen = resolve_split(converter, request, source)
    plan, _ = plan_split(
        converter, request, source, chosen, Silent(), crew and Crew(crew, converter, request)
    )
    return plan


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("nuscenes", {}),
        ("nuscenes", {"limit": 4}),
        ("ibims1", {}),
        ("ibims1", {"sampling": "compat"}),
    ],
)
def test_workers_make_the_plan_that_one_process_makes(name, more, request, tmp_path):
    asked = ConvertRequest(request.getfixturevalue(name), tmp_path, **more)
    alone, engine = planned(name, asked), Counted()
    assert planned(name, asked, engine) == alone
    assert engine.came >= min(len(alone.frames), more.get("limit", 99)) > 1
    assert [skip.reason for skip in alone.skips]  # there is something to leave out, and to replace


def test_a_pinned_set_is_planned_by_workers(nuscenes, tmp_path):
    made = convert(load_converter("nuscenes"), ConvertRequest(nuscenes, tmp_path), Silent())
    asked = ConvertRequest(nuscenes, tmp_path / "again", manifest=made.folder / "manifest-eval.parquet")
    engine = Counted()
    assert planned("nuscenes", asked, engine) == planned("nuscenes", asked)
    assert engine.came == made.images


def judging(root, judge, engine):
    converter, request = load_converter("nuscenes"), ConvertRequest(root, root)
    source = open_source(converter, root)
    refs = index_frames(source, Split("eval", "val"), [])
    return Candidates(source, converter.card, None, judge, Crew(engine, converter, request)), refs


def test_a_frame_that_kills_its_workers_ends_the_planning_by_name(nuscenes):
    asked, refs = judging(nuscenes, kill_the_reader, LocalProcesses(1))
    with pytest.raises(PartialError, match="killed its workers 3 times while the set was planned") as caught:
        asked.read_ahead(refs, lambda _more: None)
    assert caught.value.where == refs[0].id


def test_what_a_worker_raises_for_the_user_reaches_the_user(nuscenes):
    asked, refs = judging(nuscenes, refuse, LocalProcesses(2))
    with pytest.raises(UsageError, match="these options give no depth"):
        asked.read_ahead(refs, lambda _more: None)


def test_a_broken_frame_is_skipped_when_it_is_asked_for_and_not_before(nuscenes):
    asked, refs = judging(nuscenes, name_it, LocalProcesses(2))
    told, skips = [], []
    asked.read_ahead(refs, told.append)
    assert asked.known.keys() == {ref.id for ref in refs}
    good, broken = (
        [ref for ref in refs if (asked.known[ref.id].skip is None) is is_good] for is_good in (True, False)
    )
    assert sum(told) == len(good) > 1
    assert asked.outcome(good[0], skips, pytest.fail) == good[0].id
    assert skips == []
    assert asked.outcome(broken[0], skips, pytest.fail) is None
    assert [skip.id for skip in skips] == [broken[0].id]


@pytest.mark.parametrize("engine", [ThisProcess(), None])
def test_one_process_reads_nothing_ahead(nuscenes, engine):
    asked, refs = judging(nuscenes, name_it, engine)
    asked.crew = None if engine is None else asked.crew
    asked.read_ahead(refs, pytest.fail)
    assert asked.known == {}


def test_few_frames_are_read_before_workers_would_have_started(nuscenes, monkeypatch):
    monkeypatch.setattr(candidates, "FEW", 1000)
    asked, refs = judging(nuscenes, name_it, LocalProcesses(2))
    asked.read_ahead(refs, pytest.fail)
    assert asked.known == {}


def test_the_boundary_turns_any_failure_of_a_frame_into_a_skip():
    skips = []
    with frame_boundary("a", skips):
        raise FrameError("time_gap", "late")
    with frame_boundary("b", skips):
        raise RuntimeError("what a reader may do")
    with frame_boundary("c", skips):
        pass
    assert [(skip.id, skip.reason) for skip in skips] == [("a", "time_gap"), ("b", "unreadable")]
    assert "RuntimeError: what a reader may do" in skips[1].detail


@pytest.mark.parametrize("error", [UsageError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_the_boundary_lets_through_what_is_no_frame_s_failure(error):
    skips = []
    with pytest.raises(type(error)), frame_boundary("a", skips):
        raise error
    assert skips == []
