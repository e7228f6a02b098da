"""A set as others read it, without this package: bit-exact 16-bit depth and canonical pixels, one schema."""

import io

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from datasets import load_dataset
from PIL import Image
from raw_scannetpp import GOOD

POINT_FIELDS = {"u", "v", "u_src", "v_src", "depth_m", "ray_factor", "flags"}


@pytest.fixture(scope="module")
def expected(scannetpp_set):
    """Frame -> raw depth file and canonical pixels, made from the raw tree with Pillow alone."""
    folder, found = scannetpp_set.truth.iphone(), {}
    for frame in GOOD:
        with Image.open(folder / f"depth/{frame}.png") as image:
            depth = np.array(image)
        scale = 1000 / scannetpp_set.truth.cameras[frame][0]
        with Image.open(folder / f"rgb/{frame}.jpg") as image:
            size = (round(1920 * scale), round(1440 * scale))
            pixels = np.array(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
        found[frame] = (depth, pixels)
    return found


def decoded(encoded):
    with Image.open(io.BytesIO(encoded)) as image:
        return np.array(image)


def check_rows(rows, expected):
    """Rows as mappings with bytes or PIL pictures."""
    seen = set()
    for row in rows:
        depth, pixels = (
            np.array(value) if isinstance(value, Image.Image) else decoded(value["bytes"])
            for value in (row["depth"], row["image"])
        )
        wanted_depth, wanted_pixels = expected[row["frame"]]
        assert depth.dtype == np.uint16
        assert np.array_equal(depth, wanted_depth)
        assert np.array_equal(pixels, wanted_pixels)
        seen.add(row["frame"])
    assert seen == set(expected)


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streaming"])
def test_datasets(scannetpp_set, expected, hf_cache, streaming):
    splits = load_dataset(str(scannetpp_set.folder), streaming=streaming, cache_dir=hf_cache)
    assert set(splits) == {"eval", "train"}
    check_rows(splits["eval"], expected)
    assert splits["eval"].features == splits["train"].features
    (train,) = list(splits["train"])
    assert train["points"] is None
    assert train["image"].size == (train["width"], train["height"])


def test_datasets_reads_a_set_of_several_shards_and_null_pictures(nuscenes_set, hf_cache):
    splits = load_dataset(str(nuscenes_set.folder), cache_dir=hf_cache)
    assert (len(splits["eval"]), len(splits["train"])) == (7, 12)
    assert all(picture is None for picture in splits["train"]["image"])
    assert all(depth is None for depth in splits["eval"]["depth"])
    lists = splits["eval"][0]["depth_points"]
    assert len(lists["u"]) == len(lists["z"]) == len(lists["flags"]) >= 50


def test_datasets_keeps_points_to_the_last_bit(scannetpp_set, hf_cache):
    rows = load_dataset(str(scannetpp_set.folder), split="eval", cache_dir=hf_cache)
    ours = pd.read_parquet(scannetpp_set.folder / "points-eval.parquet")
    for row, points in zip(rows, ours["points"], strict=True):
        assert row["points"] == [dict(point) for point in points]
        assert set(row["points"][0]) == POINT_FIELDS


def test_pandas(scannetpp_set, expected):
    table = pd.read_parquet(scannetpp_set.folder / "data" / "eval-00000-of-00001.parquet")
    check_rows(table.to_dict("records"), expected)


def test_polars(scannetpp_set, expected):
    table = pl.read_parquet(scannetpp_set.folder / "data" / "eval-*.parquet")
    check_rows(table.iter_rows(named=True), expected)
    both = pl.scan_parquet(scannetpp_set.folder / "data" / "*.parquet").select("id", "split").collect()
    assert sorted(both["split"].to_list()) == ["eval"] * 3 + ["train"]


def test_duckdb(scannetpp_set, expected):
    data = scannetpp_set.folder / "data"
    found = duckdb.sql(f"select frame, image, depth from '{data}/eval-*.parquet'").fetchall()
    check_rows([dict(zip(("frame", "image", "depth"), row, strict=True)) for row in found], expected)
    counted = duckdb.sql(f"select split, count(*) from '{data}/*.parquet' group by split").fetchall()
    assert dict(counted) == {"eval": 3, "train": 1}


def test_duckdb_scores_a_constant_from_the_points_alone(ibims1_set):
    """No pixel is read, and nothing of ours: the share of points in (1.6, 2.5) m, image by image."""
    path = ibims1_set.folder / "points-eval.parquet"
    query = f"""select id, avg((p.depth_m > 1.6 and p.depth_m < 2.5)::int) from
        (select id, unnest(points) as p from '{path}') group by id"""
    found = dict(duckdb.sql(query).fetchall())
    table = pd.read_parquet(path)
    for name, points in zip(table["id"], table["points"], strict=True):
        depths = [point["depth_m"] for point in points]
        assert found[name] == pytest.approx(np.mean([1.6 < depth < 2.5 for depth in depths]))
    assert len(found) == 3
