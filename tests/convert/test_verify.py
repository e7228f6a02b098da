"""A clean set has no finding; each kind of damage is planted by itself, and has to be found and named."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from raw_nuscenes import real_nuscenes_tree, write_nuscenes_tree

from depthvlm_bench.convert.finish import finish
from depthvlm_bench.convert.plan import read_plan, write_plan
from depthvlm_bench.convert.verify import roles_of, verify
from depthvlm_bench.engines.local import LocalProcesses
from depthvlm_bench.hashing import sha256_file
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.pictures import encode_depth_png, encode_png, pixels_sha256
from depthvlm_bench.records.receipts import read_receipt
from depthvlm_bench.records.writer import write_rows, write_table
from depthvlm_bench.registry import load_converter


class Notes(Silent):
    """Keeps what was noted."""

    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def faults_of(folder, role="eval"):
    """What and where of all findings of a split."""
    return [(finding.what, finding.where) for finding in verify(folder, [role], Silent())]


def receipts_of(folder, role="eval"):
    plan = read_plan(folder, role)
    return plan, [read_receipt(folder, plan.shard_file(i)) for i in range(plan.shards)]


def seal(folder, role="eval"):
    """Make receipts, manifest and all else agree with the shards again, so that only records can be wrong."""
    plan, receipts = receipts_of(folder, role)
    sealed = []
    for number, receipt in enumerate(receipts):
        path = folder / "data" / receipt.file
        known = {"rows": pq.ParquetFile(path).metadata.num_rows, "bytes": path.stat().st_size}
        sealed.append(replace(receipt, sha256=sha256_file(path), key=plan.shard_key(number), **known))
        sealed[-1].write(folder)
    finish(folder, plan, load_converter(plan.settings.dataset).card, sealed)


def change_rows(folder, change, role="eval", shard=0):
    """Rewrite a shard with its rows changed in place by `change(rows)`."""
    path = folder / "data" / read_plan(folder, role).shard_file(shard)
    rows = pq.read_table(path).to_pylist()
    rows = change(rows) or rows
    write_rows(path, rows)


def replan(folder, change, role="eval"):
    """Change the frames of the plan, so that a changed list is still the planned one."""
    plan = read_plan(folder, role)
    write_plan(folder, replace(plan, frames=tuple(map(change, plan.frames))))


# ---- clean sets


def test_a_clean_set_has_no_finding(scannetpp_set, nuscenes_set, ibims1_set):
    for made in (scannetpp_set, nuscenes_set, ibims1_set):
        notes = Notes()
        assert verify(made.folder, roles_of(made.folder), notes) == []
        assert notes.texts == []


def test_a_set_without_source_pixels_is_clean(ibims1_set, tmp_path, convert_split):
    summary = convert_split("ibims1", ibims1_set.root, tmp_path, keep_source_image=False, limit=2)
    assert verify(summary.folder, ["eval"], Silent()) == []


def test_the_real_keyframe_s_set_is_clean(tmp_path, convert_split):
    root = real_nuscenes_tree()
    summary = convert_split("nuscenes", root, tmp_path, source_split="mini_train", allow_overlap=True)
    assert verify(summary.folder, ["eval"], Silent()) == []


def test_roles_are_those_that_left_anything(scannetpp_set, ibims1_set, copy_of, tmp_path):
    assert roles_of(ibims1_set.folder) == ["eval"]
    assert sorted(roles_of(scannetpp_set.folder)) == ["eval", "train"]
    assert roles_of(tmp_path) == []
    folder = copy_of(ibims1_set)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    assert roles_of(folder) == ["eval"]


# ---- files


@pytest.fixture(scope="module")
def small_set(nuscenes_set, tmp_path_factory, convert_split):
    """LiDAR: two evaluation shards of two rows and one, a training shard of three."""
    data = tmp_path_factory.mktemp("small")
    for role, rows in (("eval", 2), ("train", 3)):
        convert_split("nuscenes", nuscenes_set.root, data, role=role, limit=3, shard_rows=rows)
    return data / "nuscenes"


@pytest.fixture
def folder(tmp_path, small_set):
    return Path(shutil.copytree(small_set, tmp_path / "nuscenes"))


SHARD, RECEIPT = "data/eval-00001-of-00002.parquet", "receipts/eval-00001-of-00002.json"


def edit_json(change):
    def edit(path):
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return edit


def flip_last_picture_byte(path):
    data = bytearray(path.read_bytes())
    data[data.rindex(b"IEND")] ^= 1
    path.write_bytes(data)


def drop_column(path):
    write_table(path, pq.read_table(path).drop_columns(["answer"]))


def lose_metadata(path):
    write_table(path, pq.read_table(path).replace_schema_metadata(None))


def change_first_point(path):
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0]["points"][0]["depth_m"] += 1e-12
    write_table(path, pa.Table.from_pylist(rows, table.schema))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-50])


def delete(path):
    path.unlink()


def garble(path):
    path.write_bytes(b"neither parquet nor JSON")


def split_entry(name, value):
    return edit_json(lambda described: described["splits"]["eval"].update({name: value}))


FILE_DAMAGE = {
    "no success": ("_SUCCESS-eval", delete, "the conversion was not finished", "."),
    "no plan": ("plan-eval.parquet", delete, "the plan is missing", None),
    "garbled plan": ("plan-eval.parquet", garble, "the plan cannot be read", None),
    "no receipt": (RECEIPT, delete, "a shard has no receipt", None),
    "cut receipt": (RECEIPT, truncate, "a shard has no receipt", None),
    "no shard": (SHARD, delete, "a shard is missing", None),
    "cut shard": (SHARD, truncate, "a shard has another size than its receipt", None),
    "garbled shard": (SHARD, garble, "a shard cannot be read", None),
    "flipped byte": (SHARD, flip_last_picture_byte, "a shard has another hash than its receipt", None),
    "lost column": (SHARD, drop_column, "a shard has another schema", None),
    "lost features": (SHARD, lose_metadata, "a shard has another schema", None),
    "receipt's hash": (
        RECEIPT,
        edit_json(lambda r: r.update(sha256="0" * 64)),
        "a shard has another hash than its receipt",
        SHARD,
    ),
    "receipt's rows": (
        RECEIPT,
        edit_json(lambda r: r.update(rows=2)),
        "a receipt counts other records",
        SHARD,
    ),
    "receipt's file": (
        RECEIPT,
        edit_json(lambda r: r.update(file="eval-00000-of-00002.parquet")),
        "a receipt speaks of another shard",
        SHARD,
    ),
    "receipt's key": (
        RECEIPT,
        edit_json(lambda r: r.update(key="0" * 64)),
        "a receipt is of another plan",
        None,
    ),
    "manifest lost": ("manifest-eval.parquet", delete, "a file cannot be read", None),
    "manifest garbled": ("manifest-eval.parquet", garble, "a file cannot be read", None),
    "manifest changed": ("manifest-eval.parquet", change_first_point, "a file differs from the shards", None),
    "points lost": ("points-eval.parquet", delete, "a file cannot be read", None),
    "points changed": ("points-eval.parquet", change_first_point, "a file differs from the shards", None),
    "points of fewer columns": ("points-eval.parquet", drop_column, "a file cannot be read", None),
    "dataset.json lost": ("dataset.json", delete, "a file cannot be read", None),
    "dataset.json of another split": (
        "dataset.json",
        edit_json(lambda d: d["splits"].pop("eval")),
        "a file cannot be read",
        None,
    ),
    "another manifest hash": (
        "dataset.json",
        split_entry("manifest_hash", "0" * 64),
        "a file differs from the shards",
        None,
    ),
    "a better kind": (
        "dataset.json",
        split_entry("set_kind", "published"),
        "a file differs from the shards",
        None,
    ),
    "more images": ("dataset.json", split_entry("images", 1000), "a file differs from the shards", None),
    "success of another set": (
        "_SUCCESS-eval",
        edit_json(lambda s: s.update(manifest_hash="0" * 64)),
        "a file differs from the shards",
        None,
    ),
}


@pytest.mark.parametrize(("where", "damage", "what", "named"), FILE_DAMAGE.values(), ids=FILE_DAMAGE)
def test_damage_to_a_file_is_found_and_named(folder, where, damage, what, named):
    damage(folder / where)
    assert (what, str(folder / (named or where))) in faults_of(folder)


def test_damage_to_one_split_is_not_blamed_on_the_other(folder):
    for where in ("_SUCCESS-eval", "plan-eval.parquet", RECEIPT, SHARD, "points-eval.parquet"):
        delete(folder / where)
    assert faults_of(folder, "train") == []


def test_damage_to_one_file_is_not_blamed_on_others(folder):
    edit_json(lambda r: r.update(rows=2))(folder / RECEIPT)
    delete(folder / "manifest-eval.parquet")
    named = {where for _, where in faults_of(folder)}
    assert named == {str(folder / name) for name in (SHARD, "manifest-eval.parquet", "dataset.json")}


def test_a_shard_that_is_not_of_the_plan_is_named(folder):
    stray = folder / "data" / "eval-00002-of-00003.parquet"
    stray.write_bytes((folder / SHARD).read_bytes())
    assert faults_of(folder) == [("a file in data/ is not of the plan", str(stray))]


def test_a_half_written_file_is_named(folder):
    stray = folder / "data" / "eval-00001-of-00002.parquet.tmp-4711"
    stray.write_bytes(b"half")
    assert faults_of(folder) == [("a file in data/ is not of the plan", str(stray))]


def test_a_set_of_other_library_versions_is_noted_and_still_checked(folder):
    _, receipts = receipts_of(folder)
    plan, older = read_plan(folder, "eval"), {"pillow": "10.0", "pyarrow": "16.0"}
    for number, receipt in enumerate(receipts):
        replace(receipt, key=plan.shard_key(number, older), versions=older).write(folder)
    notes = Notes()
    assert verify(folder, ["eval"], notes) == []
    assert "made with pillow 10.0, pyarrow 16.0" in notes.texts[0]
    change_rows(folder, lambda rows: rows[0].update(fx=1.0))
    assert "fx is not the source's seen through the resize" in [what for what, _ in faults_of(folder)]


@pytest.mark.parametrize(
    "change",
    [lambda rows: rows[::-1], lambda rows: rows[1:], lambda rows: [*rows, rows[0]]],
    ids=["turned round", "one lost", "one twice"],
)
def test_records_that_are_not_the_plan_s_are_named(folder, change):
    change_rows(folder, change)
    seal(folder)
    assert ("records are not the plan's", str(folder / "data/eval-00000-of-00002.parquet")) in faults_of(
        folder
    )


def test_a_record_under_another_name_is_named(folder):
    change_rows(folder, lambda rows: rows[0].update(id="nuscenes/eval/x/y/z"))
    seal(folder)
    (finding,) = verify(folder, ["eval"], Silent())
    assert finding.what == "records are not the plan's"
    assert "nuscenes/eval/x/y/z where nuscenes/eval/scene-0003/" in finding.why


def test_a_skip_of_something_unplanned_is_named(folder):
    skip = {"id": "nuscenes/train/a/b/c", "reason": "unreadable", "detail": ""}
    edit_json(lambda r: r["skips"].append(skip))(folder / "receipts/train-00000-of-00001.json")
    path = str(folder / "data/train-00000-of-00001.parquet")
    assert faults_of(folder, "train") == [("a receipt skips a frame that was not planned", path)]


# ---- records


def points_change(name, number, **values):
    def change(row):
        for field, value in values.items():
            point = row[name][number]
            point[field] = value(point[field], row) if callable(value) else value

    return change


def repaint(row):
    """Change one channel of one pixel by one."""
    with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
        pixels = np.array(image)
    pixels[3, 5, 1] ^= 1
    row["image"]["bytes"] = encode_png(Image.fromarray(pixels))
    return pixels_sha256(Image.fromarray(pixels))


def repaint_and_rehash(row):
    row["canonical_sha256"] = repaint(row)


def shrink(row):
    with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
        row["image"]["bytes"] = encode_png(image.convert("RGB").resize((10, 10)))


def other_source(row):
    buffer = io.BytesIO()
    Image.new("RGB", (row["source_width"], row["source_height"])).save(buffer, "JPEG")
    row["source_image"] = buffer.getvalue()


def update(**values):
    return lambda row: row.update(values)


def cut_image(row):
    row["image"]["bytes"] = row["image"]["bytes"][:-40]


def suspect(row):
    """Flag the stored LiDAR point under the first asked one, and the asked point alike."""
    step = row["depth_uv_step"]
    u, v = (round((row["points"][0][name] + 0.5) / step) for name in ("u_src", "v_src"))
    lists = row["depth_points"]
    (at,) = [i for i, key in enumerate(zip(lists["u"], lists["v"], strict=True)) if key == (u, v)]
    lists["flags"][at] = 1
    for name in ("points", "points_balanced"):
        for point in row[name]:
            if (point["u_src"], point["v_src"]) == (u * step - 0.5, v * step - 0.5):
                point["flags"] = 1


def shift_stored_depth(row):
    row["depth_points"]["z"] = [z + 1 for z in row["depth_points"]["z"]]


ANY_RECORD = {
    "a pixel": (repaint, "canonical picture is not the one that was hashed"),
    "a pixel and its hash": (repaint_and_rehash, "canonical picture is not a fresh render of source_image"),
    "its hash": (update(canonical_sha256="0" * 64), "canonical picture is not the one that was hashed"),
    "its size": (shrink, "canonical picture has another size than its record"),
    "cut picture": (cut_image, "stored bytes cannot be decoded"),
    "empty picture": (lambda row: row["image"].update(bytes=b""), "stored bytes cannot be decoded"),
    "source bytes": (other_source, "source_image is not the file that was hashed"),
    "source hash": (update(source_sha256="0" * 64), "source_image is not the file that was hashed"),
    "source size": (update(source_width=63), "source picture has another size than its record"),
    "focal length": (
        lambda row: row.update(fy=np.nextafter(row["fy"], 0.0)),
        "fy is not the source's seen through the resize",
    ),
    "principal point": (
        lambda row: row.update(cx=row["cx"] + 0.5),
        "cx is not the source's seen through the resize",
    ),
    "crop": (update(crop_left=3), "cx is not the source's seen through the resize"),
    "no size": (update(full_width=0), "values that no record can have"),
    "negative focal length": (update(source_fx=-1.0), "values that no record can have"),
    "kind": (update(set_kind="published"), "set_kind is not the plan's"),
    "options": (update(options_hash="0"), "options_hash is not the plan's"),
    "split": (update(split="train"), "split is not the plan's"),
    "scene": (update(scene="elsewhere"), "scene is not the plan's"),
    "no hash": (update(canonical_sha256=None), "the record lacks values"),
    "no picture": (update(image=None), "the record lacks values"),
    "no points": (update(points=None), "the record lacks values"),
    "no camera": (update(source_fx=None), "the record lacks values"),
    "points cut": (lambda row: row["points"].pop(), "points are too few or too many"),
    "points of a later draw": (lambda row: row["points"].reverse(), "points are not the plan's"),
    "depth": (
        points_change("points", 4, depth_m=lambda m, _: m + 0.001),
        "points: depth_m is not the stored depth",
    ),
    "balanced depth": (
        points_change("points_balanced", 0, depth_m=lambda m, _: m * 1.25),
        "points_balanced: depth_m is not the stored depth",
    ),
    "source place": (
        points_change("points", 2, u_src=lambda u, _: u + 1 / 64),
        "points: no stored depth under u_src, v_src",
    ),
    "far outside": (points_change("points", 2, v_src=1e6), "points: no stored depth under u_src, v_src"),
    "canonical place": (
        points_change("points", 2, v=lambda v, _: v + 1e-6),
        "points: u, v are not u_src, v_src seen through the resize",
    ),
    "outside the picture": (
        points_change("points", 2, u=lambda _, row: row["width"] - 0.5),
        "points: outside the picture",
    ),
    "ray factor": (
        points_change("points", 9, ray_factor=lambda r, _: r * (1 + 1e-9)),
        "points: ray_factor is not that of the pixel",
    ),
    "flags": (points_change("points", 0, flags=4), "points: flags are not the stored ones"),
    "a point twice": (
        lambda row: row["points"].__setitem__(1, row["points"][0]),
        "points: a canonical pixel is asked twice",
    ),
    "valid range": (update(valid_max=0.3), "points: outside the valid range"),
    "lower end": (update(valid_min=79.0), "points: outside the valid range"),
}
LIDAR_RECORD = {
    "stored depth": (shift_stored_depth, "points: depth_m is not the stored depth"),
    "depth scale": (update(depth_scale=100.0), "points: depth_m is not the stored depth"),
    "suspect asked": (suspect, "points: an occlusion suspect was asked"),
    "no depth": (update(depth_points=None), "depth is neither one grid nor one point list"),
    "unequal lists": (
        lambda row: row["depth_points"]["z"].pop(),
        "depth_points are not four equal lists with a step",
    ),
    "no step": (update(depth_uv_step=None), "depth_points are not four equal lists with a step"),
    "other step": (update(depth_uv_step=0.125), "points: no stored depth under u_src, v_src"),
}


def check_record_damage(folder, change, what, row_number):
    """The damage is sealed in, so that no file-level check can see it."""
    changed = []

    def change_one(rows):
        changed.append(rows[row_number]["id"])
        change(rows[row_number])

    change_rows(folder, change_one)
    seal(folder)
    found = faults_of(folder)
    assert (what, changed[0]) in found
    assert {where for _, where in found} == set(changed)


@pytest.mark.parametrize(
    ("change", "what"), (ANY_RECORD | LIDAR_RECORD).values(), ids=(ANY_RECORD | LIDAR_RECORD).keys()
)
def test_damage_to_a_record_is_found_and_named(folder, change, what):
    check_record_damage(folder, change, what, 1)


def test_a_value_that_no_manifest_can_hold_is_named(folder):
    change_rows(folder, lambda rows: points_change("points", 4, depth_m=float("nan"))(rows[0]))
    found = faults_of(folder)
    name = read_plan(folder, "eval").frames[0].ref.id
    assert ("points: depth_m is not the stored depth", name) in found
    assert ("the shards give no manifest", str(folder)) in found


def grid_values(row, change):
    with Image.open(io.BytesIO(row["depth"]["bytes"])) as image:
        values = np.array(image)
    row["depth"]["bytes"] = encode_depth_png(change(values))


def clear_under_points(row):
    def clear(values):
        for point in row["points"]:
            values[int((point["v_src"] + 0.5) / 7.5), int((point["u_src"] + 0.5) / 7.5)] = 0
        return values

    grid_values(row, clear)


GRID_RECORD = {
    "stored depth": (
        lambda row: grid_values(row, lambda v: v + 1),
        "points: depth_m is not the stored depth",
    ),
    "invalid depth": (clear_under_points, "points: depth_m is not the stored depth"),
    "turned over": (lambda row: grid_values(row, np.flipud), "points: depth_m is not the stored depth"),
    "other raster": (
        lambda row: grid_values(row, lambda v: v[:-1]),
        "depth has another size than its record",
    ),
    "depth scale": (update(depth_scale=999.0), "points: depth_m is not the stored depth"),
    "affine": (
        lambda row: row["depth_affine"].update(ox=row["depth_affine"]["ox"] + 0.5),
        "points: no stored depth under u_src, v_src",
    ),
    "no affine": (update(depth_affine=None), "depth has no bytes or no place in the picture"),
    "8 bit": (
        lambda row: row["depth"].update(bytes=encode_png(Image.new("L", (256, 192)))),
        "stored bytes cannot be decoded",
    ),
    "both kinds": (
        update(depth_points={name: [] for name in ("u", "v", "z", "flags")}),
        "depth is neither one grid nor one point list",
    ),
}


@pytest.mark.parametrize(("change", "what"), GRID_RECORD.values(), ids=GRID_RECORD)
def test_damage_to_a_grid_record_is_found_and_named(copy_of, scannetpp_set, change, what):
    check_record_damage(copy_of(scannetpp_set), change, what, 0)


def test_a_point_that_plan_record_and_manifest_agree_on_is_still_held_against_the_depth(folder):
    def moved(points):
        return [points[0] | {"depth_m": points[0]["depth_m"] + 1 / 256}, *points[1:]]

    replan(folder, lambda frame: replace(frame, points=moved(frame.points)))
    for shard in (0, 1):
        change_rows(folder, lambda rows: [r | {"points": moved(r["points"])} for r in rows], shard=shard)
    seal(folder)
    found = faults_of(folder)
    assert [what for what, _ in found] == ["points: depth_m is not the stored depth"] * 3


def test_training_records_are_checked_too(folder):
    def change(rows):
        rows[0]["source_image"] = rows[0]["source_image"][:-30]
        rows[1]["source_image"] = None
        rows[2]["cy"] += 1.0
        return rows

    change_rows(folder, change, "train")
    seal(folder, "train")
    ids = [frame.ref.id for frame in read_plan(folder, "train").frames]
    assert set(faults_of(folder, "train")) == {
        ("source_image is not the file that was hashed", ids[0]),
        ("stored bytes cannot be decoded", ids[0]),
        ("the record has no picture", ids[1]),
        ("cy is not the source's seen through the resize", ids[2]),
    }


def test_a_finding_reads_as_one_line(folder):
    change_rows(folder, lambda rows: rows[0]["points"][3].update(depth_m=1.0))
    seal(folder)
    lines = [finding.one_line() for finding in verify(folder, ["eval"], Silent())]
    (line,) = (line for line in lines if "stored depth" in line)
    assert "1 of 10 points; number 3 is" in line
    assert "\n" not in line


def test_workers_find_what_one_process_finds_in_the_same_order(tmp_path, convert_split):
    truth = write_nuscenes_tree(tmp_path / "raw")
    folder = convert_split("nuscenes", truth.root, tmp_path / "data", shard_rows=2).folder
    shards = sorted((folder / "data").glob("eval-*.parquet"))
    assert len(shards) > 3
    for shard in (shards[-1], shards[0]):
        with shard.open("r+b") as file:
            file.seek(shard.stat().st_size // 2)
            file.write(b"\x55" * 16)
    alone = verify(folder, ["eval"], Silent())
    assert {Path(finding.where).name for finding in alone} >= {shards[0].name, shards[-1].name}
    assert verify(folder, ["eval"], Silent(), LocalProcesses(2)) == alone
