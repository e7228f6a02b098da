"""Where dvbench-1 and the paper's evaluator part: one small set for each difference that moves a score.

The numbers D1 to D26 are those of docs/protocols.md, which also lists what cannot be shown by a score.
"""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image
from predictors import dense_model

from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.predict.contracts import DenseMap
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.registry import load_converter
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.metrics import ratio_counts
from depthvlm_bench.scoring.protocol import load_protocol
from depthvlm_bench.scoring.statistics import image_statistics, per_image_metrics

COMPAT, DVBENCH = load_protocol("depthvlm-compat-1"), load_protocol("dvbench-1")
FAR_M, NEAR_M = 8.0, 2.0


@dataclass
class Listing:
    """A published list of pictures with the same size.

    Attributes:
        depth_mm: one (h, w) uint16 a picture.
        xy: pixels of the depth file, one list a picture.
        size: of the picture, (width, height); the depth's own if None.
        listed_m: overrides the listed depths of every picture.
        scale: canonical size over picture size.
        mask: one (h, w) bool for every picture, False where its depth is not to be trusted.
    """

    depth_mm: list
    xy: list
    size: tuple | None = None
    listed_m: list | None = None
    scale: float = 1.0
    mask: np.ndarray | None = None

    def write(self, root):
        height, width = self.depth_mm[0].shape
        size = self.size or (width, height)
        for folder in ("rgb", "depth"):
            (root / folder).mkdir(parents=True)
        lines = []
        for index, (depth, points) in enumerate(zip(self.depth_mm, self.xy, strict=True)):
            name = f"{index}.png"
            Image.new("RGB", size, (index, 99, 9)).save(root / "rgb" / name)
            Image.fromarray(depth).save(root / "depth" / name)
            masks = {}
            if self.mask is not None:
                Image.fromarray(self.mask.astype(np.uint8) * 255).save(root / "depth" / "mask.png")
                masks = {"mask_valid_path": "mask.png"}
            lines.append(
                masks
                | {
                    "scene": str(index),
                    "image": name,
                    "depth_path": name,
                    "depth_scale": 1000.0,
                    "original_rgb_size": list(size),
                    "original_fx": 1000.0 / self.scale,
                    "canonical_size": [round(side * self.scale) for side in size],
                    "pixel_coords": points,
                    "depth": self.listed_m or [round(float(depth[y, x]) / 1000, 4) for x, y in points],
                }
            )
        (root / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return root

    def convert(self, root, data):
        annotations = self.write(root) / "list.jsonl"
        request = ConvertRequest(root, data, annotations=annotations)
        converter = load_converter("ibims1")
        in_millimetres = replace(converter.card, published_depth_scale=1000.0)
        summary = convert(replace(converter, card=in_millimetres), request, Silent())
        return RecordSet(summary.folder, "eval")


@pytest.fixture
def scores(tmp_path):
    """(list, answer of a picture by its row and canonical size) -> delta1 by (protocol, mode)."""

    def scores(listing, answer):
        records = listing.convert(tmp_path / "raw", tmp_path / "data")
        rows = {row["id"]: row["listed_row"] for row in records.points(["id", "listed_row"]).to_pylist()}
        found = {}
        for protocol in (COMPAT, DVBENCH):
            model = dense_model(lambda view: DenseMap(answer(rows[view.id], *view.picture.size)))
            settings, out = RunSettings(), tmp_path / protocol.name
            done = evaluate(model, model.options_type(), [], records, settings, protocol, out, Silent())
            found |= {(protocol.name, r.mode): r.scores["delta1"].value for r in done.results}
        return {name.partition("-")[0] + " " + mode: value for (name, mode), value in found.items()}

    return scores


def flat(depth_m, width=64, height=48):
    return np.full((height, width), round(depth_m * 1000), np.uint16)


def wall(split_x, width=64, height=48):
    """Far left of a column, near from there on."""
    depth = flat(FAR_M, width, height)
    depth[:, split_x:] = round(NEAR_M * 1000)
    return depth


def grid(width=64, height=48, step=8):
    return [[x, y] for y in range(step // 2, height, step) for x in range(step // 2, width, step)]


def answer_of(depth_m):
    return lambda row, width, height: np.full((height, width), depth_m, np.float32)


def test_d1_d2_points_of_the_depth_file_are_asked_where_they_are(scores):
    """The picture is four times the depth file: as listed, all points fall into its far first quarter."""
    listing = Listing([wall(32)], [grid()], size=(256, 192))
    found = scores(listing, answer_of(FAR_M))
    assert found["depthvlm sparse"] == 1.0
    assert found["dvbench sparse"] == found["dvbench dense"] == 0.5


def test_d2_truth_is_that_of_the_point_and_not_read_again(scores):
    """A right answer at each listed pixel; the paper compares it with the depth of other pixels."""
    listing = Listing([wall(32)], [[[x, y] for x, y in grid() if x >= 32]], size=(256, 192))
    found = scores(listing, answer_of(NEAR_M))
    assert (found["depthvlm sparse"], found["dvbench sparse"]) == (0.0, 1.0)


def test_d3_a_map_of_another_size_is_brought_to_the_picture(scores):
    def half_size(row, width, height):
        return wall(16, width // 2, height // 2).astype(np.float32) / 1000

    found = scores(Listing([wall(32)], [grid()]), half_size)
    assert min(found["depthvlm dense"], found["dvbench dense"], found["dvbench sparse"]) > 0.98
    assert found["depthvlm sparse"] < 0.6


@pytest.mark.parametrize("nothing", [0.0, -1.0, np.nan])
def test_d4_abstaining_where_it_would_be_wrong_does_not_pay(scores, nothing):
    def abstains(row, width, height):
        return np.where(np.arange(width) < 32, nothing, NEAR_M).astype(np.float32)[None].repeat(height, 0)

    found = scores(Listing([wall(32)], [grid()]), abstains)
    assert (found["depthvlm sparse"], found["dvbench sparse"]) == (1.0, 0.5)
    assert (found["depthvlm dense"], found["dvbench dense"]) == (1.0, 0.5)


def test_d5_infinity_is_a_miss_like_any_other_non_answer(scores):
    def infinite(row, width, height):
        values = np.where(np.arange(width) < 32, np.inf, NEAR_M)
        values[:16] = 0
        return values.astype(np.float32)[None].repeat(height, 0)

    found = scores(Listing([wall(32)], [grid()]), infinite)
    assert found["depthvlm sparse"] == pytest.approx(2 / 3)
    assert found["dvbench sparse"] == 0.5


def test_d6_no_answer_counts_alike_however_it_is_spread(tmp_path, scores):
    """Half of the answers are missing: in every second picture, the paper has 0.5; within each, 1."""

    def spread(row, width, height):
        return np.where(np.arange(width) < width // 2, 0, NEAR_M).astype(np.float32)[None].repeat(height, 0)

    def whole(row, width, height):
        return np.full((height, width), NEAR_M if row else 0, np.float32)

    within = scores(Listing([flat(NEAR_M)] * 2, [grid()] * 2), spread)
    for folder in ("raw", "data", COMPAT.name, DVBENCH.name):
        (tmp_path / folder).rename(tmp_path / f"{folder}-within")
    between = scores(Listing([flat(NEAR_M)] * 2, [grid()] * 2), whole)
    assert (within["depthvlm sparse"], between["depthvlm sparse"]) == (1.0, 0.5)
    assert within["dvbench sparse"] == between["dvbench sparse"] == 0.5


def test_d10_a_pixel_is_asked_at_its_centre(scores):
    """A perfect map of stripes, one pixel wide, at 1.75 times the size: the paper reads neighbours."""
    stripes = flat(FAR_M)
    stripes[:, ::2] = round(NEAR_M * 1000)

    def perfect(row, width, height):
        source = np.floor((np.arange(width) + 0.5) * 64 / width).astype(int)
        return (stripes[0, source] / 1000).astype(np.float32)[None].repeat(height, 0)

    found = scores(Listing([stripes], [grid(step=3)], scale=1.75), perfect)
    assert found["dvbench sparse"] == found["dvbench dense"] == 1.0
    assert found["depthvlm sparse"] < 0.9


def test_d11_a_masked_depth_is_no_truth_at_points_either(scores):
    """The far half is masked: the paper leaves it out of dense truth, and reads it at listed points."""
    listing = Listing([wall(32)], [grid()], mask=wall(32) < 5000)
    found = scores(listing, answer_of(NEAR_M))
    assert (found["depthvlm sparse"], found["dvbench sparse"]) == (0.5, 1.0)
    assert found["depthvlm dense"] == found["dvbench dense"] == 1.0


@pytest.mark.parametrize("folder", ["plain", "waymo_model", "nyuv2/scannet"])
def test_d12_d13_the_range_is_the_dataset_s_whatever_the_path_says(tmp_path, folder):
    """iBims-1 reaches 25 m; a path that names another dataset changes the paper's limit, not ours."""
    depth = flat(20.0)
    depth[:, 32:] = 30_000
    records = Listing([depth], [grid()]).convert(tmp_path / folder, tmp_path / "data")
    row = next(records.rows())
    assert (row["valid_min"], row["valid_max"]) == (0.005, 25.0)
    assert len(row["points"]) == len(grid()) // 2


def test_d14_a_listed_depth_beyond_the_range_is_never_truth(scores):
    """The map has nothing at the far half; the list says 40 m there, beyond what iBims-1 can measure."""
    depth = flat(NEAR_M)
    depth[:, 32:] = 0
    listed = [40.0 if x >= 32 else NEAR_M for x, _ in grid()]
    found = scores(Listing([depth], [grid()], listed_m=listed), answer_of(NEAR_M))
    assert (found["depthvlm sparse"], found["dvbench sparse"]) == (0.5, 1.0)


def test_d21_d23_points_are_counted_and_images_weigh_the_same(tmp_path):
    """An image with 1 point weighs as much as one with 48; asked, answered and hits are in the result."""
    listing = Listing([flat(NEAR_M), flat(FAR_M)], [grid()[:1], grid()])
    records = listing.convert(tmp_path / "raw", tmp_path / "data")
    model = dense_model(lambda view: np.full(view.picture.size[::-1], NEAR_M))
    arguments = (records, RunSettings(), DVBENCH, tmp_path / "runs", Silent())
    done = evaluate(model, model.options_type(), [], *arguments)
    (result,) = (result for result in done.results if result.mode == "sparse")
    assert result.scores["delta1"].value == 0.5
    assert (result.counts.asked, result.counts.answered, result.counts.hits) == (49, 49, 1)
    assert result.metrics["delta1_pooled"] == pytest.approx(1 / 49)


def test_d26_ray_distances_taken_for_depth_lose_points_off_the_axis():
    """1 / cos(36.9 degrees) = 1.25; beyond it the ray distance is out of the ratio, and hits as a ray."""
    z_m, factor = np.full(4, 5.0), np.array([1.0, 1.1, 1.2, 1.3])
    metrics = per_image_metrics(image_statistics(z_m * factor, z_m, ray_factor=factor, answers_ray=True))
    assert metrics["delta1"] == 0.75
    assert metrics["delta1_ray"] == 1.0


def delta1_without_a_sign_check(prediction_m, truth_m):
    """What other evaluators compute: both ratios of a negative answer are negative, hence below 1.25."""
    prediction, truth = np.asarray(prediction_m), np.asarray(truth_m)
    return float((np.maximum(prediction / truth, truth / prediction) < 1.25).mean())


def test_l1_a_negative_answer_is_never_right():
    truth = np.array([1.0, 2.0, 8.0])
    assert delta1_without_a_sign_check(np.full(3, -1.0), truth) == 1.0
    assert ratio_counts(np.full(3, -1.0), truth, 1.25).hits == 0
