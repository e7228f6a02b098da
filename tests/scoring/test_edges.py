import math

import numpy as np
import pytest
from scipy import ndimage

from depthvlm_bench.errors import DataMissingError
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.scoring import edges as edges_module
from depthvlm_bench.scoring.edges import (
    boundary_scores,
    depth_boundary_errors,
    planarity_errors,
    predicted_edges,
)

THRESHOLDS = [0.05 + k * 0.2 / 9 for k in range(10)]
SIZE = (24, 30)


def step_map(column=15, near=2.0, far=3.0, size=SIZE):
    depth = np.full(size, near)
    depth[:, column:] = far
    return depth


def boundary_by_hand(prediction, truth, radius):
    """Pair by pair, threshold by threshold."""
    height, width = truth.shape
    reach = range(-radius, radius + 1)
    offsets = [(a, b) for a in reach for b in reach if 0 < a * a + b * b <= radius * radius]
    pairs = []
    for y in range(radius, height - radius):
        for x in range(radius, width - radius):
            for a, b in offsets:
                if truth[y, x] > 0 and truth[y + a, x + b] > 0:
                    p, q = prediction[y, x], prediction[y + a, x + b]
                    usable = math.isfinite(p) and math.isfinite(q) and p > 0 and q > 0
                    pairs.append((q / p if usable else 0.0, truth[y + a, x + b] / truth[y, x]))
    sums = np.zeros(3)
    for t in THRESHOLDS:
        both = sum(p > 1 + t and g > 1 + t for p, g in pairs)
        precision = both / max(1, sum(p > 1 + t for p, _ in pairs))
        recall = both / max(1, sum(g > 1 + t for _, g in pairs))
        f1 = 2 * precision * recall / (precision + recall) if both else 0.0
        sums += t * np.array([f1, precision, recall])
    return sums / sum(THRESHOLDS)


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_boundary_scores_are_those_of_a_loop(radius):
    random = np.random.default_rng(radius)
    truth = step_map(size=(14, 17), column=8) * random.uniform(0.9, 1.15, (14, 17))
    prediction = truth * random.uniform(0.92, 1.1, (14, 17))
    truth[3, 4:7], prediction[9, 7:9] = 0.0, (math.nan, -2.0)
    prediction[5, 5], prediction[6, 6] = math.inf, 0.0
    found = boundary_scores(prediction, truth, radius_px=radius)
    wanted = boundary_by_hand(prediction, truth, radius)
    assert (found.f1, found.precision, found.recall) == pytest.approx(tuple(wanted), rel=1e-12)


def test_a_perfect_step_scores_one_at_any_scale():
    for scale in (1.0, 0.1, 30.0):
        found = boundary_scores(step_map() * scale, step_map())
        assert (found.f1, found.precision, found.recall) == (1, 1, 1)


def test_a_step_at_the_wrong_place_scores_nothing():
    found = boundary_scores(step_map(column=18), step_map())
    assert (found.f1, found.precision, found.recall) == (0, 0, 0)


def test_a_weak_step_scores_at_the_thresholds_below_it_only():
    """A step of 1.12 passes the first four of ten thresholds; the true one of 1.5 all."""
    found = boundary_scores(step_map(near=2.0, far=2.24), step_map())
    passed = sum(t for t in THRESHOLDS if t < 0.12) / sum(THRESHOLDS)
    assert (found.f1, found.precision, found.recall) == pytest.approx((passed,) * 3)


def test_an_edge_too_many_costs_precision_and_one_too_few_recall():
    two = step_map()
    two[:, 25:] = 6.0
    many, few = boundary_scores(two, step_map()), boundary_scores(step_map(), two)
    assert (many.precision, many.recall) == (0.5, 1)
    assert (few.precision, few.recall) == (1, 0.5)
    assert many.f1 == few.f1 == pytest.approx(2 / 3)


def test_a_flat_truth_has_no_boundary_score():
    assert math.isnan(boundary_scores(step_map(), np.full(SIZE, 2.0)).f1)


@pytest.mark.parametrize("answer", [0.0, -1.0, math.nan, math.inf])
def test_a_map_of_no_answers_has_no_boundaries(answer, recwarn):
    assert boundary_scores(np.full(SIZE, answer), step_map()).f1 == 0
    assert not recwarn.list


def test_negative_depths_make_no_boundary():
    """-3 / -2 exceeds 1.25, but neither is an answer."""
    assert boundary_scores(-step_map(), step_map()).f1 == 0


def line(*columns, size=SIZE):
    edges = np.zeros(size, dtype=bool)
    edges[:, list(columns)] = True
    return edges


