"""Planted faults are named and clean predictions are not, on real and on procedural sets."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from converted import TinyImage, ramp_depth, write_tiny_set
from raw_scannetpp import real_scannetpp_tree
from scipy import ndimage

from depthvlm_bench.demo.ibims1_tree import write_ibims1
from depthvlm_bench.demo.nuscenes_tree import write_nuscenes
from depthvlm_bench.hashing import hash64
from depthvlm_bench.predict.outside.declared import Declaration
from depthvlm_bench.predict.outside.readings import Sample
from depthvlm_bench.predict.outside.sampling import GRID_COLUMNS, map_samples, spread_out
from depthvlm_bench.predict.outside.suspicions import suspicions
from depthvlm_bench.predict.runner import DEPTH_COLUMNS
from depthvlm_bench.records.codec import record_grid, source_camera
from depthvlm_bench.records.reader import RecordSet, depth_of

STEP = 4


@dataclass(frozen=True)
class Truth:
    """One record: its sampled pixels, a true map of a quarter of the picture's size, its ray factors."""

    sample: Sample
    depth_m: np.ndarray
    ray_factor: np.ndarray

    def noisy(self, sigma):
        chance = np.random.default_rng(hash64(self.sample.id))
        return self.depth_m * np.exp(chance.normal(0, sigma, self.depth_m.shape))

    def blotchy(self, sigma, share, seed=0):
        """Errors that go together over a share of the picture's height, as a model's do."""
        chance = np.random.default_rng(hash64(self.sample.id, str(seed)))
        size = share * self.depth_m.shape[0]
        noise = ndimage.gaussian_filter(chance.normal(size=self.depth_m.shape), size)
        return self.depth_m * np.exp(sigma * noise / noise.std())


def truths(records, tmp_path):
    """The records of a set; depth between measured pixels is that of the nearest one."""
    np.save(tmp_path / "any.npy", np.ones((1, 1)))
    rows = {row["id"]: row for row in records.rows((*GRID_COLUMNS, *DEPTH_COLUMNS))}
    files = dict.fromkeys(rows, tmp_path / "any.npy")
    found = []
    for sample in map_samples(records, files, Declaration(), spread_out(list(rows), 10)):
        row = rows[sample.id]
        depth_m, places = _whole(row), np.indices(_whole(row).shape) + 0.5
        camera, grid = source_camera(row), record_grid(row)
        v, u = (
            places
            * np.array([grid.height, grid.width])[:, None, None]
            / np.array(depth_m.shape).reshape(2, 1, 1)
            - 0.5
        )
        found.append(Truth(sample, depth_m, camera.seen_through(grid).ray_factor(u, v)))
    return found


