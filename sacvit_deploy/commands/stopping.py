"""Ending a command at the first Ctrl-C or SIGTERM: one line, the signal's exit code, and no waiting for threads."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Stopped(BaseException):
    """The process was asked to end. No KeyboardInterrupt, for which click prints an empty line."""


@contextlib.contextmanager
def stopping_at_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise Stopped within the block, and end the process with 130 or 143 after it.

    It ends however the block does: a library that is interrupted while it is imported raises an error of its own. A
    signal that this process was started to ignore stays ignored.
    """
    received: list[signal.Signals] = []

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        received.append(signal.Signals(number))
        for each in WORDS:
            signal.signal(each, signal.SIG_DFL)  # another one ends the process at once, whatever it is cleaning up
        raise Stopped

    before = {number: signal.getsignal(number) for number in WORDS}
    heeded = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in heeded:
        signal.signal(number, stop)
    try:
        yield
    finally:
        if received:
            leave(received[0])
        for number, handler in heeded.items():
            signal.signal(number, handler)


def leave(number: signal.Signals) -> NoReturn:
    """Print the line for a signal, and end the process with 128 + its number.

    Threads are not waited for: one may be decoding, or reading from a disk that does not answer.
    """
    line = f"Error: {WORDS[number]}\n"
    with contextlib.suppress(OSError, ValueError):  # their readers may be gone
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"\n{line}" if sys.stderr.isatty() else line)  # a terminal shows ^C first
        sys.stderr.flush()
    os._exit(128 + number)
