"""Starting commands whose signals the tests send themselves."""

from __future__ import annotations

import signal
import subprocess
from typing import Any


def start_process(command: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start a text-mode process in which Ctrl-C works, even if this one ignores it.

    A non-interactive shell starts jobs with `&` so that they ignore SIGINT; an ignored signal stays ignored in all
    children, while a handled one is reset to its default when the child's program starts.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, text=True, **options)
    finally:
        signal.signal(signal.SIGINT, before)
