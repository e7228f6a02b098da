from dataclasses import replace

import numpy as np
import pytest
from made_results import made_result

from depthvlm_bench.errors import CheckError
from depthvlm_bench.leaderboard.table import Selection, build
from depthvlm_bench.scoring.paired import ImageScores, benchmark_difference, paired_difference
from depthvlm_bench.scoring.protocol import load_protocol
from depthvlm_bench.scoring.uncertainty import as_units, benchmark_interval

DEFAULT = Selection("dvbench-1")


def table(*results, selection=DEFAULT):
    return build(results, selection)


def ranks(board):
    return {row.label: row.rank for row in board.rows}


def places(board, column=0):
    return {row.label: row.cells[column] and row.cells[column].place for row in board.rows}


def titles(board):
    return [column.title for column in board.columns]


def test_models_are_ranked_by_their_mean_over_the_sets():
    board = table(
        made_result("a", 0.2),
        made_result("a", 0.9, "nuscenes"),
        made_result("b", 0.5),
        made_result("b", 0.5, "nuscenes"),
        made_result("c", 0.6),
        made_result("c", 0.45, "nuscenes"),
    )
    assert [(row.rank, row.label, round(row.mean, 9)) for row in board.rows] == [
        (1, "a", 0.55),
        (2, "c", 0.525),
        (3, "b", 0.5),
    ]
    assert places(board, 0) == {"a": 3, "b": 2, "c": 1}
    assert places(board, 1) == {"a": 1, "b": 2, "c": 3}


def test_the_mean_counts_every_set_alike():
    board = table(
        made_result("a", 0.2, images=10, images_of_the_full_set=10), made_result("a", 0.6, "nuscenes")
    )
    assert board.rows[0].mean == pytest.approx(0.4)


def test_ties_share_their_place_and_the_next_one_is_left_out():
    board = table(
        *(made_result(name, value) for name, value in (("a", 0.7), ("b", 0.7), ("c", 0.6), ("d", 0.7)))
    )
    assert ranks(board) == {"a": 1, "b": 1, "d": 1, "c": 4}
    assert places(board) == {"a": 1, "b": 1, "d": 1, "c": 4}
    assert [row.label for row in board.rows] == ["a", "b", "d", "c"]


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": "depthvlm-compat-1"},
        {"mode": "dense"},
        {"input": "native"},
        {"track": "unknown"},
        {"where": "indoor"},
    ],
)
def test_other_protocols_modes_inputs_tracks_and_selections_never_stand_in_one_table(other):
    board = table(made_result("a", 0.5), made_result("b", 0.9, **other))
    assert ranks(board) == {"a": 1}
    assert board.left_out == ("mode" not in other)  # the other mode has its own table, always
    only_other = table(made_result("b", 0.9, **other), selection=replace(DEFAULT, **other))
    assert ranks(only_other) == {"b": 1}


def test_two_versions_of_one_protocol_never_stand_in_one_table():
    """A protocol is hashed into every result so that a changed file cannot pass for the old one."""
    board = table(made_result("a", 0.5), made_result("b", 0.9, protocol_hash="8" * 64))
    hashes = {cell.result.protocol_hash for row in board.rows for cell in row.cells if cell is not None}
    assert len(hashes) == 1


def test_two_manifests_of_a_set_are_two_columns_with_their_own_ranks():
    board = table(made_result("a", 0.5), made_result("b", 0.9, manifest_hash="f" * 64))
    assert len(board.columns) == 2
    assert {column.set_name for column in board.columns} == {"ibims1"}
    assert len(set(titles(board))) == 2
    for index, column in enumerate(board.columns):
        cells = [row.cells[index] for row in board.rows if row.cells[index] is not None]
        assert {cell.result.manifest_hash for cell in cells} == {column.manifest_hash}
        assert [cell.place for cell in cells] == [1]


