"""Progress of long work: a line on a terminal that is rewritten, and a lasting line for each finished step."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from sacvit_deploy.console.terminal import printable

DELAY = 1.0  # seconds before a counter appears, so that short work shows none
INTERVAL = 0.1  # seconds between two rewrites


class Progress:
    """Reports long work on a stream, standard output by default.

    `step` and `bar` leave a line with the time taken, on any stream. `count` leaves nothing. Lines are rewritten on a
    terminal only, so that logs stay readable.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._live = self._out.isatty()
        self._shown = ""  # the line now on the terminal
        self._lock = threading.RLock()

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Announce a step on a terminal, and write its line with the seconds it took once it is done."""
        start = time.perf_counter()
        self._rewrite(f"{text} ...")
        try:
            yield
        except BaseException:
            if self._shown:
                self._out.write("\n")  # keeps the name of the step that failed
                self._shown = ""
            raise
        self._rewrite("")
        self._out.write(f"{printable(text)}  ({time.perf_counter() - start:.1f} s)\n")
        self._out.flush()

    @contextmanager
    def bar(self, text: str, length: int) -> Iterator[Callable[[int], None]]:
        """Time a step of `length` parts; yields a function to call with the parts done since its last call."""
        with self.step(text):
            yield self._counter(text, length)

    @contextmanager
    def count(self, text: str, length: int | None = None) -> Iterator[Callable[[int], None]]:
        """Count parts on a terminal, out of `length` where it is known, and clear the line at the end.

        Yields a function to call with the parts done since its last call.
        """
        try:
            yield self._counter(text, length)
        finally:
            self._rewrite("")

    @contextmanager
    def doing(self, text: str) -> Iterator[None]:
        """Show on a terminal what goes on, and clear the line at the end."""
        self._rewrite(f"{text} ...")
        try:
            yield
        finally:
            self._rewrite("")

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Take the line away while the block prints others, on any stream, from any thread."""
        with self._lock:
            line = self._shown
            self._rewrite("")
            try:
                yield
            finally:
                self._rewrite(line)

    def note(self, text: str) -> None:
        """Write a remark on the step before, indented."""
        self._out.write(f"  {printable(text)}\n")

    def _counter(self, text: str, length: int | None) -> Callable[[int], None]:
        start = time.perf_counter()
        done, due = 0, start + DELAY

        def advance(parts: int) -> None:
            nonlocal done, due
            done += parts
            now = time.perf_counter()
            if now < due:
                return
            due = now + INTERVAL
            if length is None:
                self._rewrite(f"{text}: {done:,}")
            else:
                left = (length - done) * (now - start) / max(done, 1)
                self._rewrite(f"{text}: {done:,} of {length:,}, {left:.0f} s left")

        return advance

    def _rewrite(self, line: str) -> None:
        """Put `line` in place of the one on the terminal; an empty line clears it."""
        line = printable(line)
        if self._live:
            line = line[: shutil.get_terminal_size().columns - 1]  # one that wraps can't be taken back
        with self._lock:
            if self._live and (line or self._shown):
                self._out.write("\r" + line.ljust(len(self._shown)) + ("" if line else "\r"))
                self._out.flush()
                self._shown = line
