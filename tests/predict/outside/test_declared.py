import pytest

from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict.outside.declared import Declaration, read_declaration


def declare(folder, text):
    (folder / "predictions.toml").write_text(text)


def test_the_folder_names_the_model_unless_told(tmp_path):
    folder = tmp_path / "my-maps"
    folder.mkdir()
    assert read_declaration(folder).model == "my-maps"
    declare(folder, 'model = "other"')
    assert read_declaration(folder).model == "other"
    assert read_declaration(folder, ["model=third"]).model == "third"
    assert read_declaration(folder, ["model=third"], "fourth").model == "fourth"


def test_flags_override_the_file_key_by_key(tmp_path):
    declare(tmp_path, 'model = "a"\nunit = "mm"\nkind = "ray"\nresize = "nearest"')
    plain = read_declaration(tmp_path)
    assert (plain.unit, plain.kind, plain.resize) == ("mm", "ray", "nearest")
    changed = read_declaration(tmp_path, ["kind=z", "scale=256"])
    assert (changed.unit, changed.scale, changed.kind, changed.resize) == (None, 256.0, "z", "nearest")


def test_a_kind_given_as_a_flag_uses_the_scale_of_the_file(tmp_path):
    declare(tmp_path, "scale = 200.0")
    assert read_declaration(tmp_path, ["kind=disparity"]).scale == 200.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("units = 'mm'", "did you mean 'unit'"),
        ("unit = 'parsec'", "unknown unit"),
        ("unit = 'mm'\nscale = 1000.0", "same thing"),
        ("kind = 'inverse'", "'inverse' is not"),
        ("kind = 'disparity'", "with its scale"),
        ("kind = 'disparity'\nunit = 'm'", "with its scale"),
        ("kind = 'ray'\ncamera = 'unknown'", "does not go with"),
        ("scale = 0.0", "positive"),
        ("png_scale = -1", "positive"),
        ("scale = inf", "finite"),
        ("scale = ", "TOML"),
        ("model = '../up'", "cannot name a model"),
    ],
)
def test_what_cannot_be_meant_is_one_line(tmp_path, text, words):
    declare(tmp_path, text)
    with pytest.raises(UsageError, match=words):
        read_declaration(tmp_path)


def test_unknown_flags_and_folders_without_a_name_are_errors(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'png_scale'"):
        read_declaration(tmp_path, ["png_scal=3"])
    odd = tmp_path / "a folder"
    odd.mkdir()
    with pytest.raises(UsageError, match="--name"):
        read_declaration(odd)


def test_only_what_differs_from_the_defaults_is_told():
    assert Declaration(model="a").told() == {}
    assert Declaration(unit="mm", resize="bilinear").told() == {"unit": "mm"}
