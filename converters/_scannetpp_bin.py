"""depth.bin of ScanNet++: the LiDAR depth maps of a whole iPhone video in one file, in one of two encodings.

Either one raw-deflate stream of float32 metres, or a record a frame: its size (uint32), then an LZ4 block of
uint16 millimetres or raw deflate of float32 metres. Nothing in the file says which.
"""

import zlib
from itertools import islice

from depthvlm_bench.converters._files import RawTree
from depthvlm_bench.converters._scannetpp_maps import (
    HEIGHT,
    WIDTH,
    begins_as_stream,
    decode_record,
    inflated_maps,
    millimetres,
)
from depthvlm_bench.errors import FrameError
from depthvlm_bench.frames import UInt16Array

SIZE_BYTES = 4


class DepthBin:
    """The depth maps of one scene, by video index; asked in order they cost one pass over the file."""

    def __init__(self, tree: RawTree, path: str) -> None:
        self.path = path
        self._file = tree.path(path).open("rb")
        self._bytes = self._file.seek(0, 2)
        self._is_stream = begins_as_stream(self._file)
        self._maps, self._next, self._fault = inflated_maps(self._file), 0, ""
        self._starts = [0]  # of the records seen so far, and of the next one

    def __call__(self, index: int) -> UInt16Array:
        """Depth (192, 256) in mm, 0 where there is none.

        Raises:
            FrameError: `missing_depth` beyond the last frame, `unreadable` where the file is damaged.
        """
        return self._of_stream(index) if self._is_stream else self._of_record(index)

    def _of_stream(self, index: int) -> UInt16Array:
        if index < self._next:
            self._maps, self._next = inflated_maps(self._file), 0
        try:
            metres = next(islice(self._maps, index - self._next, None), None)
        except zlib.error as error:
            metres, self._fault = None, str(error)
        self._next = index + 1
        if metres is None:
            fault = f"damaged before frame {index}: {self._fault}" if self._fault else f"has no frame {index}"
            raise FrameError("unreadable" if self._fault else "missing_depth", f"{self.path}: {fault}")
        return millimetres(metres)

    def _of_record(self, index: int) -> UInt16Array:
        while len(self._starts) < index + 2:
            self._file.seek(self._starts[-1])
            size = self._file.read(SIZE_BYTES)
            end = self._starts[-1] + SIZE_BYTES + int.from_bytes(size, "little")
            if not size:
                raise FrameError("missing_depth", f"{self.path}: has no frame {index}")
            if end > self._bytes:
                raise FrameError("unreadable", f"{self.path}: cut off in record {len(self._starts) - 1}")
            self._starts.append(end)
        start, end = self._starts[index : index + 2]
        self._file.seek(start + SIZE_BYTES)
        values = decode_record(self._file.read(end - start - SIZE_BYTES))
        if values is None:
            raise FrameError("unreadable", f"{self.path}: record {index} is no {WIDTH}x{HEIGHT} depth map")
        return values

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
