"""What is exported in the paper's format comes back as the same set through the same format."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.errors import UsageError
from depthvlm_bench.export import annotations
from depthvlm_bench.export.annotations import export_annotations, range_word_of_another
from depthvlm_bench.frames import Converter
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.codec import decode_source_picture
from depthvlm_bench.records.pictures import encode_png
from depthvlm_bench.records.reader import RecordSet

COMPARED = ("listed_row", "xy_listed", "listed_depth_m", "compat_xy", "compat_gt_m", "width", "height")


def lines_of(done):
    return [json.loads(line) for line in done.annotations.read_text().splitlines()]


def published(card, done, data):
    request = ConvertRequest(done.annotations.parent, data, annotations=done.annotations)
    return RecordSet(convert(Converter(card, open=None), request, Silent()).folder, "eval")


def listed(records):
    return sorted(records.points(list(COMPARED)).to_pylist(), key=lambda row: row["listed_row"])


def test_a_compat_set_comes_back_to_the_last_bit(scannetpp_set, convert_split, tmp_path):
    summary = convert_split("scannetpp", scannetpp_set.root, tmp_path, sampling="compat")
    records = RecordSet(summary.folder, "eval")
    done = export_annotations(records, tmp_path / "out", Silent())
    again = published(builtin_card("scannetpp"), done, tmp_path / "again")
    assert listed(again) == listed(records)
    assert done.images == summary.images


def test_a_strict_grid_set_gives_its_points_as_picture_pixels(ibims1_set, tmp_path):
    records = RecordSet(ibims1_set.folder, "eval")
    done = export_annotations(records, tmp_path, Silent())
    table = records.points(["points", "source_width", "source_height"]).to_pylist()
    for line, row in zip(lines_of(done), table, strict=True):
        raw = np.asarray(Image.open(tmp_path / "depth" / line["depth_path"]))
        assert line["original_rgb_size"] == [row["source_width"], row["source_height"]]
        assert (tmp_path / "rgb" / line["image"]).is_file()
        for (x, y), depth_m, point in zip(line["pixel_coords"], line["depth"], row["points"], strict=True):
            assert (x, y) == (point["u_src"], point["v_src"])
            assert depth_m == round(point["depth_m"], 4)
            assert raw[y, x] == round(point["depth_m"] * line["depth_scale"])


def test_lidar_points_become_a_raster_of_one_point_a_pixel(nuscenes_set, tmp_path):
    records = RecordSet(nuscenes_set.folder, "eval")
    done = export_annotations(records, tmp_path, Silent())
    for line, row in zip(lines_of(done), records.rows(["depth_points"]), strict=True):
        raster = np.asarray(Image.open(tmp_path / "depth" / line["depth_path"]))
        assert line["depth_scale"] == 256
        assert sorted(raster[raster > 0]) == sorted(row["depth_points"]["z"])
        for (x, y), depth_m in zip(line["pixel_coords"], line["depth"], strict=True):
            assert raster[y, x] / 256 == pytest.approx(depth_m, abs=6e-5)


def test_a_set_without_source_pixels_cannot_be_exported(ibims1_set, convert_split, tmp_path):
    summary = convert_split("ibims1", ibims1_set.root, tmp_path, keep_source_image=False)
    with pytest.raises(UsageError, match="needs source pixels"):
        export_annotations(RecordSet(summary.folder, "eval"), tmp_path / "out", Silent())


@pytest.mark.parametrize(
    ("path", "dataset", "word"),
    [
        ("/data/lists/ibims1.jsonl", "ibims1", None),
        ("/data/Waymo_runs/ibims1.jsonl", "ibims1", "waymo"),
        ("/data/ibims1/waymo.jsonl", "waymo", None),  # waymo is looked for before ibims
        ("/data/nuscenes/mine.jsonl", "folder", "nuscenes"),
        ("/data/lists/nyuv2-sun.jsonl", "nyuv2-sun", None),
    ],
)
def test_a_path_in_which_the_paper_s_code_finds_another_range_is_told(path, dataset, word):
    assert range_word_of_another(Path(path), dataset) == word


@pytest.fixture
def float_set(tmp_path):
    """A published set whose depth is raw float32, 32 x 24, as ETH3D's files are."""
    root = tmp_path / "raw"
    for folder in ("rgb", "depth"):
        (root / folder).mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(root / "rgb" / "a.png")
    np.linspace(1, 4, 32 * 24, dtype="<f4").tofile(root / "depth" / "a.raw")
    line = {"image": "a.png", "depth_path": "a.raw", "depth_format": "binary_float32"}
    sizes = {"original_rgb_size": [64, 48], "original_depth_size": [32, 24], "canonical_size": [80, 60]}
    points = {"pixel_coords": [[3, 4], [31, 23]], "depth": [1.5, 4.0]}
    (root / "list.jsonl").write_text(json.dumps(line | sizes | points | {"original_fx": 800.0}))
    request = ConvertRequest(root, tmp_path / "data", annotations=root / "list.jsonl")
    card = builtin_card("scannetpp")
    return RecordSet(convert(Converter(card, open=None), request, Silent()).folder, "eval")


def test_float_depth_comes_back_to_the_last_bit(float_set, tmp_path, monkeypatch):
    monkeypatch.setattr(annotations, "RAW_FLOAT_SIZE", (32, 24))
    done = export_annotations(float_set, tmp_path / "out", Silent())
    assert lines_of(done)[0]["depth_format"] == "binary_float32"
    again = published(builtin_card("scannetpp"), done, tmp_path / "again")
    assert listed(again) == listed(float_set)


def test_float_depth_that_the_paper_s_code_cannot_read_is_refused(float_set, tmp_path):
    with pytest.raises(UsageError, match="6048x4032 only") as caught:
        export_annotations(float_set, tmp_path / "out", Silent())
    assert "32x24" in caught.value.why


def test_a_picture_of_which_a_lens_was_undone_is_exported_as_it_is_seen():
    """A list has no lens: the distorted file under the undistorted camera would move every point."""
    v, u = np.mgrid[:48, :64]
    distorted = Image.fromarray(np.stack([4 * u, 5 * v, u * 0], axis=2).astype(np.uint8))
    sizes = {"source_width": 64, "source_height": 48}
    camera = {"source_fx": 50.0, "source_fy": 50.0, "source_cx": 31.5, "source_cy": 23.5}
    row = sizes | camera | {"source_image": encode_png(distorted), "lens": None}
    assert annotations._picture(row) == row["source_image"]
    lens = {"model": "brown_conrady", "parameters": [0.2, 0.0, 0.0, 0.0, 0.0], "undone": True}
    shown = Image.open(io.BytesIO(annotations._picture(row | {"lens": lens})))
    expected = decode_source_picture(row | {"lens": lens})
    assert np.array_equal(np.asarray(shown), np.asarray(expected))
    assert not np.array_equal(np.asarray(shown), np.asarray(distorted))
