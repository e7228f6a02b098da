import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.geometry.grids import native_grid
from depthvlm_bench.records.codec import decode_picture, source_camera
from depthvlm_bench.records.reader import (
    TRAINING_COLUMNS,
    VIEW_COLUMNS,
    RecordSet,
    depth_of,
    find_sets,
    training_item,
    training_rows,
    view_of,
)
from depthvlm_bench.records.schema import POINTS_SCHEMA, make_schema


def first_row(converted, role, columns=None):
    return next(RecordSet(converted.folder, role).rows(columns))


def pixels(picture):
    return np.asarray(picture)


def resized(encoded, size):
    with Image.open(io.BytesIO(encoded)) as image:
        return image.convert("RGB").resize(size, Image.Resampling.BILINEAR)


@pytest.fixture
def eval_row(scannetpp_set):
    return first_row(scannetpp_set, "eval")


def test_the_canonical_view_is_the_stored_picture_with_its_intrinsics(eval_row):
    view = view_of(eval_row)
    assert np.array_equal(pixels(view.picture), pixels(decode_picture(eval_row["image"]["bytes"], "x")))
    assert (view.camera.width, view.camera.height) == view.picture.size
    assert view.camera.fx_px == eval_row["fx"]
    assert view.camera.cy_px == eval_row["cy"]
    point = eval_row["points"][0]
    assert view.view_from_source.apply(point["u_src"], point["v_src"]) == (point["u"], point["v"])


def test_the_native_view_is_the_source_itself(eval_row):
    view = view_of(eval_row, "native")
    assert np.array_equal(pixels(view.picture), pixels(decode_picture(eval_row["source_image"], "x")))
    assert view.camera == source_camera(eval_row)
    assert view.view_from_source == native_grid(1920, 1440).view_from_source


def test_the_preferred_view_is_one_resize_from_the_source(eval_row):
    view = view_of(eval_row, "preferred", 518.0)
    scale = 518.0 / eval_row["source_fx"]
    size = (round(1920 * scale), round(1440 * scale))
    assert view.picture.size == size
    assert np.array_equal(pixels(view.picture), pixels(resized(eval_row["source_image"], size)))
    assert view.camera.fx_px == pytest.approx(518.0, rel=1e-3)
    assert view.camera.fx_px == pytest.approx(eval_row["source_fx"] * size[0] / 1920, rel=1e-15)


def test_preferred_needs_a_focal_length(eval_row):
    with pytest.raises(UsageError, match="no preferred focal length"):
        view_of(eval_row, "preferred")


@pytest.mark.parametrize("mode", ["native", "preferred"])
def test_without_source_pixels_only_canonical_can_be_shown(eval_row, mode):
    row = eval_row | {"source_image": None}
    with pytest.raises(UsageError, match="source pixels") as caught:
        view_of(row, mode, 500.0)
    assert row["id"] in str(caught.value)
    assert "--no-source-image" in caught.value.next_step
    assert view_of(row).picture.size == (row["width"], row["height"])


def test_a_training_row_without_image_still_has_its_canonical_view(nuscenes_set):
    row = first_row(nuscenes_set, "train")
    assert row["image"] is None
    view = view_of(row)
    size = (row["width"], row["height"])
    assert size[0] > row["source_width"]
    assert np.array_equal(pixels(view.picture), pixels(resized(row["source_image"], size)))
    assert view.camera.fx_px == row["fx"]


def test_a_training_row_that_shrank_has_its_canonical_view(scannetpp_set):
    row = first_row(scannetpp_set, "train")
    assert row["source_image"] is None
    assert view_of(row).picture.size == (row["width"], row["height"])
    with pytest.raises(UsageError, match="source pixels"):
        view_of(row, "native")


def test_a_picture_of_another_size_is_named(eval_row):
    with pytest.raises(CheckError, match="declared size") as caught:
        view_of(eval_row | {"image": {"bytes": eval_row["source_image"], "path": None}})
    assert caught.value.where == eval_row["id"]


def test_view_columns_are_all_a_view_needs(scannetpp_set):
    row = first_row(scannetpp_set, "eval", list(VIEW_COLUMNS))
    assert set(row) == set(VIEW_COLUMNS)
    assert "points" not in row
    for mode in ("canonical", "native", "preferred"):
        assert view_of(row, mode, 400.0).picture.size


