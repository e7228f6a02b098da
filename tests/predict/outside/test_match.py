import pytest

from depthvlm_bench.errors import CheckError, DataMissingError, UsageError
from depthvlm_bench.predict.outside.match import find_files, listing, match_ids, match_maps

FRAMES = {
    "set/eval/room1/-/0001": "0001",
    "set/eval/room1/-/0002": "0002",
    "set/eval/room2/-/0001": "0001",
}


def match(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    files = find_files(folder)
    found = match_maps(files, FRAMES)
    return (
        {record: files.name(path) for record, path in found.found.items()},
        [files.name(p) for p in found.strangers],
    )


@pytest.mark.parametrize(
    "name",
    [
        "set__eval__room2__-__0001.npy",
        "set_eval_room2_-_0001.png",
        "set/eval/room2/-/0001.pfm",
        "anywhere/set__eval__room2__-__0001.NPY",
        "room2/0001.exr",
        "set/room2/0001.npz",
    ],
)
def test_a_file_is_found_by_id_or_by_its_folders(tmp_path, name):
    assert match(tmp_path, name) == ({"set/eval/room2/-/0001": name}, [])


def test_a_unique_frame_is_enough(tmp_path):
    assert match(tmp_path, "0002.npy") == ({"set/eval/room1/-/0002": "0002.npy"}, [])


@pytest.mark.parametrize("name", ["0001.npy", "elsewhere/0001.npy"])
def test_a_stem_that_fits_two_records_names_both(tmp_path, name):
    with pytest.raises(CheckError, match=r"set/eval/room1/-/0001 and set/eval/room2/-/0001") as caught:
        match(tmp_path, name)
    assert caught.value.where.endswith(name)


def test_two_files_of_one_record_are_named(tmp_path):
    with pytest.raises(CheckError, match=r"0002\.npy and set__eval__room1__-__0002\.png"):
        match(tmp_path, "0002.npy", "set__eval__room1__-__0002.png")


@pytest.mark.parametrize(
    ("given", "record"),
    [
        ("set/eval/room2/-/0001", "set/eval/room2/-/0001"),
        ("set__eval__room2__-__0001", "set/eval/room2/-/0001"),
        ("0002", "set/eval/room1/-/0002"),
        ("0003", None),
        ("../../0002", None),
    ],
)
def test_an_id_of_answers_is_a_records_id_or_a_unique_frame(given, record):
    assert match_ids({given: "a.csv:2"}, FRAMES) == ({given: record} if record else {})


def test_an_id_of_answers_that_fits_two_records_names_both():
    with pytest.raises(CheckError, match=r"'0001'.*room1/-/0001 and set/eval/room2/-/0001") as caught:
        match_ids({"0001": "a.csv:7"}, FRAMES)
    assert caught.value.where == "a.csv:7"


def test_strangers_are_told_and_hidden_files_left_alone(tmp_path):
    found, strangers = match(tmp_path, "0002.npy", "0009.npy", ".cache/0002.npy", "._0002.npy")
    assert list(found) == ["set/eval/room1/-/0002"]
    assert strangers == ["0009.npy"]


def test_names_with_dots_keep_all_but_the_suffix(tmp_path):
    (tmp_path / "a.b.npy").write_bytes(b"")
    assert list(match_maps(find_files(tmp_path), {"x/a.b": "a.b"}).found) == ["x/a.b"]


def test_ids_that_are_written_alike_are_an_error(tmp_path):
    (tmp_path / "a_b_c.npy").write_bytes(b"")
    with pytest.raises(CheckError, match=r"a_b/c and a/b_c|a/b_c and a_b/c"):
        match_maps(find_files(tmp_path), {"a_b/c": "c", "a/b_c": "b_c"})


def test_the_hash_follows_names_and_content(tmp_path):
    def digest():
        files = find_files(tmp_path)
        return files.hash(files.maps)

    (tmp_path / "a.npy").write_bytes(b"1")
    first = digest()
    (tmp_path / "a.npy").write_bytes(b"2")
    second = digest()
    (tmp_path / "a.npy").rename(tmp_path / "b.npy")
    assert len({first, second, digest()}) == 3
    (tmp_path / "b.npy").rename(tmp_path / "a.npy")
    assert digest() == second


def test_folders_with_nothing_or_with_both_kinds(tmp_path):
    with pytest.raises(DataMissingError, match="no such folder"):
        find_files(tmp_path / "gone")
    with pytest.raises(DataMissingError, match=r"\.npy.*it is empty"):
        find_files(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataMissingError, match=r"1 other files, for instance a\.jpg"):
        find_files(tmp_path)
    with pytest.raises(DataMissingError, match="suffix is another"):
        find_files(tmp_path / "a.jpg")
    (tmp_path / "a.npy").write_bytes(b"")
    (tmp_path / "b.csv").write_bytes(b"")
    with pytest.raises(UsageError, match=r"a\.npy and b\.csv"):
        find_files(tmp_path)


def test_long_listings_are_cut():
    assert listing(["a", "b"]) == "a, b"
    assert listing([str(n) for n in range(25)]).endswith("19, and 5 more")
