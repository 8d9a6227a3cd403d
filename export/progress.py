"""What the export says while it works."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click


class Progress:
    """A line for each step: what is being done now (on a terminal), then how long it took."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Announce a step and time it."""
        start = time.perf_counter()
        live = self._out.isatty()
        if live:
            self._out.write(f"{what} ...")
            self._out.flush()
        try:
            yield
        except BaseException:
            if live:
                self._out.write("\n")
            raise
        self._out.write(f"{chr(13) if live else ''}{what}  ({time.perf_counter() - start:.1f} s)\n")
        self._out.flush()

    @contextmanager
    def bar(self, what: str, length: int) -> Iterator[Callable[[int], None]]:
        """The same with a bar on a terminal; what it gives is called with how many of `length` are done since."""
        if not self._out.isatty():
            with self.step(what):
                yield lambda _: None
            return
        start = time.perf_counter()
        with click.progressbar(length=length, label=what, file=self._out) as bar:
            yield bar.update
            bar.label = f"{what}  ({time.perf_counter() - start:.1f} s)"
            bar.render_progress()

    def note(self, text: str) -> None:
        """Say something about the step before."""
        self._out.write(f"  {text}\n")
