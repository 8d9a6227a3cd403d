"""Leave alone, in a forked child, what was opened before the fork, so that the child opens its own.

A fork copies an inference library's memory and its locks as they stand, but none of its threads. A session from before
the fork waits for them for ever, or crashes: when it is used, and when it is freed, at the child's exit at the latest.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from typing import Protocol
from weakref import ref

from sacvit_deploy.resting import wait_for_rest


class Forgetful(Protocol):
    """Object that owns what a library opened."""

    def forget(self) -> None:
        """Begin anew in a forked child: pass what was opened to `keep_forever`, and drop it."""


# By id. A plain dictionary, as its values are listed at a stroke, whatever other threads do.
_watched: dict[int, ref[Forgetful]] = {}
_changed = threading.Condition()  # guards the two below
_working = 0  # threads within `no_fork`
_forking = False
_restless = False  # whether libraries are open whose threads work on after a call
_own = threading.local()  # depth: how many `no_fork` this thread is within


def forget_in_children(owner: Forgetful) -> None:
    """Call `owner.forget` in every forked child of this process while the owner lives; on Windows there are none."""
    key = id(owner)
    _watched[key] = ref(owner, lambda _: _watched.pop(key, None))


def rest_before_forks() -> None:
    """From now on, let forks of this process wait until the libraries' threads sleep (`resting.py`)."""
    global _restless
    _restless = True


def keep_forever(thing: object) -> None:
    """Keep an object and all it refers to from being freed, at the exit of the interpreter, too."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


@contextlib.contextmanager
def no_fork() -> Iterator[None]:
    """Hold off other threads' forks, for work that takes locks which a child would find taken for ever.

    Locks of one's own are taken inside, not outside: a fork that waits lets nobody else in.
    """
    global _working
    depth = getattr(_own, "depth", 0)
    if depth == 0:
        with _changed:
            _changed.wait_for(lambda: not _forking)
            _working += 1
    _own.depth = depth + 1
    try:
        yield
    finally:
        _own.depth = depth
        if depth == 0:
            with _changed:
                _working -= 1
                _changed.notify_all()


def _mine() -> int:
    """Return 1 within `no_fork`, where a signal's handler may fork, else 0."""
    return int(getattr(_own, "depth", 0) > 0)


def _before() -> None:
    global _forking
    with _changed:
        _changed.wait_for(lambda: not _forking)
        _forking = True
        _changed.wait_for(lambda: _working == _mine())
    if _restless:
        wait_for_rest()


def _in_the_parent() -> None:
    global _forking
    with _changed:
        _forking = False
        _changed.notify_all()


def _in_the_child() -> None:
    global _changed, _working, _forking
    # A thread that did not come along may have been about to look at them.
    _changed, _working, _forking = threading.Condition(), _mine(), False
    for reference in list(_watched.values()):
        owner = reference()
        if owner is not None:
            owner.forget()


if sys.platform != "win32":
    os.register_at_fork(before=_before, after_in_parent=_in_the_parent, after_in_child=_in_the_child)
