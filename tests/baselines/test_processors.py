"""Our arithmetic against transformers' own processors by torchvision, where an environment has it."""

from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("torch")
pytest.importorskip("transformers")
if find_spec("torchvision") is None:
    pytest.skip("needs torchvision, which the adapters do without", allow_module_level=True)

import torch
from native_models import loaded, noise, view
from transformers import DepthProImageProcessor, DPTImageProcessor, ZoeDepthImageProcessor

from depthvlm_bench.baselines import zoedepth
from depthvlm_bench.baselines._checkpoints import Found
from depthvlm_bench.baselines._transformers import load_processor
from depthvlm_bench.baselines.depth_anything_v2 import INDOOR_S
from depthvlm_bench.baselines.depth_pro import DEPTH_PRO, PictureSettings
from depthvlm_bench.baselines.zoedepth import ZOEDEPTH
from depthvlm_bench.predict.tiny import make_tiny

SIZES = ((320, 240), (333, 517))
# The published sizes; the tiny checkpoints' are smaller.
PUBLISHED = {"zoedepth": (384, 512), "depth-pro": (1536, 1536), INDOOR_S.card.id: (518, 518)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    base = tmp_path_factory.mktemp("made")
    return {name: make_tiny(name, base / name) for name in PUBLISHED}


def found(folder):
    return Found(folder.name, folder, None, {})


def published(name, kind, folder):
    height, width = PUBLISHED[name]
    return kind.from_pretrained(folder, size={"height": height, "width": width})


def pixels(processor, picture):
    return processor(images=picture, return_tensors="pt")["pixel_values"].numpy()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_depth_pro_s_pictures_are_the_processor_s(made, size):
    theirs = published("depth-pro", DepthProImageProcessor, made["depth-pro"])
    height, width = PUBLISHED["depth-pro"]
    ours = replace(PictureSettings.of(found(made["depth-pro"])), height=height, width=width)
    assert_allclose(ours.prepare(noise(*size)).numpy(), pixels(theirs, noise(*size)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_depth_pro_s_maps_are_the_processor_s(made, size):
    predictor, shown = loaded(DEPTH_PRO, made["depth-pro"]), view(*size)
    canonical = torch.from_numpy(np.random.default_rng(0).uniform(0.0, 3.0, (1, 128, 128)).astype(np.float32))
    said = SimpleNamespace(predicted_depth=canonical, field_of_view=torch.tensor([53.2]))
    theirs = DepthProImageProcessor().post_process_depth_estimation(said, target_sizes=[size[::-1]])
    ours = predictor._map(canonical[0], float(said.field_of_view[0]), shown)
    assert_allclose(ours.depth_m, theirs[0]["predicted_depth"].numpy(), rtol=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_zoedepth_s_pictures_are_alike_by_pillow_and_by_torchvision(made, size):
    by_pillow = load_processor(found(made["zoedepth"]), zoedepth.PROCESSOR)
    by_torchvision = ZoeDepthImageProcessor.from_pretrained(made["zoedepth"])
    for processor in (by_pillow, by_torchvision):
        height, width = PUBLISHED["zoedepth"]
        processor.size = type(processor.size)(height=height, width=width)
    assert_allclose(pixels(by_pillow, noise(*size)), pixels(by_torchvision, noise(*size)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_zoedepth_s_maps_are_the_processor_s(made, size, flip):
    predictor, shown = loaded(ZOEDEPTH, made["zoedepth"], flip=flip), view(*size)
    theirs = ZoeDepthImageProcessor.from_pretrained(made["zoedepth"])
    inputs = predictor.processor(images=shown.picture, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        said, mirrored = predictor.model(inputs), predictor.model(inputs.flip(-1))
    known = {"source_sizes": [size[::-1]], "outputs_flipped": mirrored if flip else None}
    expected = theirs.post_process_depth_estimation(said, **known)[0]["predicted_depth"].numpy()
    assert_allclose(predictor.predict([shown])[0].depth_m, expected, rtol=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_depth_anything_s_pictures_differ_by_two_grey_levels_of_noise_at_most(made, size):
    folder = made[INDOOR_S.card.id]
    by_pillow, by_torchvision = (
        load_processor(found(folder), "DPTImageProcessor"),
        DPTImageProcessor.from_pretrained(folder),
    )
    for processor in (by_pillow, by_torchvision):
        processor.size = type(processor.size)(height=518, width=518)
    ours, theirs = pixels(by_pillow, noise(*size)), pixels(by_torchvision, noise(*size))
    level = 1 / 255 / np.array(by_pillow.image_std)[:, None, None]
    assert ours.shape == theirs.shape
    apart = np.abs((ours - theirs) / level)
    assert apart.max() < 2.01
    assert apart.mean() < 0.1


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_depth_anything_s_maps_are_the_processor_s_within_the_head_s_range(made, size):
    predictor, shown = loaded(INDOOR_S, made[INDOOR_S.card.id]), view(*size)
    raw = torch.from_numpy(np.random.default_rng(0).uniform(0.1, 19.9, (1, 70, 84)).astype(np.float32))
    theirs = DPTImageProcessor().post_process_depth_estimation(
        SimpleNamespace(predicted_depth=raw), target_sizes=[size[::-1]]
    )
    expected = np.clip(theirs[0]["predicted_depth"].numpy(), 0.001, 20.0)
    assert_allclose(predictor._finished(raw[0], shown).depth_m, expected, rtol=1e-5)
