import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from depthvlm_bench.cards import Tags
from depthvlm_bench.conventions import FLAG_DEPTH_EDGE, FLAG_OCCLUSION_SUSPECT
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import (
    DepthGrid,
    DepthPoints,
    Frame,
    FrameRef,
    Picture,
    Split,
    locator_json,
    scorable,
)
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import PixelAffine
from depthvlm_bench.geometry.lidar import Projection

relaxed = settings(deadline=None, derandomize=True, database=None)
IDENTITY = PixelAffine.identity()


def projection(u, v, z):
    u, v, z = (np.array(a, dtype=np.float64) for a in (u, v, z))
    return Projection(u, v, z, np.arange(len(z)), len(z), len(z))


def picture_bytes(size=(8, 6), mode="RGB", kind="PNG", **options):
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def reference(**changes):
    values = {"scene": "s1", "camera": "left", "frame": "f7", "time": 7, "group": "s1", "locator": {}}
    return FrameRef(dataset="demo", split=Split("eval", "val"), **values | changes)


# Names


def test_a_record_id_names_role_scene_camera_and_frame():
    assert reference().id == "demo/eval/s1/left/f7"


def test_empty_parts_of_an_id_are_dashes():
    assert reference(scene="", camera="").id == "demo/eval/-/-/f7"


def test_the_order_is_by_scene_time_and_camera():
    names = [("a", 2, "x"), ("a", 2, "y"), ("a", 10, "x"), ("b", 2, "x")]
    refs = [reference(scene=scene, time=time, camera=camera) for scene, time, camera in names]
    assert sorted([refs[2], refs[3], refs[1], refs[0]], key=lambda r: r.order_key) == refs


def test_a_locator_has_one_text_whatever_the_order_of_its_keys():
    assert locator_json(reference(locator={"b": 1, "a": [2.5]})) == '{"a":[2.5],"b":1}'


def test_a_frame_has_no_tags_of_its_own_by_default():
    assert reference().tags == Tags()


# Pictures


def test_a_picture_tells_its_size_from_the_header_and_hashes_its_bytes():
    encoded = picture_bytes((8, 6))
    picture = Picture(encoded[:60], "a.png")
    assert picture.size == (8, 6)
    assert Picture(b"abc", "x").sha256.startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@relaxed
@given(data=st.data())
def test_a_picture_cut_before_its_last_row_is_unreadable(kind, data):
    encoded = picture_bytes((40, 30), kind=kind)
    end = data.draw(st.integers(0, len(encoded) - 21))  # a PNG ends in 20 bytes that hold no pixel
    with pytest.raises(FrameError) as caught:
        Picture(encoded[:end], "rgb/a").decode()
    assert caught.value.reason == "unreadable"
    assert "rgb/a" in caught.value.detail


def bomb():
    """A PNG whose header claims 40,000 x 40,000 pixels."""
    encoded = bytearray(picture_bytes())
    encoded[16:24] = (40_000).to_bytes(4, "big") * 2
    encoded[29:33] = zlib.crc32(encoded[12:29]).to_bytes(4, "big")
    return bytes(encoded)


