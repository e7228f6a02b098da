import numpy as np
import pytest
from converted import CANONICAL_SIZE, TinyImage, constant_depth, write_tiny_set
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from depthvlm_bench.baselines.naive import (
    LOG_BINS,
    LOG_STEP,
    PICTURE_ROWS,
    FitOptions,
    best_constant_m,
    bin_depth_m,
    depth_histogram,
    row_medians_m,
)
from depthvlm_bench.errors import DataMissingError
from depthvlm_bench.predict.contracts import View
from depthvlm_bench.predict.readout import to_view
from depthvlm_bench.records.codec import decode_depth
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_model
from depthvlm_bench.scoring.evaluate import with_fit

BIN = 2 * LOG_STEP
ROWS, COLUMNS = 12, 16


def train_set(folder, *maps, name="tiny"):
    images = [TinyImage(f"t{index}", depth_m) for index, depth_m in enumerate(maps)]
    return write_tiny_set(folder, images, role="train", name=name)


def fitted(name, *sets):
    predictor = load_model(name).build()
    predictor.load(FitOptions(tuple(records.folder for records in sets)))
    return predictor


def answer(name, *sets):
    view = View("x", Image.new("RGB", CANONICAL_SIZE), None)
    (dense,) = fitted(name, *sets).predict([view])
    return to_view(dense, *CANONICAL_SIZE)


def delta1(constant_m, depths_m, weights):
    ratio = np.maximum(constant_m / depths_m, depths_m / constant_m)
    return np.average(ratio < 1.25, weights=weights)


def histogram_of(depths_m, weights):
    histogram = np.zeros((PICTURE_ROWS, LOG_BINS))
    bins = [round(np.log(depth_m / bin_depth_m(0)) / LOG_STEP) for depth_m in depths_m]
    np.add.at(histogram[0], bins, weights)
    return histogram


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 80.0), st.floats(0.1, 5.0)), min_size=1, max_size=12))
def test_the_best_constant_is_the_best_of_all_tried(weighted):
    """Brute force over a fine grid, with a little slack at the borders of the bins."""
    depths_m, weights = np.array(weighted).T
    best_m = best_constant_m(histogram_of(depths_m, weights))
    candidates = np.exp(np.arange(np.log(0.08), np.log(100), 0.002))
    within = np.abs(np.log(candidates[:, None] / depths_m)) < np.log(1.25) - BIN
    strict = (within * weights).sum(axis=1) / weights.sum()
    loosely = np.average(np.abs(np.log(best_m / depths_m)) < np.log(1.25) + BIN, weights=weights)
    assert loosely >= strict.max() - 1e-9


def test_the_best_constant_of_one_depth_is_that_depth(tmp_path):
    held = train_set(tmp_path, constant_depth(3.0))
    assert answer("best-constant", held) == pytest.approx(3.0, rel=BIN)


