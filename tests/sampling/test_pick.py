"""The choice of images against a second implementation, written from the rules of docs/format.md."""

import hashlib
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthvlm_bench.frames import FrameRef, Split
from depthvlm_bench.sampling.pick import allocate, pick_images

relaxed = settings(deadline=None, derandomize=True, database=None)
SPLIT = Split("eval", "val")

sizes = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 12), max_size=8)


def lot(*parts):
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "little")


def frames_of(group_sizes):
    return [
        FrameRef("demo", SPLIT, group, "", f"f{i:03d}", i, group, {})
        for group, size in group_sizes.items()
        for i in range(size)
    ]


def allocate_from_the_text(group_sizes, budget):
    """Rounds of equal shares; what full groups leave goes to the next round."""
    order = sorted(group_sizes, key=lambda group: lot("42", "demo", group))
    given_to = Counter(dict.fromkeys(group_sizes, 0))
    left = min(budget, sum(group_sizes.values()))
    while left > 0:
        open_groups = [group for group in order if given_to[group] < group_sizes[group]]
        share, remainder = left // len(open_groups), left % len(open_groups)
        for i, group in enumerate(open_groups):
            more = min(share + (1 if i < remainder else 0), group_sizes[group] - given_to[group])
            given_to[group] += more
            left -= more
    return dict(given_to)


