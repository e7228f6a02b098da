"""DepthVLM in the harness: its card, which checkpoints it takes, what identifies a run, what it answers."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("transformers")

import numpy as np
import torch
from converted import TinyImage, ramp_depth, write_tiny_set
from PIL import Image
from safetensors.torch import load_file, save_file

from depthvlm_bench.baselines import depthvlm as adapter
from depthvlm_bench.baselines.depthvlm import DEPTHVLM, DEPTHVLM_4B, DEPTHVLM_8B, DepthVLMOptions
from depthvlm_bench.cards import DatasetCard
from depthvlm_bench.config import load_toml
from depthvlm_bench.convert.run import ConvertRequest, convert
from depthvlm_bench.depthvlm.inference import DepthVLM, Shown
from depthvlm_bench.depthvlm.tiny import make_tiny
from depthvlm_bench.errors import DataMissingError, UsageError
from depthvlm_bench.geometry.camera import PinholeCamera
from depthvlm_bench.predict.contracts import View
from depthvlm_bench.predict.runner import RunSettings
from depthvlm_bench.predict.store import read_run
from depthvlm_bench.progress import Silent
from depthvlm_bench.records.reader import RecordSet, view_of
from depthvlm_bench.registry import CONVERTERS, load_converter, names
from depthvlm_bench.scoring.evaluate import evaluate
from depthvlm_bench.scoring.protocol import load_protocol

EXAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "published_annotations"
MODELS = (DEPTHVLM_4B, DEPTHVLM_8B, DEPTHVLM)
DVBENCH = load_protocol("dvbench-1")


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def camera(width, height, fx_px=1000.0):
    return PinholeCamera(width, height, fx_px, fx_px, (width - 1) / 2, (height - 1) / 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def options(folder):
    return DepthVLMOptions(checkpoint=str(folder), dtype="float32", device="cpu")


def loaded(options, model=DEPTHVLM):
    predictor = model.build()
    predictor.load(options)
    return predictor


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.card.id)
def test_the_card_says_that_it_needs_a_focal_length_and_an_extra(model):
    card = model.card
    assert (card.kind, card.camera, card.preferred_focal_px, card.asks) == ("dense", "required", 1000.0, "z")
    assert (card.extra, card.fitted, card.for_tests) == ("models", False, False)


def test_the_published_model_names_every_dataset_and_one_s_own_none():
    for model in (DEPTHVLM_4B, DEPTHVLM_8B):
        assert set(model.card.trained_on) == set(names(CONVERTERS)) - {"folder"}
        assert model.card.trained_on["waymo"] == "yes"
        assert model.card.trained_on["eth3d"] == "no"
        assert "train_datasets.conf" in model.card.trained_on_source
    assert not DEPTHVLM.card.trained_on
    assert set(DEPTHVLM_4B.card.repos) == {"JonnyYu828/DepthVLM-4B"}
    assert not DEPTHVLM_8B.card.repos


def test_only_datasets_with_a_training_split_were_trained_on():
    cards = Path(__file__).parents[2] / "manifests" / "datasets"
    for name, seen in DEPTHVLM_4B.card.trained_on.items():
        if seen == "yes":
            assert "train" in load_toml(DatasetCard, cards / f"{name}.toml").splits


def test_a_view_is_answered_as_the_model_does_when_asked_directly(folder, options):
    views = [View("a", noise(300, 200), camera(300, 200)), View("b", noise(256, 288), camera(256, 288))]
    maps = loaded(options).predict(views)
    direct = DepthVLM.open(folder, dtype="float32", device="cpu")
    expected = direct.answer([Shown(view.picture) for view in views])
    for found, answer in zip(maps, expected, strict=True):
        assert np.array_equal(found.depth_m, answer.depth_m)
        assert (found.crop, found.resize, found.text) == (None, "bilinear", None)


def test_a_native_picture_is_brought_to_the_model_s_focal_length(options):
    (found,) = loaded(options).predict([View("a", noise(600, 450), camera(600, 450, 1500.0))])
    assert found.depth_m.shape == (288, 384)


def test_text_is_written_where_it_is_asked_for(options):
    asked = replace(options, text=True, max_new_tokens=3)
    (found,) = loaded(asked).predict([View("a", noise(256, 288), camera(256, 288))])
    assert isinstance(found.text, str)


def test_options_reach_the_loader(folder, options, monkeypatch):
    seen = {}
    real = DepthVLM.open

    def opening(source, **known):
        seen.update(known, source=source)
        return real(source, **known)

    monkeypatch.setattr(DepthVLM, "open", opening)
    wanted = {"profile": "reference_v1", "max_pixels": 70_000, "head_dtype": "bfloat16", "attention": "eager"}
    loaded(replace(options, **wanted))
    assert seen == {"source": folder, "dtype": "float32", "device": "cpu", **wanted}


@pytest.fixture
def published_form(folder, tmp_path):
    """Our checkpoint as the paper's repository stores one: the stock type and class names."""
    copy = Path(shutil.copytree(folder, tmp_path / "published"))
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "qwen3_vl", "architectures": ["Qwen3VLForConditionalGeneration"]}
    for name in ("depth_head_features", "depth_head_out_channels"):
        config.pop(name)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_the_published_form_gives_the_same_map(published_form, options):
    view = View("a", noise(256, 288), camera(256, 288))
    ours, theirs = (
        loaded(replace(options, checkpoint=str(source))).predict([view])[0].depth_m
        for source in (options.checkpoint, published_form)
    )
    assert np.array_equal(ours, theirs)


