"""Plans of the paper's own selection, on raw trees."""

import numpy as np
from PIL import Image
from raw_ibims1 import HEIGHT, WIDTH, write_ibims1_tree

from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.sampling.compat import pick_uniform, points_per_row

READABLE = ["corridor_02", "lab_01", "office_03"]


def listed(summary):
    rows = RecordSet(summary.folder, "eval").points(["listed_row", "id", "xy_listed"]).to_pylist()
    return {row["id"].rpartition("/")[2]: row for row in rows}


def test_a_row_whose_masks_leave_nothing_is_left_out_and_the_others_keep_their_numbers(
    tmp_path, convert_split
):
    """The paper's script validates without masks and draws with them: the row goes, its number stays."""
    truth = write_ibims1_tree(tmp_path / "raw")
    whole = listed(convert_split("ibims1", truth.root, tmp_path / "whole", sampling="compat"))
    assert sorted(whole) == READABLE
    gone, *others = sorted(whole, key=lambda name: whole[name]["listed_row"])
    Image.fromarray(np.zeros((HEIGHT, WIDTH), bool)).save(truth.core / "mask_transp" / f"{gone}.png")
    summary = convert_split("ibims1", truth.root, tmp_path / "short", sampling="compat")
    assert listed(summary) == {name: whole[name] for name in others}
    assert summary.skips["no_valid_depth"] == 2  # restroom_01 has no depth at all
    assert summary.dropped == len(truth.listed) - len(others)


def test_rows_are_numbered_as_the_shuffled_list_and_share_a_total_of_points(tmp_path, convert_split):
    """100 images x 100 points asked, three there: 10,000 points spread over them, each from its own draw."""
    truth = write_ibims1_tree(tmp_path / "raw")
    found = listed(convert_split("ibims1", truth.root, tmp_path / "data", sampling="compat"))
    order = pick_uniform(len(READABLE), 100, lambda row: True)
    by_row = sorted(found, key=lambda name: found[name]["listed_row"])
    assert by_row == [READABLE[row] for row in order]
    asked = points_per_row(3, 100, 10_000)
    valid = [int(truth.valid[name].sum()) for name in by_row]
    assert [len(found[name]["xy_listed"]) for name in by_row] == list(map(min, asked, valid))
