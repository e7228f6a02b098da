"""dvbench predict: what it writes and says, and how it fails; with a model without torch, and with one."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import ExifTags, Image

needs_models = pytest.mark.skipif(find_spec("transformers") is None, reason="the extra `models` is not here")
CONSTANT = ("--model", "constant", "-o", "depth_m=3")


def write_photo(path, size=(40, 30), mode="RGB", *, orientation=None, focal_35_mm=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    if focal_35_mm is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = focal_35_mm
    Image.fromarray(pixels).convert(mode).save(path, exif=exif)
    return path


@pytest.fixture
def photo(tmp_path):
    return write_photo(tmp_path / "photo.png")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_depth_cloud_and_facts_are_written_and_named(photo, out, dvbench):
    done = dvbench("predict", photo, *CONSTANT, "--fx", "35", "--out", out)
    assert done.code == 0, done.text
    names = ["photo.colour.png", "photo.depth.png", "photo.json", "photo.npy", "photo.ply"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert all(str(out / name) in done.out for name in names)
    assert f"{photo}: 40x30\n" in done.out
    assert "focal length 35 px as given" in done.out
    assert "depth 3.00 to 3.00 m, on a map of 40x30" in done.out
    assert "(1000 units a metre, 0 unknown)" in done.out
    assert "answer" not in done.out
    assert np.load(out / "photo.npy").shape == (30, 40)
    assert (np.load(out / "photo.npy") == 3.0).all()


def test_the_facts_say_how_the_camera_is_known(photo, out, dvbench):
    dvbench("predict", photo, *CONSTANT, "--fov", "90", "--out", out)
    facts = json.loads((out / "photo.json").read_text())
    assert facts["camera"] == {
        "width": 40,
        "height": 30,
        "fx_px": pytest.approx(20.0),
        "fy_px": pytest.approx(20.0),
        "cx_px": 19.5,
        "cy_px": 14.5,
    }
    assert facts["focal_length"] == "fov"
    assert facts["made_with"]["model"] == "constant"
    assert (facts["depth_range_m"], facts["depth_png_units_per_m"]) == ([3.0, 3.0], 1000.0)


def test_orientation_and_focal_length_of_exif_are_applied_and_said(tmp_path, out, dvbench):
    photo = write_photo(tmp_path / "a.jpg", (400, 300), orientation=6, focal_35_mm=26)
    done = dvbench("predict", photo, *CONSTANT, "--exif", "--out", out)
    assert f"{photo}: 300x400, EXIF orientation 6 applied\n" in done.out
    assert "focal length 300.5 px from EXIF (26 mm in 35 mm terms)" in done.out
    assert np.load(out / "a.npy").shape == (400, 300)


def test_an_assumed_focal_length_is_said(photo, out, dvbench):
    done = dvbench("predict", photo, *CONSTANT, "--out", out)
    assert "no focal length is known (EXIF: no focal length): 48.0 px assumed" in done.out
    assert "--fx PX or --fov DEGREES" in done.out


def test_photographs_of_one_name_do_not_overwrite_each_other(tmp_path, out, dvbench):
    photos = [write_photo(tmp_path / folder / "photo.png") for folder in ("a", "b", "c")]
    done = dvbench("predict", *photos, *CONSTANT, "--out", out)
    assert done.code == 0
    assert sorted(path.name for path in out.glob("*.npy")) == ["photo-2.npy", "photo-3.npy", "photo.npy"]


def test_one_bad_photograph_leaves_the_others_alone(photo, tmp_path, out, dvbench):
    (tmp_path / "notes.jpg").write_text("no picture")
    depth = tmp_path / "depth.png"
    Image.new("I;16", (40, 30)).save(depth)
    done = dvbench("predict", tmp_path / "notes.jpg", photo, depth, *CONSTANT, "--out", out)
    assert done.code == 4
    assert "depth 3.00 to 3.00 m" in done.out
    lines = done.err.splitlines()
    assert [line for line in lines if "notes.jpg" in line and "no picture that can be read" in line]
    assert [line for line in lines if "depth.png" in line and "'I;16' is no photograph" in line]
    assert lines[-1].startswith("error: 2 of 3 photographs have no depth")
    assert len(list(out.glob("*.npy"))) == 1


def test_json_is_the_facts_of_each(photo, tmp_path, out, dvbench):
    other = write_photo(tmp_path / "b.png", (20, 20), "RGBA")
    told = json.loads(dvbench("predict", photo, other, *CONSTANT, "--out", out, "--json").out)
    assert [facts["photo"] for facts in told] == ["photo.png", "b.png"]
    assert told[1]["files"]["npy"] == str(out / "b.npy")
    assert told[1]["map_size"] == [20, 20]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "constant-2n"], 2, ["unknown model", "did you mean 'constant-2m'"]),
        (["--model", "oracle"], 2, ["answers points"]),
        (["--model", "row-prior"], 2, ["is fitted on converted sets", "dvbench eval"]),
        (["--model", "constant-2m", "--fx", "500", "--fov", "60"], 2, ["exclude each other"]),
        (["--model", "constant-2m", "--fx", "-5"], 2, ["no focal length in pixels"]),
        (["--model", "constant-2m", "--fov", "190"], 2, ["between 0 and 180"]),
        (["--model", "constant-2m", "--exif"], 3, ["EXIF data do not tell", "photo.png", "--fx"]),
        (["--model", "constant-2m", "--checkpoint", "x"], 2, ["loads no checkpoint"]),
        (["--model", "./nowhere"], 3, ["no checkpoint here", "config.json"]),
        ([], 2, ["--model"]),
    ],
)
def test_a_mistake_is_one_line_with_the_right_exit_code(photo, out, dvbench, arguments, code, words):
    done = dvbench("predict", photo, *arguments, "--out", out)
    assert done.code == code
    for word in words:
        assert word in done.error
    assert not out.exists()


def test_a_photograph_that_is_not_there_is_one_line(tmp_path, out, dvbench):
    done = dvbench("predict", tmp_path / "none.jpg", *CONSTANT, "--out", out)
    assert done.code == 3
    assert "no such photograph" in done.error


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint that answers 2.5 m everywhere."""
    from depthvlm_bench.depthvlm.tiny import make_tiny

    return make_tiny(tmp_path_factory.mktemp("tiny") / "model", answer_m=2.5)


