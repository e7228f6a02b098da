"""The stream: which samples come, from whichever worker, and what stands in for those that cannot be used."""

from collections import Counter
from dataclasses import replace
from itertools import chain, islice

import numpy as np
import pytest

pytest.importorskip("torch")

from training_sources import Numbered

from depthvlm_bench.depthvlm.training.faults import BadSampleError, Fault
from depthvlm_bench.depthvlm.training.mixing import CHAT, STAND_INS, MixedStream, MixSettings, Share
from depthvlm_bench.errors import CheckError, UsageError

WHOLE = Share()
SMALL_WINDOWS = MixSettings(window_rows=100)


def as_it_is(sample):
    return sample


def drawn(stream, count, share=WHOLE, prepare=as_it_is):
    return list(islice(stream.draw(share, prepare), count))


def samples(stream, count, share=WHOLE):
    return [one.sample for one in drawn(stream, count, share)]


def two_sets(**faults):
    return [Numbered("rooms", [32, 32, 15], **faults), Numbered("streets", [32] * 6)]


def test_without_weights_each_image_of_the_union_comes_once_an_epoch():
    sets = two_sets()
    stream = MixedStream(sets, settings=SMALL_WINDOWS)
    assert stream.epoch_slots == 79 + 192
    both = sets[0].names | sets[1].names
    first, second = samples(stream, 271), samples(stream, 271, Share(start=271))
    assert len(first) == len(both) and set(first) == set(second) == both
    assert first != second


def test_the_sets_are_mixed_from_the_start():
    names = [name.split(":")[0] for name in samples(MixedStream(two_sets()), 271)]
    for part in np.array_split(names, 3):
        assert pytest.approx(np.mean(part == "rooms"), abs=0.15) == 79 / 271


def test_weights_are_shares_of_sets_whatever_their_size():
    stream = MixedStream(two_sets(), settings=MixSettings(weights={"rooms": 3, "streets": 1}))
    found = Counter(name.split(":")[0] for name in samples(stream, 4000))
    assert found["rooms"] == pytest.approx(3000, abs=10)
    assert stream.epoch_slots == 271


def test_a_weighted_set_still_shows_each_image_once_an_epoch_of_its_own():
    sets = two_sets()
    stream = MixedStream(sets, settings=MixSettings(weights={"rooms": 1, "streets": 1}))
    rooms = [name for name in samples(stream, 400) if name.startswith("rooms")]
    assert set(rooms[:79]) == set(rooms[79:158]) == sets[0].names


def test_chat_has_its_share_and_each_example_is_equally_likely():
    chat = [Numbered("short", [10]), Numbered("long", [32, 32, 26])]
    stream = MixedStream(two_sets(), chat, MixSettings(chat_share=0.2))
    found = samples(stream, 500)
    talk = [name for name in found if name.split(":")[0] in ("short", "long")]
    assert len(talk) == pytest.approx(100, abs=2)
    assert set(talk[:100]) <= chat[0].names | chat[1].names
    assert len(set(talk[:90])) == 90
    assert stream.epoch_slots == pytest.approx(271 / 0.8, abs=1)
    depth = [name for name in samples(stream, stream.epoch_slots + 5) if name not in set(talk)]
    assert len(set(depth)) >= 270


def test_chat_alone_is_a_stream_too():
    chat = Numbered("talk", [32, 8])
    stream = MixedStream([], [chat])
    assert stream.epoch_slots == 40
    assert set(samples(stream, 40)) == chat.names


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 4])
def test_shares_hold_every_slot_once_and_in_the_same_batches(ranks, workers, batch):
    whole = samples(MixedStream(two_sets(), settings=SMALL_WINDOWS), 360)
    rounds = 360 // (ranks * batch)
    found = {}
    for rank in range(ranks):
        for worker in range(workers):
            share = Share(0, batch, rank, ranks, worker, workers)
            turns = len(range(worker, rounds, workers))
            stream = MixedStream(two_sets(), settings=SMALL_WINDOWS)
            for one in drawn(stream, turns * batch, share):
                assert one.slot not in found
                found[one.slot] = one.sample
            slots = np.arange(400)
            own = set(islice(share.slots(), 600))
            assert share.holds(slots).tolist() == [slot in own for slot in slots]
    assert [found[slot] for slot in sorted(found)] == whole[: rounds * ranks * batch]
    # One step of all processes is a run of slots, dealt to them in order.
    step = [list(islice(Share(0, batch, rank, ranks).slots(), batch)) for rank in range(ranks)]
    assert list(chain.from_iterable(step)) == list(range(ranks * batch))


