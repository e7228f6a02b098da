import sys

import numpy as np
import pytest
from PIL import Image

from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.predict.outside.declared import Declaration
from depthvlm_bench.predict.outside.maps import READERS, read_map

RAW = np.array([[1000, 0, 2500], [65535, 1, 4001]], dtype=np.uint16)
METRES = np.where(RAW == 0, np.nan, RAW / 1000).astype(np.float32)
FLOATS = np.where(RAW == 0, 0, RAW / 1000).astype(np.float32)
MM = Declaration(png_scale=1000)


def write_pfm(path, values, order="<", scale=1.0, letters="Pf"):
    sign = "-" if order == "<" else ""
    header = f"{letters}\n{values.shape[1]} {values.shape[0]}\n{sign}{scale}\n".encode()
    path.write_bytes(header + values[::-1].astype(f"{order}f4").tobytes())


def write_exr(path, values, name="Y"):
    open_exr = pytest.importorskip("OpenEXR", reason="OpenEXR (extra exr) is not installed")
    header = {"compression": open_exr.ZIP_COMPRESSION, "type": open_exr.scanlineimage}
    open_exr.File(header, {name: np.ascontiguousarray(values)}).write(str(path))


WRITERS = {
    ".npy": lambda path: np.save(path, FLOATS),
    ".npz": lambda path: np.savez(path, depth=FLOATS, confidence=FLOATS),
    ".png": lambda path: Image.fromarray(RAW).save(path),
    ".tiff": lambda path: Image.fromarray(FLOATS).save(path),
    ".tif": lambda path: Image.fromarray(RAW).save(path),
    ".pfm": lambda path: write_pfm(path, FLOATS),
    ".exr": lambda path: write_exr(path, FLOATS),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_form_gives_the_same_metres(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path)
    stored = read_map(path, MM)
    assert stored.depth_m.dtype == np.float32
    np.testing.assert_array_equal(stored.depth_m, METRES)
    assert stored.said.split()[0] in suffix + "f"
    assert set(WRITERS) == set(READERS)


def test_pfm_of_the_other_byte_order_and_its_scale_is_only_told(tmp_path):
    write_pfm(tmp_path / "a.pfm", FLOATS, ">", scale=0.5)
    stored = read_map(tmp_path / "a.pfm", Declaration())
    np.testing.assert_array_equal(stored.depth_m, METRES)
    assert "0.5, not applied" in stored.said


@pytest.mark.parametrize("unit", ["m", "dm", "cm", "mm", "km", "in", "ft"])
def test_units_are_exact(tmp_path, unit):
    units = {"m": 1, "dm": 10, "cm": 100, "mm": 1000, "km": 0.001, "in": 1 / 0.0254, "ft": 1 / 0.3048}[unit]
    values = np.array([[1.25, 7.0]]) * units
    np.save(tmp_path / "a.npy", values)
    np.testing.assert_allclose(read_map(tmp_path / "a.npy", Declaration(unit=unit)).depth_m, [[1.25, 7]])
    scaled = read_map(tmp_path / "a.npy", Declaration(scale=units)).depth_m
    np.testing.assert_allclose(scaled, [[1.25, 7]])


def test_integers_take_png_scale_and_floats_the_unit(tmp_path):
    both = Declaration(unit="cm", png_scale=256)
    np.save(tmp_path / "i.npy", np.array([[512]], dtype=np.uint16))
    np.save(tmp_path / "f.npy", np.array([[512.0]]))
    assert read_map(tmp_path / "i.npy", both).depth_m == 2.0
    assert read_map(tmp_path / "f.npy", both).depth_m == np.float32(5.12)
    assert read_map(tmp_path / "i.npy", Declaration(unit="mm")).depth_m == np.float32(0.512)


def test_disparity_is_turned_over_as_declared(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[50.0, 0.0, 100.0]]))
    stored = read_map(tmp_path / "a.npy", Declaration(kind="disparity", scale=200))
    np.testing.assert_array_equal(stored.depth_m, np.float32([[4, np.nan, 2]]))


