"""The one Arrow schema of every set, with the metadata that makes Hugging Face `datasets` see pictures."""

import json
from typing import Any

import pyarrow as pa

POINT = pa.struct(
    [(name, pa.float64()) for name in ("u", "v", "u_src", "v_src", "depth_m", "ray_factor")]
    + [("flags", pa.uint8())]
)
POINTS = pa.list_(POINT)
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TAGS = pa.struct(
    [
        ("environment", pa.string()),
        ("real", pa.bool_()),
        ("view", pa.string()),
        ("light", pa.string()),
        ("weather", pa.string()),
        ("density", pa.string()),
    ]
)
LENS = pa.struct([("model", pa.string()), ("parameters", pa.list_(pa.float64())), ("undone", pa.bool_())])
MESSAGE = pa.struct(
    [("role", pa.string()), ("content", pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())])))]
)
DEPTH_POINTS = pa.struct(
    [(name, pa.list_(pa.uint16())) for name in ("u", "v", "z")] + [("flags", pa.list_(pa.uint8()))]
)
AFFINE = pa.struct([(name, pa.float64()) for name in ("sx", "sy", "ox", "oy")])
XY = pa.struct([("x", pa.int32()), ("y", pa.int32())])

_IDENTITY = [
    (n, pa.string())
    for n in ("id", "dataset", "split", "source_split", "scene", "camera", "frame", "source_path")
]
_PICTURE = [
    ("image", IMAGE),
    *[(n, pa.int32()) for n in ("width", "height")],
    *[(n, pa.float64()) for n in ("fx", "fy", "cx", "cy")],
    *[(n, pa.int32()) for n in ("full_width", "full_height", "crop_left", "crop_top")],
    ("source_image", pa.binary()),
    *[(n, pa.int32()) for n in ("source_width", "source_height")],
    *[(n, pa.float64()) for n in ("source_fx", "source_fy", "source_cx", "source_cy")],
    ("lens", LENS),
    ("camera_assumed", pa.bool_()),
    ("source_sha256", pa.string()),
    ("canonical_sha256", pa.string()),
]
_DEPTH = [
    ("depth", IMAGE),
    ("depth_scale", pa.float64()),
    *[(n, pa.int32()) for n in ("depth_width", "depth_height")],
    ("depth_affine", AFFINE),
    ("depth_points", DEPTH_POINTS),
    *[(n, pa.float64()) for n in ("depth_uv_step", "depth_z_step")],
    ("depth_kind", pa.string()),
    *[(n, pa.float64()) for n in ("valid_min", "valid_max")],
]
_PROMPT = [("prompt_id", pa.string()), ("messages", pa.list_(MESSAGE)), ("answer", pa.string())]
_EVALUATION = [
    ("points", POINTS),
    ("points_balanced", POINTS),
    ("listed_row", pa.int64()),
    ("listed_record", pa.string()),
    ("xy_listed", pa.list_(pa.list_(pa.float64()))),
    ("listed_depth_m", pa.list_(pa.float64())),
    ("compat_xy", pa.list_(XY)),
    ("compat_gt_m", pa.list_(pa.float32())),
]
_PROVENANCE = [(n, pa.string()) for n in ("set_kind", "converter", "options_hash", "extra")]

COLUMNS = [*_IDENTITY, ("tags", TAGS), *_PICTURE, *_DEPTH, *_PROMPT, *_EVALUATION, *_PROVENANCE]
IMAGE_COLUMNS = ("image", "depth")
# What an evaluation needs when it scores points: everything but pixels, rasters and prompts.
HEAVY_COLUMNS = ("image", "source_image", "depth", "depth_points", "messages")
POINTS_COLUMNS = tuple(name for name, _ in COLUMNS if name not in HEAVY_COLUMNS)
# Leaf paths as parquet spells them: pyarrow silently ignores a path that does not exist.
BLOB_LEAVES = ("image.bytes", "source_image", "depth.bytes")


def hf_feature(kind: pa.DataType) -> Any:  # noqa: ANN401 - JSON
    """The Hugging Face feature of an Arrow type; lists in bracket form, which datasets 3 and 5 both read."""
    if kind.equals(IMAGE):
        return {"_type": "Image"}
    if pa.types.is_struct(kind):
        return {field.name: hf_feature(field.type) for field in kind}
    if pa.types.is_list(kind):
        return [hf_feature(kind.value_type)]
    names = {pa.float64(): "float64", pa.float32(): "float32", pa.bool_(): "bool"}
    return {"dtype": names.get(kind, str(kind)), "_type": "Value"}


def make_schema(columns: tuple[str, ...] | None = None) -> pa.Schema:
    """The record's schema, or that of some of its columns, with `huggingface` features in its metadata."""
    chosen = [(name, kind) for name, kind in COLUMNS if columns is None or name in columns]
    features = {name: hf_feature(kind) for name, kind in chosen}
    metadata = {"huggingface": json.dumps({"info": {"features": features}}, separators=(",", ":"))}
    return pa.schema(chosen, metadata=metadata)


SCHEMA = make_schema()
POINTS_SCHEMA = make_schema(POINTS_COLUMNS)