@pytest.mark.parametrize("start", [1, 99, 100, 270, 271, 1000])
def test_the_stream_can_be_entered_at_any_slot(start):
    chat = [Numbered("talk", [32, 32])]
    whole = samples(MixedStream(two_sets(), chat, SMALL_WINDOWS), start + 40)
    assert samples(MixedStream(two_sets(), chat, SMALL_WINDOWS), 40, Share(start=start)) == whole[start:]


def test_some_slots_can_be_asked_for_in_any_order():
    whole = samples(MixedStream(two_sets(), settings=SMALL_WINDOWS), 300)
    slots = [250, 3, 3, 120, 0, 299]
    found = list(MixedStream(two_sets(), settings=SMALL_WINDOWS).draw(WHOLE, as_it_is, slots))
    assert [(one.slot, one.sample) for one in found] == [(slot, whole[slot]) for slot in slots]


def test_the_seed_decides_the_order():
    def with_seed(seed):
        return samples(MixedStream(two_sets(), settings=replace(SMALL_WINDOWS, seed=seed)), 50)

    assert with_seed(1) == with_seed(1)
    assert with_seed(1) != with_seed(2)


def test_the_order_in_which_sets_are_named_decides_nothing():
    chat = [Numbered("talk", [5]), Numbered("more", [7])]
    one, other = MixedStream(two_sets(), chat), MixedStream(two_sets()[::-1], chat[::-1])
    assert one.identity == other.identity
    assert samples(one, 300) == samples(other, 300)


def test_each_group_is_read_once_an_epoch():
    sets = two_sets()
    samples(MixedStream(sets, settings=SMALL_WINDOWS), 271)
    for source in sets:
        assert sorted(group for group, _ in source.reads) == list(range(len(source.group_rows)))


def test_a_worker_keeps_only_its_own_rows_of_a_group():
    sets = [Numbered("rooms", [32] * 8)]
    share = Share(batch=4, rank=1, ranks=2, worker=2, workers=4)
    samples(MixedStream(sets, settings=MixSettings(window_rows=256)), 32, share)
    assert sum(len(rows) for _, rows in sets[0].reads) == 32


def test_a_bad_sample_is_replaced_and_told_and_nothing_else_moves():
    good, bad = two_sets(), two_sets(bad=[3, 50])
    whole = drawn(MixedStream(good, settings=SMALL_WINDOWS), 271)
    found = drawn(MixedStream(bad, settings=SMALL_WINDOWS), 271)
    moved = [(a.sample, b) for a, b in zip(whole, found, strict=True) if a.sample != b.sample]
    assert sorted(name for name, _ in moved) == ["rooms:3", "rooms:50"]
    for name, one in moved:
        assert one.faults == (Fault("no_valid_depth", name, "nothing is valid"),)
        assert one.sample not in ("rooms:3", "rooms:50")
    assert not any(one.faults for one in found if one.sample not in {one.sample for _, one in moved})


def test_what_stands_in_is_the_next_good_sample_from_the_same_place_of_the_next_epoch():
    bad = set(range(0, 79, 2))
    whole = samples(MixedStream(two_sets(), settings=SMALL_WINDOWS), 4 * 271)
    for one in drawn(MixedStream(two_sets(bad=bad), settings=SMALL_WINDOWS), 271):
        candidates = [whole[one.slot], *whole[one.slot + 271 :]]
        good = [name for name in candidates if name not in {f"rooms:{number}" for number in bad}]
        assert one.sample == good[0]
        assert [fault.where for fault in one.faults] == candidates[: candidates.index(good[0])]


