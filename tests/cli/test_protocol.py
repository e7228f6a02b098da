import json

import pytest

from depthvlm_bench.scoring.protocol import load_protocol, protocol_names


def test_every_protocol_is_shown_with_its_read_out_and_hash(dvbench):
    shown = dvbench("protocol", "show")
    assert (shown.code, shown.err) == (0, "")
    for name in protocol_names():
        protocol = load_protocol(name)
        assert f"{name}  {protocol.hash[:12]}" in shown.out
        assert f"  readout      {protocol.readout}\n" in shown.out


def test_one_protocol_as_json_is_all_it_says(dvbench):
    (told,) = json.loads(dvbench("protocol", "show", "depthvlm-compat-1", "--json").out)
    protocol = load_protocol("depthvlm-compat-1")
    assert (told["hash"], told["readout"], told["missing"]) == (protocol.hash, "compat_index", "drop")
    assert told["bootstrap"]["resamples"] == protocol.bootstrap.resamples


def test_a_difference_is_a_row_with_both_values(dvbench):
    head, *rows = dvbench("protocol", "diff", "dvbench-1", "depthvlm-compat-1").out.splitlines()
    assert head.split() == ["dvbench-1", "depthvlm-compat-1"]
    values = {row.split()[0]: row.split()[1:] for row in rows}
    assert values["missing"] == ["miss", "drop"]
    assert values["readout"] == ["nearest", "compat_index"]
    assert "ratio" not in values
    told = json.loads(dvbench("protocol", "diff", "dvbench-1", "depthvlm-compat-1", "--json").out)
    assert set(told) == set(values)
    assert told["truth"] == ["depth_m", "compat_gt_m"]


def test_a_protocol_does_not_differ_from_itself(dvbench):
    assert dvbench("protocol", "diff", "dvbench-1", "dvbench-1").out.strip().endswith("are the same rules")


@pytest.mark.parametrize("arguments", [("show", "dvbench-2"), ("diff", "dvbench-1", "dvbench-2")])
def test_an_unknown_protocol_is_one_line_with_a_hint(dvbench, arguments):
    failed = dvbench("protocol", *arguments)
    assert failed.code == 2
    assert "did you mean 'dvbench-1'" in failed.error
