import ast
import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from depthvlm_bench.predict.isolated import process, wire

ARRAYS = [
    np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
    np.array([[1.5, np.nan], [np.inf, -0.0]], np.float32),
    np.zeros((0, 3), np.float64),
    np.float32(7).reshape(()),
]


def read_of(data):
    stream = io.BytesIO(data)

    def read(length):
        found = stream.read(length)
        if len(found) < length:
            raise EOFError
        return found

    return read


def test_a_frame_comes_back_as_it_went():
    header, arrays = wire.unpack(read_of(wire.pack({"kind": "x", "δ": [1, None]}, ARRAYS)))
    assert header["kind"] == "x"
    assert header["δ"] == [1, None]
    for sent, got in zip(ARRAYS, arrays, strict=True):
        assert (got.dtype, got.shape) == (sent.dtype, sent.shape)
        assert got.tobytes() == sent.tobytes()


def test_frames_follow_one_another():
    read = read_of(wire.pack({"n": 1}, ARRAYS[:1]) + wire.pack({"n": 2}))
    assert [wire.unpack(read)[0]["n"] for _ in range(2)] == [1, 2]
    with pytest.raises(EOFError):
        wire.unpack(read)


def test_views_of_arrays_are_sent_as_they_look():
    turned = ARRAYS[0].transpose(2, 1, 0)[:, ::-1]
    assert np.array_equal(wire.unpack(read_of(wire.pack({}, [turned])))[1][0], turned)


def test_a_cut_frame_is_the_end_of_the_stream():
    whole = wire.pack({"kind": "x"}, ARRAYS)
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        with pytest.raises(EOFError):
            wire.unpack(read_of(whole[:length]))


def frame(magic=b"DVBW", version=1, head=b"{}", body=b"", lengths=None):
    lengths = lengths or (len(head), len(body))
    return struct.pack("<4sHxxIQ", magic, version, *lengths) + head + body


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"Downloading: 100%|####|\n", "begins with b'Down'"),
        (frame(version=2), "version 2"),
        (frame(lengths=(2**31, 0)), "claims 2147483648"),
        (frame(lengths=(2, 2**40)), "and 1099511627776 bytes"),
        (frame(head=b"not json"), "says nothing"),
        (frame(head=b"[1]"), "says nothing"),
        (frame(head=b"{}"), "says nothing"),
        (frame(head=b'{"arrays": [{"dtype": "O", "shape": [1]}]}', body=b"x" * 8), "type 'O'"),
        (frame(head=b'{"arrays": [{"dtype": "uint8", "shape": [-1, -8]}]}', body=b"x" * 8), "shape"),
        (frame(head=b'{"arrays": [{"dtype": "uint8", "shape": [9]}]}', body=b"x" * 8), "another length"),
    ],
)
def test_what_is_no_frame_is_told(data, says):
    with pytest.raises(wire.WireError) as caught:
        wire.unpack(read_of(data))
    assert says in str(caught.value)


@pytest.mark.parametrize("array", [np.array([None]), np.array([1]), np.array(["x"]), np.array([1j])])
def test_only_plain_numbers_are_sent(array):
    with pytest.raises(TypeError, match="are not sent"):
        wire.pack({}, [array])


def test_intrinsics_say_where_the_first_pixel_s_centre_is():
    picture = wire.Picture(ARRAYS[0], (10.0, 11.0, 1.5, 0.5), 0)
    assert picture.intrinsics(0.0) == [[10, 0, 1.5], [0, 11, 0.5], [0, 0, 1]]
    assert picture.intrinsics(0.5) == [[10, 0, 2.0], [0, 11, 1.0], [0, 0, 1]]


WORKER_SIDE = [
    Path(wire.__file__),
    process.PROGRAM,
    *(Path(__file__).parents[3] / "baselines").glob("_*_worker.py"),
]


@pytest.mark.parametrize("path", WORKER_SIDE, ids=lambda path: path.name)
def test_a_worker_s_files_are_python_3_9(path):
    ast.parse(path.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("path", WORKER_SIDE, ids=lambda path: path.name)
def test_a_worker_imports_nothing_of_this_package(path):
    """Annotations may name its types: those lines never run."""
    tree = ast.parse(path.read_text())
    checked = [node for node in tree.body if isinstance(node, ast.If)]
    unseen = {id(inner) for block in checked for inner in ast.walk(block)}
    names = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in unseen
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    ]
    assert not [name for name in names if name.startswith("depthvlm_bench")]
    if path in WORKER_SIDE[:2]:
        assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names, "numpy"}
