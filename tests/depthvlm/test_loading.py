"""Opening checkpoints: what loads, what is refused and by which name, and the way to our own model type."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from depthvlm_golden import case, golden_folder, golden_model, needs_golden
from depthvlm_small import one_image, small_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, Qwen3VLForConditionalGeneration

from depthvlm_bench.depthvlm.loading import convert_checkpoint, load_depthvlm
from depthvlm_bench.depthvlm.modeling import DepthVLMForConditionalGeneration
from depthvlm_bench.errors import CheckError, DataMissingError, DvbenchError, UsageError

FP32 = {"dtype": "float32", "attention": "eager"}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ours")
    small_model().save_pretrained(folder)
    return folder


@pytest.fixture
def published(ours: Path, tmp_path: Path) -> Path:
    """As the authors published: stock's model type, a head, and no widths in the configuration."""
    folder = tmp_path / "published"
    shutil.copytree(ours, folder)
    edit(folder, model_type="qwen3_vl", architectures=["Qwen3VLForConditionalGeneration"])
    config = json.loads((folder / "config.json").read_text())
    kept = {name: value for name, value in config.items() if not name.startswith("depth_head_")}
    (folder / "config.json").write_text(json.dumps(kept | {"depth_head_type": "dpt"}))
    return folder


@pytest.fixture
def stock(published: Path) -> Path:
    """A stock Qwen3-VL: the same without a head."""
    change_weights(published, lambda tensors: drop(tensors, "depth_head."))
    return published


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def drop(tensors: dict[str, torch.Tensor], prefix: str) -> None:
    for name in [name for name in tensors if name.startswith(prefix)]:
        del tensors[name]


