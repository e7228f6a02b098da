"""Where a model runs, its own adapter measures exactly what is computed from its sizes."""

from dataclasses import dataclass, replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from PIL import Image
from predictors import card
from transformers import Qwen3VLForConditionalGeneration

from depthvlm_bench.baselines.depthvlm import DEPTHVLM, DepthVLMOptions
from depthvlm_bench.depthvlm.chat import encode, pad
from depthvlm_bench.depthvlm.cost.checkpoints import read_checkpoint
from depthvlm_bench.depthvlm.cost.measure import measure
from depthvlm_bench.depthvlm.cost.parameters import parameters
from depthvlm_bench.depthvlm.cost.pictures import Picture
from depthvlm_bench.depthvlm.cost.ways import ALONE, map_costs
from depthvlm_bench.depthvlm.inference import load_tokenizer
from depthvlm_bench.depthvlm.preprocess import model_sizes, prepare
from depthvlm_bench.depthvlm.tiny import make_tiny
from depthvlm_bench.frames import NoOptions
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.predict.contracts import Model, PointAnswer, View

SIZE = (320, 256)
PICTURE = Picture(SIZE)
VIEW = View("one", Image.new("RGB", SIZE, (9, 200, 30)), PinholeCamera(*SIZE, 1000.0, 1000.0, 159.5, 127.5))
PLAIN = {"dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny") / "depthvlm")


@pytest.fixture(scope="module")
def stock_checkpoint(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny") / "qwen3vl", kind="qwen3vl")


def computed(folder, measured, variant, *, answer_tokens=1):
    """The cost of a checkpoint whose prompt has as many tokens as were seen."""
    model = read_checkpoint(folder)
    seen = map_costs(model, PICTURE)[0].seen.tokens
    text = round(measured.watched.prefill_tokens / measured.questions) - seen
    sheet = replace(model.sheet, tokens_before=0, tokens_after=text, answer_tokens=answer_tokens)
    costs = map_costs(replace(model, sheet=sheet), PICTURE)
    return next(cost for cost in costs if variant in (None, cost.variant))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_one_pass_for_depth_alone(checkpoint, attention):
    options = DepthVLMOptions(checkpoint=str(checkpoint), attention=attention, **PLAIN)
    measured = measure(DEPTHVLM, options, VIEW, runs=1)
    cost = computed(checkpoint, measured, None)
    assert measured.watched.flops == cost.flops
    assert measured.watched.decode_steps == cost.decode_steps == 0
    assert measured.device == "cpu"


def test_one_pass_for_depth_and_a_written_answer(checkpoint):
    options = DepthVLMOptions(checkpoint=str(checkpoint), text=True, max_new_tokens=6, **PLAIN)
    measured = measure(DEPTHVLM, options, VIEW, runs=1)
    cost = computed(checkpoint, measured, "depth and answer", answer_tokens=6)
    assert measured.watched.decode_steps == cost.decode_steps == 5
    assert measured.watched.flops == cost.flops


@dataclass
class OneQuestionAPixel:
    """Asks stock Qwen3-VL one question for each pixel, each with a picture of its own."""

    folder: object
    new_tokens: int

    def load(self, options):
        self.model = Qwen3VLForConditionalGeneration.from_pretrained(self.folder, dtype="float32").eval()
        self.tokenizer = load_tokenizer(self.folder)

    def ask(self, view, points_px):
        return [self._ask(view.picture.copy(), xy) for xy in points_px.astype(int).tolist()]

    def _ask(self, picture, xy):
        picture.putpixel(tuple(xy), (255, 0, 0))
        prepared = prepare(picture)
        asked = [{"type": "image"}, {"type": "text", "text": "How far is the red point?"}]
        encoded = encode(self.tokenizer, [{"role": "user", "content": asked}], [prepared], supervise=False)
        batch = pad([encoded], self.tokenizer.pad_token_id, "left")
        del batch["labels"]
        known = {"min_new_tokens": self.new_tokens, "max_new_tokens": self.new_tokens, "do_sample": False}
        pictures = {"pixel_values": prepared.pixel_values, "image_grid_thw": prepared.grid_thw[None]}
        with torch.inference_mode():
            self.model.generate(**batch, **pictures, **known)
        return PointAnswer(1.0)


def test_a_question_a_pixel_brought_to_all_pixels(stock_checkpoint):
    model = Model(card("point"), lambda: OneQuestionAPixel(stock_checkpoint, 4))
    measured = measure(model, NoOptions(), VIEW, runs=1, questions=1)
    cost = computed(stock_checkpoint, measured, ALONE, answer_tokens=4)
    assert measured.scaled
    assert measured.questions == cost.questions == 320 * 256
    assert measured.watched.flops == cost.flops
    assert measured.watched.prefill_tokens == cost.prefill_tokens
    assert measured.watched.decode_steps == cost.decode_steps == 3 * 320 * 256


@pytest.mark.parametrize("tied", ["checkpoint", "stock_checkpoint"])
def test_a_checkpoint_has_the_counted_parameters(tied, request):
    folder = request.getfixturevalue(tied)
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        stored = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 - no mapping
    assert stored == sum(parameters(read_checkpoint(folder)).values())


@pytest.mark.parametrize(
    "size", [(1342, 1006), (300, 2000), (33, 41), (5000, 4000), (640, 480), (1536, 2048)]
)
@pytest.mark.parametrize("profile", ["native", "reference_v1"])
def test_pictures_get_the_size_that_the_models_own_preparation_gives_them(checkpoint, size, profile):
    seen = map_costs(read_checkpoint(checkpoint), Picture(size), profile)[0].seen
    assert seen.resized == model_sizes(size, profile)[-1]
