from dataclasses import replace

import pytest
from made_results import made_result

from depthvlm_bench.leaderboard.table import Selection, build

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
