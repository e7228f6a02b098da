import base64
import json

import numpy as np
import pytest

from depthvlm_bench.errors import CheckError
from depthvlm_bench.records.marks import SurfaceMarks, marks_extra, marks_of

RANDOM = np.random.default_rng(0)
EDGES = RANDOM.random((12, 17)) < 0.2
PLANES = tuple(RANDOM.integers(0, 256, (2, 12, 17), dtype=np.uint8))


@pytest.mark.parametrize("edges", [None, EDGES])
@pytest.mark.parametrize("planes", [(), PLANES[:1], PLANES])
def test_marks_come_back_as_they_were(edges, planes):
    extra = json.dumps({"masks": ["a"]} | marks_extra(SurfaceMarks(edges, planes)))
    found = marks_of(extra, "a")
    assert (found.edges is None) == (edges is None)
    assert edges is None or (found.edges.dtype == bool and np.array_equal(found.edges, edges))
    assert len(found.planes) == len(planes)
    assert all(np.array_equal(one, other) for one, other in zip(found.planes, planes, strict=True))


def test_nothing_marked_adds_nothing():
    assert marks_extra(SurfaceMarks()) == {}


@pytest.mark.parametrize("extra", [None, "{}", '{"time": 3}'])
def test_other_records_have_no_marks(extra):
    found = marks_of(extra, "a")
    assert found.edges is None
    assert found.planes == ()


@pytest.mark.parametrize("edges", ["%%%", base64.b64encode(b"no picture").decode()])
def test_damaged_marks_name_their_record(edges):
    with pytest.raises(CheckError, match="cannot be read") as caught:
        marks_of(json.dumps({"surface_marks": {"edges": edges}}), "ibims1/eval/-/-/lab_01")
    assert caught.value.where == "ibims1/eval/-/-/lab_01"