@needs_models
def test_a_checkpoint_gives_depth_and_an_answer(tmp_path, tiny, out, dvbench):
    """At its focal length, 1,000 px, the picture is twice as wide."""
    photo = write_photo(tmp_path / "a.png", (160, 120))
    brief = ("-o", "max_new_tokens=3", "-o", "dtype=float32")
    done = dvbench("predict", photo, "--model", tiny, *brief, "--fx", "500", "--out", out)
    assert done.code == 0, done.text
    assert "depth 2.50 to 2.50 m, on a map of 320x256" in done.out
    assert "  answer: " in done.out
    assert np.load(out / "a.npy") == pytest.approx(2.5, rel=1e-5)
    facts = json.loads((out / "a.json").read_text())
    assert isinstance(facts["answer"], str)
    assert facts["made_with"]["model"] == "depthvlm"
    assert len(facts["made_with"]["content_sha256"]) == 64
    with Image.open(out / "a.depth.png") as stored:
        assert (np.asarray(stored) == 2500).all()


@needs_models
def test_text_can_be_left_out(tmp_path, tiny, out, dvbench):
    photo = write_photo(tmp_path / "a.png", (160, 120))
    named = ("--model", "depthvlm-4b", "--checkpoint", tiny)
    done = dvbench("predict", photo, *named, "-o", "text=false", "--out", out)
    assert done.code == 0, done.text
    assert "answer" not in done.out
    assert json.loads((out / "a.json").read_text())["answer"] is None


@needs_models
def test_memory_that_runs_out_ends_one_photograph_and_not_the_next(tmp_path, tiny, out, dvbench, monkeypatch):
    import torch

    from depthvlm_bench.depthvlm.inference import DepthVLM

    photos = [
        write_photo(tmp_path / name, size) for name, size in (("a.png", (400, 300)), ("b.png", (40, 30)))
    ]
    real = DepthVLM.answer

    def scarce(self, shown, **known):
        if shown[0].picture.width > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, shown, **known)

    monkeypatch.setattr(DepthVLM, "answer", scarce)
    done = dvbench("predict", *photos, "--model", tiny, "-o", "text=false", "--out", out)
    assert done.code == 4
    assert "out of memory with a single picture [a]" in done.err
    assert {path.stem.partition(".")[0] for path in out.iterdir()} == {"b"}


@needs_models
def test_a_checkpoint_without_a_depth_head_is_refused(photo, tmp_path, out, dvbench):
    from depthvlm_bench.depthvlm.tiny import make_tiny

    stock = make_tiny(tmp_path / "stock", kind="qwen3vl")
    done = dvbench("predict", photo, "--model", stock, "--out", out)
    assert done.code == 2
    for words in ("no model loads this checkpoint", "lacks its depth head", "dvbench train --stage 1"):
        assert words in done.error
    named = dvbench("predict", photo, "--model", "depthvlm-4b", "--checkpoint", stock, "--out", out)
    assert named.code == 1
    assert "no depth head" in named.error
