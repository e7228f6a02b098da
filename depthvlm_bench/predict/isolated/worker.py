"""The worker's main program: loads one model and answers frame by frame until the pipe is closed.

    python -I worker.py READ WRITE

READ and WRITE are the numbers of its two open pipes. Standard output and standard error are no part of the
protocol: whatever a library prints there goes to the harness' log of the worker.

It runs in an environment that has numpy and the model's packages, and not this one: nothing else is imported,
and its neighbour `wire.py` and the model's module are loaded by path. That module has

    load(options: dict, answer: type[wire.Answer]) -> model
    model.predict(pictures: list[wire.Picture]) -> list[wire.Answer]

and is told a device that is there where `device` is among the options and `auto`.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import platform
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np


def main(arguments: list[str]) -> None:
    """Serve the two pipes named by their numbers."""
    reading, writing = (int(number) for number in arguments)
    for descriptor in (reading, writing):
        os.set_inheritable(descriptor, False)  # a helper process of the model must not keep them open
    wire = module_at(Path(__file__).with_name("wire.py"))
    with os.fdopen(reading, "rb") as incoming, os.fdopen(writing, "wb") as outgoing:
        Worker(wire, incoming, outgoing).serve()


class Worker:
    """One model and its two pipes."""

    def __init__(self, wire: Any, incoming: BinaryIO, outgoing: BinaryIO) -> None:  # noqa: ANN401 - a module
        self.wire, self.incoming, self.outgoing = wire, incoming, outgoing
        self.model: Any = None

    def serve(self) -> None:
        """Answer until the harness closes its end."""
        while True:
            try:
                header, arrays = self.wire.unpack(self._read)
            except EOFError:
                return
            try:
                reply = self._load(header) if header["kind"] == "load" else self._predict(header, arrays)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - told to the harness, which judges it
                reply = self._fault(error)
            self.outgoing.write(self.wire.pack(*reply))
            self.outgoing.flush()

    def _read(self, length: int) -> bytes:
        data = self.incoming.read(length)
        if len(data) < length:
            raise EOFError
        return data

    def _load(self, header: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        sys.path[:0] = header["code"]
        module = module_at(Path(header["module"]))
        self.model = module.load(with_device(header["options"]), self.wire.Answer)
        return {"kind": "ready", "python": platform.python_version(), "versions": versions()}, []

    def _predict(self, header: Mapping[str, Any], arrays: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        pictures = [
            self.wire.Picture(rgb, None if told["camera"] is None else tuple(told["camera"]), told["seed"])
            for told, rgb in zip(header["pictures"], arrays)  # noqa: B905 - `strict` came with Python 3.10
        ]
        answers = self.model.predict(pictures)
        maps = [np.ascontiguousarray(answer.depth_m, dtype=np.float32) for answer in answers]
        focal = [None if answer.fx_px is None else float(answer.fx_px) for answer in answers]
        return {"kind": "answers", "fx_px": focal}, maps

    def _fault(self, error: BaseException) -> tuple[dict[str, Any], list[Any]]:
        traceback.print_exc()  # to the log of what the worker said
        sys.stderr.flush()
        kinds = [kind.__name__ for kind in type(error).__mro__]
        error.__traceback__ = None  # it holds the tensors that may have to make room
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return {"kind": "fault", "types": kinds, "message": str(error)}, []


def module_at(path: Path) -> ModuleType:
    """A module loaded by path, known by its file's name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def with_device(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options whose `auto` device is the GPU where torch finds one."""
    torch = sys.modules.get("torch")
    found = "cuda" if torch is not None and torch.cuda.is_available() else "cpu"
    return {**options, "device": found} if options.get("device") == "auto" else dict(options)


def versions() -> dict[str, str]:
    """Versions of the packages that decide numbers, of those that are loaded."""
    names = ("numpy", "torch", "torchvision", "timm", "xformers", "transformers", "cv2")
    loaded = {name: sys.modules[name] for name in names if name in sys.modules}
    return {name: str(getattr(module, "__version__", "unknown")) for name, module in loaded.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