def test_a_model_without_a_complete_score_in_every_ranked_set_has_no_rank_and_no_mean():
    board = table(
        made_result("a", 0.5), made_result("a", 0.5, "nuscenes"), made_result("b", 0.9), made_result("c", 0.1)
    )
    assert ranks(board) == {"a": 1, "b": None, "c": None}
    assert [row.label for row in board.rows] == ["a", "b", "c"]
    assert [row.mean for row in board.rows[1:]] == [None, None]
    assert places(board, 1) == {"a": 1, "b": None, "c": None}


def test_a_partial_score_is_shown_without_place_or_rank():
    board = table(made_result("a", 0.5), made_result("b", 0.9, missing=3))
    assert ranks(board) == {"a": 1, "b": None}
    assert places(board) == {"a": 1, "b": 0}
    assert board.rows[1].cells[0].value == 0.9


def test_a_partial_score_that_equals_a_ranked_one_has_no_place_either():
    assert places(table(made_result("a", 0.5), made_result("b", 0.5, missing=3))) == {"a": 1, "b": 0}


def test_overlap_sets_are_shown_after_the_others_and_never_ranked():
    board = table(
        made_result("a", 0.9, "ddad@train", set_kind="overlap"),
        made_result("a", 0.4),
        made_result("b", 0.1, "ddad@train", set_kind="overlap"),
        made_result("b", 0.5),
    )
    assert titles(board) == ["ibims1", "ddad@train"]
    assert [column.ranked for column in board.columns] == [True, False]
    assert board.ranked_columns == (0,)
    assert [(row.label, row.rank, row.mean) for row in board.rows] == [("b", 1, 0.5), ("a", 2, 0.4)]
    assert places(board, 1) == {"a": 0, "b": 0}


def test_only_overlap_sets_give_no_ranks_at_all():
    assert ranks(table(made_result("a", 0.9, "x", set_kind="overlap"))) == {"a": None}


def test_a_subset_is_ranked_within_its_own_manifest_and_marked():
    board = table(made_result("a", 0.9, images=6), made_result("b", 0.8, images=6))
    (column,) = board.columns
    assert (column.subset, column.images, column.full_images) == (True, 6, 100)
    assert ranks(board) == {"a": 1, "b": 2}


def test_models_that_only_test_the_harness_stand_in_no_table():
    board = table(made_result("oracle", 1.0, for_tests=True, ranked=False), made_result("a", 0.5))
    assert ranks(board) == {"a": 1}
    assert places(board) == {"a": 1}


def test_the_newest_of_several_runs_under_one_label_stands():
    old = made_result("a", 0.9, run="old", created="2026-01-01T00:00:00+00:00")
    new = made_result("a", 0.3, run="new", created="2026-02-01T00:00:00+00:00")
    for order in ((old, new), (new, old)):
        (row,) = table(*order).rows
        assert row.cells[0].result.run == "new"


def test_the_same_model_with_other_options_or_another_fit_is_another_row():
    board = table(
        made_result("m", 0.1),
        made_result("m", 0.2, options={"depth_m": 2.0}),
        made_result("m", 0.3, fit={"nuscenes": "f"}),
    )
    assert [row.label for row in board.rows] == ["m (fit: nuscenes)", "m (depth_m=2.0)", "m"]


def test_the_order_of_the_results_does_not_matter():
    results = [made_result(n, v, s) for n, v in (("a", 0.3), ("b", 0.6)) for s in ("ibims1", "nuscenes")]
    assert table(*results) == table(*reversed(results))


def test_nothing_makes_an_empty_table():
    board = table()
    assert (board.columns, board.rows, board.left_out) == ((), (), 0)


RULE = load_protocol("dvbench-1").bootstrap
LEVELS = {"a": 0.9, "b": 0.895, "c": 0.8, "d": 0.802}


def made_scores(label, set_name, count=200):
    chance = np.random.default_rng([ord(label), len(set_name)])
    shared = np.random.default_rng(len(set_name)).normal(0, 0.2, count)
    values = np.clip(LEVELS[label] + shared + chance.normal(0, 0.1, count), 0, 1)
    return ImageScores.of({f"{set_name}/{n:03d}": value for n, value in enumerate(values)})


def results_of(labels="abcd", sets=("ibims1", "nuscenes")):
    """Results whose values are the means of `made_scores`."""
    return [made_result(label, made_scores(label, s).mean, s, images=200) for label in labels for s in sets]


