import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_tasks import (
    DiesAsItArrives,
    DiesAt,
    Marks,
    collected,
    fail_at_two,
    fail_strangely,
    process_of,
    square,
    threads_here,
    ticking,
)

from depthvlm_bench.engines.contract import Died, Done, Failed, Stop
from depthvlm_bench.engines.environment import WORKER_ENVIRONMENT
from depthvlm_bench.engines.here import ThisProcess
from depthvlm_bench.engines.local import LocalProcesses
from depthvlm_bench.errors import CheckError


@pytest.mark.parametrize("engine", [ThisProcess(), LocalProcesses(1), LocalProcesses(3)], ids=repr)
def test_every_item_is_done_once(engine):
    events, _ = collected(engine, square, range(7))
    assert sorted((event.item, event.result) for event in events) == [(n, n * n) for n in range(7)]


def test_items_go_to_several_processes_that_are_not_this_one():
    events, _ = collected(LocalProcesses(2), process_of, range(8))
    processes = {event.result for event in events}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_no_items_start_no_process():
    assert collected(LocalProcesses(2), DiesAsItArrives(), []) == ([], {})


def test_workers_have_one_thread_and_the_parent_keeps_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    ((event,), _) = collected(LocalProcesses(1), threads_here, [0])
    assert WORKER_ENVIRONMENT.items() <= event.result.items()
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ


def test_progress_within_an_item_is_told():
    _, told = collected(LocalProcesses(1), ticking, [4])
    assert 1 <= told[4] <= 6


def test_a_killed_worker_is_replaced_and_only_its_item_is_done_again(tmp_path):
    events, _ = collected(LocalProcesses(2), DiesAt(tmp_path, (3,), times=2), range(8))
    assert [event for event in events if isinstance(event, Died)] == [Died(3, 1, False), Died(3, 2, False)]
    done = [event.item for event in events if isinstance(event, Done)]
    assert sorted(done) == list(range(8))


def test_an_item_that_kills_three_workers_is_given_up_and_no_other_is(tmp_path):
    events, _ = collected(LocalProcesses(2), DiesAt(tmp_path, (0, 5), times=99), range(8))
    deaths = [event for event in events if isinstance(event, Died)]
    assert sorted((d.item, d.times, d.given_up) for d in deaths) == [
        (item, times, times == 3) for item in (0, 5) for times in (1, 2, 3)
    ]
    assert sorted(event.item for event in events if isinstance(event, Done)) == [1, 2, 3, 4, 6, 7]


@pytest.mark.parametrize("engine", [ThisProcess(), LocalProcesses(2)], ids=repr)
def test_what_a_task_raises_is_told_and_the_others_are_done(engine):
    events, _ = collected(engine, fail_at_two, range(5))
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert (failed.item, failed.error.errno, failed.error.filename) == (2, 28, "/there/file")
    assert sorted(event.item for event in events if isinstance(event, Done)) == [0, 1, 3, 4]


def test_an_error_that_cannot_travel_still_says_what_happened():
    ((failed,), _) = collected(LocalProcesses(1), fail_strangely, [0])
    assert "out of the blue" in str(failed.error)
    assert "fail_strangely" in str(failed.error)


def test_workers_that_never_begin_end_the_run_with_one_error(capfd):
    with pytest.raises(CheckError, match="end before they begin") as caught:
        collected(LocalProcesses(2), DiesAsItArrives(), range(4))
    assert "status 7" in caught.value.why


@pytest.mark.parametrize("engine", [ThisProcess(), LocalProcesses(2)], ids=repr)
def test_asked_to_stop_items_in_hand_are_finished_and_no_other_is_begun(engine, tmp_path):
    stop, done = Stop(), []
    for event in engine.run(Marks(tmp_path), range(20), stop, lambda _item, _more: None):
        done.append(event.item)
        stop.asked = True
    begun = {path.name.split("-")[1] for path in tmp_path.glob("begun-*")}
    assert {str(item) for item in done} == begun
    assert {path.name.split("-")[1] for path in tmp_path.glob("ended-*")} == begun
    assert 1 <= len(begun) <= 3


def test_left_in_the_middle_no_process_stays(tmp_path):
    events = LocalProcesses(2).run(Marks(tmp_path), range(20), Stop(), lambda _item, _more: None)
    next(events)
    events.close()
    begun, ended = (len(list(tmp_path.glob(f"{name}-*"))) for name in ("begun", "ended"))
    time.sleep(1.0)
    assert len(list(tmp_path.glob("begun-*"))) == begun
    assert len(list(tmp_path.glob("ended-*"))) == ended


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from engine_tasks import Marks
from depthvlm_bench.engines.contract import Stop
from depthvlm_bench.engines.local import LocalProcesses
for event in LocalProcesses(2).run(Marks(Path(sys.argv[1])), range(1000), Stop(), lambda *_: None):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    fixtures = Path(__file__).resolve().parents[1] / "fixtures"
    environment = os.environ | {"PYTHONPATH": str(fixtures)}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=False)
    assert done.returncode == -9
    time.sleep(1.0)
    begun = len(list(tmp_path.glob("begun-*")))
    time.sleep(1.5)
    assert len(list(tmp_path.glob("begun-*"))) == begun < 10
