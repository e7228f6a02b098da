"""Batches through torch's DataLoader: the same from any number of workers, and after any resumption."""

import json
from itertools import chain, islice

import pytest

pytest.importorskip("torch")

import torch
from training_sources import Numbered, Plain

from depthvlm_bench.depthvlm.training.loader import SampleLoader
from depthvlm_bench.depthvlm.training.mixing import MixedStream, MixSettings
from depthvlm_bench.errors import CheckError, UsageError

SETTINGS = MixSettings(window_rows=64)


class Picky(Plain):
    """Refuses to batch what it is told to, with an error of the project."""

    def __init__(self, refused):
        self.refused = refused

    def __call__(self, prepared):
        if self.refused in prepared:
            raise CheckError("the batch is refused", where=self.refused, next_step="mend it")
        return super().__call__(prepared)


def loader(*, bad=(), damaged=(), collate=None, settings=SETTINGS, rows=(32, 32, 32, 9), **options):
    sets = [Numbered("rooms", rows, bad=bad, damaged=damaged)]
    stream = MixedStream(sets, [Numbered("talk", [32, 7])], settings)
    return SampleLoader(stream, collate or Plain(), **{"batch_size": 4, "max_bad_share": 1.0} | options)


def batches(source, count):
    return [batch["samples"] for batch in islice(iter(source), count)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_are_the_same_from_any_number_of_workers(workers):
    bad = range(0, 105, 4)
    whole, read = loader(bad=bad), loader(bad=bad, workers=workers)
    assert batches(read, 20) == batches(whole, 20)
    assert read.state_dict() == whole.state_dict()
    assert read.faults.bad["no_valid_depth"] >= 15


def test_processes_deal_one_stream_among_them():
    whole = batches(loader(), 12)
    ranks = [batches(loader(rank=rank, ranks=3), 4) for rank in range(3)]
    assert [batch for step in zip(*ranks, strict=True) for batch in step] == whole


@pytest.mark.parametrize("taken", [1, 7, 30])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_exactly_where_its_checkpoint_was_written(taken, workers):
    whole, first = batches(loader(), taken + 10), loader(workers=2)
    assert batches(first, taken) == whole[:taken]
    state = json.loads(json.dumps(first.state_dict()))
    resumed = loader(workers=workers)
    resumed.load_state_dict(state)
    assert batches(resumed, 10) == whole[taken:]


def test_bad_samples_are_counted_on_from_a_checkpoint():
    bad = range(0, 105, 4)
    whole, first, resumed = (loader(bad=bad) for _ in range(3))
    batches(whole, 25)
    batches(first, 15)
    resumed.load_state_dict(first.state_dict())
    batches(resumed, 10)
    assert resumed.state_dict() == whole.state_dict()
    assert resumed.faults.bad.total() > first.faults.bad.total() > 0


def test_a_run_may_go_on_with_other_processes_and_batches():
    whole = list(chain.from_iterable(batches(loader(), 20)))
    first = [loader(rank=rank, ranks=2) for rank in range(2)]
    for one in first:
        batches(one, 5)
    states = [one.state_dict() for one in first]
    assert states[0] == states[1]
    ranks = []
    for rank in range(5):
        resumed = loader(rank=rank, ranks=5, batch_size=2)
        resumed.load_state_dict(states[0])
        ranks.append(batches(resumed, 4))
    steps = chain.from_iterable(zip(*ranks, strict=True))
    assert list(chain.from_iterable(steps)) == whole[40:]


def test_a_second_iteration_goes_on():
    whole, twice = batches(loader(), 9), loader()
    assert batches(twice, 5) + batches(twice, 4) == whole


def test_a_state_is_that_of_the_batches_given_out_whatever_was_read_ahead():
    read = loader(workers=2)
    iterator = iter(read)
    for number in range(1, 4):
        next(iterator)
        assert read.state_dict()["slot"] == 4 * number


@pytest.mark.parametrize("workers", [0, 1])
def test_reading_leaves_the_global_random_state_alone(workers):
    before = torch.get_rng_state()
    batches(loader(workers=workers), 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_epochs_are_counted_in_depth_images():
    read = loader(settings=MixSettings(chat_share=0.5))
    assert read.stream.epoch_slots == 210
    batches(read, 105)
    assert read.epoch == 2.0


@pytest.mark.parametrize(
    "other",
    [
        {"settings": MixSettings(window_rows=64, seed=1)},
        {"settings": MixSettings(window_rows=65)},
        {"settings": MixSettings(window_rows=64, chat_share=0.3)},
        {"rows": (32, 32, 32, 10)},
    ],
)
def test_a_checkpoint_of_other_data_is_refused_by_name(other):
    state = loader().state_dict()
    with pytest.raises(UsageError, match="not those of the checkpoint") as caught:
        loader(**other).load_state_dict(state)
    changed = {"seed", "window_rows", "shares", "sources"} & set(caught.value.why.split())
    assert len(changed) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_bad_samples_end_the_run(workers):
    read = loader(bad=range(0, 105, 4), max_bad_share=0.01, workers=workers)
    with pytest.raises(CheckError, match="training samples cannot be used") as caught:
        batches(read, 200)
    assert "no_valid_depth (rooms:" in caught.value.why
    assert read.faults.bad.total() == 11


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_arrives_whole(workers):
    read = loader(damaged=range(4), workers=workers)
    with pytest.raises(CheckError, match="samples in a row cannot be used") as caught:
        batches(read, 5)
    assert caught.value.where == "union of all sets"
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_collator_arrives_whole(workers):
    refused = batches(loader(), 3)[2][1]
    read = loader(collate=Picky(refused), workers=workers)
    with pytest.raises(CheckError, match="the batch is refused") as caught:
        batches(read, 3)
    assert (caught.value.where, caught.value.next_step) == (refused, "mend it")
    assert read.slot == 8


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"rank": 2, "ranks": 2}, {"rank": -1}])
def test_batches_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError, match="no batches"):
        loader(**options)
