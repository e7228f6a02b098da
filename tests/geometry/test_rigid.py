import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from depthvlm_bench.conventions import check_transform
from depthvlm_bench.geometry.rigid import invert_transform, transform_from_quaternion, transform_points

relaxed = settings(deadline=None, derandomize=True, database=None)

translations = st.tuples(*[st.floats(-1e4, 1e4)] * 3)
points = st.lists(st.tuples(*[st.floats(-100, 100)] * 3), min_size=1, max_size=5)
HALF = 0.5**0.5


@st.composite
def quaternions(draw):
    quaternion = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4)))
    assume(np.linalg.norm(quaternion) > 0.1)
    return quaternion


@st.composite
def transforms(draw):
    return transform_from_quaternion(draw(quaternions()), draw(translations))


def rotated(quaternion, vector):
    """q v q* by the cross-product formula, an independent way to rotate."""
    w, *axis = np.asarray(quaternion) / np.linalg.norm(quaternion)
    twice = 2 * np.cross(axis, vector)
    return np.asarray(vector) + w * twice + np.cross(axis, twice)


@relaxed
@given(quaternions(), translations, points)
def test_a_quaternion_rotates_as_its_formula_says(quaternion, translation, vectors):
    moved = transform_points(transform_from_quaternion(quaternion, translation), vectors)
    assert np.allclose(moved, [rotated(quaternion, v) + translation for v in vectors], atol=1e-6)


@relaxed
@given(quaternions(), translations, st.floats(0.01, 100))
def test_sign_and_length_of_a_quaternion_are_free(quaternion, translation, length):
    transform = transform_from_quaternion(quaternion, translation)
    assert np.allclose(transform_from_quaternion(-quaternion, translation), transform, atol=1e-12)
    assert np.allclose(transform_from_quaternion(length * quaternion, translation), transform, atol=1e-12)


@pytest.mark.parametrize(
    ("quaternion_wxyz", "x_axis_becomes"),
    [
        ((1.0, 0.0, 0.0, 0.0), (1, 0, 0)),
        ((HALF, 0.0, 0.0, HALF), (0, 1, 0)),
        ((HALF, 0.0, HALF, 0.0), (0, 0, -1)),
        ((0.5, -0.5, 0.5, -0.5), (0, -1, 0)),
    ],
)
def test_quaternions_are_w_first(quaternion_wxyz, x_axis_becomes):
    transform = transform_from_quaternion(quaternion_wxyz, (0.0, 0.0, 0.0))
    assert np.allclose(transform_points(transform, [[1.0, 0.0, 0.0]]), [x_axis_becomes], atol=1e-12)


@relaxed
@given(transforms(), points)
def test_the_inverse_undoes_a_transform(transform, vectors):
    there = transform_points(transform, vectors)
    assert np.allclose(transform_points(invert_transform(transform), there), vectors, atol=1e-7)


@relaxed
@given(transforms())
def test_the_inverse_is_the_matrix_inverse_and_stays_float64(transform):
    inverse = invert_transform(transform)
    assert inverse.dtype == np.float64
    assert np.allclose(inverse, np.linalg.inv(transform), rtol=1e-9, atol=1e-7)


@relaxed
@given(transforms(), transforms(), points)
def test_transforms_compose_from_right_to_left(c_from_b, b_from_a, vectors):
    in_turn = transform_points(c_from_b, transform_points(b_from_a, vectors))
    assert np.allclose(transform_points(c_from_b @ b_from_a, vectors), in_turn, atol=1e-6)


def test_no_points_are_no_points():
    assert transform_points(np.eye(4), np.empty((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("quaternion", "translation"),
    [
        ((0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0)),
        ((1.0, 0.0, 0.0, 0.0), (7.0,)),
        ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_zero_quaternions_and_wrong_lengths_are_refused(quaternion, translation):
    with pytest.raises(ValueError):
        transform_from_quaternion(quaternion, translation)


SHEARED = np.eye(4) + 0.01 * np.eye(4, k=1) * [[1], [1], [0], [0]]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3), r"expected shape \(4, 4\), got \(3, 3\)"),
        (np.full((4, 4), np.nan), "finite"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "homogeneous"),
        (np.diag([2.0, 1.0, 1.0, 1.0]), "not a rotation"),
        (SHEARED, "not a rotation"),
        (np.diag([1.0, 1.0, -1.0, 1.0]), "not a rotation"),
    ],
    ids=["3x3", "nan", "homogeneous", "scaled", "sheared", "mirrored"],
)
def test_what_is_no_rigid_transform_is_refused_by_name(matrix, message):
    with pytest.raises(ValueError, match=f"cam_from_ego: .*{message}"):
        check_transform(matrix, "cam_from_ego")