def test_the_best_constant_of_a_uniform_spread_is_the_upper_edge_over_1_25(tmp_path):
    """On uniform depths [a, b] the window (c / 1.25, 1.25 c) is widest where it ends at b."""
    spread = np.linspace(1.0, 10.0, ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    assert answer("best-constant", train_set(tmp_path, spread))[0, 0] == pytest.approx(8.0, rel=0.02)


def test_medians_by_picture_row_are_numpy_s(tmp_path):
    rng = np.random.default_rng(7)
    depth_m = np.rint(rng.uniform(1.0, 9.0, (ROWS, COLUMNS - 1)) * 1000) / 1000
    depth_m = np.pad(
        depth_m, ((0, 0), (0, 1))
    )  # one invalid column leaves an odd number to take the median of
    medians = row_medians_m(depth_histogram([train_set(tmp_path, depth_m)]))
    rows_of = (np.arange(PICTURE_ROWS) + 0.5) / PICTURE_ROWS * ROWS - 0.5
    expected = np.median(depth_m[:, :-1], axis=1)[np.clip(np.rint(rows_of), 0, ROWS - 1).astype(int)]
    between = np.abs(rows_of - np.rint(rows_of)) > 0.4  # halfway rows may take either neighbour's
    assert medians[~between] == pytest.approx(expected[~between], rel=BIN)


def test_the_row_prior_answers_by_row_and_alike_along_it(tmp_path):
    near_below = np.repeat(np.linspace(9.0, 1.0, ROWS)[:, None], COLUMNS, axis=1)
    shown = answer("row-prior", train_set(tmp_path, near_below))
    assert np.ptp(shown, axis=1).max() == 0
    assert shown[:, 0] == pytest.approx(near_below[:, 0].repeat(2), rel=BIN)


def test_rows_without_any_depth_take_the_nearest_row_s(tmp_path):
    only_below = np.zeros((ROWS, COLUMNS))
    only_below[8], only_below[11] = 5.0, 3.0
    shown = answer("row-prior", train_set(tmp_path, only_below))
    assert shown[:12] == pytest.approx(5.0, rel=BIN)
    assert shown[-2:] == pytest.approx(3.0, rel=BIN)


def test_every_image_of_a_set_weighs_alike(tmp_path):
    """Two images with few depths outvote one with many."""
    sparse = np.zeros((ROWS, COLUMNS))
    sparse[5, 5] = 8.0
    held = train_set(tmp_path, constant_depth(2.0), sparse, sparse)
    assert answer("best-constant", held)[0, 0] == pytest.approx(8.0, rel=BIN)
    assert answer("row-prior", held)[11, 0] == pytest.approx(8.0, rel=0.05)


def test_every_set_weighs_alike(tmp_path):
    """Two small sets outvote a large one."""
    large = train_set(tmp_path, *[constant_depth(2.0)] * 9, name="large")
    small = [train_set(tmp_path, constant_depth(8.0), name=name) for name in ("small", "tiny")]
    assert answer("best-constant", large)[0, 0] == pytest.approx(2.0, rel=BIN)
    assert answer("best-constant", large, *small)[0, 0] == pytest.approx(8.0, rel=BIN)


def test_depth_out_of_range_is_not_fitted(tmp_path):
    far = np.full((ROWS, COLUMNS), 30.0)
    far[0, 0] = 4.0
    assert answer("best-constant", train_set(tmp_path, far))[0, 0] == pytest.approx(4.0, rel=BIN)


def test_the_fit_on_a_converted_lidar_set_is_as_good_as_brute_force(nuscenes_set):
    records = RecordSet(nuscenes_set.folder, "train")
    depths, weights = [], []
    for row in records.rows():
        depth = decode_depth(row)
        kept = depth.depth_m[((depth.flags & 1) == 0) & (depth.depth_m <= row["valid_max"])]
        depths.append(kept)
        weights.append(np.full(len(kept), 1 / max(1, len(kept))))
    depths_m, weights = np.concatenate(depths), np.concatenate(weights)
    best = max(delta1(c, depths_m, weights) for c in np.exp(np.arange(np.log(0.5), np.log(90), 0.002)))
    found_m = float(answer("best-constant", records)[0, 0])
    assert delta1(found_m, depths_m, weights) == pytest.approx(best, abs=0.02)


@pytest.mark.parametrize("name", ["best-constant", "row-prior"])
def test_without_a_training_split_there_is_one_clear_error_and_no_fit(name):
    model = load_model(name)
    with pytest.raises(DataMissingError, match="never fitted on evaluation data") as caught:
        with_fit(model, FitOptions(), [])
    assert caught.value.exit_code == 3
    assert "dvbench convert" in caught.value.next_step
    assert "--fit-on" in caught.value.next_step


@pytest.mark.parametrize("name", ["best-constant", "row-prior"])
def test_an_evaluation_set_is_never_fitted_on(tmp_path, name):
    held = write_tiny_set(tmp_path, [TinyImage("e", constant_depth(2.0))])
    with pytest.raises(DataMissingError, match="no train split"):
        fitted(name, held)


def test_a_training_split_without_any_depth_is_an_error(tmp_path):
    with pytest.raises(DataMissingError, match="nothing to fit on"):
        fitted("best-constant", train_set(tmp_path, constant_depth(0.0)))


def test_the_fit_is_known_by_the_manifests_of_its_sets(tmp_path):
    sets = [train_set(tmp_path, constant_depth(2.0), name=name) for name in ("one", "two")]
    options, fit = with_fit(load_model("row-prior"), FitOptions(), sets)
    assert options.fit_on == tuple(records.folder for records in sets)
    assert fit == {records.name: records.manifest_hash for records in sets}
    assert all(len(digest) == 64 for digest in fit.values())


def test_a_model_without_a_fit_has_none(tmp_path):
    held = train_set(tmp_path, constant_depth(2.0))
    model = load_model("constant")
    options = model.options_type()
    assert with_fit(model, options, [held]) == (options, {})
