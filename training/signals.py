"""Stopping on Ctrl-C or SIGTERM between two training steps, where the state is consistent."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Number of the signal that asked the run to stop; None until one arrives."""

    signal: int | None = None


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Record the first Ctrl-C or SIGTERM instead of ending the process; a second one has its usual effect."""
    stop = Stop()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def record(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        restore()

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, record)
    try:
        yield stop
    finally:
        restore()
