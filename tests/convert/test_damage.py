"""What a bad disk, a bad tree or a second process may do to a workspace, and what each gets instead."""

import json
import shutil
from dataclasses import replace

import pytest
from raw_ibims1 import write_ibims1_tree
from raw_nuscenes import write_nuscenes_tree

from depthvlm_bench.convert.plan import read_plan
from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.convert.settings import refuse_shared_scenes
from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.files import only_one
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter


def rows_of(folder):
    return {row["id"]: row for row in RecordSet(folder, "eval").rows(["id", "points", "canonical_sha256"])}


@pytest.mark.parametrize(
    "intrinsics", ["5.5,5.5,320,240", "0.55,0.55,0.5,0.5", "559,55900,320,240", "559,558,9000,240"]
)
def test_impossible_intrinsics_cost_one_image(ibims1_set, convert_split, tmp_path, intrinsics):
    """Normalised or mistyped intrinsics would ask for a canonical picture of any size."""
    truth = write_ibims1_tree(tmp_path / "raw")
    whole = rows_of(ibims1_set.folder)
    bad = next(iter(whole)).rsplit("/", 1)[1]
    (truth.core / "calib" / f"{bad}.txt").write_text(intrinsics)
    summary = convert_split("ibims1", tmp_path / "raw", tmp_path / "data")
    assert summary.skips["bad_intrinsics"] >= 1
    left = rows_of(summary.folder)
    assert set(whole) - set(left) == {f"ibims1/eval/-/-/{bad}"}
    assert all(left[name] == whole[name] for name in left)


def test_a_set_with_a_missing_shard_is_never_read_in_part(copy_of, nuscenes_set):
    folder = copy_of(nuscenes_set)
    shard = RecordSet(folder, "train").shards[0]
    shard.unlink()
    with pytest.raises(DataMissingError, match="are gone") as caught:
        list(RecordSet(folder, "train").rows(["id"]))
    assert caught.value.where == str(shard)
    assert "dvbench convert" in caught.value.next_step


def test_a_shard_beside_the_plan_is_not_read(copy_of, nuscenes_set):
    folder = copy_of(nuscenes_set)
    shards = RecordSet(folder, "eval").shards
    shutil.copy(shards[0], folder / "data" / "eval-00009-of-00010.parquet")
    assert RecordSet(folder, "eval").shards == shards


@pytest.mark.parametrize("text", ["", "x", "[]", '{"splits": null}', '{"splits": {}}', "\0"])
def test_a_damaged_dataset_json_is_one_error_and_converting_again_mends_it(
    copy_of, ibims1_set, convert_split, text
):
    folder = copy_of(ibims1_set)
    described = (folder / "dataset.json").read_bytes()
    (folder / "dataset.json").write_text(text)
    with pytest.raises(CheckError, match=r"dataset\.json"):
        _ = RecordSet(folder, "eval").manifest_hash
    convert_split("ibims1", ibims1_set.root, folder.parent, shard_rows=1)
    assert (folder / "dataset.json").read_bytes() == described


def test_two_conversions_of_one_set_at_once_are_refused(tmp_path, convert_split):
    write_ibims1_tree(tmp_path / "raw")
    with (
        only_one(tmp_path / "data" / "ibims1", "busy"),
        pytest.raises(CheckError, match="another process converts this set"),
    ):
        convert_split("ibims1", tmp_path / "raw", tmp_path / "data")
    assert convert_split("ibims1", tmp_path / "raw", tmp_path / "data").images == 3


@pytest.mark.parametrize("asked", [{"role": "train"}, {"limit": 2}])
def test_a_manifest_pins_a_whole_evaluation_set(nuscenes_set, tmp_path, asked):
    request = ConvertRequest(
        nuscenes_set.root, tmp_path, manifest=nuscenes_set.folder / "manifest-eval.parquet", **asked
    )
    with pytest.raises(UsageError, match="--manifest pins a whole evaluation set"):
        convert(load_converter("nuscenes"), request, Silent())


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("sample_data", lambda rows: [row | {"filename": None} for row in rows]),
        ("sample_data", lambda rows: [{k: v for k, v in row.items() if k != "timestamp"} for row in rows]),
        ("ego_pose", lambda rows: [row | {"rotation": None} for row in rows]),
        ("scene", lambda _rows: [1, 2]),
    ],
)
def test_tables_that_do_not_fit_are_one_error_with_what_to_do(tmp_path, convert_split, table, text):
    write_nuscenes_tree(tmp_path / "raw")
    path = tmp_path / "raw" / "v1.0-trainval" / f"{table}.json"
    path.write_text(json.dumps(text(json.loads(path.read_text()))))
    with pytest.raises(CheckError, match="nuScenes tables do not fit together") as caught:
        convert_split("nuscenes", tmp_path / "raw", tmp_path / "data")
    assert "unpack" in caught.value.next_step


def test_frames_that_share_a_name_are_refused(tmp_path, convert_split):
    """Rows of the tables that all name one file would become one record."""
    write_nuscenes_tree(tmp_path / "raw")
    path = tmp_path / "raw" / "v1.0-trainval" / "sample_data.json"
    rows = json.loads(path.read_text())
    pictures = [row for row in rows if row["filename"].startswith("samples/CAM_FRONT/")]
    for row in pictures:
        row["filename"] = pictures[0]["filename"]
    path.write_text(json.dumps(rows))
    with pytest.raises(CheckError, match="two frames have one name"):
        convert_split("nuscenes", tmp_path / "raw", tmp_path / "data")


def test_scenes_of_a_converted_training_split_cannot_be_evaluated(nuscenes_set):
    """Two raw trees may disagree on the splits; what is converted is what counts."""
    settings = read_plan(nuscenes_set.folder, "eval").settings
    trained = {frame.ref.scene for frame in read_plan(nuscenes_set.folder, "train").frames}
    with pytest.raises(CheckError, match=f"shares {len(trained)} scenes"):
        refuse_shared_scenes(nuscenes_set.data, settings, trained)
    refuse_shared_scenes(nuscenes_set.data, replace(settings, set_kind="overlap"), trained)
    refuse_shared_scenes(nuscenes_set.data, settings, {"another scene"})
