"""The draw against a second implementation, written from the rules of docs/format.md."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthvlm_bench.conventions import FLAG_DEPTH_EDGE, FLAG_OCCLUSION_SUSPECT
from depthvlm_bench.frames import DepthGrid, DepthPoints
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import PixelAffine, ViewGrid, focal_grid, native_grid
from depthvlm_bench.sampling.draw import candidates, draw, draw_balanced, draw_keys

relaxed = settings(deadline=None, derandomize=True, database=None)
CAMERA = PinholeCamera(32, 24, 900.0, 910.0, 15.0, 12.0)
NATIVE = native_grid(32, 24)
FROZEN_KEYS = [18103214148256257445, 16812319045921257713, 12341172426648308881]


def keys_from_the_text(dataset, record_id, count):
    digest = hashlib.sha256(f"42\0{dataset}\0{record_id}".encode()).digest()
    generator = np.random.PCG64(int.from_bytes(digest[:8], "little"))
    return [int(generator.random_raw()) for _ in range(count)]


def draw_from_the_text(pixels, keys, count):
    chosen, taken = [], set()
    for i in sorted(range(len(keys)), key=lambda i: (keys[i], i)):
        if len(chosen) < count and pixels[i] not in taken:
            chosen.append(i)
            taken.add(pixels[i])
    return chosen


def balanced_from_the_text(pixels, depths, keys, count):
    logs = [math.log(z) for z in depths]
    low, high = np.percentile(logs, 1), np.percentile(logs, 99)
    bins = [[] for _ in range(5)]
    for i in sorted(range(len(keys)), key=lambda i: (keys[i], i)):
        place = math.floor(5 * (logs[i] - low) / (high - low)) if high > low else 4
        bins[min(max(place, 0), 4)].append(i)
    chosen, taken = [], set()
    while any(bins) and len(chosen) < count:
        for queue in bins:
            while queue and pixels[queue[0]] in taken:
                queue.pop(0)
            if queue and len(chosen) < count:
                taken.add(pixels[queue[0]])
                chosen.append(queue.pop(0))
    return chosen


@st.composite
def grids(draw):
    """A depth grid of 8x6 on a 32x24 picture, with holes and depths out of range."""
    seed = draw(st.integers(0, 2**32 - 1))
    share_invalid = draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    rng = np.random.default_rng(seed)
    metres = np.exp(rng.uniform(math.log(0.2), math.log(20), (6, 8)))
    metres[rng.random((6, 8)) < share_invalid] = 0.0
    return DepthGrid.from_metres(metres, 1000.0, PixelAffine.resize((8, 6), (32, 24)))


def pool_of(depth, grid=NATIVE, low=0.5, high=10.0):
    return candidates(depth, CAMERA, grid, low, high)


# Candidates


def test_candidates_of_a_grid_are_row_major_with_canonical_and_source_coordinates():
    depth = DepthGrid(
        np.array([[1000, 0], [20000, 3000]], np.uint16), 1000.0, PixelAffine.resize((2, 2), (32, 24))
    )
    grid = ViewGrid(32, 24, 64, 48, 10, 6, 50, 40)
    pool = pool_of(depth, grid)
    assert pool.u_src_px.tolist() == [7.5, 23.5]
    assert pool.v_src_px.tolist() == [5.5, 17.5]
    assert pool.u_px.tolist() == [15.5 - 10, 47.5 - 10]
    assert pool.v_px.tolist() == [11.5 - 6, 35.5 - 6]
    assert pool.depth_m.tolist() == [1.0, 3.0]
    assert pool.pixel.tolist() == [6 * 50 + 6, 30 * 50 + 38]
    x, y = (7.5 - 15.0) / 900, (5.5 - 12.0) / 910
    assert pool.ray_factor[0] == pytest.approx(math.sqrt(1 + x * x + y * y), abs=1e-15)


def test_pixels_that_the_crop_cuts_off_are_no_candidates():
    depth = DepthGrid(np.full((24, 32), 1000, np.uint16), 1000.0, PixelAffine.identity())
    pool = pool_of(depth, ViewGrid(32, 24, 32, 24, 3, 2, 10, 5))
    assert len(pool) == 50
    assert (pool.u_px.min(), pool.u_px.max(), pool.v_px.min(), pool.v_px.max()) == (0, 9, 0, 4)


def test_suspects_are_no_candidates_and_other_flags_are_kept():
    raw = np.array([100, 200, 300], np.uint16)
    flags = np.array([FLAG_OCCLUSION_SUSPECT, 0, FLAG_DEPTH_EDGE], np.uint8)
    pool = pool_of(DepthPoints(raw, raw, np.array([512, 768, 1024], np.uint16), flags, 1 / 16))
    assert pool.depth_m.tolist() == [3.0, 4.0]
    assert pool.flags.tolist() == [0, FLAG_DEPTH_EDGE]
    assert pool.u_src_px.tolist() == [12.0, 18.25]


@relaxed
@given(grids())
def test_invalid_and_out_of_range_pixels_are_never_candidates(depth):
    pool = pool_of(depth)
    columns, rows = ((pool.u_src_px - 1.5) / 4).astype(int), ((pool.v_src_px - 1.5) / 4).astype(int)
    stored = depth.values[rows, columns] / 1000.0
    assert np.array_equal(stored, pool.depth_m)
    assert ((stored >= 0.5) & (stored <= 10.0)).all()
    assert len(pool) == int(((depth.values >= 500) & (depth.values <= 10000)).sum())


# Keys


@relaxed
@given(st.text("abc/-_0", max_size=20), st.integers(0, 50))
def test_keys_are_those_of_pcg64_seeded_by_the_records_hash(record_id, count):
    assert draw_keys("demo", record_id, count).tolist() == keys_from_the_text("demo", record_id, count)


def test_keys_have_a_frozen_value():
    # Figures of an independent computation (hashlib and numpy alone); they must never change.
    expected = keys_from_the_text("ibims1", "ibims1/eval/-/-/lab_01", 3)
    assert draw_keys("ibims1", "ibims1/eval/-/-/lab_01", 3).tolist() == expected == FROZEN_KEYS


def test_another_image_dataset_or_seed_has_other_keys():
    keys = [
        draw_keys("a", "x", 4),
        draw_keys("a", "y", 4),
        draw_keys("b", "x", 4),
        draw_keys("a", "x", 4, seed="43"),
    ]
    assert len({tuple(k.tolist()) for k in keys}) == 4


# The uniform draw


@relaxed
@given(grids(), st.integers(0, 60), st.text("ab", max_size=5))
def test_the_draw_equals_the_rule(depth, count, record_id):
    pool = pool_of(depth, focal_grid(32, 24, 6000.0))  # 5 x 4 canonical pixels: many share one
    keys = draw_keys("demo", record_id, len(pool))
    assert draw(pool, keys, count).tolist() == draw_from_the_text(pool.pixel.tolist(), keys.tolist(), count)


@relaxed
@given(grids(), st.integers(0, 30))
def test_as_many_distinct_canonical_pixels_are_drawn_as_there_are(depth, count):
    pool = pool_of(depth, focal_grid(32, 24, 6000.0))
    chosen = draw(pool, draw_keys("demo", "x", len(pool)), count)
    pixels = pool.pixel[chosen].tolist()
    assert len(pixels) == len(set(pixels)) == min(count, len(set(pool.pixel.tolist())))


def test_equal_keys_are_served_in_stored_order():
    pool = pool_of(DepthGrid(np.full((2, 3), 1000, np.uint16), 1000.0, PixelAffine.resize((3, 2), (32, 24))))
    keys = np.array([5, 1, 5, 1, 1, 0], np.uint64)
    assert draw(pool, keys, 5).tolist() == [5, 1, 3, 4, 0]


def test_keys_above_the_signed_range_sort_last():
    pool = pool_of(DepthGrid(np.full((1, 2), 1000, np.uint16), 1000.0, PixelAffine.resize((2, 1), (32, 24))))
    assert draw(pool, np.array([2**64 - 1, 2**63 - 1], np.uint64), 2).tolist() == [1, 0]


@relaxed
@given(grids(), grids(), st.integers(1, 20))
def test_another_image_changes_nothing(depth, other, count):
    def drawn(images):
        pools = {name: pool_of(image) for name, image in images}
        return {
            name: draw(pool, draw_keys("demo", name, len(pool)), count).tolist()
            for name, pool in pools.items()
        }

    alone = drawn([("a", depth)])["a"]
    assert drawn([("a", depth), ("b", other)])["a"] == drawn([("b", other), ("a", depth)])["a"] == alone


def test_fewer_points_are_the_beginning_of_more():
    pool = pool_of(DepthGrid(np.full((6, 8), 1000, np.uint16), 1000.0, PixelAffine.resize((8, 6), (32, 24))))
    keys = draw_keys("demo", "x", len(pool))
    assert draw(pool, keys, 20)[:7].tolist() == draw(pool, keys, 7).tolist()


# The balanced draw


@relaxed
@given(
    grids(),
    st.integers(0, 60),
    st.text("ab", max_size=5),
    st.sampled_from([NATIVE, focal_grid(32, 24, 6000.0)]),
)
def test_the_balanced_draw_equals_the_rule(depth, count, record_id, grid):
    pool = pool_of(depth, grid)
    keys = draw_keys("demo", record_id, len(pool))
    chosen = draw_balanced(pool, keys, count).tolist()
    if len(pool):
        expected = balanced_from_the_text(pool.pixel.tolist(), pool.depth_m.tolist(), keys.tolist(), count)
        assert chosen == expected
    else:
        assert chosen == []


@relaxed
@given(grids(), st.integers(0, 30))
def test_the_balanced_draw_has_as_many_distinct_pixels_as_the_other(depth, count):
    pool = pool_of(depth, focal_grid(32, 24, 6000.0))
    keys = draw_keys("demo", "x", len(pool))
    pixels = pool.pixel[draw_balanced(pool, keys, count)].tolist()
    assert len(pixels) == len(set(pixels)) == len(draw(pool, keys, count))


def test_the_balanced_draw_takes_far_points_where_near_ones_abound():
    values = np.full((24, 32), 1000, np.uint16)
    values[0, :20] = 9000
    pool = pool_of(DepthGrid(values, 1000.0, PixelAffine.identity()))
    keys = draw_keys("demo", "x", len(pool))
    assert (pool.depth_m[draw_balanced(pool, keys, 10)] == 9.0).sum() == 5
    assert (pool.depth_m[draw(pool, keys, 10)] == 9.0).sum() <= 2


def test_the_balanced_draw_of_one_depth_is_the_plain_draw():
    pool = pool_of(DepthGrid(np.full((6, 8), 2500, np.uint16), 1000.0, PixelAffine.resize((8, 6), (32, 24))))
    keys = draw_keys("demo", "x", len(pool))
    assert draw_balanced(pool, keys, 10).tolist() == draw(pool, keys, 10).tolist()


@pytest.mark.parametrize("rule", [draw, draw_balanced])
def test_nothing_can_be_drawn_from_nothing(rule):
    pool = pool_of(DepthGrid(np.zeros((6, 8), np.uint16), 1000.0, PixelAffine.resize((8, 6), (32, 24))))
    chosen = rule(pool, draw_keys("demo", "x", 0), 10)
    assert chosen.tolist() == []
    assert chosen.dtype == np.int64
