"""Ray on this machine: the same set, whatever becomes of its workers. Needs depthvlm-bench[ray]."""

import subprocess
import threading
import time
from pathlib import Path

import pytest
from engine_tasks import DiesAt, collected, fail_at_two, square
from raw_nuscenes import write_nuscenes_tree

from depthvlm_bench.convert.execution import Execution
from depthvlm_bench.convert.request import ConvertRequest
from depthvlm_bench.convert.run import convert
from depthvlm_bench.engines.contract import Died, Done, Failed
from depthvlm_bench.engines.ray import RayTasks, import_ray
from depthvlm_bench.errors import DataMissingError
from depthvlm_bench.progress import Silent
from depthvlm_bench.registry import load_converter


def test_without_ray_the_error_has_the_command(monkeypatch):
    def absent(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("depthvlm_bench.engines.ray.import_module", absent)
    with pytest.raises(DataMissingError) as caught:
        import_ray()
    assert caught.value.one_line() == (
        "--engine ray needs Ray — No module named 'ray' — next: pip install 'depthvlm-bench[ray]'"
    )


@pytest.fixture
def ray_on_path(monkeypatch):
    """Ray is there, and its workers find the tests' fixtures."""
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1] / "fixtures"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_on_path")
class TestRay:
    def test_every_item_is_done_once(self):
        events, _ = collected(RayTasks(workers=2), square, range(20))
        assert sorted((event.item, event.result) for event in events) == [(n, n * n) for n in range(20)]

    def test_what_a_task_raises_is_told_after_it_was_tried_again(self):
        events, _ = collected(RayTasks(workers=2), fail_at_two, range(4))
        (failed,) = (event for event in events if isinstance(event, Failed))
        assert (failed.item, failed.error.errno) == (2, 28)
        assert sorted(event.item for event in events if isinstance(event, Done)) == [0, 1, 3]

    def test_a_worker_that_dies_is_replaced_and_one_that_always_dies_is_given_up(self, tmp_path):
        (tmp_path / "sometimes").mkdir(), (tmp_path / "always").mkdir()
        events, _ = collected(RayTasks(workers=2), DiesAt(tmp_path / "sometimes", (1,), times=2), range(4))
        assert sorted(event.item for event in events if isinstance(event, Done)) == [0, 1, 2, 3]
        events, _ = collected(RayTasks(workers=2), DiesAt(tmp_path / "always", (1,), times=99), range(4))
        assert [(e.item, e.given_up) for e in events if isinstance(e, Died)] == [(1, True)]
        assert sorted(event.item for event in events if isinstance(event, Done)) == [0, 2, 3]

    def test_a_conversion_with_a_killed_worker_gives_the_same_bytes(self, tmp_path):
        root = write_nuscenes_tree(tmp_path / "raw").root
        converter = load_converter("nuscenes")
        sets = []
        for name, execution in [("one", Execution()), ("ray", Execution(2, engine="ray"))]:
            request = ConvertRequest(
                root, tmp_path / name, role="train", shard_rows=1, max_skip_share=1.0, replan=True
            )
            killed = []
            if name == "ray":
                receipts = tmp_path / name / "nuscenes" / "receipts"
                threading.Thread(target=kill_a_worker, args=(receipts, killed), daemon=True).start()
            summary = convert(converter, request, Silent(), execution)
            assert summary.finished
            files = {p.relative_to(summary.folder): p for p in summary.folder.rglob("*") if p.is_file()}
            sets.append({str(n): p.read_bytes() for n, p in files.items() if n.parts[0] != "logs"})
        assert killed
        assert sets[0] == sets[1]


def kill_a_worker(receipts, killed):
    """Once a shard is there, kill -9 a process that Ray runs tasks in."""
    while not receipts.is_dir() or not any(receipts.glob("train-*.json")):
        time.sleep(0.005)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            title = path.read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::_timed"):
            killed.append(int(path.parent.name))
            subprocess.run(["kill", "-9", path.parent.name], check=False)
            return
