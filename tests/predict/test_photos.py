import math

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.predict.photos import FULL_FRAME_DIAGONAL_MM, as_rgb, exif_focal, lens_of, open_photo

TAG = ExifTags.Base
SIZE = (40, 30)


def noise(size=SIZE, seed=0):
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def save(path, picture=None, *, orientation=None, tags=None):
    picture = picture or noise()
    exif = Image.Exif()
    if orientation is not None:
        exif[TAG.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif).update(tags or {})
    picture.save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_comes_upright_and_says_what_was_applied(tmp_path, orientation):
    stored = noise()
    photo = open_photo(save(tmp_path / "a.png", stored, orientation=orientation))
    picture = photo.picture()
    assert photo.orientation == orientation
    assert photo.size == picture.size == (SIZE if orientation < 5 else SIZE[::-1])
    tagged = stored.copy()
    tagged.getexif()[TAG.Orientation] = orientation
    assert np.array_equal(np.asarray(picture), np.asarray(ImageOps.exif_transpose(tagged)))
    assert picture.info == {}


def test_a_quarter_turn_is_clockwise(tmp_path):
    """Orientation 6: the stored left column is the upright top row."""
    stored = noise()
    upright = np.asarray(open_photo(save(tmp_path / "a.png", stored, orientation=6)).picture())
    assert np.array_equal(upright[0], np.asarray(stored)[::-1, 0])


@pytest.mark.parametrize("found", [0, 9, 77])
def test_an_orientation_that_is_none_is_not_applied(tmp_path, found):
    photo = open_photo(save(tmp_path / "a.png", orientation=found))
    assert (photo.orientation, photo.size) == (1, SIZE)


def test_a_focal_length_in_35_mm_terms_goes_over_the_diagonal():
    """36 mm on 36 x 24 mm is as many pixels as a 3:2 picture is wide; other shapes share the diagonal."""
    assert exif_focal({TAG.FocalLengthIn35mmFilm: 36}, (600, 400))[0] == pytest.approx(600)
    fx_px, says = exif_focal({TAG.FocalLengthIn35mmFilm: 26}, (4032, 3024))
    assert fx_px == pytest.approx(26 / FULL_FRAME_DIAGONAL_MM * 5040)
    assert says == "26 mm in 35 mm terms"


def test_it_holds_for_a_picture_that_was_made_smaller():
    tags = {TAG.FocalLengthIn35mmFilm: 26, TAG.ExifImageWidth: 4032, TAG.ExifImageHeight: 3024}
    full, half = (exif_focal(tags, size)[0] for size in ((4032, 3024), (2016, 1512)))
    assert half == pytest.approx(full / 2)


@pytest.mark.parametrize(("unit", "per_unit"), [(2, 25_400 / 4), (3, 2_500), (4, 250), (None, 25_400 / 4)])
def test_without_it_the_sensor_s_resolution_tells(unit, per_unit):
    """250 px a mm; the picture is half as wide as it was taken."""
    tags = {TAG.FocalLength: 8.0, TAG.FocalPlaneXResolution: per_unit, TAG.FocalPlaneResolutionUnit: unit}
    tags |= {TAG.ExifImageWidth: 4000, TAG.ExifImageHeight: 3000}
    fx_px, says = exif_focal(tags, (2000, 1500))
    assert fx_px == pytest.approx(8.0 * 250 / 2)
    assert says == "8 mm on a sensor of 250 px/mm"


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({}, "no focal length"),
        ({TAG.FocalLengthIn35mmFilm: 0}, "no focal length"),
        ({TAG.FocalLength: TiffImagePlugin.IFDRational(0, 0)}, "no focal length"),
        ({TAG.FocalLengthIn35mmFilm: "wide"}, "no focal length"),
        ({TAG.FocalLength: 4.2}, "4.2 mm, but no sensor size"),
        (
            {TAG.FocalLengthIn35mmFilm: 26, TAG.ExifImageWidth: 4000, TAG.ExifImageHeight: 3000},
            "cropped: taken at 4000x3000",
        ),
    ],
)
def test_what_exif_does_not_tell_is_not_made_up(tags, says):
    fx_px, said = exif_focal(tags, (1000, 1000))
    assert fx_px is None
    assert says in said


@pytest.fixture
def photo(tmp_path):
    return open_photo(save(tmp_path / "a.jpg", noise((400, 300)), tags={TAG.FocalLengthIn35mmFilm: 26}))