def test_checkpoints_with_a_depth_head_are_recognised(folder, published_form, tmp_path):
    stock = make_tiny(tmp_path / "stock", kind="qwen3vl")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "llama"}')
    recognised = [DEPTHVLM.recognises(one) for one in (folder, published_form, stock, other)]
    assert recognised == [True, True, False, False]
    assert DEPTHVLM_4B.recognises is None


def test_a_sharded_checkpoint_is_recognised_by_its_index(published_form):
    tensors = sorted(load_file(published_form / "model.safetensors"))
    (published_form / "model.safetensors").rename(published_form / "model-00001-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "model-00001-of-00001.safetensors")}
    (published_form / "model.safetensors.index.json").write_text(json.dumps(index))
    assert DEPTHVLM.recognises(published_form)


def test_what_identifies_a_run_is_complete(folder, options):
    known = DEPTHVLM.identify(options)
    assert known.loaded == {
        "checkpoint": "model",
        "revision": None,
        "content_sha256": known.loaded["content_sha256"],
        "prompt_hash": known.loaded["prompt_hash"],
        "dtype": "float32",
        "head_dtype": "float32",
        "attention": "sdpa",
        "profile": "native",
        "max_pixels": None,
        "text": False,
        "question": None,
        "max_new_tokens": 128,
    }
    assert len(known.loaded["content_sha256"]) == 64
    assert known.machine["device"] == "cpu"
    assert known.machine["torch"] == torch.__version__


def test_a_label_says_what_is_no_default_and_which_weights(options):
    digest = DEPTHVLM.identify(options).loaded["content_sha256"]
    assert DEPTHVLM.identify(options).options == {"dtype": "float32", "checkpoint": f"model@{digest[:8]}"}


def test_the_device_is_no_part_of_a_run_and_all_else_is(options):
    def identity(**change):
        known = DEPTHVLM.identify(replace(options, **change))
        return known.options, known.loaded

    plain = identity()
    assert identity(device="auto") == plain
    others = [identity(**{name: value}) for name, value in CHANGES.items()]
    assert all(other != plain for other in others)


CHANGES = {
    "dtype": "bfloat16",
    "head_dtype": "bfloat16",
    "attention": "eager",
    "profile": "reference_v1",
    "max_pixels": 100_000,
    "text": True,
    "question": "How far?",
    "max_new_tokens": 5,
}


def change_a_weight(folder):
    tensors = load_file(folder / "model.safetensors")
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] += 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def change_a_token(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + " ")


def change_the_template(folder):
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text() + "\n")


