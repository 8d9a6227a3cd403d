"""Stopping between two steps, where the state is whole."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """The signal by which somebody asked the run to stop; None until then."""

    asked: int | None = None


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Note the first Ctrl-C or SIGTERM instead of dying of it; the second one works as usual."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        stop.asked = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()