def dbe_by_hand(predicted, true, reach):
    made, wanted = np.argwhere(predicted).tolist(), np.argwhere(true).tolist()
    to_true = [min(math.dist(p, g) for g in wanted) for p in made]
    near = [d for d in to_true if d < reach]
    if not near:
        return reach, reach
    to_made = [min(math.dist(p, g) for p in made) for g in wanted]
    return sum(near) / len(near), sum(to_made) / len(to_made)


@pytest.mark.parametrize("seed", range(4))
def test_edge_errors_are_those_of_all_pairs(seed):
    random = np.random.default_rng(seed)
    predicted, true = random.random((2, *SIZE)) < 0.02
    found = depth_boundary_errors(predicted, true, reach_px=6.0)
    assert (found.accuracy_px, found.completeness_px) == pytest.approx(dbe_by_hand(predicted, true, 6.0))


@pytest.mark.parametrize("offset", [0, 1, 4, 9])
def test_a_moved_edge_is_off_by_what_it_was_moved(offset):
    found = depth_boundary_errors(line(10 + offset), line(10))
    assert (found.accuracy_px, found.completeness_px) == (offset, offset)


@pytest.mark.parametrize("offset", [10, 15])
def test_edges_out_of_reach_are_none_and_cost_the_reach(offset):
    found = depth_boundary_errors(line(10 + offset), line(10))
    assert (found.accuracy_px, found.completeness_px) == (10, 10)
    nothing = depth_boundary_errors(np.zeros(SIZE), line(10))
    assert (nothing.accuracy_px, nothing.completeness_px) == (10, 10)


def test_far_edges_are_left_out_of_accuracy():
    found = depth_boundary_errors(line(7, 28), line(5))
    assert (found.accuracy_px, found.completeness_px) == (2, 2)


def test_completeness_is_not_truncated():
    found = depth_boundary_errors(line(2), line(2, 22))
    assert (found.accuracy_px, found.completeness_px) == (0, 10)
    assert depth_boundary_errors(line(2), line(2, 28)).completeness_px == 13


def test_an_image_without_true_edges_has_no_edge_errors():
    found = depth_boundary_errors(line(3), np.zeros(SIZE))
    assert math.isnan(found.accuracy_px)
    assert math.isnan(found.completeness_px)


def test_edge_maps_of_unequal_shape_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        depth_boundary_errors(np.ones((2, 3)), np.ones((3, 2)))


def canny_by_hand(prediction, size):
    """Canny 1986: smooth, gradient, thin along it pixel by pixel, keep weak edges that touch strong ones."""
    normal = (prediction - prediction.min()) / np.ptp(prediction)
    smooth, weight = (
        ndimage.gaussian_filter(x, math.sqrt(2), mode="constant") for x in (normal, np.ones(size))
    )
    right, down = (ndimage.sobel(smooth / weight, axis=axis) for axis in (1, 0))
    strength, thin = np.hypot(right, down), np.zeros(size, dtype=bool)
    for y in range(1, size[0] - 1):
        for x in range(1, size[1] - 1):
            if strength[y, x] >= 0.1:
                longer = max(abs(down[y, x]), abs(right[y, x]))
                dy, dx = down[y, x] / longer, right[y, x] / longer
                beside = ndimage.map_coordinates(strength, [[y + dy, y - dy], [x + dx, x - dx]], order=1)
                thin[y, x] = strength[y, x] >= beside.max() - 1e-12
    pieces, _ = ndimage.label(thin, np.ones((3, 3)))
    return np.isin(pieces, np.unique(pieces[thin & (strength >= 0.2)])) & thin


def disc():
    v, u = np.mgrid[:40, :50]
    return np.where((u - 24.3) ** 2 + (v - 19.6) ** 2 < 110, 2.0, 5.0) + 0.01 * u


def test_predicted_edges_are_cannys():
    pytest.importorskip("skimage", reason="scikit-image finds predicted edges")
    assert np.array_equal(predicted_edges(disc()), canny_by_hand(disc(), (40, 50)))


def test_predicted_edges_do_not_depend_on_scale_and_shift():
    pytest.importorskip("skimage", reason="scikit-image finds predicted edges")
    found = predicted_edges(disc())
    assert 20 < found.sum() < 120
    assert np.array_equal(predicted_edges(disc() * 4 + 2), found)


def test_nothing_and_no_difference_have_no_edges(recwarn):
    pytest.importorskip("skimage", reason="scikit-image finds predicted edges")
    assert not predicted_edges(np.full(SIZE, 3.0)).any()
    for answer in (0.0, -1.0, math.nan, math.inf):
        assert not predicted_edges(np.full(SIZE, answer)).any()
    assert not recwarn.list


def test_a_hole_is_no_edge():
    pytest.importorskip("skimage", reason="scikit-image finds predicted edges")
    holed = step_map(column=25)
    holed[8:16, 5:12] = math.nan
    assert np.array_equal(predicted_edges(holed), predicted_edges(step_map(column=25)))
    assert predicted_edges(holed).any()


