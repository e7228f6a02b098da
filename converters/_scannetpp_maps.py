"""Depth maps as ScanNet++'s depth.bin packs them: float32 metres deflated, or uint16 millimetres in LZ4."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from depthvlm_bench.frames import UInt16Array

WIDTH, HEIGHT = 256, 192
METRES_BYTES, MILLIMETRES_BYTES = 4 * WIDTH * HEIGHT, 2 * WIDTH * HEIGHT
CHUNK_BYTES = 1 << 16
LZ4_BLOCK = "lz4_raw"


def inflated_maps(file: BinaryIO) -> Iterator[bytes]:
    """The float32 maps of a raw-deflate stream, one at a time; zlib.error where it is none or cut off."""
    file.seek(0)
    inflate, metres = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    while not inflate.eof:
        packed = inflate.unconsumed_tail or file.read(CHUNK_BYTES)
        found = inflate.decompress(packed, METRES_BYTES - len(metres))
        if not packed and not found:
            raise zlib.error("the stream is cut off")
        metres += found
        if len(metres) == METRES_BYTES:
            yield bytes(metres)
            metres.clear()
    if metres:
        raise zlib.error("the stream ends within a map")


def begins_as_stream(file: BinaryIO) -> bool:
    """Whether a first whole map inflates: the sizes in a file of records make no such stream."""
    try:
        return next(inflated_maps(file), None) is not None
    except zlib.error:
        return False


def decode_record(payload: bytes) -> UInt16Array | None:
    """Depth (192, 256) in mm of one record; None where it is neither of the two kinds."""
    try:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        metres = inflate.decompress(payload, METRES_BYTES + 1)
        if inflate.eof and len(metres) == METRES_BYTES:
            return millimetres(metres)
    except zlib.error:
        pass  # LZ4, then
    packed = _unpacked(payload, MILLIMETRES_BYTES)
    # A block does not say how long it is, and the codec fills up: one that fits into less is another grid's.
    if packed is None or _unpacked(payload, MILLIMETRES_BYTES - 1) is not None:
        return None
    return np.frombuffer(packed, "<u2").reshape(HEIGHT, WIDTH).astype(np.uint16)


def _unpacked(payload: bytes, size: int) -> bytes | None:
    try:
        unpacked: bytes = pa.Codec(LZ4_BLOCK).decompress(payload, decompressed_size=size, asbytes=True)
    except OSError:
        return None
    return unpacked


def millimetres(metres: bytes) -> UInt16Array:
    """Depth (192, 256) in mm of float32 metres, truncated as the dataset's own extraction does."""
    scaled = np.frombuffer(metres, "<f4").reshape(HEIGHT, WIDTH) * np.float32(1000)
    return np.where((scaled >= 1) & (scaled < 65536), scaled, 0).astype(np.uint16)