def test_rows_stream_in_plan_order_over_all_shards(nuscenes_set):
    records = RecordSet(nuscenes_set.folder, "eval")
    assert len(records.shards) == 2
    ids = [row["id"] for row in records.rows(["id"])]
    assert ids == records.points(["id"]).column("id").to_pylist()
    assert len(ids) == records.info["images"] == 7


def test_the_points_table_is_the_set_without_pixels(scannetpp_set):
    points = RecordSet(scannetpp_set.folder, "eval").points()
    assert points.schema.equals(POINTS_SCHEMA)
    assert isinstance(points, pa.Table)
    row = first_row(scannetpp_set, "eval", points.column_names)
    assert points.slice(0, 1).to_pylist()[0] == row


def test_info_and_manifest_hash_are_those_of_the_split(scannetpp_set):
    evaluation, training = (RecordSet(scannetpp_set.folder, role) for role in ("eval", "train"))
    assert evaluation.name == "scannetpp"
    assert evaluation.manifest_hash != training.manifest_hash
    assert evaluation.info["source_split"] == "nvs_sem_val"


def test_only_finished_splits_are_found_and_opened(copy_of, nuscenes_set):
    folder = copy_of(nuscenes_set)
    assert [found.name for found in find_sets(folder.parent, "eval")] == ["nuscenes"]
    (folder / "_SUCCESS-eval").unlink()
    assert find_sets(folder.parent, "eval") == []
    with pytest.raises(DataMissingError, match="not finished"):
        RecordSet(folder, "eval")
    (folder / "plan-eval.parquet").unlink()
    with pytest.raises(DataMissingError, match="was not converted"):
        RecordSet(folder, "eval")
    assert RecordSet(folder, "train").name == "nuscenes"
    assert find_sets(folder / "no such folder", "eval") == []


@pytest.mark.parametrize("name", ["scannetpp_set", "nuscenes_set"])
def test_training_items_are_the_views_and_depths_of_the_rows_in_order(name, request):
    records = RecordSet(request.getfixturevalue(name).folder, "train")
    items, rows = list(records.training_items()), list(records.rows())
    assert [item.id for item in items] == [row["id"] for row in rows]
    for item, row in zip(items, rows, strict=True):
        view = view_of(row)
        assert np.array_equal(item.picture, pixels(view.picture))
        assert item.picture.flags.c_contiguous
        assert (item.camera, item.view_from_source) == (view.camera, view.view_from_source)
        assert_same_depth(item.depth, depth_of(row))


def assert_same_depth(found, expected):
    assert type(found) is type(expected)
    assert found.depth_m.tolist() == expected.depth_m.tolist()
    assert found.flags.tolist() == expected.flags.tolist()
    assert np.array_equal(found.source_pixels(), expected.source_pixels())
    assert len(found.depth_m) > 10


def test_points_of_each_row_stay_its_own(nuscenes_set):
    records = RecordSet(nuscenes_set.folder, "train")
    rows = list(records.rows(TRAINING_COLUMNS))
    table = pa.Table.from_pylist(rows, make_schema(TRAINING_COLUMNS)).slice(1)
    for found, expected in zip(training_rows(table), rows[1:], strict=True):
        lists = found.pop("depth_points")
        assert {name: values.tolist() for name, values in lists.items()} == expected.pop("depth_points")
        assert {name: values.dtype for name, values in lists.items()} == {
            "u": np.uint16,
            "v": np.uint16,
            "z": np.uint16,
            "flags": np.uint8,
        }
        assert found == expected


def test_a_training_picture_of_another_size_is_damage(scannetpp_set):
    row = first_row(scannetpp_set, "train")
    with pytest.raises(CheckError, match="declared size") as caught:
        training_item(row | {"width": row["width"] - 1})
    assert row["id"] in str(caught.value)


def test_a_training_picture_that_is_cut_is_damage(scannetpp_set):
    row = first_row(scannetpp_set, "train")
    cut = {"bytes": row["image"]["bytes"][:-3000], "path": None}
    with pytest.raises(CheckError, match="damaged") as caught:
        training_item(row | {"image": cut})
    assert row["id"] in str(caught.value)
