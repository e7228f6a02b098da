import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from depthvlm_bench.cards import Tags, builtin_card
from depthvlm_bench.errors import CheckError, FrameError
from depthvlm_bench.frames import DepthGrid, DepthPoints, Frame, FrameRef, Picture, Split
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.geometry.grids import PixelAffine
from depthvlm_bench.geometry.lens import Lens, undo_lens
from depthvlm_bench.records.codec import (
    RecordSpec,
    decode_depth,
    decode_picture,
    encode_record,
    point_rows,
    record_grid,
    source_camera,
)
from depthvlm_bench.records.pictures import encode_depth_png, render
from depthvlm_bench.records.prompts import load_prompt
from depthvlm_bench.records.reader import view_of
from depthvlm_bench.records.schema import SCHEMA
from depthvlm_bench.sampling.draw import candidates

CARD = builtin_card("scannetpp")
SPEC = RecordSpec(CARD, "strict", True, "scannetpp/1", "hash", "depthvlm-dense")
SIZE = (60, 40)
GROWING_FX, EQUAL_FX, SHRINKING_FX = 555.5, 1000.0, 1411.0
ORIENTATION = 0x0112


def picture_bytes(kind="JPEG", mode="RGB", size=SIZE, **options):
    width, height = size
    values = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def grid_depth(seed=0, shape=(20, 30)):
    values = np.random.default_rng(seed).integers(0, 65536, shape).astype(np.uint16)
    values[::3, ::4] = 0
    return DepthGrid(values, 1000.0, PixelAffine.resize((shape[1], shape[0]), SIZE))


def lidar_depth():
    rng = np.random.default_rng(5)
    u, v = rng.integers(0, 16 * SIZE[0], 50), rng.integers(0, 16 * SIZE[1], 50)
    z, flags = rng.integers(1, 65536, 50), rng.integers(0, 8, 50)
    return DepthPoints(*(a.astype(np.uint16) for a in (u, v, z)), flags.astype(np.uint8), 1 / 16)


def frame_of(fx_px=SHRINKING_FX, role="eval", encoded=None, depth=None, scene="s", camera="c"):
    ref = FrameRef("scannetpp", Split(role, "nvs_sem_val"), scene, camera, "f", 0, "s", {})
    view = PinholeCamera(*SIZE, fx_px, fx_px * 1.01, 29.25, 19.75)
    picture = Picture(encoded or picture_bytes(), "data/s/rgb/f.jpg")
    return Frame(ref, picture, view, depth or grid_depth(), extra={"dt_s": 0.25})


def row_of(frame, spec=SPEC, points=None):
    """A record as every reader gets it: through Arrow."""
    row = encode_record(frame, spec, points, points)
    return pa.Table.from_pylist([row], SCHEMA).to_pylist()[0]


def png_chunk_names(encoded):
    names, at = [], 8
    while at < len(encoded):
        names.append(encoded[at + 4 : at + 8])
        at += 12 + int.from_bytes(encoded[at : at + 4], "big")
    return set(names)


def test_depth_grids_come_back_bit_exact_with_their_place():
    depth = grid_depth()
    row = row_of(frame_of(depth=depth))
    back = decode_depth(row)
    assert np.array_equal(back.values, depth.values)
    assert back.values.dtype == np.uint16
    assert (back.depth_scale, back.source_from_depth) == (1000.0, depth.source_from_depth)
    assert (row["depth_width"], row["depth_height"]) == (30, 20)
    assert row["depth_points"] is row["depth_uv_step"] is None


def test_the_bytes_of_a_source_depth_png_are_kept_as_they_are():
    depth = grid_depth()
    png = encode_depth_png(depth.values) + b"trailing bytes that no decoder reads"
    assert row_of(frame_of(depth=replace(depth, source_png=png)))["depth"]["bytes"] == png


def test_lidar_points_come_back_bit_exact_with_their_steps():
    depth = lidar_depth()
    row = row_of(frame_of(depth=depth))
    back = decode_depth(row)
    for name in ("u_raw", "v_raw", "z_raw", "flags"):
        assert np.array_equal(getattr(back, name), getattr(depth, name))
        assert getattr(back, name).dtype == getattr(depth, name).dtype
    assert (row["depth_uv_step"], row["depth_z_step"], row["depth_scale"]) == (1 / 16, 1 / 256, 256.0)
    assert row["depth"] is row["depth_affine"] is row["depth_width"] is None


def test_evaluation_stores_the_render_losslessly_and_the_source_bytes_beside_it():
    frame = frame_of()
    row = row_of(frame)
    expected = frame.picture.decode().resize((43, 28), Image.Resampling.BILINEAR)
    stored = decode_picture(row["image"]["bytes"], "x")
    assert np.array_equal(np.asarray(stored), np.asarray(expected))
    assert row["canonical_sha256"] == hashlib.sha256(expected.tobytes()).hexdigest()
    assert row["source_image"] == frame.picture.encoded
    assert row["source_sha256"] == hashlib.sha256(frame.picture.encoded).hexdigest()
    assert row["image"]["path"] is None


