"""Pictures as the model sees them: sizes, patches, cameras, and the way back to the picture."""

import json

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from depthvlm_golden import needs_golden, vectors
from PIL import Image

from depthvlm_bench.depthvlm.inference import Shown, dense_map
from depthvlm_bench.depthvlm.preprocess import (
    MAX_PIXELS,
    MIN_PIXELS,
    PATCH_PX,
    PREPROCESSOR,
    PROFILES,
    TOKEN_PX,
    PixelLimits,
    canonical_size_of,
    checkpoint_limits,
    model_sizes,
    patches,
    prepare,
)
from depthvlm_bench.errors import CheckError, UsageError
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.predict.readout import to_view

# (picture, after the first resize, the model's) of the paper's programs, and the model's where the first one
# is left out: width x height, measured with qwen-vl-utils 0.0.14 and the reference's processor.
SIZES = [
    ((1342, 1006), (1344, 1008), (1344, 1024), (1344, 992)),
    ((1339, 1004), (1344, 1008), (1344, 1024), (1344, 992)),
    ((1024, 768), (1036, 756), (1024, 768), (1024, 768)),
    ((1024, 1024), (1036, 1036), (1024, 1024), (1024, 1024)),
    ((1263, 789), (1260, 784), (1248, 768), (1248, 800)),
    ((700, 525), (700, 532), (704, 544), (704, 512)),
    ((1000, 750), (1008, 756), (1024, 768), (992, 736)),
    ((1550, 1024), (1540, 1036), (1536, 1024), (1536, 1024)),
]
# Landscape, portrait, square, off the grid, long, tiny, odd, and canonical.
SHAPES = [
    *((1342, 1006), (768, 1024), (512, 512), (1000, 750)),
    *((300, 2000), (160, 120), (701, 333), (1263, 789)),
]
GOLDEN_LEAST_PX = 1024


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def pixels_of(prepared):
    """The normalised picture (3, h, w) of its patches, taken apart by where each belongs."""
    _, rows, columns = prepared.grid_thw.tolist()
    rest = prepared.pixel_values.reshape(rows // 2, columns // 2, 2, 2, 3, 2, PATCH_PX, PATCH_PX)
    assert torch.equal(rest[:, :, :, :, :, 0], rest[:, :, :, :, :, 1])
    return torch.einsum("abijcyx->caiybjx", rest[:, :, :, :, :, 0]).reshape(
        3, rows * PATCH_PX, columns * PATCH_PX
    )


@pytest.mark.parametrize(("picture", "first", "model", "plain"), SIZES)
def test_sizes_are_those_of_the_paper_s_programs(picture, first, model, plain):
    assert model_sizes(picture, "reference_v1") == [first, model]
    assert model_sizes(picture, "native") == [plain]


@pytest.mark.parametrize(("picture", "model"), [(size, model) for size, _, model, _ in SIZES])
def test_a_prepared_picture_has_that_size_and_a_token_for_each_32_px(picture, model):
    prepared = prepare(Image.new("RGB", picture), "reference_v1")
    assert (prepared.source_size, prepared.model_size) == (picture, model)
    assert prepared.tokens == model[0] * model[1] // 32**2
    assert prepared.pixel_values.shape == (4 * prepared.tokens, 3 * 2 * 16 * 16)
    assert prepared.pixel_values.dtype == torch.float32
    assert prepared.grid_thw.tolist() == [1, model[1] // 16, model[0] // 16]


@needs_golden
@pytest.mark.parametrize(
    ("case", "images"), [("single", ("one",)), ("batch", ("a", "b"))], ids=["single", "batch"]
)
def test_pixel_values_are_the_reference_s_bit_for_bit(case, images):
    """The golden processor enlarges less: pictures of 1,024 px."""
    inputs = vectors("inputs")
    found = [prepare(Image.fromarray(inputs[f"image.{name}"]), min_pixels=GOLDEN_LEAST_PX) for name in images]
    values = torch.cat([one.pixel_values for one in found]).numpy()
    assert np.array_equal(values, inputs[f"{case}.pixel_values"])
    assert [one.grid_thw.tolist() for one in found] == inputs[f"{case}.image_grid_thw"].tolist()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size", [(333, 270), (90, 400), (256, 256)])
def test_pixel_values_are_those_of_transformers_pil_processor(profile, size):
    module = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    area = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    normal = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    processor = module.Qwen2VLImageProcessorPil(**PREPROCESSOR, **normal, size=area)
    picture = noise(*size)
    first = picture if profile == "native" else picture.resize(model_sizes(size, profile)[0])
    expected = processor(first, return_tensors="pt")
    found = prepare(picture, profile)
    assert torch.equal(found.pixel_values, expected["pixel_values"])
    assert torch.equal(found.grid_thw, expected["image_grid_thw"][0])


def test_patches_come_in_blocks_of_a_token():
    """Every pixel has its own value: which patch and place it lands in is spelt out for four of them."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    places = {(0, 0): (0, 0), (0, 17): (1, 1), (16, 0): (2, 0), (40, 70): (20, 8 * 16 + 6)}
    for value, (row, column) in enumerate(places, 1):
        pixels[row, column, 1] = value
    found = patches(pixels).reshape(-1, 3, 2, 256)
    lit = {
        (int(p), int(at)) for p, channel, frame, at in np.argwhere(found > -1) if (channel, frame) == (1, 0)
    }
    assert lit == set(places.values())
    assert not (found[:, 0] > -1).any()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "{}x{}".format(*shape))
def test_a_map_reads_the_pixel_it_was_made_of(profile, shape):
    """A model that answers each pixel's own coordinates, from what it is shown, read back in the picture."""
    width, height = shape
    found = {axis: shown_coordinates(axis, shape, profile) for axis in "uv"}
    v, u = np.mgrid[:height, :width]
    inner = (slice(1, -1), slice(1, -1))
    for axis, expected in (("u", u), ("v", v)):
        assert np.abs(found[axis] - expected)[inner].max() < 0.3, axis


STEP_PX, SLOPE = 50, 5


def shown_coordinates(axis, shape, profile):
    """Coordinate of each pixel of the picture, by way of the prepared picture and back: (h, w).

    A byte cannot count to 1,342: each picture's channels rise by five grey levels a pixel over 50 pixels of
    the axis, and stay where they are elsewhere; a fifth of the sum of all of them is the coordinate.
    """
    width, height = shape
    along = np.arange(width)[None, :] if axis == "u" else np.arange(height)[:, None]
    starts = range(0, along.size, STEP_PX)
    total, prepared = 0.0, None
    for first in range(0, len(starts), 3):
        channels = [
            np.clip(SLOPE * (along - start), 0, SLOPE * STEP_PX) for start in starts[first : first + 3]
        ]
        channels += [np.zeros_like(along)] * (3 - len(channels))
        planes = np.stack([np.broadcast_to(plane, (height, width)) for plane in channels], axis=-1)
        picture = Image.fromarray(planes.astype(np.uint8))
        prepared = Shown(picture).prepared(profile)
        total = total + (pixels_of(prepared).sum(dim=0, dtype=torch.float64).numpy() / 2 + 1.5) * 255 / SLOPE
    return to_view(dense_map(total.astype(np.float32), prepared), width, height)


@pytest.mark.parametrize(("size", "most"), [((6000, 4000), 500_000), ((300, 2000), 200_000)])
def test_a_picture_beyond_the_budget_is_shrunk_into_it_in_its_shape(size, most):
    (found,) = model_sizes(size, "native", PixelLimits(least=1024, most=most))
    assert most * 0.8 < found[0] * found[1] <= most
    for side, other, given, across in zip(found, found[::-1], size, size[::-1], strict=True):
        assert side % TOKEN_PX == 0
        assert abs(side - other * given / across) <= TOKEN_PX * (1 + max(size) / min(size))
    prepared = prepare(Image.new("RGB", (900, 600)), max_pixels=200_000)
    assert prepared.model_size[0] * prepared.model_size[1] <= 200_000


def test_the_model_s_own_budget_is_16_mega_pixels():
    (width, height) = model_sizes((9000, 6000), "native")[-1]
    assert MAX_PIXELS * 0.97 < width * height <= MAX_PIXELS
    assert model_sizes((4000, 3000), "native") == [(4000, 3008)]


@pytest.mark.parametrize("size", [(1, 1), (20, 15), (160, 120), (5, 900)])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_tiny_picture_is_enlarged_to_the_least_area(size, profile):
    found = model_sizes(size, profile)[-1]
    assert found[0] * found[1] >= MIN_PIXELS
    assert prepare(Image.new("RGB", size), profile).model_size == found


@pytest.mark.parametrize(("size", "expected"), [((300, 2000), (288, 1984)), ((2000, 300), (1984, 288))])
def test_a_long_picture_keeps_its_shape(size, expected):
    assert model_sizes(size, "native") == [expected]


def test_a_picture_longer_than_200_times_its_width_is_refused():
    with pytest.raises(UsageError, match="10x2001 px is too long"):
        prepare(Image.new("RGB", (10, 2001)))


def test_an_unknown_profile_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"reference_v2.*native, reference_v1"):
        prepare(Image.new("RGB", (64, 64)), "reference_v2")


@pytest.mark.parametrize("limits", [(0, 100), (5000, 4000), (1, 1000)])
def test_limits_that_no_picture_meets_are_refused(limits):
    with pytest.raises(UsageError, match="no picture has an area"):
        PixelLimits(*limits)


def test_the_effective_camera_is_that_of_the_model_s_picture():
    camera = PinholeCamera(1342, 1006, 1000.0, 998.0, 670.0, 500.0)
    prepared = prepare(noise(1342, 1006), "reference_v1")
    seen = prepared.camera(camera)
    assert (seen.width, seen.height) == prepared.model_size == (1344, 1024)
    assert (seen.fx_px, seen.fy_px) == pytest.approx((1000 * 1344 / 1342, 998 * 1024 / 1006))
    u, v = camera.project([[0.3, -0.2, 2.0]])
    expected = ((u + 0.5) * 1344 / 1342 - 0.5, (v + 0.5) * 1024 / 1006 - 0.5)
    assert np.array(seen.project([[0.3, -0.2, 2.0]])) == pytest.approx(np.array(expected))


def test_a_photograph_is_resized_once_to_the_grid_of_its_canonical_size():
    picture = noise(640, 480)
    prepared = prepare(picture, canonical_size=(400, 300))
    assert prepared.model_size == model_sizes((400, 300), "native")[-1] == (384, 288)
    once = picture.resize(prepared.model_size, Image.Resampling.BICUBIC)
    assert np.array_equal(prepared.pixel_values.numpy(), patches(np.asarray(once)))
    assert prepared.source_size == (640, 480)


def test_the_paper_s_profile_makes_the_canonical_picture_first():
    picture = noise(640, 480)
    canonical = picture.resize((400, 300), Image.Resampling.BILINEAR)
    found = prepare(picture, "reference_v1", canonical_size=(400, 300))
    assert torch.equal(found.pixel_values, prepare(canonical, "reference_v1").pixel_values)
    assert found.source_size == (640, 480)


@pytest.mark.parametrize(
    ("size", "fx_px", "expected"),
    [
        ((1920, 1440), 1430.94, (1342, 1006)),
        ((1342, 1006), 1000.17, (1342, 1006)),
        ((600, 1001), 1000.8, (600, 1001)),
        ((640, 480), 500.0, (1280, 960)),
    ],
)
def test_the_canonical_size_has_a_focal_length_of_1000_px(size, fx_px, expected):
    assert canonical_size_of(PinholeCamera(*size, fx_px, fx_px, 1.0, 1.0)) == expected


@pytest.mark.parametrize(("profile", "expected"), [("native", (1024, 769)), ("reference_v1", None)])
def test_a_list_s_own_canonical_size_stands_under_the_paper_s_profile(profile, expected):
    """Raw maps are indexed with its pixels: a picture a little off fx = 1000 is not resized again."""
    camera = PinholeCamera(1000, 751, 976.6, 976.6, 499.5, 375.0)
    assert Shown(Image.new("RGB", (1000, 751)), camera).canonical_size(profile) == expected
    far = PinholeCamera(1000, 751, 500.0, 500.0, 499.5, 375.0)
    assert Shown(Image.new("RGB", (1000, 751)), far).canonical_size(profile) == (2000, 1502)


def test_without_a_camera_the_picture_is_shown_as_it_is():
    assert Shown(Image.new("RGB", (300, 200))).canonical_size("native") is None


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_pictures_of_other_modes_are_shown_in_rgb(mode):
    picture = Image.new("RGB", (256, 256), (200, 200, 200)).convert(mode)
    assert pixels_of(prepare(picture)).unique().tolist() == pytest.approx([200 / 255 * 2 - 1], abs=1e-6)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_a_depth_picture_is_refused(mode):
    with pytest.raises(UsageError, match=f"mode '{mode}' is no photograph.*depth"):
        prepare(Image.new(mode, (64, 64)))


def test_a_checkpoint_says_its_own_limits(tmp_path):
    assert checkpoint_limits(tmp_path) == PixelLimits(MIN_PIXELS, MAX_PIXELS)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(PREPROCESSOR | {"size": {"shortest_edge": 2048, "longest_edge": 99_999}}))
    assert checkpoint_limits(tmp_path) == PixelLimits(2048, 99_999)
    path.write_text(json.dumps({"min_pixels": 1024, "max_pixels": 88_888}))
    assert checkpoint_limits(tmp_path) == PixelLimits(1024, 88_888)


@pytest.mark.parametrize("other", [{"patch_size": 14}, {"image_mean": [0.48, 0.46, 0.41]}])
def test_a_checkpoint_that_wants_other_pictures_is_refused(tmp_path, other):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | other))
    with pytest.raises(CheckError, match=f"pictures of another kind.*{next(iter(other))}"):
        checkpoint_limits(tmp_path)


def test_a_damaged_preprocessor_config_is_named(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(CheckError, match=r"preprocessor_config\.json"):
        checkpoint_limits(tmp_path)


def test_a_map_of_another_size_is_no_map_of_the_picture():
    prepared = prepare(noise(256, 256))
    with pytest.raises(CheckError, match="a map of"):
        dense_map(np.ones((256, 255), np.float32), prepared)
