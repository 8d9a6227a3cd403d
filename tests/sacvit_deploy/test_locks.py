"""Locks on folders: one holder at a time, free again when it ends, and no file stays."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sacvit_deploy import locks
from sacvit_deploy.locks import LOCK, locked, take, try_lock

HOLD = (
    "import sys, time; from pathlib import Path; from sacvit_deploy.locks import locked\n"
    "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the folder's lock until its input ends."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path) as lock:
        assert lock.certain and (tmp_path / LOCK).exists()
        assert try_lock(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    again = try_lock(tmp_path)
    assert again is not None
    again.release()
    again.release()  # does nothing
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_holds_no_longer(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert try_lock(tmp_path) is None
        process.kill()
        process.wait()
        assert (tmp_path / LOCK).exists()
        with locked(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_who_waits_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with holder(tmp_path) as process:
        waiting = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == f"waiting for another command that is changing {tmp_path}\n"
        assert waiting.poll() is None
        assert process.stdin is not None
        process.stdin.close()
        assert waiting.wait(60) == 0
    waiting.stderr.close()


def test_a_file_removed_after_it_was_opened_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The former holder removes it between a waiter's opening and its locking; then there are two files."""
    real, removed = locks.take, []

    def late(descriptor: int) -> bool:
        if not removed:
            removed.append((tmp_path / LOCK).unlink())
        return real(descriptor)

    monkeypatch.setattr(locks, "take", late)
    lock = try_lock(tmp_path)
    assert lock is not None and removed
    assert os.fstat(lock.descriptor).st_ino == (tmp_path / LOCK).stat().st_ino
    assert try_lock(tmp_path) is None
    lock.release()


def test_a_lock_moves_with_its_folder(tmp_path: Path) -> None:
    folder, moved = tmp_path / "a", tmp_path / "b"
    folder.mkdir()
    with locked(folder):
        folder.rename(moved)
        folder.mkdir()
        assert try_lock(moved) is None
        with locked(folder):  # another folder, another lock
            assert (folder / LOCK).exists()
    assert [path.name for path in moved.iterdir()] == [LOCK]  # it has another name now, and is removed with its folder
    assert list(folder.iterdir()) == []


def test_without_its_folder_or_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        try_lock(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        try_lock(tmp_path, create=False)
    (tmp_path / "elsewhere").touch()
    (tmp_path / LOCK).symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        try_lock(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_keeps_nobody_out(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unable)
    with locked(tmp_path) as one, locked(tmp_path) as other:
        assert (one.certain, other.certain) == (False, False)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EDEADLK])
def test_windows_locks_the_first_byte(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice alone: on Windows itself this was not run."""
    calls = []
    module = types.ModuleType("msvcrt")

    def locking(descriptor: int, mode: int, count: int) -> None:
        calls.append((descriptor, mode, count))
        if len(calls) > 1:
            raise OSError(number, "locked")

    vars(module).update(LK_NBLCK=2, locking=locking)
    monkeypatch.setitem(sys.modules, "msvcrt", module)
    assert take(7, "nt")
    with pytest.raises(BlockingIOError):
        take(7, "nt")
    assert calls == [(7, 2, 1)] * 2
