import io

import numpy as np
import pytest
from rich.console import Console

from depthvlm_bench.viz.colour import DepthScale
from depthvlm_bench.viz.terminal import HALF_BLOCK, half_blocks, point_table, record_lines, shades, text_rows


def printed(lines, *, terminal):
    out = io.StringIO()
    system = "truecolor" if terminal else None
    screen = Console(file=out, width=80, force_terminal=terminal, color_system=system, legacy_windows=False)
    for line in lines:
        screen.print(line)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["grid_shown", "lidar_shown"])
def test_without_a_terminal_there_is_plain_text(kind, request):
    shown = request.getfixturevalue(kind)
    lines = record_lines(shown, 80, colour=False)
    assert len(lines) == text_rows(shown.picture.size, 80) + 1
    assert all(len(line) == 80 for line in lines[:-1])
    text = printed(lines[:-1], terminal=False)
    assert "\x1b" not in text
    assert text.isascii()
    assert len(text.splitlines()) == len(lines) - 1


def test_in_a_terminal_picture_and_depth_stand_side_by_side(grid_shown):
    lines = record_lines(grid_shown, 80, colour=True)
    assert len(lines) == text_rows(grid_shown.picture.size, 39) + 1
    assert all(line.plain == HALF_BLOCK * 39 + " " + HALF_BLOCK * 39 for line in lines[:-1])
    assert len(lines[-1]) == 80
    assert "\x1b[" in printed(lines, terminal=True)


def test_half_blocks_hold_both_pixels():
    (line,) = half_blocks(np.array([[[1, 2, 3]], [[4, 5, 6]]], np.uint8))
    style = line.spans[0].style
    assert tuple(style.color.triplet) == (1, 2, 3)
    assert tuple(style.bgcolor.triplet) == (4, 5, 6)


def test_shades_go_from_dense_to_faint_and_blank_where_there_is_nothing():
    lines = shades(np.array([[1.0, 3.0, 100.0, np.nan]]), DepthScale(1, 100))
    assert lines[0].plain == "@#. "


def test_the_worst_points_come_first(predicted):
    text = printed([point_table(predicted)], terminal=False).splitlines()
    assert text[1].split()[0] == "1" and "no answer" in text[1]
    assert text[2].split()[0] == "0" and text[2].rstrip().endswith("miss")
    assert text[3].rstrip().endswith("hit")