def test_evaluation_without_source_bytes_keeps_their_hash_only():
    row = row_of(frame_of(), replace(SPEC, keep_source_image=False))
    assert row["source_image"] is None
    assert row["image"] is not None
    assert len(row["source_sha256"]) == 64


@pytest.mark.parametrize("fx_px", [GROWING_FX, EQUAL_FX])
def test_training_keeps_the_source_where_the_canonical_picture_would_not_be_smaller(fx_px):
    frame = frame_of(fx_px, role="train")
    row = row_of(frame, replace(SPEC, keep_source_image=False))
    assert row["image"] is None
    assert row["source_image"] == frame.picture.encoded
    assert row["canonical_sha256"] is None


def test_training_stores_a_jpeg_where_the_picture_shrinks():
    row = row_of(frame_of(SHRINKING_FX, role="train"))
    assert row["source_image"] is None
    with Image.open(io.BytesIO(row["image"]["bytes"])) as stored:
        assert stored.format == "JPEG"
        assert stored.size == (row["width"], row["height"]) == (43, 28)


class RedBackend:
    """Makes pictures that no other backend makes."""

    def canonical(self, frame, grid):
        return Image.new("RGB", (grid.width, grid.height), "red")


def test_training_pictures_are_made_by_the_set_s_backend_and_evaluation_pictures_never():
    spec = replace(SPEC, backend=RedBackend())
    made = decode_picture(row_of(frame_of(role="train"), spec)["image"]["bytes"], "x")
    assert np.abs(np.asarray(made, dtype=int) - (255, 0, 0)).max() < 3
    assert row_of(frame_of(role="eval"), spec) == row_of(frame_of(role="eval"))
    assert row_of(frame_of(GROWING_FX, role="train"), spec)["image"] is None


def test_a_training_picture_that_is_kept_as_it_is_has_to_be_whole():
    cut = frame_of(GROWING_FX, role="train", encoded=picture_bytes()[:-200])
    with pytest.raises(FrameError, match=r"data/s/rgb/f\.jpg"):
        encode_record(cut, SPEC, None, None)


def test_lidar_points_go_to_arrow_as_arrays():
    """Lists of Python numbers cost more than reading the sweep."""
    lists = encode_record(frame_of(depth=lidar_depth()), SPEC, None, None)["depth_points"]
    assert {name: values.dtype for name, values in lists.items()} == {
        "u": np.uint16,
        "v": np.uint16,
        "z": np.uint16,
        "flags": np.uint8,
    }


@pytest.mark.parametrize("fx_px", [GROWING_FX, SHRINKING_FX])
def test_canonical_size_and_intrinsics_follow_from_the_true_ratios(fx_px):
    row = row_of(frame_of(fx_px))
    width, height = round(60 * 1000 / fx_px), round(40 * 1000 / fx_px)
    assert (row["full_width"], row["full_height"]) == (row["width"], row["height"]) == (width, height)
    assert row["fx"] == pytest.approx(fx_px * width / 60, rel=1e-15)
    assert row["fy"] == pytest.approx(fx_px * 1.01 * height / 40, rel=1e-15)
    assert row["cx"] == pytest.approx((29.25 + 0.5) * width / 60 - 0.5, rel=1e-14)
    assert row["cy"] == pytest.approx((19.75 + 0.5) * height / 40 - 0.5, rel=1e-14)
    assert (row["crop_left"], row["crop_top"]) == (0, 0)
    assert source_camera(row) == frame_of(fx_px).camera
    assert record_grid(row).view_from_source.sx == width / 60


def test_a_long_canonical_side_is_cropped_and_the_principal_point_follows():
    frame = frame_of(GROWING_FX)
    whole = row_of(frame)
    row = row_of(frame, replace(SPEC, card=replace(CARD, max_canonical_edge=80)))
    assert (row["width"], row["height"]) == (80, whole["height"])
    assert (row["full_width"], row["crop_left"], row["crop_top"]) == (108, 14, 0)
    assert row["cx"] == pytest.approx(whole["cx"] - 14)
    cropped = np.asarray(decode_picture(whole["image"]["bytes"], "x"))[:, 14:94]
    assert np.array_equal(np.asarray(decode_picture(row["image"]["bytes"], "x")), cropped)


