import io
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
from PIL import Image

from depthvlm_bench.errors import FrameError, UsageError
from depthvlm_bench.frames import DepthGrid, Frame, FrameRef, Picture, Split
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import PixelAffine, ViewGrid, focal_grid
from depthvlm_bench.geometry.lens import Lens
from depthvlm_bench.records import backends
from depthvlm_bench.records.backends import (
    PILLOW,
    TORCH,
    PillowBackend,
    PixelMemory,
    best_backend,
    decode_into,
    open_backend,
)
from depthvlm_bench.records.pictures import encode_jpeg, render
from depthvlm_bench.records.receipts import codec_versions

SIZE = (203, 151)


def scene(size=SIZE, seed=0):
    """Soft shapes with noise on top, as a photograph has: not so flat that all resizes agree."""
    width, height = size
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size)
    noisy = np.asarray(coarse, dtype=np.int16) + rng.integers(-40, 41, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def encoded(kind="JPEG", mode="RGB", size=SIZE, seed=0, **options):
    buffer = io.BytesIO()
    scene(size, seed).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def frame_of(data, size=SIZE, lens=None, fx_px=1500.0):
    ref = FrameRef("d", Split("train", "t"), "s", "", "f", 0, "s", {})
    camera = PinholeCamera(*size, fx_px, fx_px, size[0] / 2, size[1] / 2)
    depth = DepthGrid(np.ones((4, 4), np.uint16), 1000.0, PixelAffine.identity())
    return Frame(ref, Picture(data, "rgb/f.jpg"), camera, depth, lens=lens)


JPEGS = {
    "4:2:0": {"subsampling": 2, "quality": 90},
    "4:2:2": {"subsampling": 1, "quality": 60},
    "4:4:4": {"subsampling": 0, "quality": 98},
    "coarse": {"subsampling": 2, "quality": 30},
    "progressive": {"progressive": True, "quality": 75},
    "optimised": {"optimize": True},
    "restart markers": {"restart_marker_rows": 1},
    "with EXIF rotation": {
        "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    },
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("size", [SIZE, (64, 48), (17, 9)])
def test_decoded_pixels_are_pillow_s(options, size, monkeypatch):
    picture = Picture(encoded(size=size, **options), "f.jpg")
    expected = np.asarray(picture.decode())
    monkeypatch.setattr(Picture, "decode", lambda _: pytest.fail("this JPEG needs no help"))
    assert np.array_equal(decode_into(PixelMemory(), picture)[..., :3], expected)


ODD = {
    "grey JPEG": encoded(mode="L"),
    "CMYK JPEG": encoded(mode="CMYK"),
    "RGB JPEG": encoded(keep_rgb=True),
    "PNG": encoded("PNG"),
    "palette PNG": encoded("PNG", "P"),
    "PNG with alpha": encoded("PNG", "RGBA"),
    "bytes before the end marker": encoded()[:-2] + bytes(7) + encoded()[-2:],
    "bytes after the end": encoded() + b"trailer",
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_other_pictures_are_decoded_as_pillow_decodes_them(data):
    picture = Picture(data, "f")
    assert np.array_equal(decode_into(PixelMemory(), picture)[..., :3], np.asarray(picture.decode()))


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_truncated_picture_is_unreadable_by_name(cut):
    data = encoded()
    picture = Picture(data[: int(cut * len(data))], "rgb/f.jpg")
    with pytest.raises(FrameError, match=r"rgb/f\.jpg") as caught:
        decode_into(PixelMemory(), picture)
    assert caught.value.reason == "unreadable"


def test_memory_is_taken_once_and_grows_for_a_larger_picture():
    memory = PixelMemory()
    large, small = memory.take(30, 20), memory.take(10, 20)
    assert (large.shape, small.shape) == ((20, 30, 4), (20, 10, 4))
    assert np.shares_memory(large, small)
    assert memory.take(31, 20).shape == (20, 31, 4)


def test_the_pillow_backend_is_the_normative_render():
    frame, grid = frame_of(encoded()), focal_grid(*SIZE, 1500.0)
    made = PillowBackend().canonical(frame, grid)
    assert np.array_equal(np.asarray(made), np.asarray(render(frame.source_picture(), grid)))


@pytest.fixture
def torch_backend():
    pytest.importorskip("torch")
    return open_backend(TORCH)


GRIDS = {
    "focal norm": focal_grid(*SIZE, 1431.0),
    "hardly smaller": ViewGrid(*SIZE, 202, 150, 0, 0, 202, 150),
    "a third": ViewGrid(*SIZE, 68, 50, 0, 0, 68, 50),
    "cropped": ViewGrid(*SIZE, 120, 90, 11, 7, 98, 76),
    "cropped in width": ViewGrid(*SIZE, 120, 90, 11, 0, 98, 90),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_torch_pictures_are_within_one_grey_level_of_the_render(torch_backend, grid):
    for seed in range(3):
        frame = frame_of(encoded(seed=seed))
        made = torch_backend.canonical(frame, grid)
        assert made.size == (grid.width, grid.height)
        found = np.asarray(made.convert("RGB"), dtype=np.int16)
        away = np.abs(found - np.asarray(render(frame.source_picture(), grid)))
        assert away.max() <= 1
        assert (away > 0).mean() < 0.01


def test_torch_pictures_do_not_depend_on_what_was_made_before(torch_backend):
    grids = [GRIDS["focal norm"], GRIDS["cropped"], GRIDS["a third"], GRIDS["focal norm"]]
    frames = [frame_of(encoded(seed=seed)) for seed in range(4)]
    in_a_row = [encode_jpeg(torch_backend.canonical(f, g)) for f, g in zip(frames, grids, strict=True)]
    alone = [encode_jpeg(open_backend(TORCH).canonical(f, g)) for f, g in zip(frames, grids, strict=True)]
    assert in_a_row == alone
    assert len(set(alone)) == 4


def test_torch_pictures_are_encoded_as_an_rgb_picture_of_the_same_pixels(torch_backend):
    made = torch_backend.canonical(frame_of(encoded()), GRIDS["cropped"])
    assert encode_jpeg(made) == encode_jpeg(made.convert("RGB"))


def test_a_lens_is_undone_before_the_resize(torch_backend):
    frame = frame_of(encoded(), lens=Lens("brown_conrady", (-30.0, 0.0, 0.0, 0.0, 0.0)))
    grid = GRIDS["focal norm"]
    away = np.abs(
        np.asarray(torch_backend.canonical(frame, grid).convert("RGB"), dtype=np.int16)
        - np.asarray(render(frame.source_picture(), grid))
    )
    assert away.max() <= 1
    plain = np.asarray(render(frame.picture.decode(), grid), dtype=np.int16)
    assert np.abs(plain - np.asarray(render(frame.source_picture(), grid))).max() > 10


def test_the_best_backend_is_the_one_whose_libraries_are_there(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert best_backend() == PILLOW
    monkeypatch.setattr(backends, "find_spec", lambda name: name)
    assert best_backend() == TORCH


def test_a_backend_that_cannot_be_loaded_is_one_line_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=r"simplejpeg\+torch") as caught:
        open_backend(TORCH)
    assert "pip install torch" in caught.value.next_step
    assert "\n" not in str(caught.value)


def test_an_unknown_backend_is_named_with_the_known_ones():
    with pytest.raises(UsageError, match="unknown picture backend 'simplejpeg'"):
        open_backend("simplejpeg")


def test_versions_are_those_that_the_backend_s_pixels_depend_on(monkeypatch):
    base = {name: version(name) for name in ("pillow", "pyarrow")}
    assert codec_versions() == codec_versions(PILLOW) == base
    monkeypatch.setitem(backends.BACKEND_LIBRARIES, TORCH, ("simplejpeg", "no-such-library"))
    added = {"simplejpeg": version("simplejpeg"), "no-such-library": "absent"}
    assert codec_versions(TORCH) == base | added


def test_choosing_and_naming_backends_does_not_import_torch():
    code = (
        "from depthvlm_bench.records.backends import best_backend, open_backend\n"
        "from depthvlm_bench.records.receipts import codec_versions\n"
        "import sys; codec_versions(best_backend()); open_backend('pillow'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "False"
