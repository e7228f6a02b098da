"""Checkpoints of transformers' models: found or refused before anything is loaded, and never half loaded."""

import json
import shutil

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from native_models import loaded
from safetensors.torch import load_file, save_file

from depthvlm_bench.baselines.depth_anything_v2 import INDOOR_S, OUTDOOR_L, OWN
from depthvlm_bench.baselines.depth_pro import DEPTH_PRO
from depthvlm_bench.baselines.zoedepth import ZOEDEPTH
from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.predict.tiny import make_tiny

MODELS = (ZOEDEPTH, DEPTH_PRO, INDOOR_S)


def by_name(models):
    return pytest.mark.parametrize("model", models, ids=[model.card.id for model in models])


RELATIVE = (
    "LiheYoung/depth-anything-large-hf",
    "depth-anything/Depth-Anything-V2-Small-hf",
    "depth-anything/depth-anything-v2-large",
    "Intel/dpt-large",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """model id -> folder of a tiny checkpoint."""
    base = tmp_path_factory.mktemp("made")
    return {model.card.id: make_tiny(model.card.id, base / model.card.id) for model in MODELS}


@pytest.fixture
def copied(made, tmp_path):
    def copy(model):
        return shutil.copytree(made[model.card.id], tmp_path / "copy")

    return copy


@pytest.mark.parametrize("name", RELATIVE)
@by_name((INDOOR_S, ZOEDEPTH))
def test_known_relative_repositories_are_refused_before_a_byte_is_fetched(name, model, monkeypatch):
    monkeypatch.setattr("depthvlm_bench.depthvlm.checkpoint.snapshot_download", None)
    with pytest.raises(UsageError, match=f"{name} is a relative-depth checkpoint") as caught:
        model.identify(model.options_type(checkpoint=name))
    assert "depth-anything/Depth-Anything-V2-Metric-" in caught.value.next_step


def test_the_authors_own_files_are_refused_with_the_name_of_what_loads():
    asked = "depth-anything/Depth-Anything-V2-Metric-VKITTI-Large"
    with pytest.raises(UsageError, match="pickled") as caught:
        OUTDOOR_L.identify(OUTDOOR_L.options_type(checkpoint=asked))
    assert next(iter(OUTDOOR_L.card.repos)) in caught.value.next_step


@by_name(MODELS)
def test_a_checkpoint_of_another_model_is_refused_by_name(model, made):
    other = made["zoedepth" if model is not ZOEDEPTH else "depth-pro"]
    with pytest.raises(UsageError, match=f"{other.name} is no .* checkpoint"):
        loaded(model, other)


def test_one_s_own_model_has_no_published_weights():
    with pytest.raises(DataMissingError, match="no published weights"):
        OWN.identify(OWN.options_type())


@by_name(MODELS)
def test_no_such_folder_is_said(model, tmp_path):
    with pytest.raises(DataMissingError, match="no such checkpoint folder"):
        loaded(model, tmp_path / "nowhere" / "at-all")


@by_name(MODELS)
def test_a_folder_without_picture_settings_is_not_given_made_up_ones(model, copied):
    folder = copied(model)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(DataMissingError, match="how its pictures are prepared"):
        loaded(model, folder)


@by_name((ZOEDEPTH, INDOOR_S))
def test_picture_settings_of_another_kind_are_refused(model, copied):
    folder = copied(model)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_processor_type": "ViTImageProcessor"}))
    with pytest.raises(UsageError, match="pictures of another kind"):
        loaded(model, folder)


def test_settings_as_older_releases_wrote_them_are_read(copied):
    folder = copied(INDOOR_S)
    path = folder / "preprocessor_config.json"
    older = {"image_processor_type": "DPTImageProcessorFast", "_valid_processor_keys": ["images"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | older))
    assert loaded(INDOOR_S, folder).processor.size["height"] == 56


def change(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@by_name(MODELS)
def test_weights_that_are_missing_are_named_and_not_drawn_at_random(model, copied):
    folder = copied(model)
    gone = []

    def drop(tensors):
        gone.append(sorted(name for name in tensors if "head" in name)[0])
        del tensors[gone[0]]

    change(folder, drop)
    with pytest.raises(CheckError, match="1 of the model's tensors") as caught:
        loaded(model, folder)
    assert gone[0] in caught.value.why


def test_weights_that_have_no_part_in_an_answer_may_be_missing(copied):
    folder = copied(DEPTH_PRO)

    def drop(tensors):
        for name in list(tensors):
            if name.endswith("mask_token") or "fusion_stage.intermediate.0.residual_layer1." in name:
                del tensors[name]

    before = len(load_file(folder / "model.safetensors"))
    change(folder, drop)
    assert len(load_file(folder / "model.safetensors")) == before - 3 - 4
    loaded(DEPTH_PRO, folder)


@by_name(MODELS)
def test_a_device_that_is_not_there_is_said(model, made):
    predictor = model.build()
    options = model.options_type(checkpoint=str(made[model.card.id]), device="cuda:99")
    with pytest.raises(UsageError, match="cuda:99"):
        predictor.load(options)
