"""The published numbers that ship: complete, without doubles, and as they were read."""

import json
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

from depthvlm_bench.cards import builtin_card
from depthvlm_bench.leaderboard.published import (
    MEAN,
    Metrics,
    all_values,
    find,
    load_models,
    load_sources,
    load_tables,
    published_values,
)
from depthvlm_bench.scoring.protocol import load_protocol, protocol_names

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "eval"
TABLES = {"table1": (16, 9), "table2": (11, 5), "table2-full": (11, 5)}
THE_SLIP = {("table2", "UniDepthV2")}
# Protocols that values belong to; those that are not here yet are said to be so.
PROTOCOLS = {
    *("depthlm-compat-1", "nyu-eigen-dense-1", "ibims-dense-1"),
    *("sunrgbd-test-dense-1", "eth3d-dslr-dense-1"),
}


def read_golden(name):
    if not (GOLDEN / name).is_file():
        pytest.skip(f"golden numbers are not here: {GOLDEN}")
    return json.loads((GOLDEN / name).read_text())


def test_the_three_tables_are_whole():
    assert {t.name: (len(t.rows), len(t.datasets)) for t in load_tables()} == TABLES
    assert sum(len(table.values()) for table in load_tables()) == 16 * 10 + 2 * 11 * 6


def test_recomputed_means_agree_with_the_printed_ones_but_for_the_one_known_slip():
    off = {
        (table.name, row.label)
        for table in load_tables()
        for row in table.rows
        if abs(sum(row.values) / len(row.values) - row.mean) > 0.0005 + 1e-9
    }
    assert off == THE_SLIP
    (slip,) = find(all_values(), source="table2", label="UniDepthV2", dataset=MEAN)
    assert "0.8222" in slip.note


def test_rows_that_stand_in_two_tables_say_the_same():
    for label in ("DepthVLM-4B", "DepthVLM-8B"):
        first = {v.dataset: v.value for v in find(all_values(), source="table1", label=label)}
        second = {v.dataset: v.value for v in find(all_values(), source="table2", label=label)}
        shared = set(second) - {MEAN}
        assert {name: first[name] for name in shared} == {name: second[name] for name in shared}


def test_there_are_546_values_of_16_papers_in_13_sources():
    values = published_values()
    assert len(values) == 546
    assert len({value.paper for value in values}) == 16
    assert len(load_sources()) == len({value.source for value in values}) == 13


def test_no_value_is_there_twice():
    counts = Counter(value.id for value in all_values())
    assert len(counts) == len(all_values())
    assert {source.name for source in load_sources()}.isdisjoint(table.name for table in load_tables())


def test_every_copy_names_a_value_of_another_source_and_repeats_it():
    by_id = {value.id: value for value in all_values()}
    copies = [value for value in all_values() if value.copied_from]
    assert len(copies) == 28
    for copy in copies:
        original = by_id[copy.copied_from]
        assert original.source != copy.source
        assert original.copied_from is None
        assert (original.label, original.metric, original.value) == (copy.label, copy.metric, copy.value)


def test_values_are_possible_and_lie_on_their_rounding():
    for value in all_values():
        assert value.value == round(value.value, value.decimals), value.id
        assert value.value > 0
        assert not value.metric.startswith("delta") or value.value <= 1, value.id


def test_every_protocol_is_one_that_is_known_by_name():
    named = {value.protocol for value in published_values()} - {None}
    assert named == PROTOCOLS
    assert {table.protocol for table in load_tables()} <= set(protocol_names())


def test_values_evaluated_in_another_window_belong_to_no_dense_protocol():
    """Depth Anything's evaluation cuts iBims-1 and SUN RGB-D to the window and range of NYUv2's."""
    cut = [v for v in published_values() if v.crop == "eigen" and v.dataset != "nyuv2"]
    assert {(v.source, v.dataset) for v in cut} == {
        ("depth-anything-readme", "ibims1"),
        ("depth-anything-readme", "sunrgbd"),
    }
    assert not any(v.protocol for v in cut)


def test_the_range_of_ibims_dense_is_that_of_its_card():
    card = builtin_card("ibims1")
    assert (
        f"from {card.valid_min_m:g} to {card.valid_max_m:g} m" in load_protocol("ibims-dense-1").description
    )


def test_pooled_values_have_no_protocol():
    assert not [v for v in published_values() if v.pooled and v.protocol]
    assert sum(value.pooled for value in published_values()) == 91


def test_every_row_of_the_paper_is_one_of_our_models():
    known = {label for model in load_models() for label in model.labels}
    assert {row.label for table in load_tables() for row in table.rows} <= known
    assert known <= {value.label for value in all_values()}
    names = [model.name for model in load_models()]
    assert len(names) == len(set(names))


def test_the_files_stay_small():
    folder = Path(__file__).resolve().parents[2] / "manifests"
    size = sum(path.stat().st_size for name in ("paper", "published") for path in (folder / name).iterdir())
    assert size < 400_000


@pytest.mark.parametrize(
    ("name", "key"), [("table1",) * 2, ("table2",) * 2, ("table2-full", "table2_full_map")]
)
def test_the_tables_are_as_they_were_read(name, key):
    told = read_golden("paper_tables.json")["tables"][key]
    (table,) = (table for table in load_tables() if table.name == name)
    rows = [(r["method"], [r["delta1"][d] for d in table.datasets], r["avg"]) for r in told["rows"]]
    assert [(row.label, list(row.values), row.mean) for row in table.rows] == rows
    assert (table.mode, list(table.datasets)) == (told["mode"], told["datasets"])


def test_the_values_of_other_papers_are_as_they_were_read():
    renamed = {"rmse_m": "rmse", "silog_x100": "silog", "delta_0.5": "delta_half"}
    assert set(renamed.values()) < {field.name for field in fields(Metrics)}
    told = read_golden("published_numbers.json")["values"]
    names = ("method", "checkpoint", "dataset", "mode", "paper", "value", "cap_m", "camera")
    expected = Counter(
        (renamed.get(v["metric"], v["metric"]), v["reported_by"] == "own", *(v.get(name) for name in names))
        for v in told
    )
    assert expected == Counter(
        (
            *(v.metric, v.by_authors, v.label, v.checkpoint),
            *(v.dataset, v.mode, v.paper, v.value, v.cap_m, v.camera),
        )
        for v in published_values()
    )
