"""Lenses: known values, inversion, and the warp against a scalar computation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.lens import Lens, lens_pixels, pinhole_pixels, undo_lens

# Waymo's front camera and an ETH3D Nikon, rounded.
BROWN = Lens("brown_conrady", (0.0356, -0.3319, 0.0007, -0.0004, 0.0))
FISHEYE = Lens("thin_prism_fisheye", (-0.2255, 0.1104, -0.0003, 0.0002, 0.05, -0.01, 0.0012, -0.0004))
SHIFTED = Lens("shifted_brown_conrady", (*BROWN.parameters, 0.021, -0.096))
CAMERA = PinholeCamera(192, 128, 205.0, 204.0, 95.3, 62.8)


def scalar_brown(x, y, k1, k2, p1, p2, k3):
    r = math.sqrt(x**2 + y**2)
    d = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6
    return x * d + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2), y * d + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y


def scalar_fisheye(x, y, k1, k2, p1, p2, k3, k4, sx1, sy1):
    r = math.hypot(x, y)
    theta = math.atan(r)
    u, v = (x * theta / r, y * theta / r) if r else (x, y)
    d = 1 + k1 * theta**2 + k2 * theta**4 + k3 * theta**6 + k4 * theta**8
    return (
        u * d + 2 * p1 * u * v + p2 * (theta**2 + 2 * u**2) + sx1 * theta**2,
        v * d + 2 * p2 * u * v + p1 * (theta**2 + 2 * v**2) + sy1 * theta**2,
    )


def scalar_shifted(x, y, *parameters):
    x_there, y_there = scalar_brown(x, y, *parameters[:5])
    return x_there + parameters[5], y_there + parameters[6]


@pytest.mark.parametrize(
    ("lens", "scalar"), [(BROWN, scalar_brown), (SHIFTED, scalar_shifted), (FISHEYE, scalar_fisheye)]
)
def test_a_lens_is_its_formula(lens, scalar):
    for x, y in [(0.0, 0.0), (0.3, -0.2), (-0.45, 0.31), (0.0, 0.2)]:
        assert np.allclose(lens.distort(x, y), scalar(x, y, *lens.parameters), atol=1e-15)


@given(st.sampled_from([BROWN, SHIFTED, FISHEYE]), st.floats(-0.47, 0.47), st.floats(-0.31, 0.31))
def test_undistort_inverts_distort(lens, x, y):
    x_back, y_back, known = lens.undistort(*lens.distort(x, y))
    assert known
    assert abs(x_back - x) < 1e-9
    assert abs(y_back - y) < 1e-9


def test_what_no_ray_reaches_is_said_to_be_unknown():
    # The Brown polynomial folds back near r = 0.9: nothing is ever seen at 3.
    *_, known = BROWN.undistort([0.1, 3.0], [0.0, 0.0])
    assert known.tolist() == [True, False]


def test_pixels_there_and_back():
    u, v = np.array([0.0, 95.3, 191.0]), np.array([0.0, 62.8, 127.0])
    *back, known = pinhole_pixels(CAMERA, FISHEYE, *lens_pixels(CAMERA, FISHEYE, u, v))
    assert known.all()
    assert np.allclose(back, (u, v), atol=1e-7)


def test_a_lens_without_effect_changes_no_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (128, 192, 3), dtype=np.uint8)
    assert np.array_equal(undo_lens(pixels, CAMERA, Lens("brown_conrady", (0, 0, 0, 0, 0))), pixels)


def test_the_undone_picture_shows_at_each_pixel_what_its_ray_saw():
    v, u = np.mgrid[:128, :192]
    ramp = np.stack([u, v, np.full_like(u, 7)], axis=-1).astype(np.uint8)
    undone = undo_lens(ramp, CAMERA, BROWN)
    seen_u, seen_v = lens_pixels(CAMERA, BROWN, u, v)
    inner = (seen_u >= 0) & (seen_u <= 191) & (seen_v >= 0) & (seen_v <= 127)
    assert inner.mean() > 0.9
    assert np.abs(undone[..., 0][inner] - seen_u[inner]).max() <= 0.5 + 1e-4
    assert np.abs(undone[..., 1][inner] - seen_v[inner]).max() <= 0.5 + 1e-4
    outside = (seen_u < -1) | (seen_u > 192) | (seen_v < -1) | (seen_v > 128)
    assert not undone[outside].any()


def test_a_shifted_lens_is_a_lens_with_a_principal_point_of_its_own():
    """Undone, it gives the picture that the lens's own camera would give, seen from another centre."""
    own = PinholeCamera(192, 128, 205.0, 204.0, 95.3, 20.5)
    shift = (own.cx_px - CAMERA.cx_px) / own.fx_px, (own.cy_px - CAMERA.cy_px) / own.fy_px
    lens = Lens("shifted_brown_conrady", (*BROWN.parameters, *shift))
    u, v = np.array([40.0, 95.3, 150.0]), np.array([60.0, 62.8, 100.0])
    moved = u + own.cx_px - CAMERA.cx_px, v + own.cy_px - CAMERA.cy_px
    assert np.allclose(lens_pixels(CAMERA, lens, u, v), lens_pixels(own, BROWN, *moved), atol=1e-9)
    *back, known = pinhole_pixels(CAMERA, lens, *lens_pixels(own, BROWN, *moved))
    assert known.all()
    assert np.allclose(back, (u, v), atol=1e-7)


@pytest.mark.parametrize(
    ("model", "parameters", "message"),
    [
        ("opencv", (0.0,) * 5, "unknown lens model"),
        ("shifted_brown_conrady", (0.0,) * 5, "shift_x, shift_y"),
        ("brown_conrady", (0.0,) * 4, "needs k1, k2, p1, p2, k3"),
        ("thin_prism_fisheye", (math.nan,) * 8, "finite"),
    ],
)
def test_what_is_no_lens_is_refused(model, parameters, message):
    with pytest.raises(ValueError, match=message):
        Lens(model, parameters)
