"""A program that answers line by line in a process of its own: its crashes, hangs and memory are seen from outside."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 30.0  # for one line; the slowest takes a fraction of one


@dataclass(frozen=True)
class Reply:
    """What became of one line: its answer, or how the process ended. taken: bytes of memory above those before."""

    text: str = ""
    taken: int = 0
    crash: str = ""
    hang: str = ""


class Child:
    """A process, started anew after each crash and hang. `send` a line, then `receive` its answer.

    warming: lines that are answered first after each start: what is needed once is no single image's memory.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        warming: Sequence[str] = (),
        seconds: float = SECONDS,
    ) -> None:
        self._command, self._environment = command, {**os.environ, **environment}
        self._warming, self._seconds = warming, seconds
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def send(self, line: str) -> None:
        """Give it a line to answer."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
            self._rest = b""
            for one in self._warming:
                self.send(one)
                self.receive()
                assert self._process is not None, f"{self._command} does not answer at all: {self._said()}"
        self._before = _begin_peak(self._process.pid)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `receive` finds it dead
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def receive(self) -> Reply:
        """Wait for the answer to the line that was sent last."""
        process = self._process
        assert process is not None and process.stdout is not None
        deadline = time.monotonic() + self._seconds
        while b"\n" not in self._rest:
            if not select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                process.kill()
                self._ended()
                return Reply(hang=f"no answer after {self._seconds:.0f} s")
            read = os.read(process.stdout.fileno(), 1 << 16)
            if not read:
                return Reply(crash=f"it ended with {self._ended()}: {self._said()}")
            self._rest += read
        taken = max(0, _memory(process.pid, "VmHWM:") - self._before)
        line, _, self._rest = self._rest.partition(b"\n")
        return Reply(line.decode("utf-8", "replace"), taken)

    def close(self) -> int:
        """End its input and wait for it; returns its status, 0 for one that is not running."""
        if self._process is None:
            return 0
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._ended()

    def _ended(self) -> int:
        process, self._process = self._process, None
        assert process is not None
        try:
            return process.wait(60)
        finally:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None and not pipe.closed:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def _said(self) -> str:
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 300))
        return " ".join(self._errors.read().decode("utf-8", "replace").split())


def _begin_peak(pid: int) -> int:
    """Forget a process's peak of memory; return what it has now, bytes, 0 where the system can't tell."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        return 0
    return _memory(pid, "VmRSS:")


def _memory(pid: int, field: str) -> int:
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) * 1024 for line in status if line.startswith(field)), 0)
    except OSError:
        return 0