@pytest.fixture
def plain(tmp_path):
    return open_photo(save(tmp_path / "plain.jpg", noise((400, 300))))


def test_a_given_focal_length_goes_before_exif(photo):
    lens = lens_of(photo, fx_px=333.0)
    assert (lens.known, lens.camera.fx_px, lens.camera.fy_px) == ("fx", 333.0, 333.0)
    assert (lens.camera.cx_px, lens.camera.cy_px) == (199.5, 149.5)


def test_a_field_of_view_is_horizontal(photo):
    lens = lens_of(photo, fov_deg=90.0)
    assert (lens.known, lens.camera.fx_px) == ("fov", pytest.approx(200.0))
    left, right = lens.camera.rays([-0.5, 399.5], [149.5, 149.5])
    assert math.degrees(math.atan(right[0]) - math.atan(left[0])) == pytest.approx(90)


def test_exif_is_taken_where_it_tells(photo):
    lens = lens_of(photo)
    assert lens == lens_of(photo, must_exif=True)
    assert (lens.known, lens.camera.fx_px) == ("exif", pytest.approx(26 / FULL_FRAME_DIAGONAL_MM * 500))
    assert "26 mm in 35 mm terms" in lens.says


def test_without_any_of_it_what_is_assumed_is_said(plain):
    lens = lens_of(plain)
    assert (lens.known, lens.camera.fx_px) == ("assumed", pytest.approx(480.0))
    for words in (
        "no focal length is known",
        "480.0 px assumed",
        "1.2 times the longer side",
        "--fx",
        "--fov",
    ):
        assert words in lens.says


def test_exif_that_is_asked_for_and_does_not_tell_is_refused(plain):
    with pytest.raises(DataMissingError, match=r"do not tell the focal length.*plain\.jpg.*--fx"):
        lens_of(plain, must_exif=True)


@pytest.mark.parametrize("given", [{"fx_px": 0.0}, {"fx_px": -5.0}, {"fx_px": math.inf}, {"fx_px": math.nan}])
def test_no_lens_has_such_a_focal_length(plain, given):
    with pytest.raises(UsageError, match="no focal length in pixels"):
        lens_of(plain, **given)


@pytest.mark.parametrize("fov_deg", [0.0, 180.0, -10.0, math.nan])
def test_no_lens_has_such_a_field_of_view(plain, fov_deg):
    with pytest.raises(UsageError, match="between 0 and 180"):
        lens_of(plain, fov_deg=fov_deg)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "YCbCr", "HSV"])
def test_a_plain_mode_is_converted(mode):
    picture = noise().convert(mode)
    assert np.array_equal(np.asarray(as_rgb(picture)), np.asarray(picture.convert("RGB")))


def test_an_rgb_picture_is_the_picture():
    picture = noise()
    assert as_rgb(picture) is picture


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_becomes_white(mode):
    clear = Image.new("RGBA", (2, 1), (10, 10, 10, 255))
    clear.putpixel((1, 0), (10, 10, 10, 0))
    assert np.asarray(as_rgb(clear.convert(mode))).tolist() == [[[10] * 3, [255] * 3]]


def test_a_transparent_colour_of_a_palette_becomes_white():
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 10, 10, 200, 0, 0])
    picture.putpixel((1, 0), 1)
    picture.info["transparency"] = 1
    assert np.asarray(as_rgb(picture)).tolist() == [[[10] * 3, [255] * 3]]


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_values_that_are_no_colours_are_refused_with_the_file(tmp_path, mode):
    path = tmp_path / "depth.tiff"
    Image.new(mode, SIZE).save(path)
    with pytest.raises(UsageError, match=rf"mode '{mode}' is no photograph.*depth\.tiff.*8-bit RGB"):
        open_photo(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataMissingError, match=r"no such photograph.*none\.jpg"):
        open_photo(tmp_path / "none.jpg")


def test_a_file_that_is_no_picture_is_named(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("not a picture")
    with pytest.raises(CheckError, match=r"cannot be read.*notes\.jpg.*no picture that can be read"):
        open_photo(path)


def test_a_truncated_picture_is_named_when_it_is_decoded(tmp_path):
    path = save(tmp_path / "half.jpg", noise((400, 300)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckError, match=r"cannot be read.*half\.jpg.*truncated"):
        open_photo(path).picture()
