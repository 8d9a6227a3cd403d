"""Atomic writes: files and folders are written in a hidden folder beside their place and moved there when complete."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sacvit_deploy.locks import LOCK, Lock, try_lock

PARTIAL = ".partial-"  # in the name of a hidden folder, `.NAME.partial-RANDOM`
OLD = "old"  # in it, what `NAME` was until a moment ago, where the two can't be exchanged in one step
DAY = 24 * 3600.0  # seconds; a hidden folder as old as this, which can't be locked, is nobody's


def is_text(path: Path) -> bool:
    """Tell whether a path is text: on Linux a name may hold any bytes, and libraries in C++ open none of those."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside `target` that is removed when the block ends, however it ends.

    It is locked meanwhile. What killed processes left for the same target, recognised by being unlocked, is removed
    first. Raises OSError.
    """
    remove_leftovers(target.parent, target.name)
    work, lock = _make(target)
    try:
        yield work
    finally:
        _remove(work, lock)


@contextlib.contextmanager
def whole_file(path: Path, *, like: Path | None = None, follow: bool = True) -> Iterator[Path]:
    """Yield a hidden path to write; when the block ends well, flush it and rename it to `path`, else remove it.

    A reader sees the old file or the new one, which keeps the old one's mode, group and owner as far as this process
    may set them; where there is no old one, those of `like`. follow: where `path` is a link, replace what it points to.
    Raises OSError.
    """
    place = Path(os.path.realpath(path)) if follow else path
    with workplace(place) as work:
        partial = work / place.name
        yield partial
        for former in (place, like):
            if former is not None and former.exists():
                keep_access(former.stat(), partial)
                break
        flush(partial)
        os.replace(partial, place)
        flush_folder(place.parent)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove the hidden folders in `folder` that killed processes left, of one target's name or of all.

    Where such a process was killed between two renames, its target is first put back. Other users' stay, and for a day
    those that can't be locked, on a file system without locks.
    """
    pattern = "*" if name is None else glob.escape(name)
    for work in folder.glob(f".{pattern}{PARTIAL}*"):
        with contextlib.suppress(OSError):
            facts = work.lstat()
            # Another user's folder of that name may hold anything.
            if stat.S_ISDIR(facts.st_mode) and (os.name == "nt" or facts.st_uid == os.geteuid()):
                _remove_leftover(work)


def keep_access(former: os.stat_result, path: Path) -> None:
    """Give a file or folder the mode of a former one, and its group and owner as far as this process may.

    A group that can't be kept takes its rights with it: the new group may do no more than everybody.
    """
    mode = stat.S_IMODE(former.st_mode)
    if hasattr(os, "chown"):
        for owner in (former.st_uid, -1):
            with contextlib.suppress(OSError):
                os.chown(path, owner, former.st_gid)
                break
        if path.stat().st_gid != former.st_gid:
            mode &= ~0o2070 | (mode & 0o007) << 3
    path.chmod(mode)


def flush(path: Path) -> None:
    """Wait until a file's bytes, or those of a folder with all that is in it, are on the disk."""
    for entry in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if entry.is_dir():
            flush_folder(entry)
        elif entry.is_file():
            # Windows flushes only what is open for writing, which elsewhere a read-only file can't be.
            with entry.open("r+b" if os.name == "nt" else "rb") as opened:
                os.fsync(opened.fileno())


def flush_folder(folder: Path) -> None:
    """Wait until a folder's list of names is on the disk, where folders can be opened for that."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(target: Path) -> tuple[Path, Lock]:
    while True:
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}{PARTIAL}", dir=target.parent))
        # Until it is locked, another process may take it for a leftover and remove it.
        with contextlib.suppress(FileNotFoundError):
            lock = try_lock(work)
            if lock is not None:
                return work, lock


def _remove(work: Path, lock: Lock | None) -> None:
    """Remove a hidden folder whose lock is held; the lock goes last, so that a half-removed folder is found again."""
    old, target = work / OLD, work.with_name(work.name[1:].rpartition(PARTIAL)[0])
    if old.exists() and not os.path.lexists(target):
        with contextlib.suppress(OSError):
            os.rename(old, target)
            flush_folder(target.parent)
    needed = old.exists() and not os.path.lexists(target)  # it could not be put back: the next one tries again
    for path in work.iterdir():
        if path.name != LOCK and not (needed and path == old):
            _remove_tree(path)
    if lock is not None:
        lock.release(remove=not needed)
    with contextlib.suppress(OSError):
        work.rmdir()


def _remove_tree(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _remove_leftover(work: Path) -> None:
    try:
        lock = try_lock(work, create=False)
    except FileNotFoundError:
        # Being made or removed at this moment, unless there is something in it: then an older version left it.
        if not any(work.iterdir()):
            work.rmdir()
        elif _age(work) > DAY:
            _remove(work, None)
        return
    if lock is None:
        return
    try:
        if lock.certain or _age(work) > DAY:
            _remove(work, lock)
    finally:
        lock.release(remove=False)


def _age(work: Path) -> float:
    """Return the seconds since anything in a folder was written."""
    return time.time() - max(path.lstat().st_mtime for path in (work, *work.rglob("*")))
