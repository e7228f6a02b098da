import numpy as np
import pytest

from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.records.codec import record_grid
from depthvlm_bench.viz.colour import scale_of
from depthvlm_bench.viz.marks import HIT_RGB, MISS_RGB
from depthvlm_bench.viz.overlay import depth_picture, resized
from depthvlm_bench.viz.panels import (
    GAP_PX,
    HEAD_PX,
    TITLE_PX,
    describe,
    panel_size,
    record_panel,
    score_line,
)
from depthvlm_bench.viz.panels import tile_size as size_of
from depthvlm_bench.viz.sheet import contact_sheet, sheet_size
from depthvlm_bench.viz.shown import ShownMap, shown_of


@pytest.mark.parametrize("kind", ["grid_shown", "lidar_shown", "predicted"])
def test_a_panel_has_the_stated_size(kind, request):
    shown = request.getfixturevalue(kind)
    panel = record_panel(shown, "some-model")
    assert panel.size == panel_size(shown.picture.size, predicted=kind == "predicted")
    assert panel.mode == "RGB"


def test_tiles_lie_where_they_belong(grid_shown):
    panel = np.asarray(record_panel(grid_shown))
    width, height = size_of(grid_shown.picture.size)
    top = HEAD_PX + TITLE_PX
    tiles = (
        resized(grid_shown.picture, (width, height)),
        depth_picture(grid_shown, scale_of(grid_shown.depth_m), (width, height)),
    )
    for index, tile in enumerate(tiles):
        left = GAP_PX + index * (width + GAP_PX)
        assert np.array_equal(panel[top : top + height, left : left + width], tile)


def test_tiles_keep_the_aspect():
    assert size_of((1341, 1006)) == (720, 540)
    assert size_of((500, 1000)) == (360, 720)
    assert size_of((4000, 2)) == (720, 1)


def test_facts(grid_shown, lidar_shown, predicted):
    assert "depth grid 256 x 192" in describe(grid_shown)
    assert "LiDAR points" in describe(lidar_shown) and "occlusion suspects" in describe(lidar_shown)
    assert score_line(grid_shown.asked, "m") == ""
    points = len(predicted.asked.truth_m)
    assert score_line(predicted.asked, "m").endswith(f"({points - 2} of {points} points)")


def test_a_contact_sheet_has_the_stated_size(grid_shown, lidar_shown):
    for several in ([grid_shown], [grid_shown, lidar_shown], [grid_shown] * 4):
        sheet = contact_sheet(several, "a set", "facts")
        assert sheet.size == sheet_size([shown.picture.size for shown in several])


def test_a_contact_sheet_marks_hits_and_misses_of_a_prediction(grid_shown, predicted):
    plain, marked = (
        np.asarray(contact_sheet([shown], "a set", "facts")) for shown in (grid_shown, predicted)
    )
    assert plain.shape == marked.shape
    for colour in (HIT_RGB, MISS_RGB):
        assert not (plain == colour).all(axis=-1).any()
        assert (marked == colour).all(axis=-1).any()


def test_a_record_whose_depth_is_all_invalid_is_drawn(grid_row):
    from depthvlm_bench.viz.shown import shown_of

    shown = shown_of({**grid_row, "valid_min": 1e6, "valid_max": 2e6})
    assert record_panel(shown).size == panel_size(shown.picture.size, predicted=False)


@pytest.mark.parametrize("kind", ["grid_row", "lidar_row"])
def test_a_kept_map_adds_a_row(kind, request):
    row = request.getfixturevalue(kind)
    predicted = ShownMap.of(DenseMap(np.full((3, 4), 2.0, np.float32)), record_grid(row))
    shown = shown_of(row, [2.0] * len(row["points"]), predicted)
    panel = record_panel(shown, "some-model")
    assert panel.size == panel_size(shown.picture.size, predicted=True, dense=True)
    assert panel.height > panel_size(shown.picture.size, predicted=True)[1]
    width, height = size_of(shown.picture.size)
    top = HEAD_PX + 2 * (TITLE_PX + height + GAP_PX) + TITLE_PX
    tile = np.asarray(panel)[top : top + height, GAP_PX : GAP_PX + width]
    assert (tile == scale_of(shown.depth_m).colours(2.0)).all()
