import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from depthvlm_bench.records.schema import (
    BLOB_LEAVES,
    COLUMNS,
    HEAVY_COLUMNS,
    IMAGE_COLUMNS,
    POINTS_COLUMNS,
    POINTS_SCHEMA,
    SCHEMA,
    hf_feature,
)
from depthvlm_bench.records.writer import ROW_GROUP_BYTES, ROW_GROUP_ROWS, leaf_paths

# The groups of docs/format.md, typed out: a column that is renamed or lost shows here.
DESIGN = (
    "id dataset split source_split scene camera frame source_path tags "
    "image width height fx fy cx cy full_width full_height crop_left crop_top source_image "
    "source_width source_height "
    "source_fx source_fy source_cx source_cy lens camera_assumed source_sha256 canonical_sha256 "
    "depth depth_scale depth_width depth_height depth_affine depth_points depth_uv_step "
    "depth_z_step depth_kind "
    "valid_min valid_max "
    "prompt_id messages answer "
    "points points_balanced listed_row listed_record xy_listed listed_depth_m compat_xy compat_gt_m "
    "set_kind converter options_hash extra"
)


def hf_features(schema):
    return json.loads(schema.metadata[b"huggingface"])["info"]["features"]


def shards_of(*sets):
    return [path for made in sets for path in sorted((made.folder / "data").glob("*.parquet"))]


def test_the_columns_are_those_of_the_design_in_its_order():
    assert " ".join(name for name, _ in COLUMNS) == " ".join(SCHEMA.names) == DESIGN


def test_huggingface_features_name_every_column_and_only_two_pictures():
    features = hf_features(SCHEMA)
    assert list(features) == SCHEMA.names
    pictures = [name for name, feature in features.items() if feature == {"_type": "Image"}]
    assert tuple(pictures) == IMAGE_COLUMNS == ("image", "depth")
    assert features["source_image"] == {"dtype": "binary", "_type": "Value"}


def test_lists_are_in_the_bracket_form_that_datasets_3_and_5_read():
    features = hf_features(SCHEMA)
    assert features["points"] == [
        {
            **{n: {"dtype": "float64", "_type": "Value"} for n in ("u", "v", "u_src", "v_src", "depth_m")},
            "ray_factor": {"dtype": "float64", "_type": "Value"},
            "flags": {"dtype": "uint8", "_type": "Value"},
        }
    ]
    assert features["xy_listed"] == [[{"dtype": "float64", "_type": "Value"}]]
    assert '"List"' not in json.dumps(features)
    assert '"Sequence"' not in json.dumps(features)


def test_datasets_reads_the_same_types_back_from_the_features():
    arrow = datasets.Features.from_arrow_schema(SCHEMA).arrow_schema
    for field in SCHEMA:
        assert arrow.field(field.name).type == field.type, field.name


def test_the_points_schema_leaves_out_pixels_and_keeps_the_order():
    assert POINTS_SCHEMA.names == [name for name in SCHEMA.names if name not in HEAVY_COLUMNS]
    assert set(HEAVY_COLUMNS) <= set(SCHEMA.names)
    assert list(hf_features(POINTS_SCHEMA)) == list(POINTS_COLUMNS)


@pytest.mark.parametrize(
    ("kind", "feature"),
    [
        (pa.bool_(), "bool"),
        (pa.string(), "string"),
        (pa.uint16(), "uint16"),
        (pa.int32(), "int32"),
        (pa.float32(), "float32"),
        (pa.float64(), "float64"),
    ],
)
def test_value_types_have_the_names_datasets_knows(kind, feature):
    assert hf_feature(kind) == {"dtype": feature, "_type": "Value"}
    assert datasets.Value(feature).pa_type == kind


def test_leaf_paths_are_those_of_written_files(scannetpp_set, nuscenes_set):
    for path in shards_of(scannetpp_set, nuscenes_set):
        written = pq.ParquetFile(path).schema
        assert [written.column(i).path for i in range(len(written))] == leaf_paths(SCHEMA)


def test_blobs_lie_as_they_are_and_the_rest_is_zstd(scannetpp_set, nuscenes_set, ibims1_set):
    for path in shards_of(scannetpp_set, nuscenes_set, ibims1_set):
        metadata = pq.ParquetFile(path).metadata
        seen = set()
        for group in range(metadata.num_row_groups):
            for i in range(metadata.num_columns):
                column = metadata.row_group(group).column(i)
                seen.add(column.path_in_schema)
                blob = column.path_in_schema in BLOB_LEAVES
                assert column.compression == ("UNCOMPRESSED" if blob else "ZSTD"), column.path_in_schema
                if blob:
                    assert not column.has_dictionary_page, column.path_in_schema
                    assert column.statistics is None, column.path_in_schema
        assert set(BLOB_LEAVES) < seen


def test_page_index_is_there_for_every_column(scannetpp_set):
    for path in shards_of(scannetpp_set):
        group = pq.ParquetFile(path).metadata.row_group(0)
        for i in range(group.num_columns):
            column = group.column(i)
            assert column.has_offset_index, column.path_in_schema
            if column.path_in_schema in ("id", "width", "fx", "points.list.element.depth_m"):
                assert column.has_column_index, column.path_in_schema


def test_row_groups_of_converted_sets_are_small(scannetpp_set, nuscenes_set, ibims1_set):
    for path in shards_of(scannetpp_set, nuscenes_set, ibims1_set):
        metadata = pq.ParquetFile(path).metadata
        for group in range(metadata.num_row_groups):
            assert metadata.row_group(group).num_rows <= ROW_GROUP_ROWS == 32
            assert metadata.row_group(group).total_byte_size <= ROW_GROUP_BYTES == 64 * 2**20


def test_every_set_and_split_has_the_one_schema(scannetpp_set, nuscenes_set, ibims1_set):
    for path in shards_of(scannetpp_set, nuscenes_set, ibims1_set):
        schema = pq.read_schema(path)
        assert schema.equals(SCHEMA)
        assert schema.metadata == SCHEMA.metadata