@pytest.mark.parametrize("change", [change_a_weight, change_a_token, change_the_template])
def test_weights_are_known_by_their_content_and_not_by_their_place(folder, options, tmp_path, change):
    copy = Path(shutil.copytree(folder, tmp_path / "elsewhere" / "model"))
    moved = replace(options, checkpoint=str(copy))
    assert DEPTHVLM.identify(moved) == DEPTHVLM.identify(options)
    change(copy)
    assert DEPTHVLM.identify(moved).loaded != DEPTHVLM.identify(options).loaded


def test_a_commit_of_the_hub_is_recorded_and_its_files_are_not_read_again(folder, tmp_path, monkeypatch):
    """A snapshot's large files are links to blobs that are named by their hash."""
    snapshot = tmp_path / "snapshots" / ("c" * 40)
    shutil.copytree(folder, snapshot)
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (snapshot / "model.safetensors").rename(blobs / ("b" * 64))
    (snapshot / "model.safetensors").symlink_to(blobs / ("b" * 64))
    asked = []

    def downloaded(repository, revision=None, **known):
        asked.append((repository, revision))
        return str(snapshot)

    monkeypatch.setattr("depthvlm_bench.depthvlm.checkpoint.snapshot_download", downloaded)
    known = DEPTHVLM_4B.identify(DepthVLMOptions(device="cpu"))
    assert asked == [("JonnyYu828/DepthVLM-4B", "main")]
    assert known.loaded["checkpoint"] == "JonnyYu828/DepthVLM-4B"
    assert known.loaded["revision"] == "c" * 40
    assert known.options == {}
    before = known.loaded["content_sha256"]
    (blobs / ("b" * 64)).rename(blobs / ("d" * 64))
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(blobs / ("d" * 64))
    assert DEPTHVLM_4B.identify(DepthVLMOptions(device="cpu")).loaded["content_sha256"] != before


def test_without_weights_of_its_own_a_model_asks_for_them():
    for model in (DEPTHVLM_8B, DEPTHVLM):
        with pytest.raises(DataMissingError, match=r"no published weights.*--checkpoint DIR"):
            loaded(DepthVLMOptions(), model)


