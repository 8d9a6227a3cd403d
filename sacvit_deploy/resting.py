"""Wait until the threads of native libraries sleep, so that a fork copies none of their locks as taken.

OpenVINO's threads (oneTBB's) work on for a moment after a call has returned, putting themselves to sleep, and take a
lock for it that all of a process's arenas share. A child forked in that moment waits for it for ever.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

TASKS = Path("/proc/self/task")
UNKNOWN = 0.05  # seconds to wait where the system does not tell what threads do
LONGEST = 2.0  # seconds after which a library is taken to compute for somebody else


def wait_for_rest(longest: float = LONGEST) -> bool:
    """Return once no thread that Python does not know runs, seen twice in a row; False after `longest` seconds."""
    if not TASKS.is_dir():
        time.sleep(UNKNOWN)
        return True
    end = time.monotonic() + longest
    quiet = 0
    while quiet < 2:
        quiet = 0 if _running() else quiet + 1
        if time.monotonic() > end:
            return False
        time.sleep(0.001)  # in which one that was just woken by another begins to run
    return True


def _running() -> bool:
    """Tell whether a thread that was not started from Python has, or waits for, a core."""
    own = {str(thread.native_id) for thread in threading.enumerate()} | {str(threading.get_native_id())}
    for task in os.listdir(TASKS):
        if task not in own:
            try:
                status = (TASKS / task / "stat").read_text(errors="replace")
            except OSError:
                continue  # it ended meanwhile
            # The name in brackets may hold anything, blanks and brackets, too.
            if status.rpartition(")")[2].split()[0] in "RD":
                return True
    return False