def _whole(row):
    grid, depth = record_grid(row), depth_of(row)
    u, v = grid.view_from_source.apply(*depth.source_pixels())
    height, width = -(-grid.height // STEP), -(-grid.width // STEP)
    column = np.floor((u + 0.5) * width / grid.width).astype(int)
    line = np.floor((v + 0.5) * height / grid.height).astype(int)
    ok = (depth.depth_m > 0) & (column >= 0) & (column < width) & (line >= 0) & (line < height)
    known = np.zeros((height, width))
    known[line[ok], column[ok]] = depth.depth_m[ok]
    nearest = ndimage.distance_transform_edt(known == 0, return_distances=False, return_indices=True)
    return known[tuple(nearest)]


@pytest.fixture(scope="module")
def rooms(convert_split, tmp_path_factory):
    base = tmp_path_factory.mktemp("rooms")
    write_ibims1(base / "raw", images=4)
    convert_split("ibims1", base / "raw", base / "data", role="eval")
    return truths(RecordSet(base / "data" / "ibims1", "eval"), base)


@pytest.fixture(scope="module")
def street(convert_split, tmp_path_factory):
    base = tmp_path_factory.mktemp("street")
    write_nuscenes(base / "raw", samples=1, width=352, height=198)
    convert_split("nuscenes", base / "raw", base / "data", role="eval")
    return truths(RecordSet(base / "data" / "nuscenes", "eval"), base)


@pytest.fixture(scope="module")
def real(convert_split, tmp_path_factory):
    tree, base = real_scannetpp_tree(), tmp_path_factory.mktemp("real")
    convert_split("scannetpp", tree, base, role="eval", limit=8, keep_source_image=False)
    return truths(RecordSet(base / "scannetpp", "eval"), base)


@pytest.fixture(params=["rooms", "street", "real"])
def scenes(request):
    return request.getfixturevalue(request.param)


def named(scenes, answer):
    """What is suspected of `answer(truth)`, an array for each record."""
    return suspicions([replace(t.sample, depth_m=np.asarray(answer(t), np.float32)) for t in scenes])


def padded(depth_m, centred):
    small, whole = depth_m[::2, ::2], np.zeros_like(depth_m)
    top, left = (depth_m.shape[0] // 4, depth_m.shape[1] // 4) if centred else (0, 0)
    whole[top : top + small.shape[0], left : left + small.shape[1]] = small
    return whole


def square(depth_m, side, fill=0.0):
    """Cropped or padded about the centre to side x side."""
    for axis in (0, 1):
        more = side - depth_m.shape[axis]
        if more > 0:
            widths = [(0, 0), (0, 0)]
            widths[axis] = (more // 2, more - more // 2)
            depth_m = np.pad(depth_m, widths, constant_values=fill)
        else:
            depth_m = np.take(depth_m, np.arange(side) - more // 2, axis=axis)
    return depth_m


def middle(depth_m):
    height, width = depth_m.shape
    return depth_m[height // 4 : height - height // 4, width // 4 : width - width // 4]


FAULTS = {
    "10 times too large": lambda m, t: m * 10,
    "100 times too large": lambda m, t: m * 100,
    "1000 times too large": lambda m, t: m * 1000,
    "10 times too small": lambda m, t: m / 10,
    "100 times too small": lambda m, t: m / 100,
    "1000 times too small": lambda m, t: m / 1000,
    "distance along the ray is given": lambda m, t: m * t.ray_factor,
    "z-depth is declared as ray": lambda m, t: m / t.ray_factor,
    "transposed": lambda m, t: m.T,
    "flipped left to right": lambda m, t: m[:, ::-1],
    "upside down": lambda m, t: m[::-1],
    "turned by 180": lambda m, t: m[::-1, ::-1],
    "turned by 90 degrees to the left": lambda m, t: np.rot90(m),
    "turned by 90 degrees to the right": lambda m, t: np.rot90(m, -1),
    "disparity": lambda m, t: 1 / m,
    "disparity (inverse depth)": lambda m, t: 100 / m + 7,
}
CUTS = {
    "half resolution in their upper left": lambda m: padded(m, centred=False),
    "half resolution in their centre": lambda m: padded(m, centred=True),
    "cover only the upper left quarter": lambda m: m[: m.shape[0] // 2, : m.shape[1] // 2],
    "cover only the centre": middle,
    "cover only the centred square": lambda m: square(m, min(m.shape)),
    "padded to a square": lambda m: square(m, max(m.shape)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_the_one_that_is_named(scenes, fault):
    assert fault in named(scenes, lambda t: FAULTS[fault](t.noisy(0.1), t))[0].what
    (suspicion,) = named(scenes, lambda t: FAULTS[fault](t.noisy(0.3), t))
    assert fault in suspicion.what
    assert any(digit in suspicion.evidence for digit in "0123456789")
    assert suspicion.declare


@pytest.mark.parametrize("fault", CUTS)
def test_maps_of_another_part_of_the_picture_are_named(scenes, fault):
    (suspicion,) = named(scenes, lambda t: CUTS[fault](t.noisy(0.1)))
    assert fault in suspicion.what


@pytest.mark.parametrize("bias", [0.75, 1.3])
@pytest.mark.parametrize("factor", [10, 100, 1000])
def test_a_biased_model_does_not_hide_another_unit(scenes, factor, bias):
    for way, scale in (("large", factor), ("small", 1 / factor)):
        (suspicion,) = named(scenes, lambda t, scale=scale: t.noisy(0.2) * bias * scale)
        assert f"predictions are {factor} times too {way}" in suspicion.what


@pytest.mark.parametrize(("factor", "way"), [(1000, "large"), (100, "large"), (0.001, "small")])
def test_two_units_in_one_folder_are_named(scenes, factor, way):
    odd = {truth.sample.id for truth in scenes[::2]}
    (suspicion,) = named(scenes, lambda t: t.noisy(0.2) * (factor if t.sample.id in odd else 1))
    assert f"times too {way}: two units" in suspicion.what
    assert f"in {len(odd)} of {len(scenes)} images" in suspicion.evidence


@pytest.mark.parametrize("power", [1, -1])
def test_focal_lengths_that_differ_tell_a_bias_from_a_fault(rooms, power):
    mixed = [
        replace(truth, sample=replace(truth.sample, focal_ratio=ratio))
        for truth, ratio in zip(rooms, (1.0, 1.0, 1.25, 1.6), strict=True)
    ]
    (suspicion,) = named(mixed, lambda t: t.noisy(0.1) * t.sample.focal_ratio**power)
    assert "focal length" in suspicion.what
    assert not named(mixed, lambda t: t.noisy(0.1) * 1.12**power)


@pytest.mark.parametrize("bias", [0.5, 0.6, 0.7, 0.75, 0.8, 1.25, 1.3, 1.4, 1.43, 1.7, 1.8, 2, 3])
def test_a_bias_alone_raises_no_suspicion(scenes, bias):
    """Among them fx / 1000 and its inverse, of sets with one camera: nothing tells them from a bias."""
    assert not named(scenes, lambda t: bias * t.noisy(0.1))


def test_two_faults_are_both_named(scenes):
    first, second = named(scenes, lambda t: 1000 * t.noisy(0.1).T)
    assert "transposed" in first.what and "1000 times too large" in second.what


CLEAN = {
    "the truth": lambda t: t.depth_m,
    "noise 0.1": lambda t: t.noisy(0.1),
    "noise 0.2": lambda t: t.noisy(0.2),
    "noise 0.3": lambda t: t.noisy(0.3),
    "bias and noise": lambda t: 1.25 * t.noisy(0.3),
    "smooth": lambda t: ndimage.gaussian_filter(t.depth_m, 8),
    "small": lambda t: t.depth_m[::6, ::6],
    "compressed": lambda t: np.sqrt(3 * t.depth_m),
    "another scale in each image": lambda t: t.depth_m * (0.6 + hash64(t.sample.id) % 8 / 8),
    "holes": lambda t: np.where(t.depth_m > np.median(t.depth_m), np.nan, t.noisy(0.1)),
    "all NaN": lambda t: np.full_like(t.depth_m, np.nan),
    "all -1": lambda t: np.full_like(t.depth_m, -1),
    "all infinite": lambda t: np.full_like(t.depth_m, np.inf),
}


@pytest.mark.parametrize("answer", CLEAN)
def test_clean_predictions_raise_no_suspicion(scenes, answer):
    assert not named(scenes, CLEAN[answer])


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_errors_that_go_together_raise_no_suspicion(scenes, sigma, share):
    """However few images there are: within one, such errors look like any function of the place."""
    for number in (1, 2, 3, len(scenes)):
        assert not named(scenes[:number], lambda t: t.blotchy(sigma, share))


def test_constants_raise_no_suspicion(scenes):
    for depth_m in (0.5, 1, 2, 3, 5, 10, 20, 40, 80):
        assert not named(scenes, lambda t, depth_m=depth_m: np.full((1, 1), depth_m))


@pytest.mark.parametrize("learnt_on", ["rooms", "street", "real"])
def test_a_prior_by_row_raises_no_suspicion(scenes, learnt_on, request):
    maps = [truth.depth_m for truth in request.getfixturevalue(learnt_on)]
    rows = np.mean([[np.log(np.median(part)) for part in np.array_split(m, 64)] for m in maps], axis=0)
    assert not named(scenes, lambda t: np.exp(rows)[:, None])
    assert not named(scenes, lambda t: np.repeat(np.exp(rows)[:, None], 80, axis=1))


def test_point_answers_are_checked_too(scenes):
    def answers(change):
        pairs = [replace(t.sample, depth_m=t.sample.truth_m * change(t.sample), x=t.sample.x) for t in scenes]
        return [suspicion.what for suspicion in suspicions(pairs)]

    assert answers(lambda s: 1.0) == []
    assert "1000 times too large" in answers(lambda s: 1000.0)[0]
    assert "distance along the ray" in answers(lambda s: s.ray_factor)[0]
    assert "disparity" in answers(lambda s: s.truth_m**-2)[0]


def test_sides_exchanged_name_a_transposition_of_any_content(tmp_path):
    records = write_tiny_set(tmp_path, [TinyImage(str(n), ramp_depth(1 + n)) for n in range(3)])
    files = {}
    for row in records.points(["id"]).to_pylist():
        files[row["id"]] = tmp_path / f"{row['id'].replace('/', '_')}.npy"
        np.save(files[row["id"]], np.random.default_rng(0).uniform(1, 5, (32, 24)))
    (suspicion,) = suspicions(map_samples(records, files, Declaration(), files))
    assert "transposed" in suspicion.what and "32 rows and 24 columns" in suspicion.evidence


def test_too_few_points_say_nothing(tmp_path):
    sample = Sample(
        "a", np.ones(5), np.ones(5), np.full(5, 0.5), np.full(5, 0.5), (4, 4), 1.0, np.full(5, 1e3)
    )
    assert not suspicions([sample])
    assert not suspicions([])


def test_records_are_drawn_evenly():
    names = [str(n) for n in range(1000)]
    assert spread_out(names[:3], 48) == names[:3]
    drawn = spread_out(names, 48)
    assert len(drawn) == 48 and drawn[0] == "0" and drawn[-1] == "999"