def test_what_stands_in_does_not_depend_on_the_worker():
    faults = {"bad": range(0, 79, 3), "damaged": [1]}
    whole = drawn(MixedStream(two_sets(**faults), settings=SMALL_WINDOWS), 120)
    for worker in range(3):
        share = Share(batch=2, worker=worker, workers=3)
        part = drawn(MixedStream(two_sets(**faults), settings=SMALL_WINDOWS), 40, share)
        assert part == [one for one in whole if (one.slot // 2) % 3 == worker]


def test_a_group_that_cannot_be_read_is_a_fault_of_each_of_its_rows():
    stream = MixedStream(two_sets(damaged=[1]), settings=SMALL_WINDOWS)
    found = drawn(stream, 271)
    faults = Counter(fault.where for one in found for fault in one.faults)
    assert set(faults) == {"rooms group 1"}
    assert faults["rooms group 1"] >= 32
    assert sum(bool(one.faults) for one in found) == 32


def test_what_cannot_be_prepared_is_replaced_too():
    def refuse_streets(sample):
        if sample.startswith("streets"):
            raise BadSampleError("over_long", sample, "9 tokens, max_length 8")
        return sample.upper()

    found = drawn(MixedStream(two_sets()), 30, prepare=refuse_streets)
    assert all(one.sample.startswith("ROOMS") for one in found)
    assert {fault.reason for one in found for fault in one.faults} == {"over_long"}


def test_a_bad_chat_sample_is_replaced_by_chat():
    chat = [Numbered("talk", [32], bad=range(16))]
    found = drawn(MixedStream(two_sets(), chat, MixSettings(chat_share=0.5)), 100)
    assert sum(one.sample.startswith("talk") for one in found) == pytest.approx(50, abs=3)


def test_bad_samples_without_end_are_an_error_not_a_loop():
    stream = MixedStream([Numbered("rooms", [10], bad=range(10))])
    with pytest.raises(CheckError, match=f"{STAND_INS + 1} samples in a row cannot be used") as caught:
        drawn(stream, 1)
    assert "rooms:" in caught.value.why


def test_one_good_sample_among_many_bad_ones_is_found():
    stream = MixedStream([Numbered("rooms", [30], bad=range(29))])
    assert set(samples(stream, 60)) == {"rooms:29"}


def test_five_million_records_take_little_memory_and_no_reading_ahead():
    sets = [Numbered("large", np.full(156_250, 32))]
    stream = MixedStream(sets)
    found = samples(stream, 64, Share(start=7_654_321))
    assert len(set(found)) == 64
    assert sum(len(rows) for _, rows in sets[0].reads) <= 64 * 32
    order = stream._pools[0].order
    kept = [*order._epochs.values()]
    assert sum(e.groups.nbytes + e.group_bounds.nbytes + e.row_bounds.nbytes for e in kept) < 2 * 2**20
    assert all(window.row.nbytes + window.group.nbytes < 2**17 for window in order._windows.values())


@pytest.mark.parametrize(
    ("sets", "chat", "settings", "said"),
    [
        ([], [], {}, "nothing to train on"),
        (["a", "a"], [], {}, "given twice"),
        (["a", "b"], [], {"weights": {"a": 1.0}}, "none for b"),
        (["a"], [], {"weights": {"a": 0.0}}, "none for a"),
        (["rooms"], [], {"weights": {"rooms": 1.0, "room": 1.0}}, "did you mean 'rooms'"),
        (["a"], ["talk"], {"chat_share": 0.0}, "never drawn"),
        (["a"], ["talk"], {"chat_share": 1.0}, "never drawn"),
    ],
)
def test_a_mixture_that_means_nothing_is_refused(sets, chat, settings, said):
    made = [[Numbered(name, [3]) for name in names] for names in (sets, chat)]
    with pytest.raises(UsageError, match=said):
        MixedStream(*made, MixSettings(**settings))


@pytest.mark.parametrize("settings", [{"chat_share": 1.5}, {"chat_share": -0.1}, {"window_rows": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        MixSettings(**settings)


def test_the_identity_names_all_that_decides_the_stream():
    base = MixedStream(two_sets(), [Numbered("talk", [5])])
    assert base.identity["sources"][CHAT] == [{"name": "talk", "rows": 5}]
    others = [
        MixedStream(two_sets(), [Numbered("talk", [6])]),
        MixedStream(two_sets(), [Numbered("talk", [5])], MixSettings(seed=1)),
        MixedStream(two_sets(), [Numbered("talk", [5])], MixSettings(chat_share=0.3)),
        MixedStream(two_sets(), [Numbered("talk", [5])], MixSettings(window_rows=64)),
    ]
    assert all(other.identity != base.identity for other in others)
