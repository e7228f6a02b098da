"""Orders that are computed: every row once an epoch, evenly spread, with shares that hold everywhere."""

import itertools

import numpy as np
import pytest
from scipy import stats

from depthvlm_bench.depthvlm.training.order import (
    BLOCK,
    PERIOD,
    RowOrder,
    Schedule,
    kept,
    permutation,
    whole_shares,
)
from depthvlm_bench.errors import UsageError

SIZES = np.array([32, 32, 7, 32, 1, 20, 32])


def drawn_rows(order, first, count):
    """(group, row) of some draws, each looked up on its own."""
    found = []
    for drawn in range(first, first + count):
        window = order.window(drawn)
        index = drawn - window.first
        found.append((int(window.group[index]), int(window.row[index])))
    return found


def all_rows(sizes):
    return {(group, row) for group, size in enumerate(sizes) for row in range(size)}


@pytest.mark.parametrize("window_rows", [1, 40, 64, 10_000])
def test_every_row_comes_once_an_epoch(window_rows):
    order = RowOrder(SIZES, window_rows, "seed")
    assert order.rows == 156
    for epoch in range(3):
        rows = drawn_rows(order, epoch * 156, 156)
        assert len(rows) == len(set(rows))
        assert set(rows) == all_rows(SIZES)


def test_epochs_and_seeds_have_orders_of_their_own():
    first, other = RowOrder(SIZES, 64, 1, "union"), RowOrder(SIZES, 64, 2, "union")
    epochs = [drawn_rows(first, 0, 156), drawn_rows(first, 156, 156), drawn_rows(other, 0, 156)]
    for one, another in itertools.combinations(epochs, 2):
        assert sum(a == b for a, b in zip(one, another, strict=True)) < 20


def test_a_single_group_has_another_order_each_epoch():
    order = RowOrder(np.array([32]), 4096, "seed")
    epochs = [tuple(drawn_rows(order, 32 * epoch, 32)) for epoch in range(3)]
    assert len(set(epochs)) == 3


def test_the_order_is_the_same_wherever_one_begins():
    whole = drawn_rows(RowOrder(SIZES, 64, 7), 0, 400)
    assert drawn_rows(RowOrder(SIZES, 64, 7), 333, 67) == whole[333:]


def test_a_window_holds_whole_groups_and_no_more_rows_than_asked_up_to_a_group():
    order = RowOrder(np.full(40, 32), 128, "seed")
    windows = []
    while sum(map(len, windows)) < 40 * 32:
        window = order.window(sum(map(len, windows)))
        assert window.first == sum(map(len, windows))
        windows.append(window.group)
    assert [len(groups) for groups in windows] == [128] * 10
    seen = [set(groups.tolist()) for groups in windows]
    assert [len(groups) for groups in seen] == [4] * 10
    assert set.union(*seen) == set(range(40))


def test_rows_of_a_group_are_spread_over_their_window():
    """The mean distance of neighbours in a group is that of random places: a third of the window."""
    order = RowOrder(np.full(64, 32), 64 * 32, "seed")
    window = order.window(0)
    place = np.empty((64, 32))
    place[window.group, window.row] = np.arange(64 * 32)
    assert np.abs(np.diff(place, axis=1)).mean() == pytest.approx(64 * 32 / 3, rel=0.05)


def test_each_row_is_equally_likely_at_each_place():
    sizes = np.array([3, 2, 1])
    counts = np.zeros((6, 6))
    for seed in range(3000):
        window = RowOrder(sizes, 100, seed).window(0)
        row = np.array([0, 3, 5])[window.group] + window.row
        counts[np.arange(6), row] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_which_groups_come_first_is_equally_likely_too():
    counts = np.zeros(8)
    for seed in range(2000):
        counts[np.unique(RowOrder(np.full(8, 4), 8, seed).window(0).group)] += 1
    assert counts.sum() == 4000
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_permutation_is_one_and_its_values_are_pinned():
    assert sorted(permutation(1000, "a", 1)) == list(range(1000))
    assert permutation(8, "a", 1).tolist() == permutation(8, "a", 1).tolist()


def test_only_the_last_few_values_are_kept():
    made, memory = [], {}
    for key in (1, 2, 1, 3, 2, 1):
        kept(memory, key, lambda key=key: made.append(key))
    assert made == [1, 2, 3, 1]
    assert len(memory) == 2


@pytest.mark.parametrize("shares", [[0.8, 0.2], [0.5, 0.3, 0.2], [1.0], [0.001, 0.999], [1, 1, 1]])
def test_shares_hold_in_every_stretch_of_the_stream(shares):
    schedule = Schedule(shares, seed=5)
    pools = np.array([schedule.place(slot)[0] for slot in range(2 * PERIOD)])
    for pool, share in enumerate(np.array(shares) / sum(shares)):
        expected = share * np.arange(1, len(pools) + 1)
        assert np.abs(np.cumsum(pools == pool) - expected).max() < 1 + len(shares) + BLOCK / 4
        assert (pools == pool).mean() == pytest.approx(share, abs=1 / PERIOD)


def test_a_schedule_counts_the_draws_of_each_pool():
    schedule = Schedule([0.6, 0.3, 0.1], seed=1)
    drawn = [0, 0, 0]
    for slot in range(PERIOD - 50, PERIOD + 50):
        pool, before = schedule.place(slot)
        drawn[pool] = drawn[pool] or before
        assert before == drawn[pool]
        drawn[pool] += 1


@pytest.mark.parametrize("shares", [[1.0], [0.7, 0.2, 0.1], [0.9999, 0.0001]])
def test_the_slots_of_draws_are_the_schedule_backwards(shares):
    schedule = Schedule(shares, seed=3)
    for slot in [0, 1, 17, PERIOD - 1, PERIOD, 5 * PERIOD + 4321]:
        pool, drawn = schedule.place(slot)
        assert schedule.slots(pool, np.array([drawn])).tolist() == [slot]


@pytest.mark.parametrize("ranks", [2, 5, 10])
def test_no_process_gets_all_the_chat(ranks):
    """Dealt out one by one to five processes, a fifth of what each gets is chat."""
    schedule = Schedule([0.8, 0.2], seed=0)
    chat = np.array([schedule.place(slot)[0] == 1 for slot in range(8000)]).reshape(-1, ranks)
    assert chat.mean(axis=0) == pytest.approx(np.full(ranks, 0.2), abs=0.05)


def test_shares_become_whole_parts():
    assert whole_shares([1, 1, 1], 10) in ([4, 3, 3], [3, 4, 3], [3, 3, 4])
    assert whole_shares([0.75, 0.25], 8) == [6, 2]
    assert whole_shares([1e-9, 1.0], 100) == [1, 99]
    assert sum(whole_shares([1e-9] * 50 + [1.0], 60)) == 60


@pytest.mark.parametrize("shares", [[], [0.5, 0.0], [1, -1], [float("nan"), 1], [1] * 11])
def test_shares_that_cannot_be_kept_are_refused(shares):
    with pytest.raises(UsageError, match="above 0"):
        whole_shares(shares, 10)