def board_of(results, per_image=lambda result: made_scores(result.model, result.set_name)):
    return build(results, DEFAULT, per_image)


def test_without_per_image_scores_nothing_is_said_of_ties():
    board = table(*results_of())
    assert {row.group for row in board.rows} == {None}
    assert {cell.tied for row in board.rows for cell in row.cells} == {None}
    assert {row.interval for row in board.rows} == {None}
    assert board.untested == ()


def test_rows_that_the_tests_leave_together_are_one_group():
    board = board_of(results_of())
    assert {row.label: row.group for row in board.rows} == {"a": 1, "b": 1, "c": 2, "d": 2}
    assert [row.tied for row in board.rows] == [False, True, False, False]
    for column in (0, 1):
        assert [row.cells[column].tied for row in board.rows] == [True, True, False, False]


def test_the_p_values_are_those_of_compare():
    """The best pair decides alone: two models have one pair, so that Holm changes nothing."""
    for pair in ("ab", "ac", "bc", "cd"):
        board = board_of(results_of(pair))
        sides = [[made_scores(label, s) for s in ("ibims1", "nuscenes")] for label in pair]
        assert (board.rows[1].group == 1) is (benchmark_difference(*sides, RULE).p >= 0.05)
        p = paired_difference(sides[0][0], sides[1][0], RULE).p
        (worse,) = (row for row in board.rows if row.cells[0].place == 2)
        assert worse.cells[0].tied is (p >= 0.05)


def test_the_interval_of_the_mean_is_propagated_from_its_sets():
    for row in board_of(results_of()).rows:
        sets = [made_scores(row.label, s) for s in ("ibims1", "nuscenes")]
        assert row.interval == benchmark_interval([as_units(each.values) for each in sets], RULE)
        assert row.interval[0] < row.mean < row.interval[1]


@pytest.mark.parametrize("unit", ["image", "scene"])
def test_the_rule_says_whether_scenes_are_drawn(unit):
    rule = replace(RULE, unit=unit)
    scenes = [f"s{number // 10}" for number in range(200)]

    def of_scenes(result):
        return replace(made_scores(result.model, result.set_name), scenes=tuple(scenes))

    board = build(results_of("ac", ["ibims1"]), DEFAULT, of_scenes, rule)
    for row in board.rows:
        units = as_units(made_scores(row.label, "ibims1").values, scenes if unit == "scene" else None)
        assert row.interval == benchmark_interval([units], rule)


def test_the_order_of_the_results_does_not_matter_for_ties():
    results = results_of()
    assert board_of(results) == board_of(results[::-1])


def test_partial_and_overlap_scores_are_not_tested():
    board = board_of(
        [
            *results_of("ab"),
            made_result("c", 0.9, missing=3),
            made_result("a", 0.9, "x", set_kind="overlap"),
            made_result("b", 0.9, "x", set_kind="overlap"),
        ],
    )
    by_label = {row.label: row for row in board.rows}
    assert by_label["c"].cells[0].tied is None
    assert by_label["c"].group is None
    assert [row.cells[2].tied for row in board.rows if row.cells[2]] == [None, None]
    assert [by_label[label].group for label in "ab"] == [1, 1]


def test_a_column_that_lacks_rows_is_named_and_not_tested():
    def some(result):
        return (
            None
            if result.set_name == "nuscenes" and result.model == "d"
            else made_scores(result.model, "ibims1")
        )

    board = board_of(results_of(), some)
    assert board.untested == ("nuscenes",)
    assert [row.cells[0].tied for row in board.rows] == [True, True, False, False]
    assert {row.cells[1].tied for row in board.rows} == {None}
    assert {(row.group, row.interval) for row in board.rows} == {(None, None)}


def test_rows_of_other_images_under_one_manifest_are_an_error():
    def other(result):
        return made_scores(result.model, result.set_name, count=200 if result.model == "a" else 199)

    with pytest.raises(CheckError, match="a and b on ibims1 are not of the same images"):
        board_of(results_of("ab"), other)
