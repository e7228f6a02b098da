"""What is exported in the paper's format comes back as the same set through the same format."""

import json

import numpy as np
import pytest
from PIL import Image

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.errors import UsageError
from depthvlm_bench.export.annotations import export_annotations
from depthvlm_bench.frames import Converter
from depthvlm_bench.progress import Silent
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