def test_a_missing_shard_is_named(published_form, options):
    index = {"weight_map": {"depth_head.norm.bias": "model-00002-of-00002.safetensors"}}
    (published_form / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(DataMissingError, match=r"1 of 1 weight files are not there.*model-00002-of-00002"):
        DEPTHVLM.identify(replace(options, checkpoint=str(published_form)))


def test_without_the_extra_the_pip_command_is_said(options, monkeypatch):
    monkeypatch.setattr(adapter, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(UsageError, match=r"needs torch.*pip install 'depthvlm-bench\[models\]'"):
        loaded(options)


@pytest.fixture(scope="module")
def listed_set(tmp_path_factory):
    """Two records whose picture is shown at 32 x 24, with a published list's pixels."""
    return write_tiny_set(tmp_path_factory.mktemp("data"), [TinyImage(name, ramp_depth()) for name in "ab"])


def scored(records, options, out, protocol=DVBENCH, model=DEPTHVLM, settings=None):
    settings = settings or RunSettings(batch=1)
    return evaluate(model, options, [], records, settings, protocol, out, Silent())


def test_a_result_records_checkpoint_precision_profile_and_attention(listed_set, options, tmp_path):
    done = scored(listed_set, options, tmp_path)
    made = done.results[0].provenance["run"]
    identity = DEPTHVLM.identify(options)
    assert made["loaded"] == identity.loaded
    assert made["machine"]["device"] == "cpu"
    stored = json.loads(done.paths[0].read_text())
    assert stored["provenance"]["run"]["loaded"]["content_sha256"] == identity.loaded["content_sha256"]
    assert stored["options"] == identity.options
    assert stored["prompt_hash"] == identity.loaded["prompt_hash"]
    assert stored["exposure"] == "unknown"


def test_other_weights_and_another_profile_are_other_runs(listed_set, options, tmp_path):
    other = make_tiny(tmp_path / "model", seed=5)
    changed = [options, replace(options, checkpoint=str(other)), replace(options, profile="reference_v1")]
    runs = [scored(listed_set, one, tmp_path / "out") for one in changed]
    assert len({done.run for done in runs}) == 3
    assert all(done.predicted == 2 for done in runs)
    again = scored(listed_set, replace(options, device="auto"), tmp_path / "out")
    assert (again.run, again.predicted, again.resumed) == (runs[0].run, 0, 2)


def test_what_it_wrote_is_kept_beside_its_values(listed_set, options, tmp_path):
    def texts(done):
        return set(read_run(done.run).predictions()["raw_text"].to_pylist())

    silent = scored(listed_set, options, tmp_path)
    told = scored(listed_set, replace(options, text=True, max_new_tokens=3), tmp_path)
    assert texts(silent) == {None}
    assert all(isinstance(text, str) for text in texts(told))
    nearest = [read_run(done.run).predictions()["nearest_m"].to_pylist() for done in (silent, told)]
    assert nearest[0] == nearest[1]


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(tmp_path, options, monkeypatch):
    records = write_tiny_set(tmp_path / "data", [TinyImage(name, ramp_depth()) for name in "abcde"])
    shown, notes = [], []
    real = DepthVLM.answer

    def scarce(self, batch, **known):
        shown.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, batch, **known)

    class Telling(Silent):
        def note(self, text):
            notes.append(text)

    monkeypatch.setattr(DepthVLM, "answer", scarce)
    done = evaluate(
        DEPTHVLM, options, [], records, RunSettings(batch=4), DVBENCH, tmp_path / "out", Telling()
    )
    assert done.predicted == 5
    assert done.results[0].complete
    assert shown == [4, 2, 1, 1, 1, 1, 1]
    assert ["2 from here on" in note for note in notes] == [True, False]
    monkeypatch.setattr(DepthVLM, "answer", real)
    whole = scored(records, options, tmp_path / "whole")
    assert done.results[0].metrics == whole.results[0].metrics


def test_the_camera_unknown_track_assumes_a_focal_length(listed_set, options, tmp_path):
    settings = RunSettings(input="native", camera_known=False, batch=1)
    done = scored(listed_set, options, tmp_path, settings=settings)
    assert done.results[0].track == "unknown"
    assert done.predicted == 2


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="no published examples beside the checkout")
def test_the_paper_s_protocol_indexes_the_raw_map_of_the_paper_s_preparation(folder, options, tmp_path):
    """Pixels of the 1342x1006 picture, as they are, in the 1344x1024 map."""
    first = tmp_path / "first.jsonl"
    first.write_text((EXAMPLES / "examples.jsonl").read_text().splitlines()[0] + "\n")
    request = ConvertRequest(EXAMPLES, tmp_path / "data", annotations=first)
    records = RecordSet(convert(load_converter("scannetpp"), request, Silent()).folder, "eval")
    as_the_paper = replace(options, **{**DEPTHVLM.compat_options, "head_dtype": "float32"})
    done = scored(records, as_the_paper, tmp_path, load_protocol("depthvlm-compat-1"))
    (row,) = records.rows()
    shown = view_of(row).picture
    raw = DepthVLM.open(folder, dtype="float32", device="cpu", profile="reference_v1").answer([Shown(shown)])
    assert (shown.size, raw[0].depth_m.shape) == ((1342, 1006), (1024, 1344))
    table = [r for r in read_run(done.run).predictions().to_pylist() if r["list"] == "listed"]
    at = [(point["y"], point["x"]) for point in row["compat_xy"]]
    assert [r["compat_index_m"] for r in table] == [float(raw[0].depth_m[place]) for place in at]
    assert [r["nearest_m"] for r in table] != [r["compat_index_m"] for r in table]
    assert done.results[0].provenance["run"]["loaded"]["profile"] == "reference_v1"


def test_the_paper_s_way_is_its_preparation_and_a_rounded_head():
    assert DEPTHVLM_4B.compat_options == {"profile": "reference_v1", "head_dtype": "bfloat16"}
    assert DepthVLMOptions(**DEPTHVLM_4B.compat_options) != DepthVLMOptions()
