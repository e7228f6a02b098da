"""Planning of splits that do not fit in memory: the same plan as in memory, whatever the pieces."""

import random
import subprocess
import sys

import pytest

from depthvlm_bench.convert.plan import Plan, read_plan, write_plan
from depthvlm_bench.convert.plan_rows import GROUP_ROWS, StoredFrames
from depthvlm_bench.convert.settings import make_settings
from depthvlm_bench.convert.sorting import sorted_frames, spread_choice, taken
from depthvlm_bench.errors import CheckError
from depthvlm_bench.frames import FrameRef, Skip, Split
from depthvlm_bench.registry import load_converter
from depthvlm_bench.sampling.pick import pick_images

SPLIT = Split("train", "nvs_sem_train")


class IndexOnly:
    """A source of which only the index is asked."""

    def __init__(self, items):
        self.items = items

    def index(self, split):
        assert split == SPLIT
        yield from self.items


@pytest.fixture(scope="module")
def settings():
    converter = load_converter("scannetpp")
    options = converter.options_type()
    return make_settings(converter, SPLIT, "strict", options, limit=None, keep_source_image=True)


def ref(scene, number, camera=""):
    locator = {"folder": f"data/{scene}", "n": number}
    return FrameRef("scannetpp", SPLIT, scene, camera, f"f{number:06d}", number, scene, locator)


@pytest.fixture(scope="module")
def refs():
    found = [ref(f"s{k % 7}", k, f"c{k % 3}") for k in range(1234)]
    random.Random(3).shuffle(found)
    return found


def ids(frames):
    return [frame.ref.id for frame in frames]


@pytest.mark.parametrize("piece", [1, 10, 100, 1233, 1234, 5000])
def test_frames_are_in_order_whatever_the_size_of_the_pieces(settings, refs, piece):
    if piece == 1:
        refs = refs[:40]
    skips = []
    items = [*refs[:20], Skip("x", "missing_scene", "", "x"), *refs[20:]]
    frames = sorted_frames(IndexOnly(items), settings, skips, piece)
    expected = sorted(refs, key=lambda r: r.order_key)
    assert [frame.ref for frame in frames] == expected
    assert len(frames) == len(refs)
    assert skips == [Skip("x", "missing_scene", "", "x")]
    assert isinstance(frames, tuple) == (piece >= len(refs))


def test_stored_frames_are_as_good_as_a_tuple(settings, refs):
    stored = sorted_frames(IndexOnly(refs), settings, [], 500)
    assert isinstance(stored, StoredFrames)
    whole = tuple(stored)
    assert stored[0] == whole[0]
    assert stored[-1] == whole[-1]
    for part in (slice(0, 5), slice(995, 1005), slice(1200, 2000), slice(7, 7), slice(0, 1234, 100)):
        assert stored[part] == whole[part]
    with pytest.raises(IndexError):
        stored[1234]


@pytest.mark.parametrize("piece", [10, 5000])
def test_two_frames_of_one_name_are_refused_however_far_apart(settings, refs, piece):
    twin = FrameRef("scannetpp", SPLIT, refs[0].scene, refs[0].camera, refs[0].frame, 10**6, "g", {})
    with pytest.raises(CheckError, match="two frames have one name"):
        sorted_frames(IndexOnly([*refs, twin]), settings, [], piece)


@pytest.mark.parametrize("budget", [1, 6, 7, 100, 1233])
def test_a_choice_is_that_of_pick_images(settings, refs, budget):
    frames = sorted_frames(IndexOnly(refs), settings, [], 300)
    rows = spread_choice(frames, budget, settings)
    expected = pick_images(refs, budget, lambda _ref: True, settings.seed).refs
    assert [frame.ref for frame in taken(frames, rows)] == expected


def test_a_long_plan_is_written_and_read_back_a_shard_at_a_time(settings, tmp_path):
    many = [ref(f"s{k % 7}", k) for k in range(2 * GROUP_ROWS + 7)]
    frames = sorted_frames(IndexOnly(many), settings, [], 700)
    plan = Plan(settings, frames, 300)
    keys = [plan.shard_key(index) for index in range(plan.shards)]
    write_plan(tmp_path, plan)
    back = read_plan(tmp_path, "train")
    assert isinstance(back.frames, StoredFrames)
    assert back.shards == plan.shards == 7
    assert [back.shard_key(index) for index in range(7)] == keys
    assert sum(len(back.shard(index)) for index in range(7)) == len(many)
    assert ids(back.frames) == ids(plan.frames)
    in_memory = Plan(settings, tuple(frames), 300)
    (tmp_path / "again").mkdir()
    write_plan(tmp_path / "again", in_memory)
    assert (tmp_path / "again/plan-train.parquet").read_bytes() == (
        tmp_path / "plan-train.parquet"
    ).read_bytes()


MANY_FRAMES = """
import resource, sys
from pathlib import Path
from depthvlm_bench.convert.plan import Plan, write_plan
from depthvlm_bench.convert.settings import make_settings
from depthvlm_bench.convert.sorting import sorted_frames
from depthvlm_bench.frames import FrameRef, Split
from depthvlm_bench.registry import load_converter

frames, folder = int(sys.argv[1]), Path(sys.argv[2])
split = Split("train", "train")

class Synthetic:
    def index(self, _split):
        for k in range(frames):
            scene = f"{(k * 7919) % 800:05d}-scene"
            locator = {"rgb": f"rgb/taskonomy/{scene}/point_{k}_view_0_domain_rgb.png", "fov": 1.0 + k % 9}
            yield FrameRef("taskonomy", split, scene, "", f"point_{k}_view_0", k, scene, locator)

converter = load_converter("taskonomy")
chosen = dict(limit=None, keep_source_image=True)
settings = make_settings(converter, split, "strict", converter.options_type(), **chosen)
planned = sorted_frames(Synthetic(), settings, [])
write_plan(folder, Plan(settings, planned, 1000))
print(len(planned), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def planned_in_a_process(frames, folder):
    command = [sys.executable, "-c", MANY_FRAMES, str(frames), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, peak_mb = map(int, done.stdout.split())
    return count, peak_mb


@pytest.mark.slow
def test_five_million_frames_are_planned_in_bounded_memory(tmp_path):
    count, peak_mb = planned_in_a_process(5_000_000, tmp_path)
    assert count == 5_000_000
    assert peak_mb < 800