def in_shards(folder: Path) -> None:
    """The weights in two shards and an index, as large checkpoints come."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    listed = {name: file for file, part in parts.items() for name in part}
    index = {"metadata": {"total_size": 0}, "weight_map": listed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def same_weights(model: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())


@needs_golden
def test_the_golden_checkpoint_loads_whole_under_stocks_model_type(tmp_path: Path) -> None:
    model, this = golden_model(tmp_path), case("single")
    stored = load_file(tmp_path / "model.safetensors")
    assert len(stored) == 207
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in stored.items())
    depth = model(**this.inputs).depth_pred[0]
    torch.testing.assert_close(depth, torch.from_numpy(this.expected["depth.0"]), rtol=1e-4, atol=1e-4)


@needs_golden
def test_head_widths_come_from_the_tensors_not_from_the_configuration(tmp_path: Path) -> None:
    folder = golden_folder(tmp_path, depth_head_features=256, depth_head_out_channels=[1, 2, 3, 4])
    assert load_depthvlm(folder, **FP32).config.depth_head_features == 16


@pytest.mark.parametrize("form", ["ours", "published", "sharded"])
def test_every_form_of_a_checkpoint_is_the_same_model(
    form: str, ours: Path, published: Path, request: pytest.FixtureRequest
) -> None:
    folder = ours if form == "ours" else published
    if form == "sharded":
        in_shards(folder)
    model = load_depthvlm(folder, **FP32)
    assert isinstance(model, DepthVLMForConditionalGeneration)
    assert not model.training
    assert same_weights(model, small_model())


def test_an_mlp_head_is_found_by_its_tensors(tmp_path: Path) -> None:
    fields = {"depth_head_type": "mlp", "depth_head_mlp_hidden": 8, "depth_head_feature_mode": "concat"}
    model = small_model(**fields)
    model.save_pretrained(tmp_path)
    edit(tmp_path, depth_head_type="dpt", depth_head_mlp_hidden=99, depth_head_feature_mode="llm_last")
    assert same_weights(load_depthvlm(tmp_path, **FP32), model)


def test_the_head_stays_in_float32_unless_asked_otherwise(published: Path) -> None:
    exact, rounded = load_depthvlm(published), load_depthvlm(published, head_dtype="bfloat16")
    assert exact.dtype == rounded.dtype == torch.bfloat16
    assert {p.dtype for p in exact.depth_head.parameters()} == {torch.float32}
    assert {p.dtype for p in rounded.depth_head.parameters()} == {torch.bfloat16}
    assert torch.equal(exact.depth_head.projects[0].weight, small_model().depth_head.projects[0].weight)


def test_a_stock_model_gets_a_fresh_head_fixed_by_its_seed(
    stock: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    widths = {"depth_head_features": 16, "depth_head_out_channels": [8, 12, 16, 20]}
    fresh, again, other = (
        load_depthvlm(stock, init_head=True, head_options=widths, head_seed=seed, **FP32)
        for seed in (1, 1, 2)
    )
    assert same_weights(fresh, again) and not same_weights(fresh, other)
    assert same_weights(fresh.model, small_model().model)
    assert "MISSING" not in caplog.text + capfd.readouterr().err
    depth = fresh(**one_image()).depth_pred[0].detach()
    assert float(depth.mean()) == pytest.approx(0.693, abs=0.01)


def test_a_fresh_heads_form_can_be_chosen(stock: Path) -> None:
    model = load_depthvlm(stock, init_head=True, head_options={"depth_head_type": "mlp"}, **FP32)
    assert model.depth_head.mlp[0].weight.shape == (1024, 48)
    with pytest.raises(UsageError, match="depth_head_width"):
        load_depthvlm(stock, init_head=True, head_options={"depth_head_width": 1})


def test_a_trained_fresh_head_is_kept_with_the_model(stock: Path, tmp_path: Path) -> None:
    widths = {"depth_head_features": 4, "depth_head_out_channels": [4, 4, 4, 4]}
    model = load_depthvlm(stock, init_head=True, head_options=widths, **FP32)
    model.save_pretrained(tmp_path / "trained")
    assert same_weights(load_depthvlm(tmp_path / "trained", **FP32), model)


def test_a_model_in_two_precisions_survives_saving(published: Path, tmp_path: Path) -> None:
    model = load_depthvlm(published)
    model.save_pretrained(tmp_path / "saved")
    stored = load_file(tmp_path / "saved" / "model.safetensors")
    assert {t.dtype for name, t in stored.items() if name.startswith("depth_head.")} == {torch.float32}
    assert {t.dtype for name, t in stored.items() if name.startswith("model.")} == {torch.bfloat16}
    assert same_weights(load_depthvlm(tmp_path / "saved"), model)


Damage = Callable[[Path], object]


def without(prefix: str) -> Damage:
    return lambda folder: change_weights(folder, lambda tensors: drop(tensors, prefix))


def tensor_added(name: str) -> Damage:
    return lambda folder: change_weights(folder, lambda tensors: tensors.update({name: torch.zeros(3)}))


def shard_lost(folder: Path) -> None:
    in_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def index_wrong(folder: Path) -> None:
    in_shards(folder)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.visual.extra"] = "model-00001-of-00002.safetensors"
    path.write_text(json.dumps(index))


def index_elsewhere(folder: Path) -> None:
    in_shards(folder)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def truncated(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (without("depth_head."), CheckError, "no depth head"),
        (without("depth_head.norm.bias"), CheckError, "1 tensors missing: depth_head.norm.bias"),
        (without("depth_head.projects.2."), CheckError, "lacks depth_head.projects.2.weight"),
        (without("model.visual.merger."), CheckError, "missing: model.visual.merger"),
        (tensor_added("depth_head.camera"), CheckError, "1 tensors foreign: depth_head.camera"),
        (tensor_added("lora.weight"), CheckError, "foreign: lora.weight"),
        (lambda f: edit(f, vision_config={"hidden_size": 64}), CheckError, "tensors"),
        (lambda f: edit(f, model_type="qwen2_5_vl"), CheckError, "model type 'qwen2_5_vl'"),
        (lambda f: edit(f, text_config="none"), CheckError, "describes no DepthVLM"),
        (lambda f: (f / "config.json").write_text("{"), CheckError, "not readable as JSON"),
        (lambda f: (f / "config.json").write_text("[]"), CheckError, "not a JSON object"),
        (lambda f: (f / "config.json").unlink(), DataMissingError, "holds no model"),
        (lambda f: (f / "model.safetensors").unlink(), DataMissingError, "holds no weights"),
        (adapter, DataMissingError, "an adapter, no model"),
        (pickled, CheckError, "weights are pickled"),
        (truncated, CheckError, "weights are damaged"),
        (shard_lost, DataMissingError, "shards are missing: model-00002-of-00002"),
        (index_wrong, CheckError, "index and shard differ in model.visual.extra"),
        (index_elsewhere, CheckError, "lists no files"),
    ],
)
def test_what_is_no_whole_checkpoint_is_refused_by_name(
    published: Path, damage: Damage, error: type[DvbenchError], said: str
) -> None:
    damage(published)
    with pytest.raises(error) as caught:
        load_depthvlm(published)
    assert said in str(caught.value)
    assert str(published) in str(caught.value)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(published: Path) -> None:
    name = "depth_head.scratch.output_conv1.bias"
    change_weights(published, lambda tensors: tensors.update({name: torch.zeros(9)}))
    with pytest.raises(CheckError, match=r"output_conv1\.bias \(9,\) for \(8,\)"):
        load_depthvlm(published)


def test_a_checkpoint_without_a_head_is_told_how_to_get_one(stock: Path) -> None:
    with pytest.raises(CheckError, match="train --stage 1 --backbone"):
        load_depthvlm(stock)


def test_a_backbone_that_lacks_more_than_the_head_gets_no_fresh_one(stock: Path) -> None:
    change_weights(stock, lambda tensors: drop(tensors, "model.visual.pos_embed"))
    with pytest.raises(CheckError, match=r"missing: model\.visual\.pos_embed"):
        load_depthvlm(stock, init_head=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": "bf16"}, "bfloat16"),
        ({"head_dtype": "float64"}, "head dtype"),
        ({"device": "tpu:0"}, "device 'tpu:0'"),
        ({"attention": "magic"}, "magic"),
        ({"init_head": True}, "has a depth head already"),
        ({"head_options": {"depth_head_type": "mlp"}}, "go with init_head"),
        ({"revision": "abc"}, "no revisions"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_that_cannot_be_met_are_refused(ours: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_depthvlm(ours, **options)
    assert said in str(caught.value)


def test_a_repository_is_only_opened_at_a_pinned_revision(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="without a revision"):
        load_depthvlm("someone/model")
    with pytest.raises(DataMissingError, match="no such checkpoint folder"):
        load_depthvlm("some/where/else")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataMissingError, match="no such checkpoint folder"):
        load_depthvlm("file")


def test_a_repository_is_fetched_without_code_and_pickles(published: Path, monkeypatch: Any) -> None:
    asked: dict[str, Any] = {}

    def fetch(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(published)

    monkeypatch.setattr("depthvlm_bench.depthvlm.checkpoint.snapshot_download", fetch)
    model = load_depthvlm("someone/model", revision="0123abc", **FP32)
    assert same_weights(model, small_model())
    assert (asked["name"], asked["revision"]) == ("someone/model", "0123abc")
    assert not any(pattern.endswith((".py", ".bin", "*")) for pattern in asked["allow_patterns"][:5])


def test_a_repository_out_of_reach_is_one_line(monkeypatch: Any) -> None:
    def fetch(*_: Any, **__: Any) -> str:
        raise FileNotFoundError("no network\nand a long story")

    monkeypatch.setattr("depthvlm_bench.depthvlm.checkpoint.snapshot_download", fetch)
    with pytest.raises(DataMissingError, match=r"someone/model@0123abc.*no network") as caught:
        load_depthvlm("someone/model", revision="0123abc")
    assert "long story" not in str(caught.value)


def test_a_converted_checkpoint_holds_the_same_bytes_under_our_model_type(
    published: Path, tmp_path: Path
) -> None:
    (published / "tokenizer.json").write_text("{}")
    (published / "modeling_own.py").write_text("raise SystemExit")
    (published / "optimizer.pt").write_bytes(b"pickle")
    target = tmp_path / "converted"
    assert convert_checkpoint(published, target) == ["modeling_own.py", "optimizer.pt"]
    names = {path.name for path in target.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"} == names
    weights = "model.safetensors"
    assert (target / weights).read_bytes() == (published / weights).read_bytes()
    config = json.loads((target / "config.json").read_text())
    assert (config["model_type"], config["depth_head_features"]) == ("depthvlm_qwen3_vl", 16)
    assert same_weights(load_depthvlm(target, **FP32), small_model())
    opened = AutoModelForImageTextToText.from_pretrained(target, dtype=torch.float32)
    assert isinstance(opened, DepthVLMForConditionalGeneration)
    assert same_weights(opened, small_model())


def test_a_sharded_checkpoint_is_converted_shard_by_shard(published: Path, tmp_path: Path) -> None:
    in_shards(published)
    convert_checkpoint(published, tmp_path / "converted")
    assert same_weights(load_depthvlm(tmp_path / "converted", **FP32), small_model())


def test_a_conversion_overwrites_nothing_and_needs_a_head(published: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="target exists"):
        convert_checkpoint(published, tmp_path / "there")
    change_weights(published, lambda tensors: drop(tensors, "depth_head."))
    with pytest.raises(CheckError, match="no depth head"):
        convert_checkpoint(published, tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_weights_saved_twice_under_a_tie_are_read(published: Path) -> None:
    embedding = "model.language_model.embed_tokens.weight"
    change_weights(published, lambda t: t.update({"lm_head.weight": t[embedding].clone()}))
    assert same_weights(load_depthvlm(published, **FP32), small_model())


def test_an_untied_model_needs_its_own_output_weights(tmp_path: Path) -> None:
    untied = small_model(tie_word_embeddings=False)
    untied.save_pretrained(tmp_path)
    assert same_weights(load_depthvlm(tmp_path, **FP32), untied)
    change_weights(tmp_path, lambda tensors: drop(tensors, "lm_head."))
    with pytest.raises(CheckError, match=r"missing: lm_head\.weight"):
        load_depthvlm(tmp_path, **FP32)


def test_stock_transformers_still_reads_the_language_of_a_published_checkpoint(published: Path) -> None:
    stock = Qwen3VLForConditionalGeneration.from_pretrained(published, dtype=torch.float32).eval()
    model, given = load_depthvlm(published, attention="sdpa", dtype="float32"), one_image()
    asked = {"max_new_tokens": 4, "do_sample": False}
    types = (given["input_ids"] == 95).long()
    plain = stock.generate(**given, mm_token_type_ids=types, **asked)
    assert torch.equal(model.generate(**given, **asked, return_depth=True).sequences, plain)