@pytest.mark.parametrize(
    "encoded",
    [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", bomb()],
    ids=["empty", "text", "signature", "bomb"],
)
def test_bytes_that_are_no_picture_are_unreadable(encoded):
    for access in (lambda p: p.size, lambda p: p.decode()):
        with pytest.raises(FrameError, match=r"unreadable: rgb/a\.png"):
            access(Picture(encoded, "rgb/a.png"))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK"])
def test_pictures_of_any_mode_decode_to_rgb(mode):
    encoded = picture_bytes((8, 6), mode=mode, kind="TIFF")
    assert Picture(encoded, "a.tif").decode().mode == "RGB"


def test_decoding_strips_metadata_and_never_turns_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    encoded = picture_bytes((8, 6), kind="JPEG", exif=exif, icc_profile=b"profile", dpi=(72, 72))
    picture = Picture(encoded, "a.jpg")
    assert picture.size == picture.decode().size == (8, 6)
    assert picture.decode().info == {}


# Depth grids


def test_metres_are_quantised_by_round_half_up():
    depth = DepthGrid.from_metres([[0.0015, 0.0025, 0.0024, 1.0]], 1000.0, IDENTITY)
    assert depth.values.tolist() == [[2, 3, 2, 1000]]
    assert depth.depth_m.tolist() == [0.002, 0.003, 0.002, 1.0]


def test_what_is_no_depth_becomes_zero_not_a_wrapped_number():
    metres = [[np.nan, np.inf, -np.inf, -1.0, 0.0, 65.536, 65.5354, 1e300]]
    assert DepthGrid.from_metres(metres, 1000.0, IDENTITY).values.tolist() == [[0, 0, 0, 0, 0, 0, 65535, 0]]


@relaxed
@given(st.lists(st.floats(0.001, 49.9), min_size=1, max_size=20), st.sampled_from([256.0, 1000.0, 1310.7]))
def test_quantised_metres_are_within_half_a_step(metres, scale):
    depth = DepthGrid.from_metres([metres], scale, IDENTITY)
    kept = depth.values.ravel() > 0
    assert np.abs(depth.depth_m - metres)[kept].max(initial=0) <= 0.5 / scale + 1e-12
    assert np.array(metres)[~kept].max(initial=0) < 0.5 / scale


def test_pixels_of_a_grid_are_row_major_through_its_affine():
    depth = DepthGrid(np.zeros((2, 3), np.uint16), 1000.0, PixelAffine(7.5, 2.0, 3.25, 0.5))
    u, v = depth.source_pixels()
    assert u.tolist() == [3.25, 10.75, 18.25] * 2
    assert v.tolist() == [0.5] * 3 + [2.5] * 3
    assert depth.flags.tolist() == [0] * 6


@pytest.mark.parametrize("values", [np.zeros((2, 3)), np.zeros(3, np.uint16), np.zeros((2, 3, 1), np.uint16)])
def test_only_a_uint16_raster_is_a_grid(values):
    with pytest.raises(ValueError, match="uint16"):
        DepthGrid(values, 1000.0, IDENTITY)


# Depth points


@st.composite
def seen_points(draw, width=1600, height=900):
    count = draw(st.integers(1, 20))
    column = st.floats(-0.5, width - 0.5, exclude_max=True)
    row = st.floats(-0.5, height - 0.5, exclude_max=True)
    u = draw(st.lists(column, min_size=count, max_size=count))
    v = draw(st.lists(row, min_size=count, max_size=count))
    return u, v, draw(st.lists(st.floats(1.0, 255.0), min_size=count, max_size=count))


@pytest.mark.parametrize(("width", "height", "step"), [(1600, 900, 1 / 16), (8191, 6000, 1 / 8)])
@relaxed
@given(data=st.data())
def test_quantisation_keeps_the_pixel_and_stays_below_a_step(width, height, step, data):
    u, v, z = data.draw(seen_points(width, height))
    camera = PinholeCamera(width, height, 1000.0, 1000.0, width / 2, height / 2)
    points = DepthPoints.from_projection(projection(u, v, z), camera)
    assert points.uv_step_px == step
    for measured, stored in zip((u, v), points.source_pixels(), strict=True):
        assert np.array_equal(np.floor(stored + 0.5), np.floor(np.array(measured) + 0.5))
        assert ((np.array(measured) - stored >= -1e-9) & (np.array(measured) - stored < step)).all()
    assert np.abs(points.depth_m - z).max() <= 0.5 / 256


def test_stored_coordinates_count_steps_from_the_left_edge():
    camera = PinholeCamera(64, 48, 50.0, 50.0, 32.0, 24.0)
    points = DepthPoints.from_projection(
        projection([-0.5, 0.0, 63.49], [47.4, 1.03, -0.44], [5.0] * 3), camera
    )
    assert points.u_raw.tolist() == [0, 8, 1023]
    assert points.v_raw.tolist() == [766, 24, 0]
    u, v = points.source_pixels()
    assert u.tolist() == [-0.5, 0.0, 63.4375]
    assert v.tolist() == [47.375, 1.0, -0.5]


@pytest.mark.parametrize(
    ("size", "step"),
    [((4095, 10), 1 / 16), ((10, 4095), 1 / 16), ((4096, 10), 1 / 8), ((10, 4096), 1 / 8)],
)
def test_pictures_above_4095_px_have_the_coarser_step(size, step):
    camera = PinholeCamera(*size, 1000.0, 1000.0, 5.0, 5.0)
    u, v = (np.array([length - 0.51]) for length in size)
    points = DepthPoints.from_projection(projection(u, v, [5.0]), camera)
    assert points.uv_step_px == step
    assert np.floor(np.ravel(points.source_pixels()) + 0.5).tolist() == [size[0] - 1, size[1] - 1]


def test_depth_is_rounded_half_up_to_256ths():
    camera = PinholeCamera(64, 48, 50.0, 50.0, 32.0, 24.0)
    z = np.array([256.5, 257.49, 512.0, 513.5]) / 256
    points = DepthPoints.from_projection(projection([5, 15, 25, 35], [5, 5, 5, 5], z), camera)
    assert points.z_raw.tolist() == [257, 257, 512, 514]


def test_depth_beyond_uint16_is_dropped_and_the_rest_keeps_its_order():
    camera = PinholeCamera(64, 48, 50.0, 50.0, 32.0, 24.0)
    z = [5.0, 255.999, 65535.49 / 256, 300.0, 0.001, 6.0]
    points = DepthPoints.from_projection(projection([0, 10, 20, 30, 40, 50], [3] * 6, z), camera)
    assert points.z_raw.tolist() == [1280, 65535, 1536]
    assert points.u_raw.tolist() == [8, 328, 808]


def test_suspects_are_flagged_over_the_stored_points():
    camera = PinholeCamera(64, 48, 50.0, 50.0, 32.0, 24.0)
    points = DepthPoints.from_projection(projection([10, 13, 40], [5, 12, 12], [20.0, 4.0, 20.0]), camera)
    assert points.flags.tolist() == [FLAG_OCCLUSION_SUSPECT, 0, 0]


def test_a_point_that_is_not_stored_makes_no_other_suspect():
    # 0.001 m rounds to 0, which says 'invalid': it is dropped before suspects are looked for.
    camera = PinholeCamera(64, 48, 50.0, 50.0, 32.0, 24.0)
    points = DepthPoints.from_projection(projection([10, 13], [5, 5], [20.0, 0.001]), camera)
    assert points.flags.tolist() == [0]


def test_no_points_are_stored_as_no_points():
    points = DepthPoints.from_projection(
        projection([], [], []), PinholeCamera(64, 48, 50.0, 50.0, 32.0, 24.0)
    )
    assert len(points.z_raw) == len(points.flags) == 0


# What may be asked


def test_the_valid_range_includes_both_ends_and_zero_is_never_valid():
    depth = DepthGrid(np.array([[0, 999, 1000, 2000, 2001]], np.uint16), 1000.0, IDENTITY)
    assert scorable(depth, 1.0, 2.0).tolist() == [False, False, True, True, False]
    assert scorable(depth, 0.0, 2.0).tolist() == [False, True, True, True, False]


def test_suspects_are_never_asked_but_other_flags_only_inform():
    raw = np.array([8, 8, 8], np.uint16)
    flags = np.array(
        [FLAG_OCCLUSION_SUSPECT, FLAG_DEPTH_EDGE, FLAG_DEPTH_EDGE | FLAG_OCCLUSION_SUSPECT], np.uint8
    )
    depth = DepthPoints(raw, raw, 256 * raw, flags, 1 / 16)
    assert scorable(depth, 0.05, 80.0).tolist() == [False, True, False]


# Frames


def test_a_camera_of_another_size_than_the_picture_is_refused():
    depth = DepthGrid(np.ones((6, 8), np.uint16), 1000.0, IDENTITY)
    picture = Picture(picture_bytes((8, 6)), "rgb/a.png")
    Frame(reference(), picture, PinholeCamera(8, 6, 5.0, 5.0, 4.0, 3.0), depth)
    with pytest.raises(
        FrameError, match=r"size_mismatch: rgb/a.png: picture is \(8, 6\), camera says \(6, 8\)"
    ):
        Frame(reference(), picture, PinholeCamera(6, 8, 5.0, 5.0, 4.0, 3.0), depth)
