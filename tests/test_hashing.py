import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthvlm_bench.hashing import canonical_json, hash64, sha256_file, sha256_hex, sha256_json

relaxed = settings(deadline=None, derandomize=True, database=None)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
# Lone surrogates have no UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"]))


@dataclass(frozen=True)
class Options:
    every: int = 60
    root: Path = Path("a") / "b"


@relaxed
@given(st.lists(texts, min_size=1, max_size=4))
def test_hash64_is_the_first_eight_bytes_little_endian(parts):
    digest = hashlib.sha256(b"\x00".join(part.encode("utf-8") for part in parts)).digest()
    assert hash64(*parts) == sum(byte << (8 * i) for i, byte in enumerate(digest[:8]))


def test_hash64_has_the_value_of_the_published_test_vector():
    # SHA-256("abc") starts ba7816bf 8f01cfea.
    assert hash64("abc") == 0xEACF018FBF1678BA


def test_hash64_keeps_its_parts_apart():
    assert len({hash64("a", "b"), hash64("ab"), hash64("b", "a"), hash64("a", "", "b")}) == 4


@relaxed
@given(json_values)
def test_canonical_json_reads_back_and_is_stable(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


def test_canonical_json_has_sorted_keys_no_white_space_and_floats_by_repr():
    value = {"b": [0.1, 1e22, 2.0, 1], "a": {"ü": "x y", "d": None}}
    assert canonical_json(value) == '{"a":{"d":null,"ü":"x y"},"b":[0.1,1e+22,2.0,1]}'


def test_canonical_json_takes_dataclasses_and_paths():
    assert canonical_json(Options()) == '{"every":60,"root":"a/b"}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")]])
def test_canonical_json_refuses_what_json_cannot_hold(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", Options, PurePosixPath("x")])
def test_canonical_json_refuses_what_has_no_one_text(value):
    with pytest.raises(TypeError, match="has no canonical JSON"):
        canonical_json(value)


def test_sha256_of_bytes_of_json_and_of_a_file_agree(tmp_path):
    path = tmp_path / "options.json"
    path.write_bytes(b'{"a":1}')
    expected = hashlib.sha256(b'{"a":1}').hexdigest()
    assert sha256_json({"a": 1}) == sha256_hex(b'{"a":1}') == sha256_file(path) == expected
