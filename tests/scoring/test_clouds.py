import math

import numpy as np
import pytest

from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.scoring.clouds import (
    cloud_distances,
    f_auc,
    f_score,
    points_from_depth,
    sampled_pixels,
)

WIDTH, HEIGHT = 32, 24
CAMERA = PinholeCamera(WIDTH, HEIGHT, 40.0, 42.0, 15.5, 11.5)


def rays_of(camera=CAMERA):
    v, u = np.mgrid[: camera.height, : camera.width]
    return camera.rays(u, v)


def wavy(seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(1.5, 3.0, (HEIGHT, WIDTH))


def f_by_hand(prediction, truth, rays, radius):
    """Every pair of points, one by one."""
    true = [truth[k] * rays[k] for k in np.ndindex(truth.shape) if truth[k] > 0]
    asked = [k for k in np.ndindex(truth.shape) if truth[k] > 0]
    made = [prediction[k] * rays[k] for k in asked if math.isfinite(prediction[k]) and prediction[k] > 0]
    near_true = sum(any(math.dist(p, g) < radius for g in true) for p in made)
    near_made = sum(any(math.dist(p, g) < radius for p in made) for g in true)
    precision, recall = near_true / len(true), near_made / len(true)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_points_are_depth_times_ray():
    points = points_from_depth([[2.0]], [[[0.5, -1.0, 1.0]]])
    assert points.tolist() == [[[1.0, -2.0, 2.0]]]


@pytest.mark.parametrize("radius", [0.05, 0.15, 0.4])
def test_f_score_is_that_of_all_pairs(radius):
    truth, prediction = wavy()[:8, :8], wavy(1)[:8, :8]
    rays = rays_of()[:8, :8]
    truth[0, :3], prediction[3, :4] = 0.0, math.nan
    prediction[5, 5], prediction[5, 6] = -1.0, math.inf
    found = f_score(cloud_distances(prediction, truth, rays), radius)
    assert found == pytest.approx(f_by_hand(prediction, truth, rays, radius))


def test_a_perfect_map_scores_one():
    distances = cloud_distances(wavy(), wavy(), rays_of())
    assert f_score(distances) == 1
    assert f_auc(distances, 0.01, 10.0) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(("offset_m", "share"), [(0.04, 1.0), (0.06, 0.0)])
def test_a_wall_moved_less_than_the_radius_is_found(offset_m, share):
    """Seen in parallel (all rays alike but for their start), a moved wall is as far as it was moved."""
    camera = PinholeCamera(WIDTH, HEIGHT, 4000.0, 4000.0, 15.5, 11.5)
    wall = np.full((HEIGHT, WIDTH), 2.0)
    assert f_score(cloud_distances(wall + offset_m, wall, rays_of(camera))) == share


def test_f_auc_is_the_mean_over_the_log_spaced_radii():
    """A moved wall is found from the first radius above its offset on."""
    camera = PinholeCamera(WIDTH, HEIGHT, 4000.0, 4000.0, 15.5, 11.5)
    wall = np.full((HEIGHT, WIDTH), 2.0)
    distances = cloud_distances(wall + 0.1, wall, rays_of(camera))
    radii = [0.01 * (0.5 / 0.01) ** (k / 99) for k in range(100)]
    assert f_auc(distances, 0.01, 10.0) == pytest.approx(sum(radius > 0.1 for radius in radii) / 100)


@pytest.mark.parametrize(("near", "far"), [(0.0, 10.0), (1.0, 20.0), (0.1, math.inf)])
def test_f_auc_refuses_ranges_without_radii(near, far):
    with pytest.raises(ValueError, match="no radii"):
        f_auc(cloud_distances(wavy(), wavy(), rays_of()), near, far)


def test_abstaining_where_it_would_be_wrong_does_not_pay():
    truth = wavy()
    honest = truth.copy()
    honest[:, ::2] += 3.0
    silent = np.where(honest > truth + 1, math.nan, honest)
    scores = [f_score(cloud_distances(p, truth, rays_of())) for p in (honest, silent)]
    assert scores[1] <= scores[0] < 1


@pytest.mark.parametrize("answer", [0.0, -2.0, math.nan, math.inf])
def test_a_map_of_no_answers_scores_nothing(answer, recwarn):
    distances = cloud_distances(np.full((HEIGHT, WIDTH), answer), wavy(), rays_of())
    assert f_score(distances) == f_auc(distances, 0.01, 10.0) == 0
    assert not recwarn.list


def test_a_map_without_truth_has_no_score():
    assert math.isnan(f_score(cloud_distances(wavy(), np.zeros((HEIGHT, WIDTH)), rays_of())))


def test_scaling_scene_and_radius_together_changes_nothing():
    truth, prediction = wavy(), wavy() * 1.02
    scores = [
        f_score(cloud_distances(prediction * s, truth * s, rays_of()), 0.05 * s) for s in (1.0, 2.0, 8.0)
    ]
    assert scores[0] == scores[1] == scores[2]


def test_the_sample_is_fixed_small_enough_and_spread_over_columns():
    truth = np.ones((600, 1000))
    truth[0] = 0.0
    pixels = sampled_pixels(truth, limit=50_000)
    assert 40_000 < len(pixels) <= 50_000
    assert pixels.min() >= 1000
    assert np.array_equal(pixels, sampled_pixels(truth * 7, limit=50_000))
    assert len(np.unique(pixels % 1000)) == 1000
    assert len(sampled_pixels(truth, limit=10**6)) == 599_000


def test_a_sampled_perfect_map_still_scores_one():
    distances = cloud_distances(wavy(), wavy(), rays_of(), limit=100)
    assert len(distances.to_truth_m) <= 100
    assert f_score(distances) == 1
