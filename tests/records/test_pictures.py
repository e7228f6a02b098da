import hashlib
import io
import struct

import numpy as np
import pytest
from PIL import Image

from depthvlm_bench.errors import FrameError
from depthvlm_bench.geometry.grids import ViewGrid, focal_grid, native_grid
from depthvlm_bench.records.pictures import (
    decode_depth_png,
    encode_depth_png,
    encode_jpeg,
    encode_png,
    pixels_sha256,
    render,
)


def noise(size=(31, 23), seed=0):
    width, height = size
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def laden(picture):
    """A picture that carries all that must not be stored."""
    picture.info |= {"icc_profile": b"profile" * 50, "exif": b"Exif\0\0" + bytes(20), "dpi": (300, 300)}
    return picture


def png_chunks(encoded):
    chunks, at = [], 8
    while at < len(encoded):
        (length,) = struct.unpack(">I", encoded[at : at + 4])
        chunks.append(encoded[at + 4 : at + 8].decode())
        at += 12 + length
    return chunks


def png_of(array, mode=None):
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def test_png_is_lossless_and_holds_nothing_but_pixels():
    picture = noise()
    pixels = np.asarray(picture).copy()
    encoded = encode_png(laden(picture))
    assert set(png_chunks(encoded)) == {"IHDR", "IDAT", "IEND"}
    with Image.open(io.BytesIO(encoded)) as back:
        assert back.mode == "RGB"
        assert np.array_equal(np.asarray(back), pixels)


def test_jpeg_holds_nothing_but_pixels():
    encoded = encode_jpeg(laden(noise()))
    with Image.open(io.BytesIO(encoded)) as back:
        back.load()
        assert {marker for marker, _ in back.applist} == {"APP0"}
        assert "icc_profile" not in back.info
        assert not back.getexif()


def test_jpeg_is_of_quality_95():
    reference = io.BytesIO()
    noise().save(reference, "JPEG", quality=95)
    with Image.open(reference) as wanted, Image.open(io.BytesIO(encode_jpeg(noise()))) as found:
        assert found.quantization == wanted.quantization


def test_render_is_one_pillow_bilinear_resize_of_the_source():
    source, grid = noise((64, 48)), focal_grid(64, 48, 1562.5)
    expected = source.resize((41, 31), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(render(source, grid)), np.asarray(expected))


def test_render_keeps_every_pixel_where_nothing_is_to_do():
    assert np.array_equal(np.asarray(render(noise(), native_grid(31, 23))), np.asarray(noise()))


def test_render_crops_after_the_resize():
    source = noise((64, 48))
    grid = ViewGrid(64, 48, 128, 96, 10, 5, 100, 80)
    resized = np.asarray(source.resize((128, 96), Image.Resampling.BILINEAR))
    assert np.array_equal(np.asarray(render(source, grid)), resized[5:85, 10:110])


@pytest.mark.parametrize("full", [(160, 120), (48, 36)])
def test_a_ramp_seen_through_render_follows_the_pixel_centre_rule(full):
    """Grey level = 2 * column, so the level at a pixel says which source column it came from."""
    ramp = np.repeat(np.tile(2 * np.arange(96, dtype=np.uint8), (72, 1))[..., None], 3, axis=2)
    grid = ViewGrid(96, 72, *full, 0, 0, *full)
    found = np.asarray(render(Image.fromarray(ramp), grid))[0, :, 0] / 2
    u = np.arange(full[0])
    source_u, _ = grid.view_from_source.inverse().apply(u, np.zeros_like(u))
    middle = slice(4, -4)
    assert np.abs(found - source_u)[middle].max() <= 0.5


def test_render_refuses_a_picture_of_another_size():
    with pytest.raises(ValueError, match=r"\(31, 23\)"):
        render(noise(), native_grid(23, 31))


def test_pixels_hash_is_that_of_the_rgb_bytes_row_major():
    assert pixels_sha256(noise()) == hashlib.sha256(noise().tobytes()).hexdigest()
    assert pixels_sha256(noise()) != pixels_sha256(noise().transpose(Image.Transpose.FLIP_LEFT_RIGHT))


@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (19, 40)])
def test_depth_png_is_bit_exact_over_all_of_16_bits(shape):
    values = np.random.default_rng(1).integers(0, 65536, shape).astype(np.uint16)
    values.flat[0] = 65535
    encoded = encode_depth_png(values)
    assert set(png_chunks(encoded)) == {"IHDR", "IDAT", "IEND"}
    back = decode_depth_png(encoded, "x")
    assert back.dtype == np.uint16
    assert np.array_equal(back, values)


@pytest.mark.parametrize(
    ("encoded", "detail"),
    [
        (png_of(np.zeros((4, 4), np.uint8)), "found mode L"),
        (png_of(np.zeros((4, 4, 3), np.uint8)), "found mode RGB"),
        (png_of(np.zeros((4, 4), np.uint8), "P"), "found mode P"),
        (encode_depth_png(np.full((40, 40), 7, np.uint16))[:-30], "x: "),
        (b"not a picture", "x: "),
        (b"", "x: "),
    ],
    ids=["8 bit", "colour", "palette", "truncated", "text", "empty"],
)
def test_what_is_no_16_bit_depth_is_unreadable_by_name(encoded, detail):
    with pytest.raises(FrameError, match=detail) as caught:
        decode_depth_png(encoded, "x")
    assert caught.value.reason == "unreadable"


def test_wider_values_are_refused_instead_of_wrapped():
    buffer = io.BytesIO()
    Image.fromarray(np.array([[1, 70000]], dtype=np.int32)).save(buffer, "TIFF")
    with pytest.raises(FrameError, match="outside 16 bits"):
        decode_depth_png(buffer.getvalue(), "x")
