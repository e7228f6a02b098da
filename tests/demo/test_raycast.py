import math

import numpy as np
import pytest

from depthvlm_bench.demo.materials import Material, checker, plain
from depthvlm_bench.demo.raycast import FORWARD_FROM_CAM, Pinhole, cast, cast_camera, windows_of
from depthvlm_bench.demo.render import Scene, render
from depthvlm_bench.demo.shapes import rigid, rotation_zyx
from depthvlm_bench.demo.solids import ball, box, plane, post, solid

GREY = Material(((128, 128, 128),), plain)
CAMERA = Pinhole(80.0, 82.0, 33.5, 22.25, 64, 48)


def looking(yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0, at=(0.0, 0.0, 1.5)):
    return rigid(rotation_zyx(yaw_deg, pitch_deg, roll_deg) @ FORWARD_FROM_CAM, at)


def test_ground_plane_depth_is_analytic():
    hits = cast_camera([plane((0, 0, 0), GREY)], CAMERA, looking())
    v = np.arange(48)[:, None]
    with np.errstate(divide="ignore"):
        expected = np.where(v > CAMERA.cy_px, 1.5 * CAMERA.fy_px / (v - CAMERA.cy_px), np.inf)
    np.testing.assert_allclose(hits.t, np.broadcast_to(expected, (48, 64)), rtol=1e-12)


def test_wall_parallel_to_the_picture_has_constant_z_depth():
    hits = cast_camera([box((5.5, 0, 1.5), (1, 50, 50), GREY)], CAMERA, looking())
    np.testing.assert_allclose(hits.t, 5.0, rtol=1e-12)


def test_sphere_depth_along_the_axis_and_tangent():
    sphere = ball((7.0, 0.0, 0.0), (4.0, 4.0, 4.0), GREY)
    edge = math.asin(2.0 / 7.0)
    angles = np.array([0.0, edge - 1e-6, edge + 1e-6])
    hits = cast([sphere], (0, 0, 0), np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1))
    np.testing.assert_allclose(hits.t[:2], [5.0, math.sqrt(45.0)], rtol=1e-3)
    assert hits.t[0] == pytest.approx(5.0, abs=1e-12)
    assert hits.t[2] == np.inf
    assert hits.primitive.tolist() == [0, 0, -1]


def test_cylinder_side_cap_and_miss():
    pillar = post(4.0, 0.0, 0.0, 2.0, 0.5, GREY)
    origins = np.array([[0.0, 0.0, 1.0], [4.2, 0.0, 5.0], [0.0, 0.0, 2.1]])
    hits = cast([pillar], origins, np.array([[1.0, 0, 0], [0, 0, -1.0], [1.0, 0, 0]]))
    np.testing.assert_allclose(hits.t, [3.5, 3.0, np.inf], rtol=1e-12)


def test_rotated_box_is_met_at_its_edge():
    hits = cast([box((5.0, 0, 0), (2, 2, 2), GREY, yaw_deg=45.0)], (0, 0, 0), np.array([[1.0, 1e-9, 0]]))
    assert hits.t[0] == pytest.approx(5.0 - math.sqrt(2.0), abs=1e-6)


def test_ray_from_inside_meets_the_far_side():
    hits = cast([box((0, 0, 0), (2, 4, 6), GREY)], (0, 0, 0), np.eye(3))
    np.testing.assert_allclose(hits.t, [1.0, 2.0, 3.0])


def test_nearer_primitive_wins_whatever_the_order():
    near, far = box((3.0, 0, 0), (1, 1, 1), GREY), box((6.0, 0, 0), (1, 3, 3), GREY)
    assert cast([near, far], (0, 0, 0), [[1.0, 0, 0]]).primitive[0] == 0
    assert cast([far, near], (0, 0, 0), [[1.0, 0, 0]]).primitive[0] == 1


@pytest.mark.parametrize("seed", range(4))
def test_windows_of_the_camera_change_nothing(seed):
    rng = np.random.default_rng(seed)
    world = [plane((0, 0, 0), GREY)]
    for number in range(40):
        shape = ("box", "ellipsoid", "cylinder")[number % 3]
        turn = rotation_zyx(*rng.uniform(-180, 180, 3))
        world.append(solid(shape, rng.uniform(-6, 6, 3), rng.uniform(0.1, 3, 3), GREY, turn))
    pose = looking(*rng.uniform(-180, 180, 3))
    fast = cast_camera(world, CAMERA, pose)
    directions = CAMERA.rays(np.arange(64)[None, :], np.arange(48)[:, None]) @ pose[:3, :3].T
    slow = cast(world, pose[:3, 3], directions)
    np.testing.assert_array_equal(fast.primitive, slow.primitive)
    np.testing.assert_allclose(fast.t, slow.t, rtol=1e-9)


def test_normals_are_outward_unit_vectors():
    rng = np.random.default_rng(0)
    origin = np.array([9.0, 1.0, 2.0])
    for shape in ("box", "ellipsoid", "cylinder"):
        thing = solid(shape, (0, 0, 0), (2, 3, 4), GREY, rotation_zyx(20, 30, 40))
        directions = rng.uniform(-1, 1, (200, 3)) - origin
        hits = cast([thing], origin, directions)
        met = np.isfinite(hits.t)
        points = (origin + hits.t[met, None] * directions[met]).T
        normals = thing.normals(thing.to_unit(points))
        np.testing.assert_allclose(np.linalg.norm(normals, axis=0), 1.0)
        assert met.sum() > 100
        assert (np.einsum("in,ni->n", normals, directions[met]) < 0).all()


def test_windows_are_none_behind_the_camera_and_cut_to_the_picture():
    corners = np.stack([box((x, 0, 1.5), (1, 1, 1), GREY).corners for x in (-5.0, 5.0, 0.0)])
    behind, ahead, around = windows_of(corners, CAMERA, looking())
    assert behind is None
    assert ahead is not None
    assert 0 < ahead[0].start < ahead[0].stop < 48
    assert around == (slice(0, 48), slice(0, 64))


def test_shadow_falls_on_the_side_away_from_the_light():
    floor = plane((0, 0, 0), Material(((200, 200, 200), (200, 200, 200)), checker, grain=0.0))
    slab = box((6.0, 0.0, 1.0), (0.5, 0.5, 2.0), GREY)
    to_light = np.array([0.0, 0.6, 0.8])
    scene = Scene((floor, slab), to_light, 0.6, 0.4, shadow_blur_px=0.0)
    rgb, hits = render(scene, CAMERA, looking(pitch_deg=15.0, at=(0, 0, 2.0)))
    directions = CAMERA.rays([0, 63], [40, 40])
    assert rgb.shape == (48, 64, 3)
    assert rgb.dtype == np.uint8
    floor_values = rgb[..., 0].astype(float)[hits.primitive == 0]
    assert directions[0, 0] < 0 < directions[1, 0]
    shaded = (rgb[..., 0] < floor_values.max() * 0.7) & (hits.primitive == 0)
    columns = np.nonzero(shaded)[1]
    assert len(columns) > 20
    # The light stands on the left (+y), so the shadow lies to the right of the slab.
    assert np.median(columns) > np.median(np.nonzero(hits.primitive == 1)[1])
