import pytest

from depthvlm_bench.errors import DataMissingError, UsageError
from depthvlm_bench.hashing import sha256_json
from depthvlm_bench.predict.isolated import weights
from depthvlm_bench.predict.isolated.weights import Published, find_weights

ONE = Published("org/model", "main", ("model.pt",))
TWO = Published("org/model", "main", ("model.safetensors", "config.json"))
COMMIT = "c" * 40


@pytest.fixture
def folder(tmp_path):
    for name in ("model.pt", "model.safetensors", "config.json"):
        (tmp_path / name).write_text(f"the content of {name}")
    return tmp_path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub in a folder, laid out as the hub's cache is."""
    import huggingface_hub

    asked = []

    def download(repository, name, *, revision, repo_type):
        asked.append((repository, name, revision, repo_type))
        if repository == "org/gone":
            raise OSError("Repository Not Found\nfor url: ...")
        path = tmp_path / "hub" / "snapshots" / COMMIT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


def test_a_folder_and_a_file_are_taken_as_they_are(folder):
    found = find_weights(TWO, str(folder), None)
    assert found.main == folder / "model.safetensors"
    assert (found.name, found.commit) == (folder.name, None)
    assert find_weights(ONE, str(folder / "model.pt"), None).main == folder / "model.pt"
    assert find_weights(ONE, str(folder), None).main == folder / "model.pt"


def test_a_missing_file_is_named(folder):
    (folder / "config.json").unlink()
    with pytest.raises(DataMissingError, match=r"model\.safetensors, config\.json") as caught:
        find_weights(TWO, str(folder), None)
    assert caught.value.where == str(folder / "config.json")


def test_a_folder_has_no_revision(folder):
    with pytest.raises(UsageError, match="only a repository has revisions"):
        find_weights(TWO, str(folder), "main")


def test_published_weights_come_with_their_commit(hub):
    found = find_weights(Published("org/space", "main", ("a/model.pt",), "space"), None, None)
    assert hub == [("org/space", "a/model.pt", "main", "space")]
    assert (found.name, found.commit) == ("org/space", COMMIT)


def test_another_repository_needs_a_revision(hub):
    with pytest.raises(UsageError, match="without a revision"):
        find_weights(ONE, "some/other", None)
    assert find_weights(ONE, "some/other", "v1").name == "some/other"
    assert hub == [("some/other", "model.pt", "v1", "model")]


def test_what_the_hub_says_is_one_line(hub):
    with pytest.raises(DataMissingError, match="Repository Not Found") as caught:
        find_weights(ONE, "org/gone", "main")
    assert "for url" not in caught.value.one_line()


def test_the_hash_is_of_all_files(folder):
    found = find_weights(TWO, str(folder), None)
    before = found.content_sha256()
    (folder / "config.json").write_text("another")
    assert found.content_sha256() != before


def test_files_of_the_hub_s_cache_are_hashed_by_name(tmp_path):
    """Gigabytes need not be read to be told apart."""
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.write_text("whatever it holds")
    (tmp_path / "model.pt").symlink_to(blob)
    found = find_weights(ONE, str(tmp_path), None)
    assert found.content_sha256() == sha256_json({"model.pt": "ab" * 32})


def test_it_tells_without_a_network_what_is_cached(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert not weights.is_cached(ONE)
