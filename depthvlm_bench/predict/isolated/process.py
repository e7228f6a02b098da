"""The harness' end of a worker: a process, its two pipes, a limit on every answer, and what it printed."""

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict.isolated import wire

PROGRAM = Path(__file__).with_name("worker.py")
PIECE = 1 << 20
SAID_BYTES, SAID_LINES = 8192, 20
LEAVE_S = 5.0


class WorkerDiedError(Exception):
    """The worker ended, did not answer in time, or answered with something that is no answer."""


class WorkerProcess:
    """A process that runs PROGRAM in an interpreter of its own, and is ended with this object.

    Its standard output and error go to an unnamed file, never to ours and never to the pipes.

    Args:
        python: the interpreter of the model's environment.

    Raises:
        UsageError: a system without pipes that a child can be given, or an interpreter that does not start.
    """

    def __init__(self, python: Path) -> None:
        if os.name != "posix":
            raise UsageError("models in environments of their own need Linux or macOS")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end
        theirs_read, self._write = os.pipe()
        self._read, theirs_write = os.pipe()
        try:
            self._process = _start(python, theirs_read, theirs_write, self._log)
        except OSError as error:
            os.close(self._read)
            os.close(self._write)
            self._log.close()
            why = error.strerror or str(error)
            raise UsageError("the model's interpreter cannot be started", where=python, why=why) from error
        finally:
            os.close(theirs_read)  # else the pipes would not end with the process
            os.close(theirs_write)
        for descriptor in (self._read, self._write):
            os.set_blocking(descriptor, False)
        self.end = weakref.finalize(self, _end, self._process, (self._read, self._write), self._log)

    def ask(
        self, header: Mapping[str, Any], arrays: Sequence[wire.Array], limit_s: float
    ) -> tuple[dict[str, Any], list[wire.Array]]:
        """Send one frame and wait for the reply.

        Raises:
            WorkerDiedError: there is none within the limit.
        """
        until = time.monotonic() + limit_s
        try:
            self._send(memoryview(wire.pack(header, arrays)), until)
            return wire.unpack(lambda length: self._receive(length, until))
        except TimeoutError:
            raise WorkerDiedError(f"it did not answer within {limit_s:g} s") from None
        except (EOFError, BrokenPipeError):
            raise WorkerDiedError(self._how_it_ended()) from None
        except wire.WireError as error:
            raise WorkerDiedError(f"what it sent {error}") from None

    def said(self) -> list[str]:
        """The last lines that it, or a library in it, printed."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - SAID_BYTES))
        text = self._log.read().decode(errors="replace").replace("\r", "\n")
        return [line.rstrip() for line in text.splitlines() if line.strip()][-SAID_LINES:]

    def _send(self, data: memoryview, until: float) -> None:
        while data:
            _wait(self._write, selectors.EVENT_WRITE, until)
            data = data[os.write(self._write, data[:PIECE]) :]

    def _receive(self, length: int, until: float) -> bytes:
        pieces, missing = [], length
        while missing:
            _wait(self._read, selectors.EVENT_READ, until)
            piece = os.read(self._read, min(missing, PIECE))
            if not piece:
                raise EOFError
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        if status >= 0:
            return f"it ended with exit status {status}"
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        return f"it was ended by {name}" + (
            ", as the kernel does when memory runs out" if status == -signal.SIGKILL else ""
        )


def _start(python: Path, reading: int, writing: int, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [os.fspath(python), "-I", os.fspath(PROGRAM), str(reading), str(writing)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=(reading, writing),
        start_new_session=True,  # Ctrl-C is the harness' to hear, and helper processes end with it
    )


def _wait(descriptor: int, event: int, until: float) -> None:
    """Wait until a pipe can be used; TimeoutError when time is up."""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, event)
        if not selector.select(max(0.0, until - time.monotonic())):
            raise TimeoutError


def _end(process: "subprocess.Popen[bytes]", pipes: Sequence[int], log: IO[bytes]) -> None:
    for pipe in pipes:
        os.close(pipe)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    log.close()
