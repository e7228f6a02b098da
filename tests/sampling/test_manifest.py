import hashlib
import json
import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthvlm_bench.errors import UsageError
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.sampling.manifest import manifest_hash, manifest_table, read_manifest, write_manifest

relaxed = settings(deadline=None, derandomize=True, database=None, max_examples=40)
FIELDS = ("u", "v", "u_src", "v_src", "depth_m", "ray_factor", "flags")
finite = st.floats(allow_nan=False, allow_infinity=False)
points = st.lists(
    st.tuples(*[finite] * 6, st.integers(0, 255)).map(lambda v: dict(zip(FIELDS, v, strict=True))), max_size=3
)
rows = st.builds(
    lambda name, a, b: {
        "id": name, "source_sha256": "s" * 64, "canonical_sha256": "c" * 64, "points": a, "points_balanced": b
    },
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6), points, points,
)  # fmt: skip


def point(**changes):
    return {
        "u": 10.25, "v": 0.1, "u_src": 1 / 3, "v_src": 1e-07, "depth_m": 2.0, "ray_factor": 1.0625, "flags": 0
    } | changes  # fmt: skip


def row(name="d/eval/s/c/f", **changes):
    return {
        "id": name,
        "source_sha256": "a" * 64,
        "canonical_sha256": "b" * 64,
        "points": [point(), point(depth_m=3.5)],
        "points_balanced": [point(u=11.0)],
    } | changes


def text_of(value):
    """Canonical JSON, written out by hand: sorted keys, no white space, floats by repr."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ",".join(f'"{key}":{text_of(value[key])}' for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(text_of, value)) + "]"
    return repr(value)


def independent_hash(given_rows):
    ordered = sorted(given_rows, key=lambda r: r["id"])
    return hashlib.sha256(text_of(ordered).encode()).hexdigest()


def test_the_hash_is_sha256_of_the_canonical_json_of_the_rows_in_id_order():
    given_rows = [row("b"), row("a/é", points_balanced=[]), row("c", points=None, canonical_sha256=None)]
    assert manifest_hash(manifest_table(given_rows)) == independent_hash(given_rows)


@relaxed
@given(st.lists(rows, max_size=3, unique_by=lambda r: r["id"]))
def test_the_hash_is_that_of_the_text_for_any_rows(given_rows):
    assert manifest_hash(manifest_table(given_rows)) == independent_hash(given_rows)


def test_a_pinned_manifest_keeps_its_hash():
    """Fixed for good: results in the world carry such hashes."""
    text = (
        '[{"canonical_sha256":"' + "b" * 64 + '","id":"d/eval/s/c/f","points":[{"depth_m":2.0,"flags":0,'
        '"ray_factor":1.0625,"u":10.25,"u_src":0.3333333333333333,"v":0.1,"v_src":1e-07}],'
        '"points_balanced":[],"source_sha256":"' + "a" * 64 + '"}]'
    )
    manifest = manifest_table([row(points=[point()], points_balanced=[])])
    assert manifest_hash(manifest) == hashlib.sha256(text.encode()).hexdigest()


def test_row_order_is_free():
    given_rows = [row(name) for name in ("c", "a", "b")]
    assert manifest_hash(manifest_table(given_rows)) == manifest_hash(manifest_table(given_rows[::-1]))
    assert manifest_table(given_rows).column("id").to_pylist() == ["a", "b", "c"]
    unordered = pa.Table.from_pylist(given_rows, manifest_table(given_rows).schema)
    assert manifest_hash(unordered) == manifest_hash(manifest_table(given_rows))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", ["points", "points_balanced"])
def test_the_smallest_change_of_any_value_changes_the_hash(name, field):
    changed = row()
    value = changed[name][0][field]
    changed[name][0] = point(**{field: value + 1 if field == "flags" else math.nextafter(value, 99.0)})
    assert manifest_hash(manifest_table([changed])) != manifest_hash(manifest_table([row()]))


@pytest.mark.parametrize("field", ["id", "source_sha256", "canonical_sha256"])
def test_a_change_of_identity_changes_the_hash(field):
    assert manifest_hash(manifest_table([row(**{field: "x"})])) != manifest_hash(manifest_table([row()]))


def test_point_order_and_the_list_it_is_in_matter():
    plain = manifest_hash(manifest_table([row()]))
    turned = row(points=row()["points"][::-1])
    swapped = row(points=row()["points_balanced"], points_balanced=row()["points"])
    assert manifest_hash(manifest_table([turned])) != plain
    assert manifest_hash(manifest_table([swapped])) != plain


def test_only_what_pins_a_set_enters():
    assert manifest_hash(manifest_table([row() | {"answer": "x"}])) == manifest_hash(manifest_table([row()]))


def test_a_manifest_comes_back_from_its_file_with_its_hash(tmp_path):
    manifest = manifest_table([row("b"), row("a", points=None)])
    write_manifest(tmp_path / "m.parquet", manifest)
    back = read_manifest(tmp_path / "m.parquet")
    assert back.equals(manifest)
    assert manifest_hash(back) == manifest_hash(manifest)


@pytest.mark.parametrize("data", [b"", b"PAR1 is not enough", b"{}"])
def test_another_file_is_refused_by_name(tmp_path, data):
    (tmp_path / "m.parquet").write_bytes(data)
    with pytest.raises(UsageError, match=r"not a manifest \[.*m\.parquet\]"):
        read_manifest(tmp_path / "m.parquet")


def test_a_missing_manifest_is_one_clear_error(tmp_path):
    with pytest.raises(UsageError, match="not a manifest"):
        read_manifest(tmp_path / "absent.parquet")


def test_a_table_with_other_columns_is_no_manifest(tmp_path, scannetpp_set):
    with pytest.raises(UsageError, match="not a manifest"):
        read_manifest(scannetpp_set.folder / "plan-eval.parquet")


def test_a_converted_set_carries_the_hash_of_its_records(scannetpp_set):
    records = RecordSet(scannetpp_set.folder, "eval")
    columns = ["id", "source_sha256", "canonical_sha256", "points", "points_balanced"]
    assert records.manifest_hash == independent_hash(list(records.rows(columns)))
    assert (
        manifest_hash(read_manifest(scannetpp_set.folder / "manifest-eval.parquet")) == records.manifest_hash
    )