def test_negative_and_infinite_values_are_kept_as_they_are(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[-1.0, np.inf, np.nan]]))
    np.testing.assert_array_equal(
        read_map(tmp_path / "a.npy", Declaration()).depth_m, np.float32([[-1, np.inf, np.nan]])
    )


@pytest.mark.parametrize("name", ["i.png", "i.tif", "i.npy"])
def test_integers_without_a_scale_are_refused(tmp_path, name):
    if name.endswith("npy"):
        np.save(tmp_path / name, RAW)
    else:
        Image.fromarray(RAW).save(tmp_path / name)
    with pytest.raises(UsageError, match=r"declared scale.*png_scale") as caught:
        read_map(tmp_path / name, Declaration())
    assert name in caught.value.where


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png", ".tiff", ".tif", ".pfm", ".exr"])
def test_a_truncated_file_is_one_line_that_names_it(tmp_path, suffix):
    path = tmp_path / f"broken{suffix}"
    WRITERS[suffix](path)
    truncated(path)
    with pytest.raises(CheckError) as caught:
        read_map(path, MM)
    assert path.name in caught.value.one_line()
    assert "\n" not in caught.value.one_line()


@pytest.mark.parametrize("suffix", READERS)
def test_a_file_of_another_kind_is_one_line_that_names_it(tmp_path, suffix):
    if suffix == ".exr":
        pytest.importorskip("OpenEXR")
    for content in (b"", b"hello world, this is no map at all\n" * 9):
        path = tmp_path / f"broken{suffix}"
        path.write_bytes(content)
        with pytest.raises(CheckError) as caught:
            read_map(path, MM)
        assert path.name in caught.value.one_line()


@pytest.mark.parametrize("shape", [(4,), (1, 4, 5), (4, 5, 1), (0, 5)])
def test_only_two_axes_are_a_map(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.ones(shape))
    with pytest.raises(CheckError, match=r"\(h, w\).*a\.npy.*shape"):
        read_map(tmp_path / "a.npy", Declaration())


@pytest.mark.parametrize("values", [np.ones((2, 2), complex), np.ones((2, 2), bool), np.full((2, 2), "a")])
def test_only_real_numbers_are_depth(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(CheckError, match=r"real numbers.*a\.npy"):
        read_map(tmp_path / "a.npy", Declaration())


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(CheckError, match=r"a\.npy"):
        read_map(tmp_path / "a.npy", Declaration())


def test_an_npz_of_several_arrays_needs_a_known_name(tmp_path):
    np.savez(tmp_path / "a.npz", one=FLOATS, two=FLOATS)
    with pytest.raises(CheckError, match=r"one, two"):
        read_map(tmp_path / "a.npz", Declaration())
    np.savez(tmp_path / "b.npz", anything=FLOATS)
    np.testing.assert_array_equal(read_map(tmp_path / "b.npz", Declaration()).depth_m, METRES)


def test_previews_are_refused(tmp_path):
    Image.new("L", (3, 2)).save(tmp_path / "a.png")
    Image.new("RGB", (3, 2)).save(tmp_path / "a.tif")
    write_pfm(tmp_path / "a.pfm", np.ones((2, 9)), letters="PF")
    for name in ("a.png", "a.tif", "a.pfm"):
        with pytest.raises(CheckError, match=name):
            read_map(tmp_path / name, MM)


def test_without_openexr_the_pip_command_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    (tmp_path / "a.exr").write_bytes(b"")
    with pytest.raises(DataMissingError, match=r"pip install 'depthvlm-bench\[exr\]'"):
        read_map(tmp_path / "a.exr", Declaration())


@pytest.mark.parametrize(("name", "values"), [("Z", FLOATS), ("depth", FLOATS)])
def test_exr_channels_by_name(tmp_path, name, values):
    write_exr(tmp_path / "a.exr", values, name)
    np.testing.assert_array_equal(read_map(tmp_path / "a.exr", Declaration()).depth_m, METRES)


def test_an_exr_picture_is_no_map(tmp_path):
    write_exr(tmp_path / "a.exr", np.ones((2, 3, 3), np.float32), "RGB")
    with pytest.raises(CheckError, match="one channel"):
        read_map(tmp_path / "a.exr", Declaration())