def pick_from_the_text(group_sizes, budget, ineligible):
    """Ids chosen, by the rule: lowest hash of the interval, the next lowest, then the rest of the group."""
    chosen = set()
    quota = allocate_from_the_text(group_sizes, budget)
    for group, size in group_sizes.items():
        ids = [f"demo/eval/{group}/-/f{i:03d}" for i in range(size)]
        rank = {i: lot("42", "demo", i) for i in ids}
        used, short = set(), 0
        for j in range(quota[group]):
            interval = ids[j * size // quota[group] : (j + 1) * size // quota[group]]
            fit = [i for i in sorted(interval, key=rank.get) if i not in ineligible]
            used |= set(fit[:1])
            short += not fit
        rest = [i for i in sorted(ids, key=rank.get) if i not in ineligible and i not in used]
        chosen |= used | set(rest[:short])
    return chosen


# The budget


@relaxed
@given(sizes, st.integers(0, 100))
def test_the_budget_equals_the_rule(group_sizes, budget):
    assert allocate(group_sizes, budget, "demo") == allocate_from_the_text(group_sizes, budget)


@relaxed
@given(sizes, st.integers(0, 100))
def test_the_budget_is_spent_and_no_group_gives_more_than_it_has(group_sizes, budget):
    quota = allocate(group_sizes, budget, "demo")
    assert set(quota) == set(group_sizes)
    assert sum(quota.values()) == min(budget, sum(group_sizes.values()))
    assert all(0 <= quota[group] <= group_sizes[group] for group in quota)


@relaxed
@given(sizes, st.integers(0, 100), st.randoms(use_true_random=False))
def test_the_budget_does_not_depend_on_the_order_of_groups(group_sizes, budget, random):
    shuffled = list(group_sizes.items())
    random.shuffle(shuffled)
    assert allocate(dict(shuffled), budget, "demo") == allocate(group_sizes, budget, "demo")


def test_the_remainder_goes_to_the_groups_of_lowest_hash():
    groups = [f"scene-{i}" for i in range(7)]
    quota = allocate(dict.fromkeys(groups, 50), 7 * 3 + 4, "demo")
    lowest = sorted(groups, key=lambda group: lot("42", "demo", group))[:4]
    assert {group for group in groups if quota[group] == 4} == set(lowest)
    assert lowest != sorted(groups)[:4]


def test_what_small_groups_leave_goes_to_the_others():
    assert allocate({"a": 1, "b": 100, "c": 100}, 31, "demo") == {"a": 1, "b": 15, "c": 15}


def test_no_groups_have_no_budget():
    assert allocate({}, 10, "demo") == {}


def test_scannetpp_gives_twenty_images_a_scene():
    quota = allocate({f"{i:010x}": 30 + i for i in range(50)}, 1000, "scannetpp")
    assert set(quota.values()) == {20}


# The pick


@relaxed
@given(sizes, st.integers(0, 60), st.data())
def test_the_pick_equals_the_rule(group_sizes, budget, data):
    refs = frames_of(group_sizes)
    ineligible = data.draw(st.sets(st.sampled_from([r.id for r in refs]))) if refs else set()
    pick = pick_images(refs, budget, lambda ref: ref.id not in ineligible)
    assert {ref.id for ref in pick.refs} == pick_from_the_text(group_sizes, budget, ineligible)
    assert len(pick.refs) + pick.dropped == min(budget, len(refs))


@relaxed
@given(sizes, st.integers(0, 60), st.randoms(use_true_random=False))
def test_any_order_of_the_frames_gives_the_same_images_in_order(group_sizes, budget, random):
    refs = frames_of(group_sizes)
    expected = pick_images(refs, budget, lambda _: True)
    random.shuffle(refs)
    found = pick_images(refs, budget, lambda _: True)
    assert found == expected
    assert found.refs == sorted(found.refs, key=lambda ref: ref.order_key)


@relaxed
@given(sizes, st.integers(1, 60), st.data())
def test_a_frame_that_becomes_ineligible_changes_only_itself(group_sizes, budget, data):
    refs = frames_of(group_sizes)
    ids = sorted(ref.id for ref in refs)
    bad = data.draw(st.sets(st.sampled_from(ids))) if ids else set()
    before = {ref.id for ref in pick_images(refs, budget, lambda ref: ref.id not in bad).refs}
    if not before:
        return
    lost = data.draw(st.sampled_from(sorted(before)))
    after = {ref.id for ref in pick_images(refs, budget, lambda ref: ref.id not in bad | {lost}).refs}
    assert before - after == {lost}
    assert len(after - before) <= 1
    assert {i.split("/")[2] for i in after - before} <= {lost.split("/")[2]}


@relaxed
@given(sizes, st.integers(0, 60), st.data())
def test_eligibility_is_asked_at_most_once_a_frame(group_sizes, budget, data):
    refs = frames_of(group_sizes)
    bad = data.draw(st.sets(st.sampled_from([r.id for r in refs]))) if refs else set()
    asked = Counter()

    def eligible(ref):
        asked[ref.id] += 1
        return ref.id not in bad

    pick = pick_images(refs, budget, eligible)
    assert max(asked.values(), default=0) <= 1
    assert {ref.id for ref in pick.refs} <= set(asked) - bad


def test_with_all_frames_fit_none_but_the_chosen_is_asked():
    asked = []
    pick = pick_images(frames_of({"a": 40, "b": 40}), 10, lambda ref: asked.append(ref) or True)
    assert sorted(asked, key=lambda ref: ref.order_key) == pick.refs
    assert (pick.replaced, pick.dropped) == (0, 0)


def test_one_image_comes_from_each_interval_of_a_group():
    pick = pick_images(frames_of({"a": 23}), 5, lambda _: True)
    bounds = [j * 23 // 5 for j in range(6)]
    counts = [sum(low <= ref.time < high for ref in pick.refs) for low, high in pairwise(bounds)]
    assert counts == [1] * 5


def test_a_replacement_is_the_next_lowest_hash_of_the_interval():
    refs = frames_of({"a": 20})
    first, second = sorted(refs[:10], key=lambda ref: lot("42", "demo", ref.id))[:2]
    pick = pick_images(refs, 2, lambda ref: ref != first)
    assert [ref for ref in pick.refs if ref.time < 10] == [second]
    assert (pick.replaced, pick.dropped) == (1, 0)


def test_an_interval_without_any_is_served_by_the_rest_of_the_group():
    refs = frames_of({"a": 20})
    lowest = sorted(refs[10:], key=lambda ref: lot("42", "demo", ref.id))[:2]
    pick = pick_images(refs, 2, lambda ref: ref.time >= 10)
    assert sorted(ref.time for ref in pick.refs) == sorted(ref.time for ref in lowest)
    assert (pick.replaced, pick.dropped) == (1, 0)


def test_a_group_that_falls_short_is_counted_and_takes_from_no_other():
    refs = frames_of({"a": 10, "b": 10})
    whole = pick_images(refs, 6, lambda _: True)
    pick = pick_images(refs, 6, lambda ref: ref.group == "b" or ref.time == 4)
    assert [ref.time for ref in pick.refs if ref.group == "a"] == [4]
    assert [ref for ref in pick.refs if ref.group == "b"] == [ref for ref in whole.refs if ref.group == "b"]
    assert pick.dropped == 2


def test_all_frames_are_taken_where_there_are_fewer_than_wanted():
    refs = frames_of({"": 100})
    pick = pick_images(refs, 1000, lambda _: True)
    assert pick.refs == refs
    assert (pick.replaced, pick.dropped) == (0, 0)


@pytest.mark.parametrize("budget", [0, 5])
def test_no_frames_or_no_budget_give_no_images(budget):
    assert pick_images([], budget, lambda _: True).refs == []
    assert pick_images(frames_of({"a": 3}), 0, lambda _: True).refs == []
