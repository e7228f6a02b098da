import pytest

from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.viz.shown import shown_of


def first(converted, role="eval"):
    return next(RecordSet(converted.folder, role).rows())


@pytest.fixture(scope="session")
def grid_row(scannetpp_set):
    return first(scannetpp_set)


@pytest.fixture(scope="session")
def lidar_row(nuscenes_set):
    return first(nuscenes_set)


@pytest.fixture(scope="session")
def grid_shown(grid_row):
    return shown_of(grid_row)


@pytest.fixture(scope="session")
def lidar_shown(lidar_row):
    return shown_of(lidar_row)


@pytest.fixture(scope="session")
def predicted(grid_row):
    """Hits, a miss that is too far, and one point without an answer."""
    answers = [point["depth_m"] * 1.1 for point in grid_row["points"]]
    answers[0] *= 2
    answers[1] = float("nan")
    return shown_of(grid_row, answers)