def test_exif_rotation_is_never_applied():
    """K belongs to the stored pixels: a rotated picture would meet the intrinsics of an upright one."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned, plain = picture_bytes(exif=exif, quality=95), picture_bytes(quality=95)
    with Image.open(io.BytesIO(turned)) as image:
        assert image.getexif()[ORIENTATION] == 6
    rows = [row_of(frame_of(encoded=encoded)) for encoded in (turned, plain)]
    assert rows[0]["canonical_sha256"] == rows[1]["canonical_sha256"]
    assert rows[0]["source_image"] == turned


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_neither_colour_profile_nor_any_metadata_is_stored(kind):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    encoded = picture_bytes(kind, icc_profile=b"profile" * 40, exif=exif, dpi=(300, 300))
    row = row_of(frame_of(encoded=encoded))
    assert png_chunk_names(row["image"]["bytes"]) == {b"IHDR", b"IDAT", b"IEND"}
    train = row_of(frame_of(encoded=encoded, role="train"))
    with Image.open(io.BytesIO(train["image"]["bytes"])) as stored:
        assert not stored.getexif()
        assert "icc_profile" not in stored.info


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_whatever_its_mode_a_picture_is_stored_as_rgb(mode):
    encoded = picture_bytes("PNG", mode)
    row = row_of(frame_of(encoded=encoded))
    with Image.open(io.BytesIO(row["image"]["bytes"])) as stored:
        assert stored.mode == "RGB"


def test_a_truncated_picture_is_unreadable_by_its_path():
    with pytest.raises(FrameError, match=r"unreadable: data/s/rgb/f\.jpg"):
        row_of(frame_of(encoded=picture_bytes()[:-200]))


def test_empty_parts_of_the_name_are_dashes():
    row = row_of(frame_of(scene="", camera=""))
    assert (row["id"], row["scene"], row["camera"]) == ("scannetpp/eval/-/-/f", "-", "-")
    assert row["source_path"] == "data/s/rgb/f.jpg"


def test_tags_of_the_frame_go_over_those_of_the_card():
    frame = frame_of()
    tagged = replace(frame, ref=replace(frame.ref, tags=Tags(view="tripod", weather="rain")))
    tags = row_of(tagged)["tags"]
    assert (tags["view"], tags["weather"], tags["environment"]) == ("tripod", "rain", CARD.tags.environment)


def test_prompt_and_provenance_are_in_the_record():
    row, prompt = row_of(frame_of()), load_prompt("depthvlm-dense")
    assert row["messages"][-1]["content"][0] == {"type": "image", "text": None}
    assert row["messages"][-1]["content"][1]["text"] == prompt.user
    assert row["answer"] == prompt.answer
    assert (row["set_kind"], row["converter"], row["options_hash"]) == ("strict", "scannetpp/1", "hash")
    assert json.loads(row["extra"]) == {"dt_s": 0.25, "area_without_truth": 0.0}
    assert (row["valid_min"], row["valid_max"], row["depth_kind"]) == (0.001, 10.0, "z")


def test_points_keep_float64_through_the_record():
    frame = frame_of()
    grid = record_grid(row_of(frame))
    pool = candidates(frame.depth, frame.camera, grid, 0.001, 70.0)
    points = point_rows(pool, np.array([5, 0, 7]))
    row = row_of(frame, points=points)
    assert row["points"] == row["points_balanced"] == points
    assert [point["depth_m"] for point in points] == pool.depth_m[[5, 0, 7]].tolist()
    assert set(points[0]) == {"u", "v", "u_src", "v_src", "depth_m", "ray_factor", "flags"}
    assert all(isinstance(point["flags"], int) for point in points)


LENS = Lens("brown_conrady", (0.04, -0.3, 0.001, -0.001, 0.0))


def test_a_lens_is_named_and_every_picture_made_from_the_record_has_it_undone():
    frame = replace(frame_of(encoded=picture_bytes("PNG")), lens=LENS)
    row = row_of(frame)
    assert row["lens"] == {"model": "brown_conrady", "parameters": list(LENS.parameters), "undone": True}
    assert row["source_image"] == frame.picture.encoded
    undone = undo_lens(np.asarray(frame.picture.decode()), frame.camera, LENS)
    assert not np.array_equal(undone, np.asarray(frame.picture.decode()))
    assert np.array_equal(np.asarray(view_of(row, "native").picture), undone)
    expected = render(Image.fromarray(undone), record_grid(row))
    assert np.array_equal(np.asarray(view_of(row).picture), np.asarray(expected))


def test_source_bytes_of_another_size_than_their_record_are_unreadable():
    row = row_of(frame_of()) | {"source_image": picture_bytes(size=(61, 40))}
    with pytest.raises(CheckError, match="source_image is"):
        view_of(row, "native")


def test_float_depth_of_a_compat_set_comes_back_bit_exact():
    values = np.random.default_rng(2).uniform(0, 50, (20, 30)).astype(np.float32)
    values[:4] = 0
    depth = DepthGrid(values, 1.0, PixelAffine.resize((30, 20), SIZE))
    row = row_of(replace(frame_of(depth=depth), depth_kind="ray"))
    back = decode_depth(row)
    assert back.values.dtype == np.float32
    assert np.array_equal(back.values, values)
    assert row["depth_kind"] == "ray"
    with Image.open(io.BytesIO(row["depth"]["bytes"])) as tiff:
        assert (tiff.format, tiff.mode) == ("TIFF", "F")


def test_a_broken_depth_tiff_is_unreadable():
    depth = DepthGrid(np.ones((20, 30), np.float32), 1.0, PixelAffine.resize((30, 20), SIZE))
    row = row_of(frame_of(depth=depth))
    row["depth"]["bytes"] = b"II*\0" + bytes(40)
    with pytest.raises(FrameError, match="unreadable"):
        decode_depth(row)