def test_without_scikit_image_the_command_that_brings_it_is_named(monkeypatch):
    def absent(name):
        raise ImportError(name)

    edges_module._canny.cache_clear()
    monkeypatch.setattr(edges_module, "import_module", absent)
    with pytest.raises(DataMissingError, match=r"scikit-image is not installed") as caught:
        predicted_edges(step_map())
    assert "depthvlm-bench[edges]" in caught.value.one_line()
    edges_module._canny.cache_clear()


CAMERA = PinholeCamera(40, 32, 38.0, 39.0, 19.5, 15.5)
V, U = np.mgrid[:32, :40]
RAYS = CAMERA.rays(U, V)


def plane_depth(normal, offset_m):
    """z-depth of the plane normal . X = offset."""
    return offset_m / (RAYS @ np.asarray(normal, float))


def turned(degrees):
    return np.array([math.sin(math.radians(degrees)), 0.0, math.cos(math.radians(degrees))])


@pytest.mark.parametrize("degrees", [0, 3, 20])
@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_a_turned_plane_is_flat_and_off_by_its_turn(degrees, scale):
    truth, prediction = plane_depth(turned(0), 3.0), plane_depth(turned(degrees), 3.0) * scale
    found = planarity_errors(prediction, truth, RAYS, np.ones_like(U))
    assert found.orientation_deg == pytest.approx([degrees], abs=1e-5)
    assert found.flatness_cm == pytest.approx([0], abs=1e-8)


def test_noise_across_a_plane_is_its_flatness():
    truth = plane_depth([0, 0, 1.0], 2.0)
    checker = np.where((U + V) % 2, 0.03, -0.03)
    found = planarity_errors(truth + checker, truth, RAYS, np.ones_like(U))
    assert found.flatness_cm == pytest.approx([3.0], rel=1e-3)
    assert found.orientation_deg == pytest.approx([0], abs=0.05)


def test_planes_are_told_apart_by_their_label():
    floor = np.array([0.0, 1.0, 0.0])
    labels = np.where(V >= 20, 7, 9)
    truth = np.where(labels == 7, plane_depth(floor, 1.2), 3.0)
    bent = np.where(labels == 7, truth, plane_depth(turned(10), 3.0))
    assert planarity_errors(bent, truth, RAYS, labels).orientation_deg == pytest.approx([0, 10], abs=1e-5)
    wall = np.full(U.shape, 3.0)
    assert planarity_errors(wall, truth, RAYS, labels).orientation_deg == pytest.approx([90, 0], abs=1e-5)


def test_small_planes_and_unanswered_ones_are_left_out(recwarn):
    truth = np.full(U.shape, 2.0)
    labels = np.where(V < 1, 1, 2)
    found = planarity_errors(truth, truth, RAYS, labels)
    assert np.isnan(found.flatness_cm).tolist() == [True, False]
    assert np.isnan(planarity_errors(truth * 0, truth, RAYS, labels).orientation_deg).tolist() == [True, True]
    assert planarity_errors(truth, truth, RAYS, labels * 0).flatness_cm.shape == (0,)
    assert not recwarn.list


def test_pixels_without_truth_or_answer_take_no_part():
    truth = plane_depth(turned(5), 2.0)
    prediction, holed = truth.copy(), truth.copy()
    prediction[:5], holed[-5:] = math.nan, 0.0
    prediction[-5:] = 77.0
    found = planarity_errors(prediction, holed, RAYS, np.ones_like(U))
    assert found.flatness_cm == pytest.approx([0], abs=1e-8)
    assert found.orientation_deg == pytest.approx([0], abs=1e-5)


def test_flatness_and_orientation_are_those_of_least_squares_planes():
    random = np.random.default_rng(5)
    truth = plane_depth(turned(15), 2.5) + random.normal(0, 0.002, U.shape)
    prediction = truth * random.uniform(0.95, 1.05, truth.shape)
    found = planarity_errors(prediction, truth, RAYS, np.ones_like(U))
    scaled = prediction * np.median(truth) / np.median(prediction)
    points, true = ((depth[..., None] * RAYS).reshape(-1, 3) for depth in (scaled, truth))
    normal, true_normal = (
        np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][2] for x in (points, true)
    )
    distances = [(x - points.mean(axis=0)) @ normal for x in points]
    flatness = 100 * math.sqrt(sum(d * d for d in distances) / len(distances))
    angle = math.degrees(math.acos(min(1.0, abs(normal @ true_normal))))
    assert found.flatness_cm == pytest.approx([flatness], rel=1e-9)
    assert found.orientation_deg == pytest.approx([angle], abs=1e-6)


def test_planes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        planarity_errors(np.ones(U.shape), np.ones(U.shape), RAYS, np.ones((2, 2)))
